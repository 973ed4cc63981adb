"""`submit`, `claim` and `stop` with what is deployed, against the stand-in for Modal."""

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runs import argv, environment, refused, run
from fakemodal import FakeModal
from modal._serialization import serialize

from quickstart.modal_app.names import CLAIM, DICT, DISARMED, GPU_CALLS, RUNNING, SCORER, SUBMITTER, UPKEEP

FIXTURE = Path(__file__).parents[1] / "support" / "fakemodal_commands"
LIMIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    folder = tmp_path_factory.mktemp("standin")
    with FakeModal(folder, project=FIXTURE, idle_seconds=20) as running:
        running.command(sys.executable, "-m", "modal", "deploy", "-m", "commands_app", environment=environment(running))
        yield running
    report = running.report()
    assert report["server_errors"] == []
    assert report["rpcs_without_an_answer"] == {}
    assert [c["leaked_modules"] for c in report["containers"] if c["leaked_modules"]] == []


class State:
    """The apps' Dict, as the stand-in holds it."""

    def __init__(self, standin: FakeModal) -> None:
        (table,) = (t for t in standin.workspace.tables.values() if t.name == DICT)
        self._entries: dict[bytes, bytes] = table.entries

    def get(self, key: str) -> Any:
        found = self._entries.get(serialize(key))
        return None if found is None else pickle.loads(found)

    def put(self, key: str, value: Any) -> None:
        self._entries[serialize(key)] = serialize(value)

    def clear(self) -> None:
        self._entries.clear()


@pytest.fixture
def state(standin: FakeModal, tmp_path: Path) -> Iterator[State]:
    """The Dict of the apps, empty; what a test leaves running is ended."""
    assert run(standin, "stop", "--now", folder=tmp_path).code == 0
    found = State(standin)
    found.clear()
    yield found
    found.put("go", {"skipped": "the test is over"})
    assert run(standin, "stop", "--now", folder=tmp_path).code == 0
    standin.settle()


