"""`dashboard` as a person starts it: what it prints, that it serves, ends by Ctrl-C, and what it refuses."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import kept_ledger
from kept_ledger import ledger_path
from served_page import PASSWORD, ROOT, books, shown

COMMAND = "import sys; sys.argv[0] = 'dashboard'; from quickstart.cli.main import dashboard; dashboard()"


def argv(*arguments: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, *map(str, arguments)]


def refused(folder: Path, *arguments: object) -> str:
    done = subprocess.run(argv(*arguments), cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_it_serves_until_ctrl_c(state: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"QUICKSTART_DASHBOARD_PASSWORD={PASSWORD}\n")
    (tmp_path / ".env").chmod(0o600)
    line = argv("--port", 0, "--state", state)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        said = process.stdout.readline()
        assert said.startswith("dashboard http://127.0.0.1:") and "QUICKSTART_DASHBOARD_PASSWORD" in said
        address = said.split()[1].strip(",;/")
        assert httpx.get(address + ROOT, timeout=30).status_code == 401
        answer = httpx.get(address + ROOT, auth=("", PASSWORD), timeout=30)
        held = books(ledger_path(state))
        assert {name: shown(answer.text)[name] for name in held} == held
        assert "server" not in answer.headers
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_it_refuses(tmp_path: Path) -> None:
    assert "uv run submit" in refused(tmp_path, "--state", tmp_path / "nothing")
    state = kept_ledger.make(tmp_path / "state", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is taken: name another" in refused(tmp_path, "--state", state, "--port", port)
