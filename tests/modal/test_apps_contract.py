"""What the app asks of Modal: deployed in both forms, and every function with what it must and must not have."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakemodal import FakeModal

import quickstart
from quickstart.modal_app import names

PROJECT = Path(__file__).parents[2]
SOURCE = Path(quickstart.__file__).parents[1]
SECRETS = {
    names.SECRETS: {
        "SOMA_SECRET_KEY": "11" * 32,
        "S3_BUCKET": "windows",
        "S3_ACCESS_KEY_ID": "id",
        "S3_SECRET_ACCESS_KEY": "secret",
    },
    names.DATA_SECRET: {"HF_TOKEN": "token"},
}
FILE = ("src/quickstart/submitter.py",)
MODULE = ("-m", "quickstart.submitter")


def deploy(standin: FakeModal, *form: str, check: bool = True, **extra: str) -> str:
    environment = {"PYTHONPATH": str(SOURCE), **extra}
    argv = (sys.executable, "-m", "modal", "deploy", *form)
    return standin.command(*argv, environment=environment, check=check).stdout


@pytest.fixture(scope="module", params=[FILE, MODULE], ids=["file", "module"])
def standin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    with FakeModal(tmp_path_factory.mktemp("contract"), project=PROJECT, secrets=SECRETS) as running:
        deploy(running, *request.param)
        yield running
    report = running.report()
    assert report["server_errors"] == []
    assert report["rpcs_without_an_answer"] == {}
    assert [c["leaked_modules"] for c in report["containers"] if c["leaked_modules"]] == []


@pytest.fixture
def app(standin: FakeModal) -> dict[str, Any]:
    (found,) = (app for app in standin.report()["apps"] if app["state"] == "deployed")
    return found


def test_the_app_and_its_functions_have_their_names(app: dict[str, Any]) -> None:
    assert app["name"] == names.APP
    assert set(app["functions"]) == {
        f"{names.SCORER}.*",
        names.WEIGHTS,
        names.WINDOWS,
        names.SUBMITTER,
        names.CLAIM,
        names.UPKEEP,
        names.WATCH,
    }
    assert app["warnings"] == []


def test_each_function_has_the_secrets_it_needs_and_no_other(app: dict[str, Any]) -> None:
    secrets = {name: [s["name"] for s in function["secrets"]] for name, function in app["functions"].items()}
    assert secrets == {
        f"{names.SCORER}.*": [],
        names.WEIGHTS: [],
        names.WINDOWS: [names.DATA_SECRET],
        names.SUBMITTER: [names.SECRETS, None],
        names.CLAIM: [names.SECRETS, None],
        names.UPKEEP: [names.SECRETS, None],
        names.WATCH: [names.SECRETS, None],
    }


def test_only_the_scorer_has_a_gpu_and_it_has_no_network(app: dict[str, Any]) -> None:
    scorer = app["functions"][f"{names.SCORER}.*"]
    gpus = {name: function["gpu"] for name, function in app["functions"].items() if function["gpu"]}
    assert list(gpus) == [f"{names.SCORER}.*"]
    assert [gpu["type"] for gpu in scorer["gpu"]] == ["L4"]
    assert scorer["block_network"] is True
    assert scorer["max_containers"] == 4
    assert (scorer["timeout"], scorer["startup_timeout"], scorer["scaledown_window"]) == (600, 900, 60)


def test_the_submitter_runs_once_a_day_alone_and_ends_in_time(app: dict[str, Any]) -> None:
    submitter = app["functions"][names.SUBMITTER]
    assert submitter["schedule"] == {"kind": "Cron", "cron": "0 3 * * *", "timezone": "UTC"}
    assert submitter["timeout"] == 24 * 3600
    assert submitter["max_containers"] == 1
    assert submitter["single_use_containers"] is True
    assert (submitter["cpu"], submitter["memory_mib"], submitter["memory_limit_mib"]) == (0.25, 1024, 16384)
    assert submitter["nonpreemptible"] is False, "three times the price, and a preempted cycle loses nothing"
    scheduled = {name: f["schedule"]["cron"] for name, f in app["functions"].items() if f["schedule"]}
    assert scheduled == {names.SUBMITTER: "0 3 * * *", names.WATCH: "*/30 * * * *"}


def test_what_fails_is_tried_again_and_nothing_runs_without_end(app: dict[str, Any]) -> None:
    retries = {name: f["retries"] and f["retries"]["max_retries"] for name, f in app["functions"].items()}
    assert retries == {
        f"{names.SCORER}.*": 2,
        names.WEIGHTS: 2,
        names.WINDOWS: 2,
        names.SUBMITTER: 3,
        names.CLAIM: None,
        names.UPKEEP: None,
        names.WATCH: None,
    }
    assert all(f["max_containers"] for f in app["functions"].values())
    assert max(f["timeout"] for name, f in app["functions"].items() if name != names.SUBMITTER) == 3600


def test_images_are_pinned_and_run_nothing_that_was_downloaded(app: dict[str, Any]) -> None:
    locks = {lock: (PROJECT / lock).stat().st_size for lock in ("requirements.lock", "requirements-scorer.lock")}
    for name, function in app["functions"].items():
        image = function["image"]
        lock = "requirements-scorer.lock" if name == f"{names.SCORER}.*" else "requirements.lock"
        (files,) = (layer["context_files"] for layer in image["layers"] if "context_files" in layer)
        assert files == {"/.requirements.txt": locks[lock]}
        assert image["python"] == "3.11"
        commands = [command for layer in image["layers"][1:] for command in layer["commands"]]
        assert [command for command in commands if command.startswith("RUN")] == [
            "RUN python -m pip install -r /.requirements.txt --require-hashes --no-deps"
        ]
        threads = "2" if name == f"{names.SCORER}.*" else "1"
        assert f"ENV OMP_NUM_THREADS={threads}" in commands, "a container is billed for the cores that it uses"
        assert not any("secrets" in layer for layer in image["layers"])
        assert "/root/quickstart/submitter.py" in function["mounts"]


def test_each_function_has_the_volumes_it_needs(app: dict[str, Any]) -> None:
    volumes = {
        name: {(volume["name"], volume["read_only"]) for volume in function["volumes"]}
        for name, function in app["functions"].items()
    }
    logs = (names.LOG_VOLUME, False)
    assert volumes == {
        f"{names.SCORER}.*": {(names.BANK_VOLUME, False), (names.WEIGHTS_VOLUME, True)},
        names.WEIGHTS: {(names.WEIGHTS_VOLUME, False), logs},
        names.WINDOWS: {(names.BANK_VOLUME, False), logs},
        names.SUBMITTER: {(names.BANK_VOLUME, True), (names.LEDGER_VOLUME, False), logs},
        names.CLAIM: {(names.BANK_VOLUME, True), (names.LEDGER_VOLUME, False), logs},
        names.UPKEEP: {(names.BANK_VOLUME, True), (names.LEDGER_VOLUME, False), logs},
        names.WATCH: {(names.LEDGER_VOLUME, False), logs},
    }
    assert {volume["version"] for f in app["functions"].values() for volume in f["volumes"]} == {2}


def test_a_malformed_setting_is_one_line_and_nothing_is_deployed(tmp_path: Path) -> None:
    with FakeModal(tmp_path, project=PROJECT, secrets=SECRETS) as standin:
        said = deploy(standin, *FILE, check=False, QUICKSTART_GPU="L5")
        assert said.startswith("error: QUICKSTART_GPU is malformed: 'L5' is none of ")
        assert said.count("\n") == 1
        assert standin.report()["apps"] == []


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ({names.DATA_SECRET: {}}, names.SECRETS),
        ({names.DATA_SECRET: {}, names.SECRETS: {"SOMA_SECRET_KEY": "11" * 32}}, "S3_BUCKET"),
    ],
    ids=["no secret", "a secret without a key"],
)
def test_without_its_secret_nothing_is_deployed(tmp_path: Path, secrets: dict[str, Any], told: str) -> None:
    with FakeModal(tmp_path, project=PROJECT, secrets=secrets) as standin:
        assert told in deploy(standin, *FILE, check=False)
        assert [app["state"] for app in standin.report()["apps"]] != ["deployed"]


def test_settings_decide_which_gpus_and_how_many(tmp_path: Path) -> None:
    with FakeModal(tmp_path, project=PROJECT, secrets=SECRETS) as standin:
        deploy(standin, *MODULE, QUICKSTART_GPU="H100, L4", QUICKSTART_MAX_CONTAINERS="7")
        (app,) = standin.report()["apps"]
        scorer = app["functions"][f"{names.SCORER}.*"]
        assert [gpu["type"] for gpu in scorer["gpu"]] == ["H100", "L4"]
        assert scorer["max_containers"] == 7
