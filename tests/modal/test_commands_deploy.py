"""`deploy` with the real apps: what is deployed, what arms the schedule, and what a missing secret is told as."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import refused, run
from fakemodal import FakeModal

from quickstart.modal_app.names import (
    APP,
    DATA_SECRET,
    DICT,
    DISARMED,
    SECRETS,
    SUBMITTER,
    TRAINING_APP,
    TRAINING_RUNNING,
)

PROJECT = Path(__file__).parents[2]
DOTENV = "SOMA_SECRET_KEY={key}\nS3_BUCKET=windows\nS3_ACCESS_KEY_ID=id\nS3_SECRET_ACCESS_KEY=secret\n"


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[FakeModal]:
    with FakeModal(tmp_path / "standin", project=PROJECT) as running:
        yield running
    report = running.report()
    assert report["server_errors"] == []
    assert report["rpcs_without_an_answer"] == {}


def deployed(standin: FakeModal) -> list[str]:
    return [app["name"] for app in standin.report()["apps"] if app["state"] == "deployed"]


def test_secrets_then_deploy_arms_the_schedule(standin: FakeModal, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(DOTENV.format(key="1a" * 32))
    (tmp_path / ".env").chmod(0o600)
    assert run(standin, "create-secrets", folder=tmp_path).code == 0
    first = run(standin, "deploy", folder=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert f"deployed  {APP} (ap-" in first.out
    (app,) = standin.report()["apps"]
    assert app["warnings"] == []
    assert app["functions"][SUBMITTER]["schedule"]["cron"] == "0 3 * * *"

    assert run(standin, "stop", folder=tmp_path).code == 0
    (table,) = (t for t in standin.workspace.tables.values() if t.name == DICT)
    assert any(DISARMED.encode() in key for key in table.entries)
    again = run(standin, "deploy", "--json", folder=tmp_path)
    assert json.loads(again.out)["deployed"] == [{"app": APP, "app_id": app["id"], "module": "quickstart.submitter"}]
    assert not any(DISARMED.encode() in key for key in table.entries)
    assert standin.workspace.calls == {}, "nothing is started by deploying"


def test_with_dollars_for_training_a_second_app_goes_along_and_its_reveals_stay(
    standin: FakeModal, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(DOTENV.format(key="1a" * 32) + "QUICKSTART_TRAINING_DOLLARS_PER_DAY=5\n")
    (tmp_path / ".env").chmod(0o600)
    assert run(standin, "create-secrets", folder=tmp_path).code == 0
    both = json.loads(run(standin, "deploy", "--json", folder=tmp_path).out)["deployed"]
    assert [one["app"] for one in both] == [APP, TRAINING_APP] == deployed(standin)
    standin.run_python(f"import modal; modal.Dict.from_name({DICT!r}).put({TRAINING_RUNNING!r}, 'fc-' + '0' * 22)")
    stopped = run(standin, "stop", folder=tmp_path)
    assert (stopped.code, "go on, half a stake hangs on each" in stopped.out) == (0, True), stopped
    there = "from quickstart.modal_app.belongings import belongings; print([one.name for one in belongings()])"
    assert TRAINING_APP in standin.run_python(there)


def test_a_missing_secret_or_key(standin: FakeModal, tmp_path: Path) -> None:
    refused(run(standin, "deploy", "--json", folder=tmp_path), "Secret 'soma-", "not found", "uv run create-secrets")
    standin.workspace.add_secret(SECRETS, {"SOMA_SECRET_KEY": "x", "S3_BUCKET": "y", "S3_ACCESS_KEY_ID": "z"})
    standin.workspace.add_secret(DATA_SECRET, {})
    refused(run(standin, "deploy", "--json", folder=tmp_path), "S3_SECRET_ACCESS_KEY", "uv run create-secrets")
    assert deployed(standin) == []


def test_settings_that_are_read_when_deploying(standin: FakeModal, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUICKSTART_GPU=L5\n")
    refused(run(standin, "deploy", folder=tmp_path), "QUICKSTART_GPU", "L5")
    assert deployed(standin) == []
