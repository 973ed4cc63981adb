"""A devnet's chain on a simulated clock, and a bank whose scores come in one by one: what strategies are compared on.

The chain is the devnet's pure state machine, with every rule but the change of difficulty; the scores are real ones,
of real files by the devnet's four models, computed once and replayed.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstart.bank import Bank, BankView
from quickstart.bank.bank import Shard
from quickstart.bank.view import ModelColumns
from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.objects import TargetContents
from quickstart.chain.protocol import scaled_threshold
from quickstart.chain.transactions import Manifest, ObjectRef, SubmitData, TransactionData
from quickstart.data.window import WINDOW_BYTES, Source
from quickstart.devnet.config import MODEL_NAMES, MODEL_WIDTH, DevnetConfig
from quickstart.devnet.epochs import advance_epoch
from quickstart.devnet.execution import execute
from quickstart.devnet.genesis import faucet, genesis, packaged_model
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.state import ChainState
from quickstart.matching import MatchTarget
from quickstart.matching.contest import contest
from quickstart.scoring.numpy_engine import NumpyEngine
from quickstart.scoring.weights import parse_weights
from quickstart.submission.actions import Policy
from quickstart.submission.opening import fill_bank
from quickstart.submission.premises import Plan
from quickstart.units import SHANNONS_PER_SOMA

EPOCHS = 4
FUNDS = 1_000 * SHANNONS_PER_SOMA
TARGETS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of n windows. `view` holds all of them; `weights`: encrypted checksum -> decrypted, of each model."""

    view: BankView
    shards: tuple[Shard, ...]
    weights: Mapping[Id32, Id32]
    seconds: float

    def only(self, scored: Mapping[Id32, int]) -> BankView:
        """The view of a bank that has, per model (decrypted checksum), the scores of so many first rows."""
        models = {name: _first(columns, scored[name]) for name, columns in self.view.models.items() if name in scored}
        return replace(self.view, models=models)

    def pick(self, shards: Sequence[Shard]) -> "Scores":
        """The same, of some of the shards, in this order."""
        rows = np.concatenate([np.arange(shard.first_row, shard.first_row + shard.n) for shard in shards])
        starts = np.cumsum([0, *(shard.n for shard in shards)])[:-1].tolist()
        checksums = np.frombuffer(b"".join(map(self.view.checksum, rows.tolist())), np.uint8).reshape(-1, 32)
        models = {
            name: replace(
                columns,
                **{
                    field: getattr(columns, field)[rows]
                    for field in ("segment", "index", "losses", "inverse_norms", "distance_errors", "loss_errors")
                },
            )
            for name, columns in self.view.models.items()
        }
        view = BankView(len(rows), models, (0,), (checksums,))
        picked = tuple(Shard(shard.id, shard.n, start) for shard, start in zip(shards, starts, strict=True))
        return replace(self, view=view, shards=picked)


def _first(columns: ModelColumns, n: int) -> ModelColumns:
    losses, segment = columns.losses.copy(), columns.segment.copy()
    losses[n:], segment[n:] = np.nan, -1
    return replace(columns, losses=losses, segment=segment)


class EveryRow:
    """What each window by itself would do for a target: the product's rule of what is safe to send, row by row.

    A strategy that forgets asks about one row at a time; all rows are worked out when a target appears.
    """

    def __init__(self, view: BankView) -> None:
        self._view = view
        self._safe: dict[tuple[Id32, ...], NDArray[np.bool_]] = {}
        self._units: dict[Id32, NDArray[np.float32]] = {}
        for weights, columns in view.models.items():
            self._units[weights] = np.empty((view.n, columns.width), np.float32)
            columns.unit_rows(np.arange(view.n), self._units[weights])

    def candidates(self, target: MatchTarget) -> dict[int, tuple[int, float]]:
        """By row: the index of the winning model, and the distance. Rows that are not safe to send are left out."""
        columns = [self._view.models[weights] for weights in target.models]
        if target.models not in self._safe:
            self._safe[target.models] = contest(columns, slice(0, self._view.n)).margin > 0
        direction = target.embedding / np.linalg.norm(target.embedding)
        found: dict[int, tuple[int, float]] = {}
        for model, weights in enumerate(target.models):
            distances = 1.0 - self._units[weights] @ direction
            within = distances + columns[model].distance_errors < target.distance_threshold
            for row in np.flatnonzero(within & self._safe[target.models][model]).tolist():
                found[row] = model, float(distances[row])
        return found


def real_scores(folder: Path, windows: int, seed: int, sources: Sequence[Source]) -> Scores:
    """Cuts windows as the product does and scores them with the devnet's four models, into a new bank in `folder`."""
    started = time.perf_counter()
    bank = Bank(folder)
    fill_bank(bank, Plan(Policy(), epochs=EPOCHS, windows=windows, sources=tuple(sources), seed=seed))
    shards = tuple(bank.shards())
    if sum(shard.n for shard in shards) < windows:
        raise SystemExit(f"the sources have fewer than {windows} usable windows: name more, or say --windows N")
    names = score_bank(bank)
    return Scores(bank.view(tuple(names.values())), shards, names, time.perf_counter() - started)


