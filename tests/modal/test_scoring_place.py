"""A scoring container reads the models that it will be asked for next, and finds those that came back to the volume."""

import threading
from pathlib import Path
from typing import Any

import pytest

from quickstart.bank import Bank
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.data.window import Provenance, Window
from quickstart.devnet.genesis import packaged_model
from quickstart.executors.base import ScoreRequest
from quickstart.modal_app.messages import score_message
from quickstart.modal_app.scorer import ScoringPlace, Volumes
from quickstart.scoring.engine import Weights
from quickstart.scoring.numpy_engine import NumpyEngine
from quickstart.scoring.weights_shelf import WeightsShelf
from quickstart.scoring.weights_store import WeightsStore

MODEL = b"m" * 32


class WatchedEngine(NumpyEngine):
    """Says what it was asked to prepare."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[Id32] = []
        self.asked = threading.Event()

    def prepare(self, weights: Weights) -> None:
        self.prepared.append(weights.checksum)
        self.asked.set()


class Place:
    """A bank with one shard, a volume with two models, and a container that scores."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "weights"
        self.shelf = WeightsShelf(self.weights, 10**9)
        self.reloads = 0
        window = Window.cut(b"a window that is like any other " * 32, Provenance("t", "f", 0))
        self.shard = Bank(folder / "bank").add_windows([window])
        (folder / "cache").mkdir()
        self.requests, self.checksums = [], []
        for name in ("python64", "c64"):
            packaged = packaged_model(name)
            manifest = Manifest("http://127.0.0.1:9/w", blake2b_256(packaged.encrypted), len(packaged.encrypted))
            (folder / "cache" / f"{manifest.checksum.hex()}.enc").write_bytes(packaged.encrypted)
            self.requests.append(ScoreRequest(self.shard, MODEL, manifest, packaged.key))
            self.checksums.append(self.shelf.add(manifest, packaged.key, WeightsStore(folder / "cache")))
        self.engine = WatchedEngine()
        volumes = Volumes(folder / "bank", self.weights, lambda: None, self.reload, lambda: None)
        self.scorer = ScoringPlace(volumes, self.engine, "container", lambda attempt: None)

    def reload(self) -> None:
        """Whatever was hidden from this container is there again."""
        self.reloads += 1
        for path in self.weights.glob("*.hidden"):
            path.rename(path.with_suffix(""))

    def hide(self, checksum: Id32) -> None:
        path = self.weights / f"{checksum.hex()}.safetensors"
        path.rename(path.with_name(f"{path.name}.hidden"))

    def score(self, model: int, soon: list[int] | None = None) -> dict[str, Any]:
        others = [self.checksums[other] for other in soon or []]
        return self.scorer.score(score_message(self.requests[model], self.checksums[model], others), "call")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_models_wanted_soon_are_prepared(place: Place) -> None:
    assert place.score(0, soon=[1])["windows"] == 1
    assert place.engine.asked.wait(20)
    assert place.engine.prepared == [place.checksums[1]]
    assert place.score(1, soon=[0])["windows"] == 1
    assert place.engine.prepared == [place.checksums[1]], "the other one is here"
    assert place.reloads == 0


def test_what_a_volume_raises_is_an_answer(place: Place) -> None:
    """Raised, it would be raised at the caller too, who would take it for trouble with asking."""
    place.hide(place.checksums[0])

    def refuse() -> None:
        raise OSError("the volume is away")

    place.scorer = ScoringPlace(
        Volumes(place.weights.parent / "bank", place.weights, refuse, refuse, refuse),
        place.engine,
        "container",
        lambda attempt: None,
    )
    answer = place.score(0)
    assert answer["failed"] == "OSError: the volume is away"
    assert (answer["model_at_fault"], answer["container"]) == (False, "container")


def test_weights_that_are_not_seen_yet_are_looked_for(place: Place) -> None:
    place.hide(place.checksums[1])
    assert place.score(0, soon=[1])["windows"] == 1
    assert place.engine.prepared == []
    assert place.score(1)["windows"] == 1
    assert place.reloads == 1


def test_weights_that_were_dropped_and_came_back_are_read_again(place: Place) -> None:
    assert place.score(0)["windows"] == 1
    (place.weights / f"{place.checksums[0].hex()}.safetensors").unlink()
    message = score_message(place.requests[0], place.checksums[0], []) | {"rows": [0], "exact": True}
    failed = place.scorer.score(message, "call")
    assert "cannot be read" in failed["failed"]
    assert failed["model_at_fault"] is False
    assert place.shelf.add(
        place.requests[0].manifest, place.requests[0].decryption_key, WeightsStore(place.weights.parent / "cache")
    )
    assert place.scorer.score(message, "call")["engine"] == "reference-float64"
