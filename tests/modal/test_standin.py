"""The stand-in for Modal has the properties of the platform that our apps rely on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fakemodal import FakeModal
from fakemodal.mounts import available_modes
from fakemodal.volume_copies import MountedCopy

SUPPORT = Path(__file__).parents[1] / "support"
EXAMPLE = SUPPORT / "fakemodal_example"
APP = "standin-example"
SECRETS = {"keys": {"API_KEY": "first"}}


def deploy(standin: FakeModal) -> None:
    standin.command(
        sys.executable, "-m", "modal", "deploy", "-m", "standin_example.app", environment={"PYTHONPATH": "src"}
    )


def deployed(standin: FakeModal) -> dict[str, Any]:
    """What the report says of the example."""
    (app,) = (app for app in standin.report()["apps"] if (app["name"], app["state"]) == (APP, "deployed"))
    return app


def client(standin: FakeModal, code: str) -> Any:
    """Runs code in a client process of its own; it leaves its answer in ``answer``."""
    prelude = f"""
import json, modal, time
def function(name): return modal.Function.from_name({APP!r}, name)
def state(): return modal.Dict.from_name("state", create_if_missing=True)
def scorer(): return modal.Cls.from_name({APP!r}, "Scorer")()
def wait_for(key):
    while not state().get(key, False): time.sleep(0.02)
"""
    return json.loads(standin.run_python(f"{prelude}\n{code}\nprint(json.dumps(answer))"))


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    """The example deployed. Afterwards: no bug of ours, no unknown RPC, no import from the checkout, nothing alive."""
    folder = tmp_path_factory.mktemp("standin")
    with FakeModal(folder, project=EXAMPLE, secrets=SECRETS) as running:
        deploy(running)
        yield running
    report = running.report()
    assert report["server_errors"] == []
    assert report["rpcs_without_an_answer"] == {}
    assert [c["leaked_modules"] for c in report["containers"] if c["leaked_modules"]] == []
    assert not any(c["alive"] for c in report["containers"])


@pytest.mark.parametrize("mode", ["root", "user", "symlink"])
def test_volume_writes_appear_on_commit_and_reload_only(mode: str, tmp_path: Path) -> None:
    if mode not in available_modes(tmp_path):
        pytest.skip(f"this machine or user cannot show mounts by {mode}")
    with FakeModal(tmp_path, project=EXAMPLE, secrets=SECRETS, mode=mode, idle_seconds=60) as standin:
        deploy(standin)
        uncommitted, as_started, held, reloaded, committed = client(
            standin,
            """
read = function("reader")
first = function("writer").spawn("a", "1", False)
wait_for("written/a")
answer = [read.remote(True)]
state()["go/a"] = True
first.get()
second = function("writer").spawn("b", "2", True)
wait_for("written/b")
answer += [read.remote(False), read.remote(True), read.remote(True, keep_open="a"), read.remote(True)]
state()["go/b"] = True
second.get()
held = answer.pop(3)
answer.insert(2, held)
""",
        )
    assert uncommitted == {}
    assert as_started == {}, "a container sees what was committed when it started or last reloaded"
    assert "there are open files preventing the operation" in held["error"]
    assert reloaded == committed == {"a": "1", "b": "2"}, "a: committed at exit; b: while its writer still runs"


def test_creating_a_secret_again_changes_nothing_and_updating_it_merges(standin: FakeModal) -> None:
    created, updated = client(
        standin,
        """
modal.Secret.objects.create("keys", {"API_KEY": "second"}, allow_existing=True)
answer = [function("keys").remote()]
modal.Secret.from_name("keys").update({"OTHER": "added"})
answer.append(function("keys").remote())
""",
    )
    assert created == {"API_KEY": "first"}
    assert updated == {"API_KEY": "first", "OTHER": "added"}


@pytest.mark.parametrize(("name", "key", "message"), [("no-such", "API_KEY", "not found"), ("keys", "NOPE", "NOPE")])
def test_missing_secrets_and_keys_are_refused(standin: FakeModal, name: str, key: str, message: str) -> None:
    code = f"""
