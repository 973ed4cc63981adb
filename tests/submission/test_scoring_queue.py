"""What is scored next follows what the bank has learnt: by kind, by threshold, and from one run to the next."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from desk_values import ToldWhatToAnswer, board_of, model

from quickstart.bank import Bank, ShardId
from quickstart.chain.board import Board
from quickstart.chain.ids import Id32
from quickstart.data.window import Provenance, Window
from quickstart.executors.base import ScoreDone
from quickstart.ledger.ledger import Ledger
from quickstart.planning import Outlook
from quickstart.scoring.engine import CertifiedError, ScoredShard
from quickstart.submission.scoring_books import ScoringBooks
from quickstart.submission.scoring_desk import ScoringDesk

N = 10
WEIGHTS: Id32 = b"w" * 32
BOARD = board_of(model(1))
NAMES = {model(1).weights_id: WEIGHTS}


def add(bank: Bank, kind: str, number: int) -> ShardId:
    """A shard of one kind."""
    windows = [
        Window.cut(f"{kind} {number} {n} ".encode().ljust(1024, b"."), Provenance("s", kind, n, kind=kind))
        for n in range(N)
    ]
    return bank.add_windows(windows)


def score(bank: Bank, shard: ShardId, spread: float) -> None:
    """`spread` 0: all embeddings are the same, so that not one fills a target alone."""
    embeddings = np.ones((N, 64), np.float32)
    embeddings += np.float32(spread) * np.random.default_rng(5).standard_normal((N, 64), np.float32)
    error = CertifiedError(distance=0.0, loss=0.0)
    bank.add_scores(shard, ScoredShard(WEIGHTS, "test", embeddings, np.full(N, 2.0, np.float32), error), created_at=1)


def next_shards(desk: ScoringDesk, board: Board = BOARD) -> list[ShardId]:
    """The order, once the survey that is under way has ended."""
    deadline = time.monotonic() + 20
    while True:
        works = desk.unscored(board)
        if desk._queue._surveying is None or time.monotonic() > deadline:
            return [work.shard for work in works]
        time.sleep(0.005)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank")


def test_the_kind_that_adds_to_coverage_comes_first_and_new_kinds_before_it(bank: Bank) -> None:
    same, different = (["same", "same"], ["different", "different"])
    shards = [add(bank, kind, number) for number, kind in enumerate([*same, *different, "new"])]
    score(bank, shards[0], 0.0)
    score(bank, shards[2], 1.0)
    desk = ScoringDesk(bank, ToldWhatToAnswer(), NAMES)
    order = next_shards(desk)
    desk.close()
    assert order == [shards[4], shards[3], shards[1]]


def test_nothing_is_chosen_before_the_first_survey_and_the_desk_says_that_it_works(bank: Bank) -> None:
    shards = [add(bank, kind, 1) for kind in ("a", "b")]
    score(bank, shards[0], 1.0)
    desk = ScoringDesk(bank, ToldWhatToAnswer(), NAMES)
    assert desk.unscored(BOARD) == ()
    assert desk.surveying
    assert next_shards(desk) == [shards[1]]
    assert (desk.surveying, desk.left_to_score) == (False, N)
    desk.close()


def test_answers_change_the_order(bank: Bank) -> None:
    kinds = ("a", "b")
    shards = {(kind, number): add(bank, kind, number) for kind in kinds for number in range(3)}
    executor = ToldWhatToAnswer(capacity=4)
    desk = ScoringDesk(bank, executor, {})
    board = BOARD
    works = desk.unscored(board)
    assert {work.shard for work in works} == set(shards.values())
    assert desk.left_to_score == 6 * N
    for kind, spread in (("a", 0.0), ("b", 1.0)):
        (work,) = [work for work in works if work.shard == shards[kind, 0]]
        desk.start(work, board)
        score(bank, work.shard, spread)
    assert desk.left_to_score == 6 * N  # two of them under way
    executor.answers = [ScoreDone(request, WEIGHTS, N, 0, 1.5) for request in executor.asked]
    desk.collect()
    order = next_shards(desk)
    desk.close()
    assert set(order[:1]) <= {shards["b", 1], shards["b", 2]}
    assert set(order) == {shards[kind, number] for kind in kinds for number in (1, 2)}
    assert desk.left_to_score == 4 * N


def test_another_wallet_takes_other_shards_first(bank: Bank) -> None:
    for number in range(8):
        add(bank, "a", number)
    desks = [ScoringDesk(bank, ToldWhatToAnswer(), {}, seed=seed) for seed in (1, 2, 2)]
    orders = [[work.shard for work in desk.unscored(BOARD)] for desk in desks]
    for desk in desks:
        desk.close()
    assert orders[0] != orders[1] == orders[2]


def test_a_new_threshold_is_planned_for(bank: Bank) -> None:
    score(bank, add(bank, "a", 1), 1.0)
    desk = ScoringDesk(bank, ToldWhatToAnswer(), NAMES)
    next_shards(desk)
    before = desk.outlook
    assert before is not None and before.distance_threshold == 1.05
    tighter = replace(BOARD, epoch=replace(BOARD.epoch, number=2, distance_threshold=1.0))
    next_shards(desk, tighter)
    assert desk.outlook is not None and (desk.outlook.epoch, desk.outlook.distance_threshold) == (2, 1.0)
    assert desk.outlook.same_sample(before)
    desk.close()


def test_the_books_keep_time_names_and_outlook(bank: Bank, tmp_path: Path) -> None:
    shards = [add(bank, "a", number) for number in range(2)]
    executor, ledger = ToldWhatToAnswer(), Ledger(tmp_path / "ledger.sqlite")
    desk = ScoringDesk(bank, executor, {})
    books = ScoringBooks(ledger, desk)
    for work in desk.unscored(BOARD):
        desk.start(work, BOARD)
        score(bank, work.shard, 1.0)
    executor.answers = [ScoreDone(request, WEIGHTS, N, 0, 1.5) for request in executor.asked]
    books.collect()
    next_shards(desk)
    books.collect()
    assert {request.shard for request in executor.asked} == set(shards)
    assert ledger.scoring() == {WEIGHTS: (2 * N, 3.0)}
    assert ledger.weights_names() == NAMES
    kept = ledger.outlook()
    assert kept is not None and Outlook.parse(kept) == desk.outlook
    writes = ledger._database.total_changes
    books.collect()
    assert ledger._database.total_changes == writes
    desk.close()
    ledger.close()
