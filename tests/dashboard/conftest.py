import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kept_ledger


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_ledger.make(tmp_path_factory.mktemp("dashboard") / "state")
