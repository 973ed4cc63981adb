"""A bank made of arrays, its shards of known kinds, and the targets that are to be expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quickstart.bank import BankView, ModelColumns
from quickstart.chain.board import ActiveModel, Board, Epoch
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest
from quickstart.planning import Holding, Kind, Outlook, expect

WIDTH = 16
SHARD = 10


def name(kind: str, number: int) -> Id32:
    return blake2b_256(f"{kind} {number}".encode())


def board(models: int, threshold: float, seed: int = 0, epoch: int = 1) -> Board:
    """Models with stakes and embeddings of their own, and no target open."""
    random = np.random.default_rng([seed, 3])
    active = {}
    for number in range(models):
        manifest = Manifest(f"https://h/{number}", name("file", number), 100 * (number + 1))
        embedding = random.standard_normal(WIDTH).astype(np.float32)
        stake = int(random.integers(1, 5)) * 10**9
        model_id = name("model", number)
        active[model_id] = ActiveModel(model_id, b"o" * 32, manifest, b"k" * 32, embedding, stake)
    return Board(Epoch(epoch, 0, PARAMETERS[5], threshold, 1), active, {})


@dataclass(frozen=True)
class World:
    """`view` holds the scores of all windows; what counts as done is the test's choice."""

    view: BankView
    holdings: tuple[Holding, ...]
    names: dict[Id32, Id32]
    outlook: Outlook

    def done(self, shards: Sequence[Holding]) -> frozenset[tuple[str, Id32]]:
        return frozenset((shard.shard, weights) for shard in shards for weights in self.names.values())


def world(
    kinds: Mapping[str, tuple[int, float]], seed: int, *, models: int = 4, threshold: float = 0.5, failing: float = 0.0
) -> World:
    """`kinds`: how many shards of each, and how far their windows lie from one another (0: all the same)."""
    random = np.random.default_rng(seed)
    labels = [kind for kind, (shards, _) in kinds.items() for _ in range(shards)]
    order = random.permutation(len(labels))
    n = len(labels) * SHARD
    holdings = tuple(
        Holding(f"shard {place}", place * SHARD, (Kind("s", labels[number]),) * SHARD)
        for place, number in enumerate(order)
    )
    columns = {}
    common = random.standard_normal((models, WIDTH))
    middles = {kind: random.standard_normal((models, WIDTH)) for kind in kinds}
    for number in range(models):
        rows = [
            common[number]
            + middles[h.kinds[0].name][number]
            + kinds[h.kinds[0].name][1] * random.standard_normal(WIDTH)
            for h in holdings
            for _ in range(SHARD)
        ]
        half = np.array(rows).astype(np.float16)
        losses = random.normal(2, 0.2, n)
        losses[random.random(n) < failing] = np.nan
        columns[name("weights", number)] = ModelColumns(
            width=WIDTH,
            segments=(half,),
            segment=np.zeros(n, np.int32),
            index=np.arange(n, dtype=np.int32),
            losses=losses.astype(np.float32),
            inverse_norms=(1 / np.linalg.norm(half.astype(np.float64), axis=1)).astype(np.float32),
            distance_errors=(0.01 * random.random(n)).astype(np.float32),
            loss_errors=np.full(n, 0.01, np.float32),
        )
    checksums = random.integers(0, 256, (n, 32), np.uint8)
    names = {name("model", number): name("weights", number) for number in range(models)}
    return World(BankView(n, columns, (0,), (checksums,)), holdings, names, expect(board(models, threshold, seed)))
