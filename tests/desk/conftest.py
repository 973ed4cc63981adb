"""One life of a wallet that all tests of the desk look at."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "submission"), str(TESTS / "guard")]

from live_devnet import running  # noqa: E402 - found through the path above
from operated import Life, lived  # noqa: E402
from sessions import close_servers  # noqa: E402


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with running(models=2, targets=40) as live:
        yield lived(live, tmp_path_factory.mktemp("desk") / "state")
        close_servers()
