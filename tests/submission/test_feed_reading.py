"""What a checkpoint means for a board, and the target that a digest spawns."""

import time
from dataclasses import replace

import numpy as np
import pytest
from feed_histories import OWNER, coin_of, fill, latest, reveal_a_model, send
from live_devnet import LiveDevnet, running

from quickstart.chain.board import Board, Epoch, OpenTarget, TargetFilled, TargetOpened
from quickstart.chain.checkpoints import Reading, read_checkpoint, time_ms
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.ids import ZERO_ID, derive_id, parse_digest
from quickstart.chain.protocol import PARAMETERS, assign_models
from quickstart.chain.spawning import Spawned, SpawnRule, is_proven, spawned_id
from quickstart.chain.transactions import ClaimRewards, PayCoins
from quickstart.devnet.keys import devnet_key
from quickstart.wire import soma_pb2 as pb

NOTHING = Reading((), (), False, None)
KNOWN_TARGET = OpenTarget(b"\x44" * 32, np.array([0.5, -1.0], np.float32), (b"\x55" * 32,), 1.05, 7, 3)
KNOWN_DIGEST = parse_digest("2kSUtqeKXWfckwQUJVozV1nLMKDxRNtMuodb7d5o3j4f")


def board_of(live: LiveDevnet) -> Board:
    async def read() -> Board:
        return await NetworkReader(await connect(live.endpoints), live.endpoints.rpc).board()

    return live.run(read())


def read(live: LiveDevnet, board: Board, message: pb.Checkpoint | None = None) -> Reading:
    return read_checkpoint(message or latest(live), board, frozenset(), SpawnRule.of(board))


def test_the_networks_own_digest_of_a_target_proves_each_of_its_fields() -> None:
    spawned = Spawned(ZERO_ID, 1, KNOWN_DIGEST)
    assert is_proven(KNOWN_TARGET, spawned)
    for changes in (
        {"target_id": b"\x45" * 32},
        {"embedding": np.nextafter(KNOWN_TARGET.embedding, np.float32(9))},
        {"model_ids": (b"\x56" * 32,)},
        {"distance_threshold": 1.06},
        {"reward": 8},
        {"generation_epoch": 4},
    ):
        assert not is_proven(replace(KNOWN_TARGET, **changes), spawned)
    assert not is_proven(KNOWN_TARGET, replace(spawned, version=2))
    assert not is_proven(KNOWN_TARGET, replace(spawned, digest=b"\x01" * 32))


def test_models_go_by_distance_over_voting_power() -> None:
    """The worked example of §11.6."""
    embeddings = np.array([[1, 0], [0, 1], [0.6, -0.8]], np.float32)
    target = np.array([0.6, 0.8], np.float32)
    assert assign_models(target, [b"A", b"B", b"C"], [1, 4, 16], embeddings, 3) == (b"B", b"C", b"A")


def test_nothing_can_be_computed_without_models_or_with_one_of_another_width() -> None:
    epoch = Epoch(5, 0, replace(PARAMETERS[5], target_embedding_dim=64), 1.05, 7)
    assert SpawnRule.of(Board(epoch, {}, {})) is None


def test_a_fill_and_what_it_spawns(live: LiveDevnet) -> None:
    board = board_of(live)
    filled = live.open_targets()[0]
    assert fill(live, "a stranger", filled)
    message = latest(live)
    reading = read(live, board, message)
    (gone, opened) = reading.events
    assert gone == TargetFilled(filled)
    assert isinstance(opened, TargetOpened)
    stored = live.node.state.target(opened.target.target_id)
    assert stored.embedding.tobytes() == opened.target.embedding.tobytes()
    assert (stored.model_ids, stored.reward) == (opened.target.model_ids, opened.target.reward)
    assert reading == Reading(reading.events, (opened.target.target_id,), False, None)
    assert abs(time.time() * 1000 - (time_ms(message) or 0)) < 60_000
    assert len(message.SerializeToString()) < 1_600

    # A fill that we know already tells only of the birth; one of a target that we do not know has to be read.
    known = read_checkpoint(message, board.apply(gone).apply(opened), {filled}, SpawnRule.of(board))
    assert known == Reading((), reading.spawned, False, None)
    assert read(live, Board(board.epoch, board.models, {})) == Reading((), (), True, None)
    # Where nothing may be computed, the new target has to be read too.
    assert read_checkpoint(message, board, frozenset(), None) == Reading((gone,), reading.spawned, True, None)


def test_targets_that_are_spawned_and_filled_in_one_checkpoint(live: LiveDevnet) -> None:
    board = board_of(live)
    both = pb.Checkpoint(sequence_number=1)
    filled = live.open_targets()[0]
    for _ in range(3):
        assert fill(live, "a stranger", filled)
        message = latest(live)
        both.transactions.extend(message.transactions)
        filled = spawned_id(parse_digest(message.transactions[0].digest))
    events = read(live, board, both).events
    assert [type(event) for event in events] == [TargetFilled, TargetOpened] * 3
    assert board_after(board, events).targets.keys() == set(live.open_targets())


def board_after(board: Board, events: tuple[object, ...]) -> Board:
    for event in events:
        board = board.apply(event)  # type: ignore[arg-type]
    return board


def test_a_failed_submission_fills_nothing(live: LiveDevnet) -> None:
    board = board_of(live)
    assert not fill(live, "a stranger", live.open_targets()[0], distance=3.0)
    assert read(live, board) == NOTHING


def test_coins_that_move_mean_nothing(live: LiveDevnet) -> None:
    """A payment's third recipient gets an object of the very number that new targets have."""
    board = board_of(live)
    coin = coin_of(live, devnet_key("a stranger"))
    assert send(live, "a stranger", PayCoins((coin.ref,), (5,) * 4, (b"r" * 32,) * 4), coin)
    message = latest(live)
    made = {c.object_id for c in message.transactions[0].effects.changed_objects if c.id_operation == 2}
    assert derive_id(parse_digest(message.transactions[0].digest), 2).hex() in made
    assert read(live, board, message) == NOTHING


def test_what_only_the_node_can_tell(live: LiveDevnet) -> None:
    board = board_of(live)
    for _ in reveal_a_model(live):
        assert read(live, board).unread
    live.next_epoch()
    board = board_of(live)
    expired = next(i for i, t in live.node.state.targets() if t.generation_epoch < live.node.state.epoch)
    assert send(live, OWNER, ClaimRewards(expired))
    assert read(live, board) == NOTHING


def test_a_target_that_is_not_the_computed_one() -> None:
    with running(targets=3, wrong_seed=True) as live:
        board = board_of(live)
        filled = live.open_targets()[0]
        assert fill(live, "a stranger", filled)
        reading = read(live, board)
        assert reading.events == (TargetFilled(filled),)
        assert reading.contradicted is not None
        assert reading.contradicted.target_id == reading.spawned[0]


@pytest.mark.parametrize("text", ["zz", "0x" + "1" * 65])
def test_malformed_ids_are_errors(live: LiveDevnet, text: str) -> None:
    message = pb.Checkpoint()
    transaction = message.transactions.add(digest="x")
    transaction.effects.status.success = True
    transaction.effects.changed_objects.add(object_id=text)
    with pytest.raises(ValueError, match="hexa"):
        read(live, board_of(live), message)
