"""`create-secrets`: the whole of `.env` is checked, both secrets hold it afterwards, and no value is ever shown."""

import json
import os
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from command_runs import Finished, refused, run
from fakemodal import FakeModal
from modal import exception

from quickstart.cli.secrets import KEY_NAME, OF_THIS_MACHINE, PASSWORD_NAME
from quickstart.errors import NetworkError, SettingsError, UnreachableError, UsageError
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.names import DASHBOARD_SECRET, DATA_SECRET, SECRETS
from quickstart.settings import settings_table

VALUES = {
    "SOMA_SECRET_KEY": "5ec2e7" * 10 + "5ec2",
    "HF_TOKEN": "hf_canary-token",
    "S3_BUCKET": "canary-bucket",
    "S3_ACCESS_KEY_ID": "canary-key-id",
    "S3_SECRET_ACCESS_KEY": "canary-access-secret",
    "S3_ENDPOINT_URL": "https://canary-account.r2.cloudflarestorage.com",
    "S3_PUBLIC_URL": "https://canary-public.example",
    "QUICKSTART_BOND_CAP": "12.5",
    "QUICKSTART_DASHBOARD_PASSWORD": "canary-password",
    "QUICKSTART_SOURCE": "/canary/folder",
}
CANARIES = ("5ec2e7", "canary")


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    with FakeModal(tmp_path_factory.mktemp("standin"), project=Path(__file__).parent) as running:
        yield running
    assert running.report()["server_errors"] == []


@pytest.fixture(autouse=True)
def no_secrets(standin: FakeModal) -> None:
    standin.workspace.secrets.clear()


def held(standin: FakeModal) -> dict[str, dict[str, str]]:
    """The secrets that the stand-in holds; what is empty counts as not set."""
    return {
        secret.name: {key: value for key, value in secret.values.items() if value}
        for secret in standin.workspace.secrets.values()
    }


def dotenv(folder: Path, values: dict[str, str]) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    (folder / ".env").chmod(0o600)


def silent(done: Finished) -> None:
    for canary in CANARIES:
        assert canary not in done.out + done.err


def test_everything_is_pushed_once_and_twice_and_a_changed_value_changes(standin: FakeModal, tmp_path: Path) -> None:
    dotenv(tmp_path, VALUES)
    first = run(standin, "create-secrets", folder=tmp_path)
    assert (first.code, first.err) == (0, "")
    of_the_cloud = {name: value for name, value in VALUES.items() if name != "QUICKSTART_SOURCE"}
    page = {PASSWORD_NAME: of_the_cloud.pop(PASSWORD_NAME)}
    assert held(standin) == {
        SECRETS: of_the_cloud,
        DATA_SECRET: {"HF_TOKEN": VALUES["HF_TOKEN"]},
        DASHBOARD_SECRET: page,
    }
    for name in (SECRETS, DATA_SECRET, DASHBOARD_SECRET, *page, *of_the_cloud):
        assert name in first.out
    ids = set(standin.workspace.secrets)

    changed = {**VALUES, "S3_BUCKET": "canary-other", "HF_TOKEN": "hf_canary-other"}
    del changed["QUICKSTART_BOND_CAP"]
    dotenv(tmp_path, changed)
    second = run(standin, "create-secrets", "--json", folder=tmp_path)
    assert json.loads(second.out)["secrets"][DATA_SECRET] == ["HF_TOKEN"]
    now = held(standin)
    assert now[SECRETS]["S3_BUCKET"] == "canary-other"
    assert now[SECRETS]["HF_TOKEN"] == now[DATA_SECRET]["HF_TOKEN"] == "hf_canary-other"
    assert "QUICKSTART_BOND_CAP" not in now[SECRETS], "what .env no longer says does not live on"
    assert set(standin.workspace.secrets) == ids, "an app that was deployed with a secret goes on seeing it"

    third = run(standin, "create-secrets", folder=tmp_path)
    assert third.code == 0
    assert held(standin) == now
    for done in (first, second, third):
        silent(done)


def test_without_a_token_for_data_the_second_secret_is_there_and_empty(standin: FakeModal, tmp_path: Path) -> None:
    dotenv(tmp_path, {name: value for name, value in VALUES.items() if name != "HF_TOKEN"})
    done = run(standin, "create-secrets", folder=tmp_path)
    assert done.code == 0
    assert held(standin)[DATA_SECRET] == {}
    assert "HF_TOKEN is not set" in done.out
    assert KEY_NAME not in held(standin)[DASHBOARD_SECRET]


