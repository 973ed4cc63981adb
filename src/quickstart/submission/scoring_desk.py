"""Between bank, executor and matcher: what is left to score, what came back, what it can fill.

A model whose weights are bad or out of reach is excluded, loudly, and with it the targets that need it; never the run.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from quickstart.bank import Bank, BankView
from quickstart.chain.board import ActiveModel, Board, OpenTarget
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.transactions import Manifest
from quickstart.executors.base import Executor, ScoreAnswer, ScoreFailed, ScoreRequest
from quickstart.matching.coverage import coverage
from quickstart.matching.fillable import Nearest, nearest
from quickstart.matching.matcher import Matcher
from quickstart.matching.values import Candidate, Matches, MatchTarget
from quickstart.planning import Outlook, Spent
from quickstart.submission.actions import Work
from quickstart.submission.scoring_queue import ScoringQueue

log = logging.getLogger(__name__)

EXACT_ROWS_PER_TARGET = 2
TRIES_PER_WORK = 3
COVERAGE_SEED = 0


class ScoringDesk:
    """Owns the bank's view and the matches of the open targets.

    `weights_names`: a model's `weights_id` -> checksum of its decrypted weights, as far as known. `excluded`: model
    id -> why it, and every target that needs it, is left out.
    """

    def __init__(
        self,
        bank: Bank,
        executor: Executor,
        weights_names: Mapping[Id32, Id32],
        spent: Mapping[Id32, Spent] | None = None,
        seed: int = 0,
    ) -> None:
        self.bank = bank
        self._queue = ScoringQueue(bank, spent or {}, seed)
        self._executor = executor
        self._matcher = Matcher()
        self._running: set[Work] = set()
        self._tries: dict[Work, int] = {}
        self._exact: dict[Work, bool] = {}  # exact work, and whether it was started
        self._matches: dict[Id32, Matches] = {}
        self._matched_models: Mapping[Id32, ActiveModel] = {}  # of which the matches are
        self._view: BankView | None = None
        self.weights_names = dict(weights_names)
        self.windows_scored = 0
        self._unusable: set[tuple[Manifest, bytes]] = set()
        self.excluded: dict[Id32, str] = {}

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def surveying(self) -> bool:
        """Whether the last `unscored` was empty only because it is not known yet what to score."""
        return self._queue.surveying

    @property
    def outlook(self) -> Outlook | None:
        """The targets that scoring is planned for."""
        return self._queue.outlook

    @property
    def room(self) -> int:
        """Requests to keep waiting besides those being worked on, so that no worker idles."""
        return max(0, 2 * self._executor.capacity - len(self._running))

    def close(self) -> None:
        self._queue.close()
        self._matcher.close()

    def start(self, work: Work, board: Board) -> None:
        model = board.models[work.model_id]
        self._running.add(work)
        self._queue.started(work)
        if work.exact:
            self._exact[work] = True
        self._executor.spawn(
            ScoreRequest(work.shard, work.model_id, model.manifest, model.decryption_key, work.rows, work.exact)
        )

    def collect(self) -> tuple[ScoreAnswer, ...]:
        """Takes in what has been scored since the last call."""
        answers = self._executor.poll()
        for answer in answers:
            request = answer.request
            work = Work(request.shard, request.model_id, request.rows, request.exact)
            self._running.discard(work)
            if isinstance(answer, ScoreFailed):
                self._failed(work, answer)
            else:
                self.weights_names[request.weights_id] = answer.weights_checksum
                self.windows_scored += answer.windows
                if not work.exact:
                    self._queue.ended(answer.weights_checksum, answer.windows, answer.seconds)
        if answers:
            self._queue.ended()
            self.bank.refresh()
            self._view = None
        return answers

    def _failed(self, work: Work, answer: ScoreFailed) -> None:
        if work.exact:
            self._exact[work] = False
        if answer.put_off:
            return
        self._tries[work] = self._tries.get(work, 0) + 1
        if answer.model_at_fault or self._tries[work] >= TRIES_PER_WORK:
            self._unusable.add((answer.request.manifest, answer.request.decryption_key))
            self.excluded[work.model_id] = answer.reason
            log.error(
                "model %s is excluded, and every target that needs it: %s",
                format_id(work.model_id),
                answer.reason,
            )

    def unscored(self, board: Board) -> tuple[Work, ...]:
        """Scoring to do: what adds most to coverage for its time first, exact repeats last."""
        usable = {model_id: model for model_id, model in board.models.items() if self._usable(model)}
        most = max(1, 2 * self._executor.capacity)
        works = self._queue.order(board, self.view, usable, self.weights_names, self._running, most)
        return (*works, *self._exact_work(board))

    @property
    def left_to_score(self) -> int:
        """Windows times models that wait or are being scored, as of the last `unscored`."""
        sizes = {shard.id: shard.n for shard in self.bank.shards()}
        return self._queue.windows_left + sum(len(w.rows) if w.rows else sizes[w.shard] for w in self._running)

    def _exact_work(self, board: Board) -> tuple[Work, ...]:
        """For targets with nothing safe to send: exact scores of their best uncertain windows, asked for once."""
        for target_id, matches in self._matches.items():
            target = board.targets.get(target_id)
            if target is None or matches.sendable:
                continue
            for candidate in matches.uncertain[:EXACT_ROWS_PER_TARGET]:
                shard, position = self.bank.locate(candidate.row)
                for model_id in target.model_ids:
                    self._exact.setdefault(Work(shard, model_id, (position,), exact=True), False)
        return tuple(
            work
            for work, started in self._exact.items()
            if not started and work.model_id in board.models and self._usable(board.models[work.model_id])
        )

    def _usable(self, model: ActiveModel) -> bool:
        """Judged by where the weights lie, what they are, and their key: a copy of somebody's weights at a dead
        address, or with another key, does not take the original with it.
        """
        return (model.manifest, model.decryption_key) not in self._unusable

    def view(self) -> BankView:
        if self._view is None:
            self._view = self.bank.view(tuple(dict.fromkeys(self.weights_names.values())))
            self._matches = {}
        return self._view

    async def match(
        self, board: Board, owner: Id32, expected: Mapping[Id32, OpenTarget] | None = None
    ) -> Mapping[Id32, tuple[Candidate, ...]]:
        """What is safe to send for each target, open or expected to open, wins of `owner`'s models first.

        New targets are matched; after new scores, and where a model has other weights than before, all are: a claim
        that rests on the old ones is false.
        """
        view = self.view()
        if board.models is not self._matched_models:
            if _weights(board.models) != _weights(self._matched_models):
                self._matches = {}
            self._matched_models = board.models
        targets = {**board.targets, **(expected or {})}
        self._matches = {k: v for k, v in self._matches.items() if k in targets}
        fresh = [target for target in targets.values() if target.target_id not in self._matches]
        wanted = self.match_targets(fresh, board)
        if wanted:
            own = frozenset(
                self.weights_names[model.weights_id]
                for model in board.models.values()
                if model.owner == owner and model.weights_id in self.weights_names
            )
            self._matches.update(await asyncio.to_thread(self._matcher.match, view, wanted, own_models=own))
        return {target_id: matches.sendable for target_id, matches in self._matches.items() if matches.sendable}

    def match_targets(self, targets: Iterable[OpenTarget], board: Board) -> list[MatchTarget]:
        """Targets as matching sees them; those with a model that is excluded or not scored yet are left out."""
        found: list[MatchTarget] = []
        for target in targets:
            models = [board.models.get(model_id) for model_id in target.model_ids]
            names = [
                self.weights_names.get(model.weights_id) if model is not None and self._usable(model) else None
                for model in models
            ]
            known = tuple(name for name in names if name is not None)
            if known and len(known) == len(names):
                found.append(MatchTarget(target.target_id, target.embedding, known, target.distance_threshold))
        return found

    async def coverage(self, board: Board) -> float:
        """Share of random targets this bank can fill at the board's threshold, 0 to 1."""
        names = tuple(
            self.weights_names[model.weights_id]
            for model in board.models.values()
            if model.weights_id in self.weights_names and self._usable(model)
        )
        if not names:
            return 0.0
        return await asyncio.to_thread(coverage, self.view(), names, board.epoch.distance_threshold, COVERAGE_SEED)

    async def nearest(self, targets: Iterable[OpenTarget], board: Board) -> Mapping[Id32, Nearest]:
        """By brute force, independent of the matcher: how near this bank comes to each target, as far as it does."""
        wanted = self.match_targets(targets, board)
        return await asyncio.to_thread(nearest, self.view(), wanted)


def _weights(models: Mapping[Id32, ActiveModel]) -> dict[Id32, Id32]:
    return {model_id: model.weights_id for model_id, model in models.items()}
