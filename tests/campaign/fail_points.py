"""Named points before and after everything a run does to the world, from outside of it.

The product takes its edges as arguments (wallet, ledger writer, lanes, storage, web client), so nothing in it knows of
these points: `Watched` hands it edges that tell where they are, and whoever listens may end the run there.

A point is named `submit: send after`. Kinds are the ledger's (submit, claim, split, merge; create, commit and reveal of
a model) and `publish`; steps are

    sign, record, send, settle          of a transaction: the signature, its bytes in the ledger, the node's answer,
                                        the outcome in the ledger
    upload, read, record                of a window: the bucket has it, the public copy was read, the ledger knows it
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from quickstart.chain.client import Endpoints
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import Lease
from quickstart.chain.transactions import (
    ClaimRewards,
    CommitModel,
    CreateModel,
    PayCoins,
    RevealModel,
    SubmitData,
    TransferCoin,
)
from quickstart.devnet.decoding import decode_transaction
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.storage import Storage
from tests.campaign.product_run import Edges
from tests.campaign.pure_node import read_signed

T = TypeVar("T")
Reached = Callable[[str], None]

_KINDS = {
    SubmitData: IntentKind.SUBMIT,
    ClaimRewards: IntentKind.CLAIM,
    PayCoins: IntentKind.SPLIT,
    TransferCoin: IntentKind.MERGE,
    CreateModel: IntentKind.CREATE_MODEL,
    CommitModel: IntentKind.COMMIT,
    RevealModel: IntentKind.REVEAL,
}
_STEPS = {"Outbox.send": "record", "Outbox._settle": "settle", "Outbox._refuse": "refuse"}

POINTS = tuple(
    f"{kind}: {step} {side}"
    for kind, steps in {
        **dict.fromkeys(("submit", "claim", "split", "merge"), ("sign", "record", "send", "settle")),
        "publish": ("upload", "read", "record"),
    }.items()
    for step in steps
    for side in ("before", "after")
)
"""Every point a run of submitting and claiming passes where nothing goes wrong."""


class _WatchedWallet(Wallet):
    """Tells of every signature."""

    def __init__(self, secret: bytes, reached: Reached) -> None:
        super().__init__(secret)
        object.__setattr__(self, "_reached", reached)

    def sign(self, transaction_bytes: bytes) -> bytes:
        reached: Reached = object.__getattribute__(self, "_reached")
        kind = _KINDS[type(decode_transaction(transaction_bytes).kind)]
        reached(f"{kind}: sign before")
        signed = super().sign(transaction_bytes)
        reached(f"{kind}: sign after")
        return signed


class _WatchedWriter(LedgerWriter):
    """Tells of every commit that belongs to an effect; the operation's own names say to which."""

    def __init__(self, ledger: Ledger, reached: Reached) -> None:
        super().__init__(ledger)
        self._reached = reached

    async def write(self, operation: Callable[[Ledger], T]) -> T:
        name = _step_of(operation)
        if name is None:
            return await super().write(operation)
        self._reached(f"{name} before")
        result = await super().write(operation)
        self._reached(f"{name} after")
        return result


def _step_of(operation: Callable[..., Any]) -> str | None:
    owner = operation.__qualname__.split(".<locals>")[0]
    if owner == "PublishingDesk.publish":
        return "publish: record"
    if owner not in _STEPS:
        return None
    return f"{inspect.getclosurevars(operation).nonlocals['intent'].kind}: {_STEPS[owner]}"


@dataclass
class _WatchedStorage:
    inner: Storage
    reached: Reached

    def put(self, data: bytes, checksum: Id32, *, again: bool = False) -> str:
        self.reached("publish: upload before")
        url = self.inner.put(data, checksum, again=again)
        self.reached("publish: upload after")
        return url

    def put_file(self, path: Path, checksum: Id32, *, again: bool = False) -> str:
        self.reached("publish: upload before")
        url = self.inner.put_file(path, checksum, again=again)
        self.reached("publish: upload after")
        return url

    def remove(self, checksums: Iterable[Id32]) -> None:
        self.inner.remove(checksums)

    def public_url(self, checksum: Id32) -> str:
        return self.inner.public_url(checksum)


@dataclass
class _WatchedClient:
    """One SDK client; everything but sending is passed on."""

    inner: Any
    reached: Reached

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def execute_transaction(self, signed: bytes) -> Any:
        kind = _KINDS[type(read_signed(signed)[0].kind)]
        self.reached(f"{kind}: send before")
        answer = await self.inner.execute_transaction(signed)
        self.reached(f"{kind}: send after")
        return answer


@dataclass
class Watched:
    """Edges that call `reached` with the name of every point they pass."""

    inner: Edges
    reached: Reached
    _wallet: Wallet | None = field(default=None, init=False)

    def lease(self) -> Lease:
        return self.inner.lease()

    def writer(self, ledger: Ledger) -> LedgerWriter:
        return _WatchedWriter(ledger, self.reached)

    def storage(self) -> Storage:
        return _WatchedStorage(self.inner.storage(), self.reached)

    def client(self) -> httpx.Client:
        client = self.inner.client()
        client.event_hooks = {
            "request": [lambda _: self.reached("publish: read before")],
            "response": [lambda _: self.reached("publish: read after")],
        }
        return client

    def wallet(self) -> Wallet:
        return _WatchedWallet(self.inner.wallet().secret, self.reached)

    async def connect(self, endpoints: Endpoints) -> Any:
        return _WatchedClient(await self.inner.connect(endpoints), self.reached)