def test_all_problems_are_named_at_once_and_nothing_is_sent(standin: FakeModal, tmp_path: Path) -> None:
    dotenv(tmp_path, {**VALUES, "SOMA_SECRET_KEY": "canary" * 3, "S3_BUCKET": "s3://canary", "S3_PUBLIC_URL": ""})
    done = run(standin, "create-secrets", folder=tmp_path)
    refused(done, "SOMA_SECRET_KEY is malformed", "S3_BUCKET is malformed", "missing: S3_PUBLIC_URL")
    silent(done)
    refused(
        run(standin, "create-secrets", folder=tmp_path / "..", extra={"HF_TOKEN": "x"}),
        "SOMA_SECRET_KEY, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY",
        ".env.example",
    )
    dotenv(tmp_path, {**VALUES, "QUICKSTART_ALERT_MAIL_TO": "canary@b.example"})
    done = run(standin, "create-secrets", folder=tmp_path)
    refused(done, "QUICKSTART_ALERT_SMTP")
    silent(done)
    (tmp_path / ".env").write_bytes(b"SOMA_SECRET_KEY\xff=canary\n")
    refused(run(standin, "create-secrets", folder=tmp_path), "UTF-8")
    assert held(standin) == {}


@pytest.mark.parametrize(
    "token",
    [
        {"MODAL_TOKEN_SECRET": "as-canary"},
        {"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""},
        {"MODAL_PROFILE": "nobody", "MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""},
    ],
    ids=["wrong", "none", "profile"],
)
def test_a_wrong_or_missing_modal_token(standin: FakeModal, tmp_path: Path, token: dict[str, str]) -> None:
    dotenv(tmp_path, VALUES)
    done = run(standin, "create-secrets", folder=tmp_path, extra=token)
    refused(done, "uv run modal setup")
    silent(done)
    assert held(standin) == {}


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (exception.ConnectionError("Could not connect to the Modal server."), UnreachableError, "no answer from Modal"),
        (OSError("Connection refused"), UnreachableError, "no answer from Modal"),
        (exception.ServiceError("deadline"), UnreachableError, "run this again"),
        (exception.AuthError("No token. More."), SettingsError, r"\(No token\): run `uv run modal setup`"),
        (exception.NotFoundError("Secret 'soma-secrets' not found."), UsageError, "run `uv run create-secrets`"),
        (exception.NotFoundError("App 'soma-quickstart' not found"), UsageError, "run `uv run deploy`"),
        (exception.InvalidError("GPU type 'L5'"), UsageError, "'L5'"),
        (exception.ResourceExhaustedError("too many"), NetworkError, "ResourceExhaustedError: too many"),
        (TimeoutError("not yet"), TimeoutError, "not yet"),
    ],
)
def test_modal_s_errors_in_our_words(raised: Exception, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words), modal_errors():
        raise raised


def test_no_value_shows_at_debug_level_either(standin: FakeModal, tmp_path: Path) -> None:
    dotenv(tmp_path, VALUES)
    loud = {"MODAL_LOGLEVEL": "DEBUG", "MODAL_TRACEBACK": "1", "PYTHONFAULTHANDLER": "1"}
    for extra in (loud, {**loud, "MODAL_TOKEN_SECRET": "as-other"}):
        done = run(standin, "create-secrets", "--verbose", folder=tmp_path, extra=extra)
        assert done.err
        silent(done)


def test_every_command_of_the_project_is_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    for command, place in project["project"]["scripts"].items():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function)), command
    assert {"create-secrets", "deploy", "submit", "claim", "stop"} <= set(project["project"]["scripts"])


def test_every_variable_of_a_container_is_in_the_secret(standin: FakeModal, tmp_path: Path) -> None:
    dotenv(tmp_path, VALUES)
    run(standin, "create-secrets", folder=tmp_path)
    (keys,) = (set(s.values) for s in standin.workspace.secrets.values() if s.name == SECRETS)
    assert keys == {row.name for row in settings_table()} - OF_THIS_MACHINE - {PASSWORD_NAME}
    assert "SOMA_SECRET_KEY" not in os.environ, "a test that reads this machine's key proves nothing"
