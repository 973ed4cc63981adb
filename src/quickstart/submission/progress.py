"""Where a run stands, for people."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from quickstart import clock
from quickstart.chain.board import Board
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import FillState, IntentKind
from quickstart.submission.scoring_desk import ScoringDesk

COVERAGE_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for people. Counts of this wallet; `lost`: targets somebody else got first."""

    epoch: int
    distance_threshold: float
    windows: int
    coverage: float
    scored: int
    to_score: int
    open_targets: int
    in_flight: int
    filled: int
    lost: int
    claimed: int


Reporter = Callable[[Progress], None]


def progress_line(progress: Progress, seconds: float) -> str:
    """One line of at most 100 columns, as long as counts stay below a thousand."""
    return (
        f"{seconds:4.0f} s  epoch {progress.epoch}  scored {progress.scored}/{progress.to_score}  "
        f"bank {progress.windows} ({progress.coverage:.0%})  open {progress.open_targets}  "
        f"in flight {progress.in_flight}  filled {progress.filled}  lost {progress.lost}  claimed {progress.claimed}"
    )


class ProgressMeter:
    """Measures progress and reports it. Coverage costs a matrix product: now and then, when there are new scores."""

    def __init__(self, desk: ScoringDesk, ledger: Ledger, report: Reporter) -> None:
        self._desk = desk
        self._ledger = ledger
        self._report = report
        self._coverage = 0.0
        self._coverage_of: tuple[int, int] | None = None
        self._coverage_due = 0.0
        self._measuring: asyncio.Task[float] | None = None

    async def close(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)

    def show(self, board: Board, in_flight: int) -> None:
        """Reports where the run stands, with coverage as last measured: nothing waits for it."""
        measured = (self._desk.windows_scored, board.epoch.number)
        if self._measuring is not None:
            if self._measuring.done():
                self._coverage, self._measuring = self._measuring.result(), None
                self._coverage_due = clock.now() + COVERAGE_EVERY_SECONDS
        elif measured != self._coverage_of and clock.now() >= self._coverage_due:
            self._coverage_of = measured
            self._measuring = asyncio.create_task(self._desk.coverage(board))
        fills = self._ledger.fill_counts()
        self._report(
            Progress(
                epoch=board.epoch.number,
                distance_threshold=board.epoch.distance_threshold,
                windows=sum(shard.n for shard in self._desk.bank.shards()),
                coverage=self._coverage,
                scored=self._desk.windows_scored,
                to_score=self._desk.windows_scored + self._desk.left_to_score,
                open_targets=len(board.targets),
                in_flight=in_flight,
                filled=sum(fills.values()),
                lost=len(self._ledger.failed_subjects(IntentKind.SUBMIT, board.epoch.number)),
                claimed=fills.get(FillState.CLAIMED, 0),
            )
        )