def score_bank(bank: Bank) -> dict[Id32, Id32]:
    """Has the devnet's four models score what they have not scored yet; encrypted -> decrypted checksum of each."""
    engine, names = NumpyEngine(), dict[Id32, Id32]()
    for name in MODEL_NAMES:
        weights = parse_weights((files("quickstart.devnet") / "weights" / f"{name}.safetensors").read_bytes())
        names[packaged_model(name).manifest.checksum] = weights.checksum
        for shard in bank.shards():
            if not bank.is_scored(shard.id, weights.checksum):
                data = [window.data for window in bank.windows(shard.id)]
                bank.add_scores(shard.id, engine.score(weights, data), created_at=1)
    return names


class SimulatedNetwork:
    """A devnet with 100 targets at one fixed threshold, whose epochs end by a clock that the strategy turns.

    `network_threshold` is meant at the network's width and is scaled to the models'. `paid_hits`: fills that the
    reward budget of one epoch holds; by default the devnet's, which is the network's 86,400 of a day.
    """

    def __init__(
        self,
        network_threshold: float,
        seed: int,
        epoch_seconds: float,
        weights: Mapping[Id32, Id32],
        paid_hits: int | None,
    ) -> None:
        config = DevnetConfig(targets=TARGETS, audit=False)
        self.state: ChainState = genesis(config, blake2b_256(b"strategies %d" % seed), 0)
        threshold = float(np.float32(scaled_threshold(network_threshold, MODEL_WIDTH)))
        self.state.threshold = threshold
        # The rule that moves the threshold is clamped to a single value, so the run measures that one.
        self.state.parameters = replace(
            self.state.parameters,
            target_initial_distance_threshold=threshold,
            target_min_distance_threshold=threshold,
            target_max_distance_threshold=threshold,
        )
        if paid_hits is not None:
            self.state.rules = replace(self.state.rules, reward_hits=paid_hits)
        self.weights = {
            model.model_id: weights[model.commitment.manifest.checksum]
            for model in self.state.active_models()
            if model.commitment is not None
        }
        self.sender = devnet_key("strategy").address
        self.epoch_seconds = epoch_seconds
        self.targets: dict[Id32, OpenTarget] = {}
        self.epochs = 0
        self._next_epoch()

    @property
    def epoch_ends(self) -> float:
        return self.epochs * self.epoch_seconds

    def coins(self, count: int) -> tuple[Id32, ...]:
        """New coins, each far richer than a run can spend."""
        return tuple(coin.object_id for coin in faucet(self.state, self.sender, FUNDS, count)[1])

    def pass_to(self, now: float, *, inclusive: bool) -> None:
        """Ends the epochs that are over at `now`; one that ends at `now` itself only if `inclusive`."""
        while self.epoch_ends < now or (inclusive and self.epoch_ends == now):
            self._next_epoch()

    def _next_epoch(self) -> None:
        self.epochs += 1
        change = advance_epoch(self.state, int(self.epochs * self.epoch_seconds * 1000))
        self.targets = {}
        for target_id in change.target_ids:
            self._open(target_id)

    def _open(self, target_id: Id32) -> None:
        target = self.state.target(target_id)
        assert isinstance(target, TargetContents)
        self.targets[target_id] = OpenTarget(
            target_id,
            target.embedding,
            target.model_ids,
            target.distance_threshold,
            target.reward,
            target.generation_epoch,
        )

    def board(self) -> Board:
        """As the product sees it. Models are the registry's; the product's strategy needs no more of them."""
        state = self.state
        epoch = Epoch(state.epoch, state.epoch_start_ms, state.parameters, state.threshold, state.reward_per_target)
        models = {}
        for model in state.active_models():
            assert model.commitment is not None
            models[model.model_id] = ActiveModel(
                model.model_id,
                model.owner,
                model.commitment.manifest,
                model.decryption_key,
                model.embedding,
                model.stake,
            )
        return Board(epoch, models, self.targets)

    def match_targets(self, target_ids: Iterable[Id32]) -> list[MatchTarget]:
        """Open targets as matching sees them."""
        chosen = [self.targets[target_id] for target_id in target_ids]
        return [
            MatchTarget(t.target_id, t.embedding, tuple(self.weights[m] for m in t.model_ids), t.distance_threshold)
            for t in chosen
        ]

    def submission(
        self, target_id: Id32, row: int, model_index: int, distance: float, view: BankView, coin: Id32
    ) -> TransactionData:
        """The transaction a strategy sends; bond and gas are one coin."""
        model_id = self.targets[target_id].model_ids[model_index]
        weights = self.weights[model_id]
        ref: ObjectRef = self.state.objects[coin].ref
        kind = SubmitData(
            target_id=target_id,
            manifest=Manifest("http://127.0.0.1:9/window", view.checksum(row), WINDOW_BYTES),
            model_id=model_id,
            embedding=view.embedding(weights, row),
            distance=distance,
            loss=(float(view.models[weights].losses[row]),),
            bond_coin=ref,
        )
        return TransactionData(kind, self.sender, (ref,))

    def land(self, transaction: TransactionData) -> bool:
        """Executes a transaction now; whether it filled its target. The board is as after it."""
        effects = execute(self.state, transaction)
        kind = transaction.kind
        assert isinstance(kind, SubmitData)
        if effects.failure is not None:
            return False
        self.targets.pop(kind.target_id, None)
        for change in effects.changed:
            if change.before is None and self.state.target(change.object_id) is not None:
                self._open(change.object_id)
        return True
