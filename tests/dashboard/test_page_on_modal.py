"""The page as `uv run deploy` puts it on Modal: its own app, no key, ledgers read only, served behind its password."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import kept_ledger
from fakemodal import FakeModal
from kept_ledger import ledger_path, submit
from served_page import PASSWORD, ROOT, books, shown

import quickstart
from quickstart.cli.secrets import DASHBOARD_NAMES
from quickstart.dashboard.modal_page import app
from quickstart.dashboard.shelf import Shelf
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.snapshots import take_snapshot
from quickstart.modal_app import names

PROJECT = Path(__file__).parents[2]
SOURCE = Path(quickstart.__file__).parents[1]
DEPLOY = (sys.executable, "-m", "modal", "deploy", "-m", names.DASHBOARD_MODULE)
NODE = "http://127.0.0.1:9"


def deploy(standin: FakeModal, *, check: bool = True) -> str:
    return standin.command(*DEPLOY, environment={"PYTHONPATH": str(SOURCE)}, check=check).stdout


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    secret = dict.fromkeys(DASHBOARD_NAMES, "")
    secret |= {"QUICKSTART_DASHBOARD_PASSWORD": PASSWORD, "QUICKSTART_RPC_URL": NODE}
    secrets = {names.DASHBOARD_SECRET: secret}
    with (
        pytest.MonkeyPatch.context() as patch,
        FakeModal(tmp_path_factory.mktemp("page"), project=PROJECT, secrets=secrets) as running,
    ):
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("copies")))  # containers take it over
        deploy(running)
        yield running
    report = running.report()
    assert report["server_errors"] == []
    assert report["rpcs_without_an_answer"] == {}
    assert [c["leaked_modules"] for c in report["containers"] if c["leaked_modules"]] == []


def test_what_is_deployed(standin: FakeModal) -> None:
    (found,) = (one for one in standin.report()["apps"] if one["state"] == "deployed")
    assert (found["name"], found["warnings"], list(found["functions"])) == (app.name, [], [names.DASHBOARD])
    page = found["functions"][names.DASHBOARD]
    assert [secret["name"] for secret in page["secrets"]] == [names.DASHBOARD_SECRET]
    assert [(volume["name"], volume["read_only"]) for volume in page["volumes"]] == [(names.LEDGER_VOLUME, True)]
    assert (page["max_containers"], page["gpu"], page["schedule"], page["retries"]) == (1, None, None, None)
    assert not {"SOMA_SECRET_KEY", "S3_SECRET_ACCESS_KEY"} & set(DASHBOARD_NAMES)


def test_it_serves_what_the_submitter_committed(standin: FakeModal, tmp_path: Path) -> None:
    folder = next(one.folder for one in standin.workspace.volumes.values() if one.name == names.LEDGER_VOLUME)
    (deployed,) = (one for one in standin.report()["apps"] if one["state"] == "deployed")
    url = deployed["functions"][names.DASHBOARD]["web"]["url"]
    state = kept_ledger.make(tmp_path / "state", 60)
    path = ledger_path(state)
    snapshot = folder / path.relative_to(state)
    take_snapshot(path, snapshot)
    assert httpx.get(url + "/", timeout=60).status_code == 401
    with httpx.Client(base_url=url, auth=("me", PASSWORD), timeout=60) as client:
        assert client.get("/").headers["location"] == ROOT
        html = client.get(ROOT).text
        assert {name: shown(html)[name] for name in books(path)} == books(path)
        assert "unknown: Modal has not answered" in html or "nobody on Modal" in html
        heard = _until(client, "heard")
        assert "at rest" in heard and "nobody on Modal; other machines were not asked" in heard, "our Dict was asked"
        assert f"no answer from {NODE}" in client.get(ROOT).text
        assert client.get("/static/style.css").status_code == 200
        assert client.post(ROOT).status_code == 405

        before = books(path)
        with closing(Ledger(path)) as ledger:
            submit(ledger, 151)
        take_snapshot(path, snapshot)
        _until(client, f'data-name="bond out" data-shannons="{books(path)["bond out"]}"')
        assert books(path)["bond out"] > before["bond out"]


def _until(client: httpx.Client, text: str) -> str:
    """The overview, as soon as it has this text."""
    deadline = time.monotonic() + 60
    while text not in (html := client.get(ROOT).text):
        assert time.monotonic() < deadline, html
        time.sleep(0.2)
    return html


def test_without_a_password_nothing_is_deployed_or_served(tmp_path: Path) -> None:
    with FakeModal(tmp_path / "none", project=PROJECT) as standin:
        assert names.DASHBOARD_SECRET in deploy(standin, check=False)
        assert [one["state"] for one in standin.report()["apps"]] != ["deployed"]
    empty = {names.DASHBOARD_SECRET: dict.fromkeys(DASHBOARD_NAMES, "")}
    with FakeModal(tmp_path / "empty", project=PROJECT, secrets=empty) as standin:
        deploy(standin)
        (deployed,) = (one for one in standin.report()["apps"] if one["state"] == "deployed")
        answer = httpx.get(deployed["functions"][names.DASHBOARD]["web"]["url"] + ROOT, timeout=60)
        assert answer.status_code >= 500
        assert "missing: QUICKSTART_DASHBOARD_PASSWORD" in standin.log_of(names.DASHBOARD)


def test_the_shelf_takes_over_what_is_new_and_goes_on_when_the_volume_fails(tmp_path: Path) -> None:
    volume, moments = tmp_path / "volume", [0.0]
    state = kept_ledger.make(tmp_path / "state", 3)
    snapshot = ledger_path(volume)
    take_snapshot(ledger_path(state), snapshot)
    broken = [False]

    def reload() -> None:
        if broken[0]:
            raise RuntimeError("the volume is the test's")

    shelf = Shelf(volume, tmp_path / "copies", reload, lambda: moments[0])
    (first,) = shelf.wallets()
    copied = first.path.read_bytes()
    with closing(Ledger(ledger_path(state))) as ledger:
        submit(ledger, 7)
    take_snapshot(ledger_path(state), snapshot)
    os.utime(snapshot, (1, 1))
    assert [one.path.read_bytes() for one in shelf.wallets()] == [copied], "not before its time"
    moments[0] += 6.0
    shelf.wallets()
    shelf.wait(10.0)
    assert books(first.path) == books(ledger_path(state))
    damaged = snapshot.parent.with_name("ff" * 32) / snapshot.name
    damaged.parent.mkdir()
    damaged.write_bytes(b"no ledger" * 1000)
    with closing(Ledger(ledger_path(state))) as ledger:
        submit(ledger, 8)
    take_snapshot(ledger_path(state), snapshot)
    os.utime(snapshot, (2, 2))  # written before the damaged one, and so copied after it
    moments[0] += 6.0
    assert shelf.wallets() == (first,)
    shelf.wait(10.0)
    assert books(first.path) == books(ledger_path(state)), "one that cannot be copied hides no other"
    broken[0] = True
    shutil.rmtree(volume)
    moments[0] += 6.0
    assert shelf.wallets() == (first,)
    shelf.wait(10.0)
    assert shelf.wallets() == (first,)
