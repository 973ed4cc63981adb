"""Bad models are left out with a reason, the rest go on; work is asked for once, and again if it got lost."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from desk_values import ToldWhatToAnswer, board_of, model, target
from live_devnet import LiveDevnet, running
from scoring_places import bank_with, windows, workers

from quickstart.bank import Bank
from quickstart.chain.board import ActiveModel, Board
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.ids import Id32
from quickstart.executors.base import ScoreDone
from quickstart.scoring.engine import CertifiedError, ScoredShard
from quickstart.submission.actions import Work
from quickstart.submission.scoring_desk import TRIES_PER_WORK, ScoringDesk

WINDOWS = 8
OWNER = b"\xaa" * 32


async def score_everything(desk: ScoringDesk, board: Board) -> None:
    while work := (desk.unscored(board) or desk.running):
        desk.collect()
        await desk.match(board, OWNER)
        for item in desk.unscored(board)[: desk.room]:
            desk.start(item, board)
        await asyncio.sleep(0.02)
    assert not work


@pytest.fixture(scope="module")
def network() -> Iterator[LiveDevnet]:
    with running(models=4, targets=4) as live:
        yield live


def test_bad_weights_exclude_their_model_and_the_targets_that_need_it(network: LiveDevnet, tmp_path: Path) -> None:
    """Four models: a sound one, one whose file is not what it says, a copy of the sound one's file with another key,
    and one whose file is not there.
    """
    reader = NetworkReader(network.run(connect(network.endpoints)), network.endpoints.rpc)
    board = network.run(reader.board())
    sound, wrong_sum, wrong_key, missing = board.models
    models = dict(board.models)
    models[wrong_sum] = _with_manifest(models[wrong_sum], checksum=b"\x13" * 32)
    models[wrong_key] = replace(models[wrong_key], manifest=models[sound].manifest)
    models[missing] = _with_manifest(models[missing], url=network.endpoints.rpc + "/weights/nothing")
    targets = {
        "sound": (sound,),
        "wrong sum": (sound, wrong_sum),
        "wrong key": (wrong_key,),
        "missing": (missing, sound),
    }
    opened = [target(name, needed) for name, needed in targets.items()]
    board = Board(board.epoch, models, {one.target_id: one for one in opened})
    bank, _ = bank_with(tmp_path, WINDOWS)
    with workers(tmp_path) as executor:
        desk = ScoringDesk(bank, executor, {})
        network.run(score_everything(desk, board))
        candidates = network.run(desk.match(board, OWNER))
        desk.close()
    assert desk.excluded.keys() == {wrong_sum, wrong_key, missing}
    assert "checksum" in desk.excluded[wrong_sum]
    assert "404" in desk.excluded[missing]
    assert all(models[model_id].manifest.url in reason for model_id, reason in desk.excluded.items())
    assert {target_id.rstrip(b".").decode() for target_id in candidates} == {"sound"}
    name = desk.weights_names[models[sound].weights_id]
    assert set(desk.weights_names) == {models[sound].weights_id}
    assert bank.is_scored(bank.shards()[0].id, name)
    for other in (wrong_sum, wrong_key, missing):
        assert models[other].weights_id not in desk.weights_names


def _with_manifest(model: ActiveModel, **changes: object) -> ActiveModel:
    return replace(model, manifest=replace(model.manifest, **changes))  # type: ignore[arg-type]


# -- with an executor that answers what the test tells it


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[ScoringDesk, ToldWhatToAnswer, Bank]]:
    bank, _ = bank_with(tmp_path, WINDOWS)
    bank.add_windows(windows(WINDOWS, kind=1))
    executor = ToldWhatToAnswer()
    desk = ScoringDesk(bank, executor, {})
    yield desk, executor, bank
    desk.close()


Desk = tuple[ScoringDesk, ToldWhatToAnswer, Bank]


def test_every_shard_is_asked_for_once_with_every_model(desk: Desk) -> None:
    own, executor, bank = desk
    board = board_of(model(1), model(2))
    work = own.unscored(board)
    assert {(item.shard, item.model_id[0]) for item in work} == {(s.id, n) for s in bank.shards() for n in (1, 2)}
    assert own.room == 4
    for item in work[:3]:
        own.start(item, board)
    assert own.unscored(board) == work[3:]
    assert (own.running, own.room) == (3, 1)
    assert [request.manifest for request in executor.asked] == [board.models[i.model_id].manifest for i in work[:3]]


def test_a_model_at_fault_is_excluded_at_once_and_others_are_not(desk: Desk) -> None:
    own, executor, _ = desk
    board = board_of(model(1), model(2))
    own.start(own.unscored(board)[0], board)
    executor.fail(executor.asked[0], model_at_fault=True)
    own.collect()
    bad = executor.asked[0].model_id
    assert own.excluded == {bad: "a reason"}
    assert {item.model_id for item in own.unscored(board)} == board.models.keys() - {bad}
    assert own.running == 0


def test_a_death_is_tried_again_and_after_some_the_model_is_given_up(desk: Desk) -> None:
    own, executor, _ = desk
    board = board_of(model(1))
    work = own.unscored(board)[0]
    for attempt in range(TRIES_PER_WORK):
        assert own.excluded == {}
        assert work in own.unscored(board), attempt
        own.start(work, board)
        executor.fail(executor.asked[-1], model_at_fault=False, put_off=True)
        own.collect()
        assert work in own.unscored(board), "what was put off was not tried"
        own.start(work, board)
        executor.fail(executor.asked[-1], model_at_fault=False)
        own.collect()
    assert list(own.excluded) == [work.model_id]
    assert own.unscored(board) == ()


def test_a_model_that_reveals_new_weights_is_used_again(desk: Desk) -> None:
    own, executor, _ = desk
    board = board_of(model(1))
    own.start(own.unscored(board)[0], board)
    executor.fail(executor.asked[0], model_at_fault=True)
    own.collect()
    assert own.unscored(board) == ()
    mended = _with_manifest(model(1), checksum=b"\x77" * 32)
    assert len(own.unscored(board_of(mended))) == 2


def test_a_copy_that_is_out_of_reach_does_not_exclude_the_original(desk: Desk) -> None:
    """Somebody commits another model's file and key under an address where nothing is."""
    own, executor, _ = desk
    copy = replace(model(2), manifest=replace(model(1).manifest, url="https://nowhere/w"))
    board = board_of(model(1), copy)
    work = next(item for item in own.unscored(board) if item.model_id == copy.model_id)
    own.start(work, board)
    executor.fail(executor.asked[0], model_at_fault=True)
    own.collect()
    assert {item.model_id for item in own.unscored(board)} == {model(1).model_id}


