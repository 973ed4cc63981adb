"""Histories of a devnet for tests of the feed: what happens on a chain, and the checkpoints that tell of it."""

import random
from collections.abc import Iterator

import numpy as np
from live_devnet import SOMA, LiveDevnet

from quickstart.chain import bcs
from quickstart.chain.board import Board
from quickstart.chain.checkpoints import MASK
from quickstart.chain.coins import Coin
from quickstart.chain.ids import blake2b_256
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    Kind,
    Manifest,
    PayCoins,
    RevealModel,
    TransactionData,
)
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.keys import DevnetKey, devnet_key
from quickstart.devnet.masks import mask_tree, masked
from quickstart.devnet.node import now_ms
from quickstart.devnet.rpc import Rpc
from quickstart.wire import soma_pb2 as pb

OWNER = "an owner of models"
WEIGHTS = Manifest("http://127.0.0.1:9/weights", b"w" * 32, 100)
KEY = b"k" * 32


def content(board: Board) -> tuple[object, ...]:
    """Everything in a board, comparable bit by bit."""
    models = {
        model_id: (model.manifest, model.decryption_key, model.stake, model.owner, model.embedding.tobytes())
        for model_id, model in board.models.items()
    }
    targets = {
        target_id: (t.model_ids, t.distance_threshold, t.reward, t.generation_epoch, t.embedding.tobytes())
        for target_id, t in board.targets.items()
    }
    return board.epoch, models, targets


def checkpoint(live: LiveDevnet, number: int) -> pb.Checkpoint:
    """Checkpoint `number` as a subscriber with the feed's mask gets it, through the wire's bytes."""
    rpc = Rpc(live.node, lambda _: None)
    message = rpc._checkpoint_message(number, live.node.checkpoints.get(number))
    return pb.Checkpoint.FromString(masked(message, mask_tree(MASK)).SerializeToString())


def latest(live: LiveDevnet) -> pb.Checkpoint:
    return checkpoint(live, len(live.node.checkpoints.log))


def coin_of(live: LiveDevnet, key: DevnetKey) -> Coin:
    """The key's richest coin, with what is needed for anything."""
    coins = sorted(live.chain_coins(key.address).values(), key=lambda coin: coin.balance)
    return coins[-1] if coins and coins[-1].balance > 2 * SOMA else live.fund(key.address, 10 * SOMA)[0]


def send(live: LiveDevnet, name: str, kind: Kind, coin: Coin | None = None) -> bool:
    """Somebody's transaction; whether it succeeded. It may fail, but not be refused."""
    key = devnet_key(name)
    gas = coin or coin_of(live, key)
    transaction = TransactionData(kind, key.address, (gas.ref,))
    applied = live.node._apply(SignedTransaction(now_ms(), transaction, key.sign(transaction), key.public))
    return applied.effects.failure is None


def fill(live: LiveDevnet, name: str, target_id: bytes, distance: float = 0.5) -> bool:
    coin = coin_of(live, devnet_key(name))
    claim = live.submission(target_id, coin)
    object.__setattr__(claim, "distance", distance)
    return send(live, name, claim, coin)


def reveal_a_model(live: LiveDevnet) -> Iterator[None]:
    """A new model comes into play over two epochs; yields after every input."""
    embedding = np.linspace(-1, 1, live.node.state.parameters.target_embedding_dim, dtype=np.float32)
    known = set(live.node.state.models)
    assert send(live, OWNER, CreateModel(SOMA, 1000, 1))
    (model_id,) = set(live.node.state.models) - known
    yield
    commitments = blake2b_256(bcs.tensor(embedding)), blake2b_256(KEY)
    assert send(live, OWNER, CommitModel(model_id, WEIGHTS, WEIGHTS.checksum, *commitments))
    yield
    live.next_epoch()
    yield
    assert send(live, OWNER, RevealModel(model_id, KEY, embedding))
    yield


def history(live: LiveDevnet, seed: int, steps: int) -> Iterator[None]:
    """A busy network: two strangers fill and fail, coins move, claims are made, stakes grow, a model comes, epochs end.

    Yields after every input, of which each makes one checkpoint.
    """
    choose = random.Random(seed)
    for _ in range(steps):
        state, name = live.node.state, choose.choice(("a stranger", "another"))
        coin_of(live, devnet_key(name))
        yield
        what = choose.random()
        filled = [i for i, t in state.targets() if t.status is TargetStatus.FILLED]
        if what < 0.55:
            assert fill(live, name, choose.choice(live.open_targets()))
        elif what < 0.65:
            assert not fill(live, name, choose.choice(live.open_targets()), distance=3.0)
        elif what < 0.7 and filled:
            assert not fill(live, name, filled[0])
        elif what < 0.75:
            assert send(live, name, PayCoins((coin_of(live, devnet_key(name)).ref,), (5,) * 4, (b"r" * 32,) * 4))
        elif what < 0.85:
            due = [i for i in filled if state.target(i).fill_epoch + 1 < state.epoch]
            due += [i for i, t in state.targets() if t.status is TargetStatus.OPEN and t.generation_epoch < state.epoch]
            if due:
                assert send(live, name, ClaimRewards(choose.choice(sorted(due))))
        elif what < 0.9:
            model_id = min(state.models)
            assert send(live, name, AddStakeToModel(model_id, coin_of(live, devnet_key(name)).ref, SOMA // 2))
        elif len(state.models) == 4 and state.epoch > 1:
            yield from reveal_a_model(live)
        else:
            live.next_epoch()
        yield
