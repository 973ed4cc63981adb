"""Promise 5: every claim is true."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from types import TracebackType

import numpy as np

from quickstart.bank import Bank
from quickstart.bank.filling import add_new_windows
from quickstart.chain.board import sealed_weights_id
from quickstart.chain.ids import Id32
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.data.folder import python_library
from quickstart.data.window import SourcePlan
from quickstart.devnet.audit import judge
from quickstart.devnet.config import MODEL_NAMES
from quickstart.devnet.genesis import packaged_model
from quickstart.devnet.scorer import ModelScore
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreRequest
from quickstart.matching.matcher import Matcher
from quickstart.matching.values import MatchTarget
from quickstart.scoring.certification import Certificates, Scores
from quickstart.scoring.contract import AUDIT_SEED
from quickstart.scoring.engine import CertifiedError, Engine, ScoredShard, Weights
from quickstart.scoring.float32_model import Float32Model
from quickstart.scoring.numpy_engine import NumpyEngine, run_reference
from quickstart.scoring.reference import evaluate
from quickstart.scoring.shards import score_shard
from quickstart.scoring.weights import parse_weights
from quickstart.submission.actions import Policy
from tests.campaign.registry import Findings, Promise
from tests.campaign.simulation import CONFIG, SOMA, ScoredBank, Simulation, first_epoch, scratch_folder

WRONG = 0.005
QUOTAS = (0.85, 0.95, 1.0, 1.0, 1.0)
"""Of all fills wanted, how many there may be by the end of each epoch; in the first, all targets are easy."""

SHARD = 40
POLICY = Policy(max_hits_per_epoch=None, patient=True)


@dataclass
class WrongEngine:
    """Float32 numpy, made wrong by half a percent: every loss is 0.5 % too high or too low, every embedding lies 0.5 %
    of its length off. `per_model`: all of one model's losses to the same side, else drawn per window.

    It certifies itself as every engine does, unless `certified` is False: then it believes itself.
    """

    per_model: bool
    certified: bool = True
    id: str = "wrong by 0.5 %"
    _certificates: Certificates = field(default_factory=Certificates)

    def prepare(self, weights: Weights) -> None:
        """Nothing to do."""

    def score(self, weights: Weights, windows: Sequence[bytes], exact: bool = False) -> ScoredShard:
        right = Float32Model(weights).score

        def run(data: Sequence[bytes]) -> Scores:
            scores = right(data)
            losses, embeddings = np.array(scores.losses), np.array(scores.embeddings)
            for row, window in enumerate(data):
                named = weights.checksum if self.per_model else weights.checksum + window
                draw = np.random.default_rng(list(hashlib.blake2b(named, digest_size=8).digest()))
                losses[row] *= 1 + (WRONG if draw.random() < 0.5 else -WRONG)
                off = draw.standard_normal(embeddings.shape[1])
                embeddings[row] += WRONG * np.linalg.norm(embeddings[row]) * off / np.linalg.norm(off)
            return Scores(embeddings, losses)

        if not self.certified:
            return score_shard(weights, self.id, windows, run, CertifiedError(0.0, 0.0))
        reference = partial(run_reference, weights)
        certificate = self._certificates.of(weights.checksum, self.id, run, reference)
        return score_shard(weights, self.id, windows, run, certificate.error)


@dataclass
class InPlace:
    """Scores what it is asked for, here and now, with an engine."""

    bank: Bank
    engine: Engine
    capacity: int = 1
    _answers: list[ScoreAnswer] = field(default_factory=list)

    def __enter__(self) -> "InPlace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def spawn(self, request: ScoreRequest) -> None:
        weights = models()[request.model_id]
        windows = [window.data for window in self.bank.windows(request.shard)]
        rows = range(len(windows)) if request.rows is None else request.rows
        scored = self.engine.score(weights, [windows[row] for row in rows], request.exact)
        self.bank.add_scores(request.shard, scored, created_at=2, rows=request.rows)
        self._answers.append(ScoreDone(request, weights.checksum, len(rows), len(scored.failures), 0.0))

    def poll(self) -> tuple[ScoreAnswer, ...]:
        answers, self._answers = tuple(self._answers), []
        return answers


@cache
def models() -> dict[Id32, Weights]:
    """Of the simulated network, by model."""
    by_file = {}
    for name in MODEL_NAMES[: CONFIG.models]:
        data = (files("quickstart.devnet") / "weights" / f"{name}.safetensors").read_bytes()
        by_file[packaged_model(name).manifest.checksum] = parse_weights(data)
    return {
        m.model_id: by_file[m.commitment.manifest.checksum] for m in first_epoch().state.active_models() if m.commitment
    }


def scored_by(engine: Engine, windows: int, seed: int) -> ScoredBank:
    """Real windows of Python's own library with an engine's scores."""
    bank = Bank(scratch_folder() / "bank")
    add_new_windows(bank, [python_library()], windows, SourcePlan(seed), SHARD)
    names: dict[Id32, Id32] = {}
    for model_id, weights in models().items():
        model = first_epoch().state.models[model_id]
        assert model.commitment is not None
        names[sealed_weights_id(model.commitment.manifest, model.decryption_key)] = weights.checksum
        for shard in bank.shards():
            data = [window.data for window in bank.windows(shard.id)]
            bank.add_scores(shard.id, engine.score(weights, data), created_at=1)
    bank.refresh()
    return ScoredBank(bank, names, InPlace(bank, engine))


class Audit:
    """The network's audit of every fill, with the reference; remembers what it has scored."""

    def __init__(self) -> None:
        self._weights = models()
        self._known: dict[tuple[Id32, bytes], ModelScore] = {}

    def rejects(self, target: TargetContents, data: bytes) -> str | None:
        return judge(target, [self._score(model_id, data) for model_id in target.model_ids]).fraud

    def _score(self, model_id: Id32, data: bytes) -> ModelScore:
        key = model_id, data
        if key not in self._known:
            found = evaluate(self._weights[model_id], data, AUDIT_SEED)
            self._known[key] = ModelScore(found.loss, found.embedding)
        return self._known[key]


