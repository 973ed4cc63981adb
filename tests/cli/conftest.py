from pathlib import Path

import pytest
from cli_processes import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("home"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"
