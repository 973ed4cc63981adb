"""One epoch looked back at: what won and what it pays, what was not got and by how much, what more scoring would bring.

Pure. Distances are of `1 - cosine`, money is in shannons, times in milliseconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quickstart.chain.ids import Id32, parse_id
from quickstart.chain.protocol import Parameters
from quickstart.ledger.accounts import ClaimShares
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import EpochReport, Fate, Fill, FillState, Origin, Submission, Timing, Unfilled
from quickstart.submission.latency import percentile


@dataclass(frozen=True, slots=True)
class Records:
    """What a ledger keeps of one epoch. `submissions` and `timings` by target."""

    epoch: int
    report: EpochReport | None
    fills: tuple[Fill, ...]
    submissions: Mapping[Id32, Submission]
    timings: Mapping[Id32, Timing]
    unfilled: tuple[Unfilled, ...]

    @classmethod
    def of(cls, ledger: Ledger, epoch: int) -> "Records":
        return cls(
            epoch=epoch,
            report=next((report for report in ledger.epoch_reports() if report.epoch == epoch), None),
            fills=ledger.fills(epoch=epoch),
            submissions={one.target_id: one for one in ledger.submissions(epoch)},
            timings={one.target_id: one for one in ledger.timings(epoch, epoch)},
            unfilled=ledger.unfilled(epoch),
        )


@dataclass(frozen=True, slots=True)
class Win:
    """A target we filled: with which window of what data, which model won it, how safely, how fast, for how much.

    `source`, `kind`, `model`, `distance`: None where another program made the fill. `margin`: what was left to the
    threshold. `origin` and `latency_ms` (from birth, or our first sight, to execution): None where not timed. `pays`:
    the submitter's share; 0 for a false claim, whose bond is lost.
    """

    target_id: Id32
    window: Id32 | None
    state: FillState
    reward: int
    bond: int
    pays: int
    source: str | None = None
    kind: str = ""
    model: Id32 | None = None
    distance: float | None = None
    margin: float | None = None
    origin: Origin | None = None
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What one kind of data did. `paid`: claimed already; `to_come`: of fills in audit or claimable."""

    source: str
    kind: str
    fills: int
    windows: int
    false_claims: int
    paid: int
    to_come: int
    bond_lost: int


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What one model decided. `lost`, `missed`, `far`: targets our best window for which it would have won."""

    model: Id32
    won: int
    lost: int
    missed: int
    far: int


@dataclass(frozen=True, slots=True)
class Taker:
    """Somebody who was faster. `open_ms`: median time that the targets it took were open; None where not known."""

    address: Id32
    targets: int
    open_ms: float | None


@dataclass(frozen=True, slots=True)
class NextDollar:
    """What one more dollar of GPUs would bring in an epoch like this one, if other things stay as they are.

    `pieces`: shards times models that it scores, in `gpu_seconds`. `gain`: coverage, at most. `targets`: as many more
    would be fillable, worth `shannons` as submitter. All zero where nothing is left that is worth scoring.
    """

    gpu_seconds: float
    pieces: int
    coverage: float
    gain: float
    targets: float
    shannons: int


@dataclass(frozen=True, slots=True)
class Review:
    """One epoch. `report` is None where no run of ours came to its end; `next_dollar` where nothing can be planned.

    `unfilled`: as many as the ledger keeps of an epoch; `count` knows of all.
    """

    epoch: int
    report: EpochReport | None
    wins: tuple[Win, ...]
    sources: tuple[SourceResult, ...]
    models: tuple[ModelResult, ...]
    unfilled: tuple[Unfilled, ...]
    takers: tuple[Taker, ...]
    latency_ms: float | None
    next_dollar: NextDollar | None

    def of_fate(self, fate: Fate) -> tuple[Unfilled, ...]:
        return tuple(target for target in self.unfilled if target.fate is fate)

    def count(self, fate: Fate) -> int:
        """How many targets of the epoch met it, also those that are not kept one by one."""
        kept, report = len(self.of_fate(fate)), self.report
        if report is None:
            return kept
        told = {Fate.LOST: report.lost, Fate.MISSED: report.missed, Fate.FAR: report.targets_seen - report.fillable}
        return max(kept, told[fate])


def review(records: Records, parameters: Parameters, plan: Mapping[str, Any] | None) -> Review:
    """`plan`: `scoring_plan`'s document for a dollar's GPU seconds, None where it has nothing to go by."""
    wins = tuple(sorted((_win(records, fill, parameters) for fill in records.fills), key=_paying_first))
    latencies = sorted(win.latency_ms for win in wins if win.latency_ms is not None)
    return Review(
        epoch=records.epoch,
        report=records.report,
        wins=wins,
        sources=_sources(wins),
        models=_models(wins, records.unfilled),
        unfilled=records.unfilled,
        takers=_takers(records.unfilled),
        latency_ms=percentile(latencies, 50),
        next_dollar=None if plan is None else _next_dollar(plan, records, parameters),
    )


def shortfall(target: Unfilled) -> float | None:
    """By how much the nearest window is too far; negative where it would have fitted."""
    return None if target.distance is None else target.distance - target.distance_threshold


def _win(records: Records, fill: Fill, parameters: Parameters) -> Win:
    submission, timing = records.submissions.get(fill.target_id), records.timings.get(fill.target_id)
    details = submission.details if submission is not None else {}
    provenance = details.get("provenance") or {}
    distance, model = details.get("distance"), details.get("model")
    threshold = records.report.distance_threshold if records.report else None
    started = None if timing is None else timing.known_ms if timing.birth_ms is None else timing.birth_ms
    return Win(
        target_id=fill.target_id,
        window=fill.window,
        state=fill.state,
        reward=fill.reward,
        bond=fill.bond,
        pays=0 if fill.state is FillState.SLASHED else ClaimShares.of(fill.reward, fill.bond, parameters).submitter,
        source=provenance.get("source"),
        kind=provenance.get("kind") or "",
        model=parse_id(model) if model else None,
        distance=distance,
        margin=None if distance is None or threshold is None else threshold - distance,
        origin=timing.origin if timing else None,
        latency_ms=None if timing is None or started is None else timing.landed_ms - started,
    )


def _paying_first(win: Win) -> tuple[bool, int, Id32]:
    return win.state is FillState.SLASHED, -win.pays, win.target_id


def _sources(wins: Sequence[Win]) -> tuple[SourceResult, ...]:
    groups: dict[tuple[str, str], list[Win]] = {}
    for win in wins:
        groups.setdefault((win.source or "", win.kind), []).append(win)
    found = [
        SourceResult(
            source=source,
            kind=kind,
            fills=len(group),
            windows=len({win.window for win in group}),
            false_claims=sum(win.state is FillState.SLASHED for win in group),
            paid=sum(win.pays for win in group if win.state is FillState.CLAIMED),
            to_come=sum(win.pays for win in group if win.state is FillState.FILLED),
            bond_lost=sum(win.bond for win in group if win.state is FillState.SLASHED),
        )
        for (source, kind), group in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (-(one.paid + one.to_come - one.bond_lost), one.source, one.kind)))


def _models(wins: Iterable[Win], unfilled: Iterable[Unfilled]) -> tuple[ModelResult, ...]:
    won = Counter(win.model for win in wins if win.model is not None)
    left = Counter((target.model, target.fate) for target in unfilled if target.model is not None)
    known = won.keys() | {model for model, _ in left if model is not None}
    found = [
        ModelResult(model, won[model], *(left[model, fate] for fate in (Fate.LOST, Fate.MISSED, Fate.FAR)))
        for model in known
    ]
    return tuple(sorted(found, key=lambda one: (-one.won, one.model)))


def _takers(unfilled: Iterable[Unfilled]) -> tuple[Taker, ...]:
    taken: dict[Id32, list[Unfilled]] = {}
    for target in unfilled:
        if target.taker is not None:
            taken.setdefault(target.taker, []).append(target)
    found = [
        Taker(address, len(group), percentile(sorted(t.open_ms for t in group if t.open_ms is not None), 50))
        for address, group in taken.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.targets, one.address)))


def _next_dollar(plan: Mapping[str, Any], records: Records, parameters: Parameters) -> NextDollar:
    pieces: Sequence[Mapping[str, Any]] = plan["pieces"]
    coverage = float(plan["coverage"])
    # The models of a stage share one gain, and each of its pieces names it.
    gain = min(sum(gain for _, gain in {(piece["shard"], piece["gain"]) for piece in pieces}), 1.0 - coverage)
    seen = records.report.targets_seen if records.report else 0
    rewards = [win.reward for win in records.fills] + [target.reward for target in records.unfilled]
    share = ClaimShares.of(sum(rewards) // len(rewards), 0, parameters).submitter if rewards else 0
    return NextDollar(float(plan["seconds"]), len(pieces), coverage, gain, gain * seen, int(gain * seen * share))