def true_claims(scale: int, seed: int) -> Findings:
    """`scale` fills with a right engine, and as many with one that is wrong by 0.5 % on purpose, window by window and
    model by model; all of them audited.
    """
    windows = max(10, min(160, scale // 10))
    engines = {
        "right": NumpyEngine(),
        "wrong": WrongEngine(per_model=False),
        "wrong by model": WrongEngine(per_model=True),
    }
    audit = Audit()
    filled: dict[str, int] = {}
    sendable: dict[str, int] = {}
    lost: list[str] = []
    for name, engine in engines.items():
        scores = scored_by(engine, windows, seed)
        sendable[name] = _sendable(scores)
        claims = _claims(scores, scale)
        filled[name] = len(claims)
        wrong = [fraud for target, data in claims if (fraud := audit.rejects(target, data))]
        lost += [f"{name}: {fraud}" for fraud in wrong]
        if name != "right" and sendable[name] >= sendable["right"]:
            lost.append(f"the engine that is {name} sends no less")
    believing = scored_by(WrongEngine(per_model=False, certified=False), windows, seed)
    false = sum(audit.rejects(*claim) is not None for claim in _claims(believing, scale // 4))
    figures = {
        **{f"fills, {name}": count for name, count in filled.items()},
        **{f"safe pairs of window and target, {name}": count for name, count in sendable.items()},
        "false where the wrong engine is believed": false,
        **({"first": lost[0]} if lost else {}),
    }
    return {
        "done": "fills, each audited with the reference",
        "times": sum(filled.values()),
        "lost": len(lost),
        "figures": figures,
    }


def _claims(scores: ScoredBank, wanted: int) -> list[tuple[TargetContents, bytes]]:
    """Fills and their data, over epochs whose thresholds climb."""
    world = Simulation(POLICY, coins=(1000 * SOMA,), scores=scores)
    data = {window.checksum: window.data for shard in scores.bank.shards() for window in scores.bank.windows(shard.id)}
    claims: list[tuple[TargetContents, bytes]] = []
    world.start()
    for quota in QUOTAS:
        before = -1
        while (found := len(_filled(world))) > before and len(claims) + found < wanted * quota:
            before = found
            world.pass_time(1.0)
        claims += [(t, data[t.manifest.checksum]) for t in _filled(world) if t.manifest is not None]
        world.node.end_epoch()
        world.pass_time(1.0)
    world.close()
    return claims


def _filled(world: Simulation) -> list[TargetContents]:
    """Our fills of this epoch."""
    state = world.node.state
    return [
        target
        for _, target in state.targets()
        if target.status is TargetStatus.FILLED and target.fill_epoch == state.epoch and target.submitter == world.owner
    ]


def _sendable(scores: ScoredBank) -> int:
    """Pairs of window and target of the first board that may be sent."""
    view = scores.bank.view(tuple(scores.names.values()))
    weights = {model_id: found.checksum for model_id, found in models().items()}
    targets = [
        MatchTarget(i, t.embedding, tuple(weights[m] for m in t.model_ids), t.distance_threshold)
        for i, t in first_epoch().state.targets()
    ]
    matcher = Matcher()
    found = matcher.match(view, targets, top=view.n * len(weights))
    matcher.close()
    return sum(len(matches.sendable) for matches in found.values())


PROMISES = (Promise(5, "every claim is true", true_claims, short=60, long=2_000),)
