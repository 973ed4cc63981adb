"""A model's life on Modal without the submitter: trained with a preemption, committed, revealed, and then a cap."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloud_world import ONE_THREAD, PROJECT, SOMA, SOURCE, World, world
from fakemodal import FakeModal

from quickstart.chain.ids import format_id
from quickstart.devnet.state import Model
from quickstart.modal_app import names
from quickstart.modal_app.trainer import CAPPED

pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")
pytestmark = pytest.mark.torch

APP = "src/quickstart/training.py"
STEPS = 60
"""So many that most are left when the first checkpoint is seen."""

TRAINING_SECONDS = 600.0
"""What a container with torch may take on a machine that is busy; alone it takes ten."""

SETTINGS = {
    "QUICKSTART_TRAINING_DOLLARS_PER_DAY": "5",
    "QUICKSTART_TRAINING_STEPS": str(STEPS),
    "QUICKSTART_MODEL_STAKE": "3",
}


@dataclass(frozen=True)
class Life:
    world: World
    started: dict[str, Any]
    trained: dict[str, Any]
    committed: dict[str, Any]
    early: dict[str, Any]
    revealed: dict[str, Any]
    capped: dict[str, Any]


def fire(it: World, function: str) -> dict[str, Any]:
    """What the schedule's call of a function came to."""
    (call_id,) = it.standin.fire(function)
    return ended(it, call_id)


def ended(it: World, call_id: str) -> dict[str, Any]:
    outcome = it.standin.wait_for_call(call_id, timeout=TRAINING_SECONDS)
    assert outcome.status == "success", outcome.exception
    value: dict[str, Any] = outcome.value
    return value


def own_model(it: World) -> Model:
    def found() -> Model:
        (model,) = (m for m in it.chain.server.node.state.models.values() if m.owner == it.chain.wallet.address)
        return model

    return it.chain.call(found)


def checkpoints(it: World) -> int:
    return sum(name.endswith(".checkpoint") for name in it.files(names.TRAINING_VOLUME))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with world(tmp_path_factory.mktemp("training"), SETTINGS, app=APP, models=1) as it:
        started = fire(it, names.TEND)
        it.until(lambda: checkpoints(it) > 0, "no checkpoint", TRAINING_SECONDS)
        # The checkpoint is being committed: Modal's client may lose an interrupt then, and the end follows soon.
        assert it.standin.preempt(names.TRAIN, grace=0.2) == 1
        trained = ended(it, started["call"])
        committed = fire(it, names.TEND)
        early = fire(it, names.REVEAL)
        it.chain.next_epoch()
        it.stop_cycle()  # reveals go on all the same
        revealed = fire(it, names.REVEAL)
        it.client(f"state.pop({names.DISARMED!r}); answer = None")
        it.change_secret(QUICKSTART_TRAINING_DOLLARS_PER_DAY="0.01")
        yield Life(it, started, trained, committed, early, revealed, fire(it, names.TEND))


def test_training_goes_on_after_a_preemption(life: Life) -> None:
    it = life.world
    assert [container["ended_by"] for container in it.containers(names.TRAIN)][:1] == ["preempted"]
    assert len(it.containers(names.TRAIN)) == 2
    assert life.started["training"] == "run-00001"
    assert (life.trained["finished"], life.trained["step"]) == (True, STEPS)
    run = it.folder(names.TRAINING_VOLUME) / "run-00001"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


def test_its_key_is_kept_before_the_commit_and_its_weights_are_public(life: Life) -> None:
    it = life.world
    assert life.committed["run"] == "run-00001", life.committed
    model = own_model(it)
    assert (life.committed["committed"], model.stake) == (format_id(model.model_id), 3 * SOMA)
    assert model.commitment is not None
    (sealed,) = (name for name in it.files(names.LEDGER_VOLUME) if "/vault/" in name)
    assert Path(sealed).stem == model.commitment.key.hex()
    assert life.early["commitments"][0]["phase"] == "committed" and life.early["unreadable"] == []


def test_the_schedule_reveals_without_the_submitter(life: Life) -> None:
    assert [one["phase"] for one in life.revealed["commitments"]] == ["revealed"], life.revealed
    assert own_model(life.world).is_active
    assert [app["name"] for app in life.world.standin.report()["apps"]] == [names.TRAINING_APP]


def test_at_the_cap_nothing_is_trained(life: Life) -> None:
    assert life.capped == {"waiting": CAPPED}
    assert len(life.world.containers(names.TRAIN)) == 2
    code = "(spent,) = [v for k, v in state.items() if k.startswith('training/spent/')]; answer = spent['alive']"
    assert len(life.world.client(code)) == 2, "a container that was taken away is paid for too"


def test_who_trains_holds_no_key_and_who_signs_has_no_gpu(life: Life) -> None:
    (app,) = life.world.standin.report()["apps"]
    functions = app["functions"]
    assert app["warnings"] == []
    assert set(functions) == {names.TRAIN, names.TEND, names.REVEAL, "devnet"}
    secrets = {name: {s["name"] for s in function["secrets"]} for name, function in functions.items()}
    assert {name for name, held in secrets.items() if names.SECRETS in held} == {names.TEND, names.REVEAL}
    assert names.DATA_SECRET in secrets[names.TRAIN]
    assert [gpu["type"] for gpu in functions[names.TRAIN]["gpu"]] == ["H100", "A100-80GB"]
    assert {name for name, function in functions.items() if function["gpu"]} == {names.TRAIN, "devnet"}
    assert {f["max_containers"] for f in functions.values()} == {1}
    crons = {name: f["schedule"]["cron"] for name, f in functions.items() if f["schedule"]}
    assert crons == {names.TEND: "20 * * * *", names.REVEAL: "7,22,37,52 * * * *"}
    assert functions[names.TEND]["timeout"] <= 40 * 60, "it must be gone when the submitter begins"
    writable = {name: {v["name"] for v in f["volumes"] if not v["read_only"]} for name, f in functions.items()}
    assert writable[names.TRAIN] == {names.TRAINING_VOLUME, names.LOG_VOLUME}
    assert writable[names.TEND] == writable[names.REVEAL] == {names.LEDGER_VOLUME, names.LOG_VOLUME}


def test_by_hand_and_on_the_embedded_network(tmp_path: Path) -> None:
    """`modal run`: of the whole life on an embedded network, in a container that has no secret."""
    secrets: dict[str, dict[str, str]] = {
        names.SECRETS: dict.fromkeys(("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"), "x"),
        names.DATA_SECRET: {},
    }
    with FakeModal(tmp_path, project=PROJECT, secrets=secrets, container_environment=ONE_THREAD) as it:
        argv = (sys.executable, "-m", "modal", "run", f"{APP}::devnet", "--steps", "6", "--windows", "8")
        told = it.command(*argv, environment={"PYTHONPATH": str(SOURCE)}, timeout=TRAINING_SECONDS).stdout
    assert "difference 0 shannons" in told
    assert "for the model's wins" in told
