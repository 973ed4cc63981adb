"""Simulated submitters: each has a bank and a wallet of its own, reads the listing now and then, and fills what it can.

They live in the node's process but use it as anybody does: the listing as it lags, transactions with their latency.
Their fills are true, and not audited: an audit costs more than all else that a rival does.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.ids import Id32, format_id
from quickstart.chain.objects import TargetContents
from quickstart.chain.transactions import Manifest, ObjectRef, SubmitData, TransactionData
from quickstart.data.window import WINDOW_BYTES
from quickstart.devnet.config import MODEL_NAMES
from quickstart.devnet.effects import Effects, Refusal
from quickstart.devnet.genesis import packaged_model
from quickstart.devnet.keys import DevnetKey, devnet_key
from quickstart.devnet.rivalry import MOST_RIVALS
from quickstart.devnet.state import ChainState, Coin
from quickstart.units import SHANNONS_PER_SOMA

log = logging.getLogger(__name__)

BANK_FILE = "rivals.npz"
ROWS = 160
"""Windows of one rival, drawn from those of the file: half of them, so that two rivals share some."""

LANES = 2
FUNDS = 10 * SHANNONS_PER_SOMA
"""Shannons of each of a rival's coins, one for each lane: enough for 140,000 fills."""

SAFETY = 1e-3
"""By so much a rival stays below the threshold: its embeddings are float16."""


@dataclass(frozen=True, slots=True, eq=False)
class RivalBank:
    """Scores of n windows with m models. `checksums`: uint8 (n, 32); `units`: float32 (m, n, width), embeddings of
    length 1; `losses`: float32 (m, n).
    """

    checksums: NDArray[np.uint8]
    units: NDArray[np.float32]
    losses: NDArray[np.float32]

    def rows(self, number: int) -> "RivalBank":
        """The part of it that belongs to the `number`-th rival."""
        rows = np.random.default_rng(number).permutation(len(self.checksums))[:ROWS]
        return RivalBank(self.checksums[rows], self.units[:, rows], self.losses[:, rows])


@cache
def packaged_bank() -> RivalBank:
    """The scores that come with the package, made by `scripts/rival_bank.py`."""
    with resources.files("quickstart.devnet").joinpath(BANK_FILE).open("rb") as file, np.load(file) as arrays:
        embeddings = arrays["embeddings"].astype(np.float32)
        units = embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True)
        return RivalBank(arrays["checksums"], units, arrays["losses"])


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rival sends for a target: a row of its bank, and which of all models wins there."""

    row: int
    model: int
    distance: float


def best_hit(bank: RivalBank, target: TargetContents, models: tuple[int, ...]) -> Hit | None:
    """The row that comes closest to a target among those within its threshold. `models`: the target's, by number."""
    winners = np.asarray(models)[np.argmin(bank.losses[list(models)], axis=0)]
    direction = target.embedding / np.linalg.norm(target.embedding)
    distances = 1.0 - bank.units[winners, np.arange(len(winners))] @ direction
    row = int(np.argmin(distances))
    if distances[row] > target.distance_threshold - SAFETY:
        return None
    return Hit(row, int(winners[row]), float(distances[row]))


class RivalNode(Protocol):
    """What a rival needs of the node."""

    state: ChainState

    def give(self, address: Id32, amount: int, coins: int) -> object: ...

    def open_targets(self) -> Iterator[tuple[Id32, TargetContents]]: ...

    async def submit(self, transaction: TransactionData, signature: bytes, public_key: bytes) -> Effects: ...


class Rival:
    """The `number`-th submitter, from 0, of `rivals`."""

    def __init__(self, node: RivalNode, number: int, rivals: int, poll_seconds: float) -> None:
        self.key: DevnetKey = rival_key(number)
        self._node = node
        self._bank = packaged_bank().rows(number)
        self._poll_seconds = poll_seconds
        self._first_poll_seconds = poll_seconds * (number + 1) / rivals
        self._tried: set[Id32] = set()
        self._queue: asyncio.Queue[tuple[Id32, TargetContents, Hit]] = asyncio.Queue(LANES)

    async def run(self) -> None:
        """Polls and fills until it is cancelled."""
        coins = self._coins()
        async with asyncio.TaskGroup() as tasks:
            for coin in coins:
                tasks.create_task(self._send(coin))
            await asyncio.sleep(self._first_poll_seconds)
            while True:
                targets = dict(self._node.open_targets())
                self._tried &= targets.keys()
                numbers = self._model_numbers()
                for target_id, target in targets.items():
                    models = tuple(numbers[model_id] for model_id in target.model_ids if model_id in numbers)
                    if target_id not in self._tried and len(models) == len(target.model_ids):
                        hit = best_hit(self._bank, target, models)
                        self._tried.add(target_id)
                        if hit is not None:
                            await self._queue.put((target_id, target, hit))
                await asyncio.sleep(self._poll_seconds)

    def _coins(self) -> list[ObjectRef]:
        """One for each lane; new ones from the faucet where there are not enough."""
        rich = [s for s in self._node.state.coins(self.key.address) if _balance(s.contents) >= FUNDS // 2]
        if len(rich) < LANES:
            self._node.give(self.key.address, FUNDS, LANES - len(rich))
            return self._coins()
        return [stored.ref for stored in rich[:LANES]]

    def _model_numbers(self) -> dict[Id32, int]:
        """The chain's models that the bank has scores of, by their number in the bank."""
        known = {packaged_model(name).manifest.checksum: number for number, name in enumerate(MODEL_NAMES)}
        return {
            model.model_id: known[model.commitment.manifest.checksum]
            for model in self._node.state.active_models()
            if model.commitment is not None and model.commitment.manifest.checksum in known
        }

    async def _send(self, coin: ObjectRef) -> None:
        """One lane: bond and gas are one coin, whose next version the effects tell."""
        while True:
            target_id, target, hit = await self._queue.get()
            claim = self._claim(target_id, target, hit, coin)
            transaction = TransactionData(claim, self.key.address, (coin,))
            try:
                effects = await self._node.submit(transaction, self.key.sign(transaction), self.key.public)
            except Refusal as refusal:
                log.warning("rival: %s: %s", format_id(target_id), refusal)
                continue
            for change in effects.changed:
                if change.object_id == coin.object_id and change.after is not None:
                    coin = ObjectRef(coin.object_id, change.after.version, change.after.digest)

    def _claim(self, target_id: Id32, target: TargetContents, hit: Hit, coin: ObjectRef) -> SubmitData:
        names = {number: model_id for model_id, number in self._model_numbers().items()}
        checksum = self._bank.checksums[hit.row].tobytes()
        return SubmitData(
            target_id=target_id,
            manifest=Manifest(f"http://127.0.0.1/rival/{checksum.hex()}", checksum, WINDOW_BYTES),
            model_id=names[hit.model],
            embedding=self._bank.units[hit.model, hit.row],
            distance=hit.distance,
            loss=(float(self._bank.losses[hit.model, hit.row]),),
            bond_coin=coin,
        )


def rival_key(number: int) -> DevnetKey:
    return devnet_key(f"rival {number}")


def rival_addresses() -> frozenset[Id32]:
    """Of every rival there may be."""
    return frozenset(rival_key(number).address for number in range(MOST_RIVALS))


def _balance(contents: object) -> int:
    return contents.balance if isinstance(contents, Coin) else 0
