"""The order in which shards are scored: the planner's, with statistics that follow the bank in a thread of their own.

A survey of a large bank takes seconds, and targets must not wait for it: meanwhile the order follows the last one.
"""

from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor

from quickstart.bank import Bank, BankView, ShardId
from quickstart.chain.board import ActiveModel, Board, Epoch
from quickstart.chain.ids import Id32
from quickstart.planning import (
    Holdings,
    Outlook,
    Spent,
    Stage,
    Statistics,
    Survey,
    expect,
    plan,
    seconds_left,
    seconds_per_window,
    staged,
)
from quickstart.submission.actions import Work

NOTHING_KNOWN = Statistics({}, 1, 0.0, 0.0, 0.0, 0.0)


class ScoringQueue:
    """What is left to score, the most useful first. `spent`: GPU seconds so far, by weights checksum."""

    def __init__(self, bank: Bank, spent: Mapping[Id32, Spent], seed: int) -> None:
        self.spent = dict(spent)
        self.windows_left = 0
        self._seed = seed
        self._sizes: dict[ShardId, int] = {}
        self._holdings = Holdings(bank)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="survey")
        self._surveying: Future[tuple[Survey, Statistics]] | None = None
        self._survey: Survey | None = None
        self._statistics: Statistics | None = None
        self._surveyed: tuple[object, ...] = ()
        self._expected: tuple[object, ...] = ()
        self._models: Mapping[Id32, ActiveModel] = {}
        self._changes = 0  # of the models
        self._epoch: Epoch | None = None
        self._stages: tuple[Stage, ...] = ()
        self._staged: tuple[int, int, bool] | None = None
        self._order: list[Work] | None = None  # until something ends, or models or statistics change

    @property
    def surveying(self) -> bool:
        """Whether there is nothing to start, but a survey under way may yet find something."""
        return self._surveying is not None and not self._order

    @property
    def outlook(self) -> Outlook | None:
        """The targets that the last survey expected."""
        return None if self._survey is None else self._survey.outlook

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ended(self, weights: Id32 | None = None, windows: int = 0, seconds: float = 0.0) -> None:
        """Something has been scored, or failed (no `weights`): the order is made anew."""
        self._order = None
        if weights is not None:
            before = self.spent.get(weights, (0, 0.0))
            self.spent[weights] = before[0] + windows, before[1] + seconds

    def started(self, work: Work) -> None:
        if self._order is not None and work in self._order:
            self._order.remove(work)
            self.windows_left -= self._sizes[work.shard]

    def order(
        self,
        board: Board,
        view: Callable[[], BankView],
        usable: Mapping[Id32, ActiveModel],
        names: Mapping[Id32, Id32],
        running: Set[Work],
        most: int,
    ) -> tuple[Work, ...]:
        """Pieces to score next, of about `most` shards: models that complete the most targets for their time, on the
        shards that add most to coverage. None at all if what is left adds nothing.

        `usable`: models by id; `names`: weights checksums by `weights_id`, as far as known.
        """
        if self._surveying is not None and self._surveying.done():
            self._survey, self._statistics = self._surveying.result()
            self._surveying = self._order = None
        if self._models is not board.models:
            self._models, self._staged, self._order = board.models, None, None
            self._changes += 1
        if self._epoch != board.epoch:
            self._epoch, self._order = board.epoch, None
        if self._order is None:
            self._holdings.update(names.values())
            known = {m: names[model.weights_id] for m, model in board.models.items() if model.weights_id in names}
            self._follow(board, view, known)
            if self._statistics is None:
                return ()
            self._order = self._plan(board, usable, known, running, most)
        return tuple(self._order)

    def _follow(self, board: Board, view: Callable[[], BankView], known: Mapping[Id32, Id32]) -> None:
        """Starts a survey in the background if there is something new to count."""
        state = (self._changes, board.epoch, len(self._holdings.shards), self._holdings.done)
        if self._surveying is not None or state == self._surveyed:
            return
        self._surveyed = state
        if not self._holdings.done:
            self._statistics = NOTHING_KNOWN
        shards, done, seen, before = self._holdings.shards, self._holdings.done, view(), self._survey
        same_rules, self._expected = self._expected == state[:2], state[:2]

        def run() -> tuple[Survey, Statistics]:
            outlook = before.outlook if before is not None and same_rules else expect(board)
            survey = before if before is not None and before.outlook.same_sample(outlook) else Survey(outlook)
            survey.outlook = outlook
            survey.take_in(seen, shards, done, known)
            thresholds = outlook.distance_threshold, outlook.tightest_threshold
            return survey, survey.statistics(shards, done, {}, {}, thresholds)

        self._surveying = self._pool.submit(run)

    def _plan(
        self,
        board: Board,
        usable: Mapping[Id32, ActiveModel],
        known: Mapping[Id32, Id32],
        running: Set[Work],
        most: int,
    ) -> list[Work]:
        sizes = {model_id: model.manifest.size for model_id, model in usable.items()}
        seconds = seconds_per_window(sizes, known, self.spent)
        at_it = {(work.shard, work.model_id) for work in running if work.rows is None}
        shards = self._holdings.unscored({model_id: known.get(model_id) for model_id in usable}, at_it)
        staged_at = len(self._holdings.shards), len(usable), self._survey is None
        if self._staged != staged_at:
            open_now = [target.model_ids for target in board.targets.values()]
            expected = self._survey.outlook.targets if self._survey is not None else ()
            self._stages = staged(open_now or expected, seconds_left(shards, seconds))
            self._staged = staged_at
        assert self._statistics is not None
        choice = plan(self._statistics, shards, self._stages, seconds, most=most, seed=self._seed)
        self._sizes = {shard.shard: shard.windows for shard in shards}
        self.windows_left = sum(
            shard.windows * len(shard.missing) for shard in shards if not choice.left.issuperset(dict(shard.kinds))
        )
        return [Work(piece.shard, piece.model_id) for piece in choice.pieces]
