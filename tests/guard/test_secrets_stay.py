"""Promise 12 in short: canaries are found nowhere, and processes that do not sign never get them."""

import asyncio
import logging
import os
from pathlib import Path

import psutil
import pytest
from campaign_path import promise

from quickstart.chain.transactions import Manifest
from quickstart.child_environment import secret_names, secrets_hidden
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.process import DevnetProcess
from quickstart.executors.base import ScoreRequest
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.settings import _tell_of_readers, load_settings

KEY = "c0ffee" * 10 + "abcd"


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in secret_names():
        monkeypatch.setenv(name, KEY)
    return KEY


def inherited(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    return psutil.Process(pid).environ()


def test_no_canary_is_found_anywhere() -> None:
    found = promise("secrets").run(0.1, seed=4)
    assert found["hits"] == []
    assert found["filled"] > 0 and found["failures"] > 20 and found["files"] > 5 and found["log_kib"] > 20


def test_scorers_get_no_secret(canary: str, tmp_path: Path) -> None:
    settings = WorkerSettings(tmp_path / "bank", tmp_path / "weights", 10**9, "numpy")
    with LocalExecutor(settings, workers=1) as executor:
        executor.spawn(ScoreRequest("0" * 64, bytes(32), Manifest("http://127.0.0.1:1/w", bytes(32), 1), bytes(32)))
        assert executor._pool is not None
        (process,) = executor._pool._processes.values()
        assert process.pid is not None
        seen = inherited(process.pid)
    assert "PATH" in seen and canary not in "".join(seen.values())
    assert os.environ["SOMA_SECRET_KEY"] == KEY  # we keep them


def test_the_devnet_gets_no_secret(canary: str, tmp_path: Path) -> None:
    async def environment_of_child() -> dict[str, str]:
        config = DevnetConfig(rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0, models=0)
        async with DevnetProcess(config, tmp_path) as urls:
            return inherited(urls.pid)

    seen = asyncio.run(environment_of_child())
    assert "OPENBLAS_NUM_THREADS" in seen and canary not in "".join(seen.values())


def test_hidden_secrets_come_back_whatever_happens(canary: str) -> None:
    with pytest.raises(OSError, match="no process"), secrets_hidden():
        assert not secret_names() & os.environ.keys()
        raise OSError("no process")
    assert secret_names() <= os.environ.keys()


@pytest.mark.parametrize(
    ("mode", "content", "warned"),
    [
        (0o600, f"SOMA_SECRET_KEY={KEY}\n", False),
        (0o640, f"SOMA_SECRET_KEY={KEY}\n", True),
        (0o644, "HF_TOKEN=hf_x\n", True),
        (0o644, "SOMA_SECRET_KEY=\nQUICKSTART_LANES=4\n", False),
    ],
)
def test_a_file_of_secrets_that_others_can_read_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, content: str, warned: bool
) -> None:
    path = tmp_path / ".env"
    path.write_text(content)
    path.chmod(mode)
    _tell_of_readers.cache_clear()
    with caplog.at_level(logging.ERROR):
        load_settings(env_file=path)
        load_settings(env_file=path)
    assert [f"chmod 600 {path}" in record.getMessage() for record in caplog.records] == [True] * warned
    assert KEY not in caplog.text
