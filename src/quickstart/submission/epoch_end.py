"""What an epoch of submitting was: counts, and the targets it left unfilled. Pure."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from quickstart.chain.board import Board, OpenTarget
from quickstart.chain.ids import Id32
from quickstart.chain.objects import TargetContents
from quickstart.ledger.records import EpochReport, Fate, Unfilled
from quickstart.matching.fillable import Nearest
from quickstart.submission.sightings import Sightings

KEPT_UNFILLED = 256
"""Targets of an epoch that are kept: those that were lost and missed first, then those that were nearly filled."""


@dataclass(frozen=True, slots=True, eq=False)
class EpochEnd:
    """One epoch's last board and `seen`, the latest targets of it (`seen_count` in all); what became of them for us.

    `nearest`: how near the bank comes to each, as far as it does; `filled` by us, `failed`: sent, and too late.
    """

    board: Board
    seen: Mapping[Id32, OpenTarget]
    seen_count: int
    nearest: Mapping[Id32, Nearest]
    filled: Set[Id32]
    failed: Set[Id32]
    ended_by: str

    @property
    def _targets(self) -> dict[Id32, OpenTarget]:
        return {**self.seen, **self.board.targets}

    @property
    def _could(self) -> Set[Id32]:
        """What the bank can fill, and what it has filled."""
        targets = self._targets
        return {i for i, near in self.nearest.items() if near.distance < targets[i].distance_threshold} | self.filled

    def _fates(self) -> dict[Id32, Fate]:
        """Targets that were lost or missed."""
        left = self._could - self.filled - self.failed
        missed = left & self.board.targets.keys()
        return dict.fromkeys(missed, Fate.MISSED) | dict.fromkeys((left - missed) | self.failed, Fate.LOST)

    def report(self) -> EpochReport:
        fates = list(self._fates().values())
        return EpochReport(
            epoch=self.board.epoch.number,
            distance_threshold=self.board.epoch.distance_threshold,
            targets_seen=max(self.seen_count, len(self.seen.keys() | self.filled)),
            fillable=len(self._could),
            filled=len(self.filled),
            lost=fates.count(Fate.LOST),
            missed=fates.count(Fate.MISSED),
            ended_by=self.ended_by,
        )

    def unfilled(self, sightings: Sightings) -> tuple[Unfilled, ...]:
        """The first `KEPT_UNFILLED` of the targets that we did not fill."""
        fates = self._fates()
        found = [
            self._unfilled(target, fates.get(target_id, Fate.FAR), sightings)
            for target_id, target in self._targets.items()
            if target_id not in self.filled
        ]
        return tuple(sorted(found, key=_rank)[:KEPT_UNFILLED])

    def _unfilled(self, target: OpenTarget, fate: Fate, sightings: Sightings) -> Unfilled:
        near, seen = self.nearest.get(target.target_id), sightings.get(target.target_id)
        return Unfilled(
            target_id=target.target_id,
            epoch=self.board.epoch.number,
            fate=fate,
            distance_threshold=target.distance_threshold,
            reward=target.reward,
            distance=near.distance if near else None,
            model=target.model_ids[near.model] if near else None,
            open_ms=seen.open_ms if seen is not None and target.target_id not in self.board.targets else None,
        )


def taken(target: Unfilled, contents: TargetContents | None) -> Unfilled:
    """With who filled it, as the chain has it."""
    if contents is None or contents.submitter is None:
        return target
    return replace(target, taker=contents.submitter, taker_model=contents.winning_model)


def _rank(target: Unfilled) -> tuple[bool, bool, float]:
    short = 0.0 if target.distance is None else target.distance - target.distance_threshold
    return target.fate is Fate.FAR, target.distance is None, short