try: answer = modal.Secret.from_name({name!r}, required_keys=[{key!r}]).hydrate().object_id
except modal.exception.NotFoundError as exc: answer = str(exc)
"""
    assert message in str(client(standin, code))


def test_a_wrong_token_is_refused(standin: FakeModal) -> None:
    argv = (sys.executable, "-m", "modal", "app", "list")
    refused = standin.command(*argv, environment={"MODAL_TOKEN_SECRET": "as-other"}, check=False)
    assert refused.returncode != 0
    assert "Token validation failed" in refused.stdout
    assert APP in standin.command(*argv, "--json").stdout


def test_a_call_spawned_by_one_process_is_read_by_another(standin: FakeModal) -> None:
    call_id = client(standin, "answer = scorer().score.spawn(5).object_id")
    read = client(standin, f"answer = modal.FunctionCall.from_id({call_id!r}).get(timeout=30)")
    assert read[0] == 5
    assert standin.wait_for_call(call_id).value == tuple(read)


def test_dict_put_if_absent_is_true_once(standin: FakeModal) -> None:
    code = """
put = [state().put("owner", n, skip_if_exists=True) for n in (1, 2)]
answer = [*put, state()["owner"]]
"""
    assert client(standin, code) == [True, False, 1]


def test_a_preempted_run_of_the_schedule_starts_again_as_the_same_call(standin: FakeModal) -> None:
    (call_id,) = standin.fire()
    standin.wait_until_running("daily")
    client(standin, "wait_for('attempts'); answer = None")
    assert standin.preempt("daily") == 1
    standin.wait_until_running("daily")
    client(standin, "state()['go/daily'] = True; answer = None")
    assert standin.wait_for_call(call_id).value == [call_id, call_id]
    with pytest.raises(LookupError, match="no schedule"):
        standin.fire("keys")


def test_a_cancelled_call_ends_and_its_container_goes_on(standin: FakeModal) -> None:
    code = """
state().clear()
call = function("daily").spawn()
wait_for("attempts")
call.cancel()
try: call.get(timeout=20)
except modal.exception.RemoteError as exc: answer = [call.object_id]
state()["go/daily"] = True
answer.append(len(function("daily").remote()))
"""
    call_id, attempts = client(standin, code)
    assert standin.wait_for_call(call_id).status == "terminated"
    assert attempts == 2, "the second call ran to its end"


def test_a_killed_container_loses_no_input_and_a_redeployment_replaces_containers(standin: FakeModal) -> None:
    client(standin, "answer = scorer().score.remote(0)")
    deploy(standin)
    standin.kill_container("Scorer", nth=2)
    answer = client(standin, "answer = list(scorer().score.map(range(3)))")
    # The second deployment's container takes 0 and is killed while it has 1; a third container does 1 and 2.
    assert answer == [[0, 1], [1, 1], [2, 2]]
    ends = [c["ended_by"] for c in standin.report()["containers"] if c["function"] == "Scorer.*"]
    assert ends.count("killed") == 1
    assert standin.report()["calls"]["Scorer.*"]["failed"] == 0


def test_a_restricted_function_reaches_no_other_resource(standin: FakeModal) -> None:
    assert client(standin, "answer = scorer().reach.remote()") == "PermissionDeniedError"


def test_the_report_says_what_was_deployed(standin: FakeModal) -> None:
    app = deployed(standin)
    functions = app["functions"]
    assert functions["Scorer.*"]["gpu"] == [{"type": "L4", "count": 1}]
    assert functions["Scorer.*"]["secrets"] == []
    assert functions["keys"]["secrets"][0]["name"] == "keys"
    assert functions["daily"]["schedule"] == {"kind": "Cron", "cron": "0 3 * * *", "timezone": "UTC"}
    assert functions["reader"]["volumes"][0] | {"sub_path": None} == {
        "path": "/standin-shelf",
        "name": "shelf",
        "version": 2,
        "read_only": True,
        "sub_path": None,
    }
    assert app["warnings"] == []


def test_what_the_server_would_refuse_is_refused(standin: FakeModal) -> None:
    code = """
