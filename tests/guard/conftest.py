"""These tests use the live devnet of `tests/submission` and the scripted servers of `tests/edges`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "submission"), str(TESTS / "edges"), str(TESTS.parent)]

from live_devnet import LiveDevnet, running  # noqa: E402 - found through the path above
from sessions import close_servers  # noqa: E402


@pytest.fixture(scope="module")
def live() -> Iterator[LiveDevnet]:
    with running(models=1, targets=40) as live:
        yield live


@pytest.fixture(autouse=True)
def _close_file_servers() -> Iterator[None]:
    yield
    close_servers()