def scored(bank: Bank, shard: str, weights: Id32) -> None:
    """Results that leave every candidate uncertain: the certified error of the distance is larger than its lead."""
    embeddings = np.ones((WINDOWS, 64), np.float32)
    losses = np.full(WINDOWS, 3.0, np.float32)
    results = ScoredShard(weights, "test", embeddings, losses, CertifiedError(distance=5.0, loss=0.0))
    bank.add_scores(shard, results, created_at=1)


def test_uncertain_windows_are_scored_exactly_once_and_again_if_that_got_lost(desk: Desk) -> None:
    own, executor, bank = desk
    only = target("t", (model(1).model_id,))
    board = board_of(model(1), targets=(only,))
    for item in own.unscored(board):
        own.start(item, board)
    for request in executor.asked:
        scored(bank, request.shard, b"w" * 32)
        executor.answers.append(ScoreDone(request, b"w" * 32, WINDOWS, 0, 0.1))
    own.collect()
    assert own.unscored(board) == ()
    assert asyncio.run(_match(own, board)) == {}
    exact = own.unscored(board)
    assert exact
    assert all(isinstance(item, Work) and item.exact and item.rows is not None for item in exact)
    own.start(exact[0], board)
    assert own.unscored(board) == exact[1:]
    executor.fail(executor.asked[-1], model_at_fault=False)
    own.collect()
    asyncio.run(_match(own, board))
    assert exact[0] in own.unscored(board)
    own.start(exact[0], board)
    executor.answers.append(ScoreDone(executor.asked[-1], b"w" * 32, 1, 0, 0.1))
    own.collect()
    asyncio.run(_match(own, board))
    assert exact[0] not in own.unscored(board)


def test_what_was_matched_with_other_weights_is_not_sent(desk: Desk) -> None:
    """A model's owner may reveal new weights at any time of an epoch, and a target's loser may win from then on."""
    own, _, bank = desk
    names = {model(n).weights_id: bytes([n]) * 32 for n in (1, 2)}
    own.weights_names.update(names)
    for shard in bank.shards():
        for number, weights in enumerate(names.values()):
            losses = np.full(WINDOWS, 3.0 + number, np.float32)
            results = ScoredShard(weights, "test", np.ones((WINDOWS, 64), np.float32), losses, CertifiedError(0, 0))
            bank.add_scores(shard.id, results, created_at=1)
    bank.refresh()
    only = target("t", (model(1).model_id, model(2).model_id))
    before = board_of(model(1), model(2), targets=(only,))
    assert asyncio.run(_match(own, before)).keys() == {only.target_id}
    after = board_of(model(1), replace(model(2), decryption_key=b"new".ljust(32)), targets=(only,))
    assert asyncio.run(_match(own, after)) == {}
    gone = board_of(model(1), targets=(only,))
    assert asyncio.run(_match(own, gone)) == {}
    richer = board_of(model(1), replace(model(2), stake=7), targets=(only,))
    assert asyncio.run(_match(own, richer)).keys() == {only.target_id}


async def _match(desk: ScoringDesk, board: Board) -> dict[Id32, object]:
    return dict(await desk.match(board, OWNER))