def until(what: Callable[[], Any]) -> Any:
    """Waits until `what()` is true; its value."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def started(standin: FakeModal, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv(*arguments),
        cwd=folder,
        env=environment(standin),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_submit_starts_what_is_deployed_and_follows_it(standin: FakeModal, state: State, tmp_path: Path) -> None:
    state.put("told", "epoch 7, 12 filled")
    state.put(DISARMED, 1.0)
    with started(standin, "submit", folder=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        state.put("go", {"skipped": "the day's work is done"})
        rest = process.stdout.read()
    assert lines[0].startswith("started") and "Ctrl-C leaves it running" in lines[0]
    assert lines[1] == "epoch 7, 12 filled\n"
    assert rest == "skipped   the day's work is done\n"
    assert process.returncode == 0
    assert state.get(DISARMED) is None


def test_a_cycle_at_work_is_followed_and_not_started_twice(standin: FakeModal, state: State, tmp_path: Path) -> None:
    first = json.loads(run(standin, "submit", "--detach", "--json", folder=tmp_path).out)
    assert first["already_running"] is False
    until(lambda: state.get("cycles"))
    second = json.loads(run(standin, "submit", "--detach", "--json", folder=tmp_path).out)
    assert second == {"call": first["call"], "already_running": True}
    state.put("go", {"filled": 4})
    assert json.loads(run(standin, "submit", "--json", folder=tmp_path).out)["filled"] == 4
    assert state.get("cycles")[0] == first["call"]


def test_ctrl_c_leaves_the_cycle_running(standin: FakeModal, state: State, tmp_path: Path) -> None:
    with started(standin, "submit", folder=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        call_id = process.stdout.readline().split()[1]
        until(lambda: call_id in (state.get("cycles") or []))
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 0
        said = process.stderr.read()
    assert said.count("\n") == 1
    assert call_id in said and "uv run stop" in said
    state.put("go", {"skipped": "by itself"})
    assert standin.wait_for_call(call_id).value == {"skipped": "by itself"}


@pytest.mark.parametrize("deaf", [False, True], ids=["in order", "cancelled"])
def test_stop_ends_runs_and_gpus_and_disarms_the_schedule(
    standin: FakeModal, state: State, tmp_path: Path, deaf: bool
) -> None:
    state.put("shards", 2)
    state.put("deaf", deaf)
    call_id = json.loads(run(standin, "submit", "--detach", "--json", folder=tmp_path).out)["call"]
    until(lambda: state.get("scoring/0") and state.get("scoring/1"))
    scoring = [state.get(f"{GPU_CALLS}/{shard}") for shard in (0, 1)]
    how = ("--now",) if deaf else ()
    stopped = json.loads(run(standin, "stop", *how, "--json", folder=tmp_path).out)
    assert stopped == {"disarmed": True, "stopped": [call_id], "gpu_calls_stopped": 2}
    assert standin.wait_for_call(call_id).status == ("terminated" if deaf else "success")
    for call in scoring:
        assert standin.wait_for_call(call).status == "terminated"
    gpus = [c for c in standin.report()["containers"] if c["function"] == f"{SCORER}.*"]
    assert gpus and not any(c["alive"] for c in gpus), "an idle GPU is paid for too"
    assert state.get(DISARMED).startswith("since ")

    again = run(standin, "stop", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "none was at work" in again.out and "0 stopped" in again.out
    assert run(standin, "submit", "--detach", folder=tmp_path).code == 0
    assert state.get(DISARMED) is None


def test_whoever_follows_a_cancelled_cycle_is_told(standin: FakeModal, state: State, tmp_path: Path) -> None:
    with started(standin, "submit", folder=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        call_id = process.stdout.readline().split()[1]
        until(lambda: call_id in (state.get("cycles") or []))
        standin.run_python(f"import modal; modal.FunctionCall.from_id({call_id!r}).cancel()")
        said = process.stderr.read()
    assert process.returncode == 1
    assert said.startswith(f"error: {call_id} was stopped") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "name", "result"), [("claim", "claim", "claims_landed"), ("rebuild", "upkeep", "fills_restored")]
)
def test_a_submit_waits_for_whoever_signs_or_tends_the_ledger(
    standin: FakeModal, state: State, tmp_path: Path, command: str, name: str, result: str
) -> None:
    state.put("slow", True)
    with started(standin, command, "--json", folder=tmp_path) as other:
        at_work = until(lambda: state.get(RUNNING))
        with started(standin, "submit", "--detach", folder=tmp_path) as submit:
            assert submit.stdout is not None and other.stdout is not None
            assert submit.stdout.readline() == f"waiting   for the {name} {at_work}\n"
            assert state.get("cycles") is None
            state.put("slow", False)
            assert submit.stdout.readline().startswith("started")
            assert json.loads(other.stdout.read())[result] in (3, 4)
    until(lambda: state.get("cycles"))


def test_claim(standin: FakeModal, state: State, tmp_path: Path) -> None:
    done = run(standin, "claim", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "made by `submit` on Modal: 3 landed so far" in done.out
    assert json.loads(run(standin, "claim", "--json", folder=tmp_path).out)["claims_landed"] == 3
    assert run(standin, "claim", "--detach", folder=tmp_path).out.startswith("started")


def test_upkeep(standin: FakeModal, state: State, tmp_path: Path) -> None:
    done = run(standin, "rebuild", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "brought up to the chain; 4 fills restored" in done.out
    done = run(standin, "cleanup", "--dry-run", folder=tmp_path)
    assert "1 would be removed (1024 bytes), 2 kept" in done.out
    told = json.loads(run(standin, "cleanup", "--json", folder=tmp_path).out)
    assert (told["chain_id"], told["dry_run"]) == ("cleanup", False)


def test_what_a_person_can_mend_is_one_line_here_too(standin: FakeModal, state: State, tmp_path: Path) -> None:
    state.put("poor", True)
    done = run(standin, "claim", "--json", folder=tmp_path)
    refused(done, "no coins: send SOMA")
    state.put("go", {"error": "missing: SOMA_SECRET_KEY;\nrun `uv run create-secrets`"})
    done = run(standin, "submit", folder=tmp_path)
    assert (done.code, done.err) == (2, "error: missing: SOMA_SECRET_KEY; run `uv run create-secrets`\n")


@pytest.mark.parametrize("command", ["submit", "claim", "stop", "deploy", "rebuild"])
def test_a_wrong_token(standin: FakeModal, tmp_path: Path, command: str) -> None:
    calls = set(standin.workspace.calls)
    refused(run(standin, command, folder=tmp_path, extra={"MODAL_TOKEN_SECRET": "as-x"}), "uv run modal setup")
    assert set(standin.workspace.calls) == calls


def test_options_of_this_machine_mean_nothing_there(standin: FakeModal, tmp_path: Path) -> None:
    calls = set(standin.workspace.calls)
    done = run(standin, "submit", "--windows", "5", "--dry-run", folder=tmp_path)
    refused(done, "--windows, --dry-run", "--local")
    for command in ("claim", "rebuild", "cleanup"):
        refused(run(standin, command, "--state", "x", folder=tmp_path), "--state")
    refused(run(standin, "submit", "--detach", "--network", "devnet", folder=tmp_path), "--detach")
    assert set(standin.workspace.calls) == calls


def test_nothing_deployed(tmp_path: Path) -> None:
    with FakeModal(tmp_path / "empty", project=FIXTURE) as empty:
        for command in ("submit", "claim", "stop", "cleanup"):
            refused(run(empty, command, folder=tmp_path), "nothing is deployed on Modal", "uv run deploy", "--local")
        assert empty.workspace.calls == {}


def test_the_fixture_has_the_names_of_the_real_apps(standin: FakeModal) -> None:
    (app,) = standin.report()["apps"]
    assert {SUBMITTER, CLAIM, UPKEEP, f"{SCORER}.*"} <= set(app["functions"])
