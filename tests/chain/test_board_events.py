"""The board as a value: events turn one board into another."""

import random

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from quickstart.chain.board import (
    ActiveModel,
    Board,
    Epoch,
    EpochChanged,
    Event,
    ModelsChanged,
    OpenTarget,
    TargetFilled,
    TargetOpened,
    changes,
)
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest

PARAMETERS_OF_TESTS = PARAMETERS[5]


def epoch(number: int) -> Epoch:
    return Epoch(number, number * 1000, PARAMETERS_OF_TESTS, 1.05 - number / 100, 12_685_185)


def target(number: int, generation: int) -> OpenTarget:
    """The target called `number` of an epoch: always the same object for the same name, as on the chain."""
    target_id = bytes([generation, number]) + bytes(30)
    return OpenTarget(target_id, np.full(4, number, np.float32), (b"m" * 32,), 1.05, 1000 + number, generation)


def model(number: int, weights: int, stake: int, embedding: int = 0) -> ActiveModel:
    manifest = Manifest(f"https://h/{weights}", bytes([weights]) * 32, 100)
    vector = np.full(4, embedding, np.float32)
    return ActiveModel(bytes([number]) * 32, b"o" * 32, manifest, bytes([weights]) * 32, vector, stake)


@st.composite
def boards(draw: st.DrawFn) -> Board:
    number = draw(st.integers(1, 3))
    targets = [target(i, number) for i in draw(st.sets(st.integers(0, 9)))]
    models = [
        model(i, draw(st.integers(0, 1)), draw(st.integers(1, 2)), draw(st.integers(0, 1)))
        for i in sorted(draw(st.sets(st.integers(0, 3))))
    ]
    return Board(epoch(number), {m.model_id: m for m in models}, {t.target_id: t for t in targets})


def content(board: Board) -> tuple[object, ...]:
    """Everything in a board, comparable."""
    models = {
        model_id: (m.manifest, m.decryption_key, m.stake, m.owner, m.embedding.tobytes())
        for model_id, m in board.models.items()
    }
    targets = {t.target_id: (t.reward, t.generation_epoch, t.embedding.tobytes()) for t in board.targets.values()}
    return board.epoch, models, targets


def applied(board: Board, events: tuple[Event, ...] | list[Event]) -> Board:
    for event in events:
        board = board.apply(event)
    return board


@given(boards(), boards())
@settings(deadline=None)
def test_the_changes_turn_one_board_into_the_other(before: Board, after: Board) -> None:
    assert content(applied(before, changes(before, after))) == content(after)


@given(boards())
@settings(deadline=None)
def test_equal_boards_have_no_changes(board: Board) -> None:
    assert changes(board, Board(board.epoch, dict(board.models), dict(board.targets))) == ()


@given(boards(), boards(), st.integers(0, 2**32))
@settings(deadline=None)
def test_events_of_targets_may_come_in_any_order(before: Board, after: Board, seed: int) -> None:
    events = changes(before, after)
    about_targets = [e for e in events if isinstance(e, TargetOpened | TargetFilled)]
    others = [e for e in events if not isinstance(e, TargetOpened | TargetFilled)]
    random.Random(seed).shuffle(about_targets)
    assert content(applied(before, [*others, *about_targets])) == content(after)


@given(boards(), boards())
@settings(deadline=None)
def test_applying_changes_no_board_in_place(before: Board, after: Board) -> None:
    kept = content(before)
    applied(before, changes(before, after))
    assert content(before) == kept


@given(boards(), boards())
@settings(deadline=None)
def test_an_event_twice_is_the_event_once(before: Board, after: Board) -> None:
    events = changes(before, after)
    assert content(applied(before, [e for e in events for _ in range(2)])) == content(after)


def test_a_new_epoch_closes_what_was_open() -> None:
    board = Board(epoch(1), {}, {t.target_id: t for t in (target(1, 1), target(2, 1))})
    board = board.apply(TargetOpened(target(3, 2)))  # a stream may show the new epoch's targets first
    after = board.apply(EpochChanged(epoch(2)))
    assert list(after.targets) == [target(3, 2).target_id]
    assert after.epoch.number == 2


def test_filling_an_unknown_target_changes_nothing() -> None:
    board = Board(epoch(1), {}, {target(1, 1).target_id: target(1, 1)})
    assert content(board.apply(TargetFilled(b"x" * 32))) == content(board)


def test_new_weights_under_an_old_id_are_a_change_of_models() -> None:
    before = Board(epoch(1), {b"\x01" * 32: model(1, 0, 5)}, {})
    after = Board(epoch(1), {b"\x01" * 32: model(1, 1, 5)}, {})
    (event,) = changes(before, after)
    assert isinstance(event, ModelsChanged)


def test_the_end_of_an_epoch_and_the_width() -> None:
    board = Board(epoch(2), {}, {})
    assert board.epoch.end_ms == 2000 + PARAMETERS_OF_TESTS.epoch_duration_ms
    assert board.width == PARAMETERS_OF_TESTS.target_embedding_dim
