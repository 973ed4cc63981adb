"""What the training app decides, and what a training container does, without Modal: tables, and a run cut off."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_world import Chain
from kept_store import Kept

from quickstart.chain.board import Epoch
from quickstart.chain.own_models import Commitment, ModelState, OwnModel
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest
from quickstart.errors import SourceError, StateError
from quickstart.modal_app.runs import Run, latest_run, next_name, tidy, write_json
from quickstart.modal_app.store import Section
from quickstart.modal_app.tending import Publish, Situation, Train, Wait, decide, is_published
from quickstart.modal_app.trainer import CAPPED, TrainingPlace, train, training_message
from quickstart.modal_app.workplace import Shared
from quickstart.trainer.vault import Release

SOMA = 1_000_000_000
WEIGHTS = b"w" * 32
KEY = b"k" * 32


def run_of(**result: Any) -> Run:
    return Run("run-00004", Path("runs"), {"weights": WEIGHTS.hex(), "loss": 2.0, "present_loss": None} | result)


UNFINISHED = Run("run-00004", Path("runs"), None)
RELEASE = Release(KEY, np.ones(4, np.float32), Manifest("http://127.0.0.1/w", b"m" * 32, 9), WEIGHTS)
ACTIVE = OwnModel(b"a" * 32, ModelState.ACTIVE, 5 * SOMA, revealed_key=b"o" * 32)
PENDING = Commitment(RELEASE.key_commitment, b"e" * 32, RELEASE.manifest, epoch=6)


def situation(**changes: Any) -> Situation:
    base = Situation(None, None, None, False, None, False, (), Epoch(7, 0, PARAMETERS[5], 1.0, 1), 10 * SOMA)
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Train("run-00001")),
        ({"run": UNFINISHED}, Train("run-00004")),
        ({"run": run_of()}, Publish(run_of(), update=False)),
        ({"run": run_of(), "is_capped": True}, Publish(run_of(), update=False)),
        ({"run": run_of(), "is_published": True}, Train("run-00005")),
        ({"run": run_of(present_loss=1.9), "models": (ACTIVE,)}, Train("run-00005")),
        ({"run": run_of(present_loss=2.1), "models": (ACTIVE,)}, Publish(run_of(present_loss=2.1), update=True)),
        ({"run": run_of(), "models": (replace(ACTIVE, pending=PENDING),)}, "is revealed in"),
        ({"run": run_of(), "stake": 0}, "set QUICKSTART_MODEL_STAKE"),
        ({"run": run_of(), "stake": 0, "models": (ACTIVE,)}, Publish(run_of(), update=True)),
        ({"is_capped": True}, CAPPED),
        ({"failed": "no token"}, "no token"),
        ({"failed": "no token", "run": run_of()}, Publish(run_of(), update=False)),
        ({"run": run_of(), "at_work": "fc-1"}, "fc-1 is training"),
        ({"run": run_of(), "disarmed": "since noon"}, "since noon"),
    ],
)
def test_what_is_done_in_an_hour(changes: dict[str, Any], expected: Any) -> None:
    action = decide(situation(**changes))
    if isinstance(expected, str):
        assert isinstance(action, Wait) and expected in action.reason
    else:
        assert action == expected


def test_weights_are_published_while_the_chain_knows_their_key() -> None:
    waiting = replace(ACTIVE, pending=PENDING)
    revealed = replace(ACTIVE, revealed_key=RELEASE.key_commitment)
    assert is_published(WEIGHTS, [RELEASE], [waiting])
    assert is_published(WEIGHTS, [RELEASE], [revealed])
    assert not is_published(b"x" * 32, [RELEASE], [revealed])
    assert not is_published(WEIGHTS, [RELEASE], [ACTIVE])  # its reveal was missed
    assert not is_published(WEIGHTS, [], [waiting])
    assert not is_published(None, [RELEASE], [])


def test_runs_follow_each_other_and_damage_is_told(tmp_path: Path) -> None:
    assert (latest_run(tmp_path), next_name(None)) == (None, "run-00001")
    for name in ("run-00002", "run-00010", "by-hand", "run-x"):
        (tmp_path / name).mkdir()
    write_json(tmp_path / "run-00010" / "result.json", {"weights": WEIGHTS.hex(), "loss": 2.0, "present_loss": 1.0})
    run = latest_run(tmp_path)
    assert run is not None
    assert (run.name, run.weights, run.is_better, next_name(run)) == ("run-00010", WEIGHTS, False, "run-00011")
    for name in ("run-00002", "run-00009", "run-00010", "by-hand"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "model.safetensors").touch()
    tidy(tmp_path, "run-00010")
    left = {str(path.relative_to(tmp_path)) for name in ("checkpoints", "model.*") for path in tmp_path.rglob(name)}
    assert left == {
        *("run-00009/model.safetensors", "run-00010/model.safetensors", "by-hand/model.safetensors"),
        *("run-00010/checkpoints", "by-hand/checkpoints"),
    }
    (tmp_path / "run-00010" / "result.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        latest_run(tmp_path)


def test_a_section_of_a_store_is_a_store() -> None:
    whole = Kept()
    whole.put("running", "of another")
    part = Section(whole, "training")
    assert part.put("running", "mine", skip_if_exists=True) and not part.put("running", "x", skip_if_exists=True)
    assert (whole.get("training/running"), part.get("running"), list(part.keys())) == ("mine", "mine", ["running"])
    assert part.pop("running") == "mine" and part.get("running", "none") == "none"
    assert whole.values == {"running": "of another"}


# -- a container


@dataclass
class Machine:
    """Containers of the training app, one after the other, on a volume that tells when it is committed."""

    folder: Path
    rpc_url: str
    store: Kept = field(default_factory=Kept)
    committed: list[set[str]] = field(default_factory=list)
    at_commit: dict[int, str] = field(default_factory=dict)
    disarmed: str | None = None
    number: int = 0

    def commit(self) -> None:
        self.committed.append({str(path.relative_to(self.folder)) for path in self.folder.rglob("*")})
        what = self.at_commit.pop(len(self.committed), None)
        if what == "preempted":
            raise KeyboardInterrupt
        if what == "stopped":
            self.disarmed = "at noon"

    def train(self, dollars: float, *, per_second: float = 0.0, run: str = "run-00001", source: str = "") -> Any:
        self.number += 1
        self.disarmed = None
        place = TrainingPlace(
            call_id="fc-1",
            container=f"ta-{self.number}",
            store=Section(self.store, "training"),
            disarmed=lambda: self.disarmed,
            is_at_work=lambda call_id: True,
            runs=Shared(self.folder, lambda: None, self.commit),
            uploads=self.folder / "none",
            cache=self.folder / "cache",
            dollars_per_second=per_second,
            overhead_seconds=0.0,
            look_seconds=0.0,
        )
        message = training_message(
            run, steps=6, dollars=dollars, source=source or None, rpc_url=self.rpc_url, owner=None, stake=SOMA
        )
        return train(message, place)


@pytest.fixture(scope="module")
def rpc_url() -> Iterator[str]:
    """A network with a small model to begin with."""
    torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")
    torch.set_num_threads(1)
    chain = Chain(models=1)
    yield chain.server.urls.rpc
    chain.close()


@pytest.mark.torch
def test_a_run_cut_off_in_every_way_ends_as_if_it_had_not_been(rpc_url: str, tmp_path: Path) -> None:
    undisturbed = Machine(tmp_path / "undisturbed", rpc_url).train(5.0)
    assert (undisturbed["finished"], undisturbed["step"], undisturbed["stopped_by"]) == (True, 6, None)
    assert undisturbed["present_loss"] is None and undisturbed["outlook"]

    it = Machine(tmp_path / "cut-off", rpc_url)
    for dollars in (0.0, 5.0):
        it.store.put("training/running", "fc-0")
        assert it.train(dollars) == {"skipped": "fc-0 is training"}
    it.store.pop("training/running")
    for run, why in (("by-hand", None), ("run-00009", "nowhere")):
        with pytest.raises(SourceError):
            it.train(5.0, run=run, source=str(tmp_path / "nowhere"))
        kept = it.store.get("training/failed")
        assert kept is None if why is None else why in kept[1]
    told = it.train(0.0)
    assert (told["stopped_by"], told["finished"], it.committed) == (CAPPED, False, [])
    told = it.train(0.05, per_second=1.0)  # spent by the first step
    assert (told["stopped_by"], told["finished"], told["step"]) == (CAPPED, False, 1)
    it.at_commit = {3: "preempted"}
    with pytest.raises(KeyboardInterrupt):
        it.train(5.0)
    it.at_commit = {4: "stopped"}
    told = it.train(5.0)
    assert (told["stopped_by"], told["step"]) == ("stopped (at noon)", 4)
    assert any("checkpoints/step-000000004" in name for name in it.committed[-1])
    assert not (it.folder / "run-00001" / "result.json").exists()
    ended = it.train(5.0)
    assert (ended["finished"], ended["step"], ended["steps"]) == (True, 6, 6)
    assert ended["weights"] == undisturbed["weights"]
    assert {"run-00001/model.safetensors", "run-00001/result.json"} <= it.committed[-1]
    assert it.store.get("training/running") is None