app = modal.App("refused")
app.function(gpu="L5", timeout=90_000, serialized=True)(lambda: None)
try: app.deploy()
except modal.exception.InvalidError as exc: answer = str(exc)
"""
    refusal = str(client(standin, code))
    assert "'L5'" in refusal
    assert "timeout 90000" in refusal


def test_a_run_shows_what_its_function_prints_and_ends(standin: FakeModal) -> None:
    argv = (sys.executable, "-m", "modal", "run", "-m", "standin_example.app::keys")
    assert "the keys are {'API_KEY': 'first'" in standin.command(*argv, environment={"PYTHONPATH": "src"}).stdout


def test_a_web_function_answers_over_http(standin: FakeModal) -> None:
    answer = httpx.get(deployed(standin)["functions"]["page"]["web"]["url"] + "/here", timeout=30)
    assert answer.status_code == 200
    assert answer.text.startswith("page /here of ")


SLEEPER = """
import modal, time
app = modal.App("sleeper")
sleep = app.function(serialized=True)(lambda: time.sleep(60))
app.deploy()
sleep.spawn()
"""


def test_containers_end_when_the_stand_in_is_killed(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "fakemodal", "--workdir", str(tmp_path), "--project", str(EXAMPLE)]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    server = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server, server.stdout:
        exports = (server.stdout.readline().removeprefix("export ").strip() for _ in range(6))
        variables = dict(line.split("=", 1) for line in exports)
        subprocess.run([sys.executable, "-c", SLEEPER], env={**os.environ, **variables}, check=True, timeout=30)
        groups = wait_for_groups(variables["FAKEMODAL_HTTP"])
        server.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while any(map(alive, groups)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(alive, groups))


def wait_for_groups(url: str) -> list[int]:
    """Process ids of the containers that are at work."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        busy = [c["pid"] for c in httpx.get(url + "/report").json()["containers"] if c["inputs"]]
        if busy:
            return busy
        time.sleep(0.05)
    raise AssertionError("no container took an input")


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, MountedCopy, MountedCopy]:
    """A committed folder with two files, and two containers' copies of it."""
    committed = tmp_path / "committed"
    committed.mkdir()
    (committed / "kept").write_text("0")
    (committed / "shared").write_text("0")
    both = [MountedCopy("vo-1", committed, tmp_path / name, False) for name in ("a", "b")]
    for copy in both:
        copy.fill()
    return committed, both[0], both[1]


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_last_committer_of_a_file_wins_and_leaves_other_files_alone(
    copies: tuple[Path, MountedCopy, MountedCopy],
) -> None:
    committed, a, b = copies
    (a.folder / "shared").write_text("a")
    (a.folder / "mine").mkdir()
    (a.folder / "mine" / "new").write_text("a")
    (b.folder / "shared").write_text("b")
    a.commit()
    b.commit()
    assert contents(committed) == {"kept": "0", "shared": "b", "mine/new": "a"}
    assert contents(b.folder) == {"kept": "0", "shared": "b"}
    b.reload()
    assert contents(b.folder) == contents(committed)


def test_removals_travel_and_same_size_rewrites_in_place_are_seen(
    copies: tuple[Path, MountedCopy, MountedCopy],
) -> None:
    committed, a, b = copies
    (a.folder / "kept").unlink()
    for text in ("1", "2", "3"):
        with (a.folder / "shared").open("r+") as file:
            file.write(text)
        a.commit()
        assert contents(committed) == {"shared": text}
    b.reload()
    assert contents(b.folder) == {"shared": "3"}


def test_a_read_only_copy_commits_nothing(copies: tuple[Path, MountedCopy, MountedCopy]) -> None:
    committed, a, _ = copies
    a.read_only = True
    (a.folder / "kept").write_text("changed")
    assert a.commit() == []
    assert contents(committed)["kept"] == "0"
