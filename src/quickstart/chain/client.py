"""The network as soma-sdk shows it: reads with paging, light masks and normalised ids, and the one call that sends.

One `SomaClient` does one thing at a time (it holds a lock for a whole call), so there is one client for reading and
one per transaction in flight. Calls are never cancelled: a cancelled SDK call leaves its client broken (§7.3).
"""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.coins import Coin
from quickstart.chain.effects import Effects, effects_from_sdk
from quickstart.chain.ids import Id32, format_digest, format_id, parse_digest, parse_id
from quickstart.chain.objects import TargetContents
from quickstart.chain.outcomes import ReadFailure, read_failure
from quickstart.chain.own_models import OwnModel, own_models
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import Manifest, ObjectRef
from quickstart.errors import NetworkError

LIGHT_MASK = "id,status,generation_epoch,reward_pool,distance_threshold,model_ids"
"""A listing without embeddings: 100 targets in one page at any width."""

FULL_MASK = LIGHT_MASK + ",embedding"

BULK_THRESHOLD = 8
"""From this many unknown targets on, one listing with embeddings is cheaper than one object each."""

READ_TRIES = 4
READ_PAUSE_SECONDS = 0.5


CLAIM_MASK = "id,status,generation_epoch,reward_pool,submitter,bond_amount"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of a network's services; those that are None do not exist there."""

    rpc: str
    faucet: str | None = None
    scoring: str | None = None
    admin: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimableTarget:
    """A target anyone may claim. `submitter` is None when it expired unfilled; reward and bond in shannons."""

    target_id: Id32
    reward: int
    submitter: Id32 | None
    bond: int


async def connect(endpoints: Endpoints, *, with_services: bool = False) -> Any:
    """An SDK client; `with_services` also connects faucet and admin, which the SDK does at once."""
    from soma_sdk import SomaClient

    services = {"faucet_url": endpoints.faucet, "admin_url": endpoints.admin} if with_services else {}
    try:
        return await SomaClient(endpoints.rpc, **{k: v for k, v in services.items() if v})
    except (RuntimeError, ValueError) as error:
        raise read_failure(error, endpoints.rpc).as_error() from error


class NetworkReader:
    """Reads the network through a client of its own.

    Every method raises `UnreachableError` when the node does not answer at all and `NetworkError` when a read
    still fails after a few tries.
    """

    def __init__(self, sdk: Any, rpc_url: str) -> None:
        self._sdk = sdk
        self._rpc_url = rpc_url

    async def board(self, known: Mapping[Id32, OpenTarget] | None = None) -> Board:
        """A snapshot of everything open. Targets in `known` keep their embedding; only new ones are read whole."""
        state = await self._read("get_latest_system_state")
        epoch = _epoch(state)
        models = _active_models(state)
        listed = await self._list_targets(LIGHT_MASK, status="open", epoch=epoch.number)
        known = known or {}
        missing = [target_id for target_id in listed if target_id not in known]
        fresh = await self._targets_with_embeddings(missing, epoch.number)
        targets = {
            target_id: known.get(target_id) or fresh[target_id]
            for target_id in listed
            if target_id in known or target_id in fresh
        }
        return Board(epoch, models, targets)

    async def own_models(self, owner: Id32) -> tuple[Epoch, tuple[OwnModel, ...]]:
        """The models of `owner`, committed and lost ones too, and the epoch they were read in."""
        state = await self._read("get_latest_system_state")
        return _epoch(state), own_models(state, owner)

    async def _targets_with_embeddings(self, missing: list[Id32], epoch: int) -> dict[Id32, OpenTarget]:
        if len(missing) >= BULK_THRESHOLD:
            full = await self._list_targets(FULL_MASK, status="open", epoch=epoch)
            return {target_id: _open_target(target_id, view) for target_id, view in full.items()}
        fresh: dict[Id32, OpenTarget] = {}
        for target_id in missing:
            contents = await self.target(target_id)
            if contents is not None and contents.submitter is None:
                fresh[target_id] = OpenTarget(
                    target_id,
                    contents.embedding,
                    contents.model_ids,
                    contents.distance_threshold,
                    contents.reward,
                    contents.generation_epoch,
                )
        return fresh

    async def claimable(self) -> tuple[ClaimableTarget, ...]:
        """Targets anyone may claim now: filled ones whose audit is over, and expired ones."""
        listed = await self._list_targets(CLAIM_MASK, claimable=True)
        return tuple(
            ClaimableTarget(
                target_id,
                int(view.reward_pool),
                parse_id(view.submitter) if view.submitter else None,
                int(view.bond_amount),
            )
            for target_id, view in listed.items()
        )

    async def fills_of(self, submitter: Id32) -> tuple[Id32, ...]:
        """Filled and not yet claimed targets of one submitter, in audit or claimable."""
        filters = {"submitter": submitter.hex()}
        filled = await self._list_targets("id,status", status="filled", **filters)
        return tuple(filled)

    async def target(self, target_id: Id32) -> TargetContents | None:
        """A target as the chain stores it, or None when it was claimed (and so deleted) or never was."""
        view = await self._object(target_id)
        return None if view is None else TargetContents.decode(bytes(view.data.contents)[32:])

    async def coins(self, owner: Id32) -> tuple[Coin, ...]:
        """All coins of `owner`, in no particular order. The listing lags behind execution by about 0.3 s."""
        listed = await self._read("list_owned_objects", owner.hex(), object_type="coin")
        return tuple(_coin(view) for view in listed)

    async def coin(self, coin_id: Id32, owner: Id32, at_least_version: int = 0) -> Coin | None:
        """One coin at `at_least_version` or newer, or None when it is gone or no longer `owner`'s. Waits for a node
        that lags behind.
        """
        for attempt in range(READ_TRIES):
            view = await self._object(coin_id)
            if view is None:
                return None
            if int(view.version) >= at_least_version:
                return _coin(view) if _owner(view) == owner else None
            await asyncio.sleep(READ_PAUSE_SECONDS * (attempt + 1))
        raise NetworkError(f"{self._rpc_url} does not show coin {format_id(coin_id)} at version {at_least_version}")

    async def previous_transaction(self, object_id: Id32) -> Id32 | None:
        """Digest of the transaction that wrote an object's present version."""
        view = await self._object(object_id)
        return None if view is None else parse_digest(view.previous_transaction)

    async def transaction(self, digest: Id32) -> Effects | None:
        """Effects of an executed transaction, or None: never executed, or executed within the last 0.3 s."""
        try:
            return effects_from_sdk(await self._read("get_transaction", format_digest(digest)))
        except _NotFound:
            return None

    async def _object(self, object_id: Id32) -> Any:
        try:
            return await self._read("get_object", format_id(object_id))
        except _NotFound:
            return None

    async def _list_targets(self, mask: str, **filters: Any) -> dict[Id32, Any]:
        found: dict[Id32, Any] = {}
        token: str | None = None
        while True:
            page = await self._read("list_targets", read_mask=mask, page_token=token, limit=1000, **filters)
            found.update((parse_id(view.id), view) for view in page.targets)
            token = page.next_page_token
            if not token:
                return found

    async def _read(self, method: str, *arguments: Any, **options: Any) -> Any:
        """One read with retries where the failure is of the passing kind."""
        for attempt in range(READ_TRIES):
            try:
                return await getattr(self._sdk, method)(*arguments, **options)
            except (RuntimeError, ValueError) as error:
                failure: ReadFailure = read_failure(error, self._rpc_url)
                if failure.not_found:
                    raise _NotFound from error
                if not failure.retryable or attempt == READ_TRIES - 1:
                    raise failure.as_error() from error
                await asyncio.sleep(failure.retry_after_seconds or READ_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the loop returns or raises")


class _NotFound(Exception):
    """The node has no such object or transaction."""


async def request_faucet(sdk: Any, owner: Id32, url: str) -> int:
    """Asks the faucet for coins; shannons received."""
    try:
        answer = await sdk.request_faucet(owner.hex())
    except (RuntimeError, ValueError) as error:
        raise read_failure(error, url).as_error() from error
    return sum(int(coin.amount) for coin in answer.coins_sent)


async def advance_epoch(sdk: Any, url: str) -> int:
    """Ends the epoch on a network whose admin service we may use; the new epoch's number."""
    try:
        return int(await sdk.advance_epoch())
    except (RuntimeError, ValueError) as error:
        raise read_failure(error, url).as_error() from error


def _epoch(state: Any) -> Epoch:
    view = state.parameters
    values: dict[str, Any] = {}
    for name in Parameters.__dataclass_fields__:
        value = getattr(view, name)
        values[name] = _scalar(value) if hasattr(value, "bytes") else int(value)
    target_state = state.target_state
    return Epoch(
        number=int(state.epoch),
        start_ms=int(state.epoch_start_timestamp_ms),
        parameters=Parameters(**values),
        distance_threshold=_scalar(target_state.distance_threshold) if target_state else 0.0,
        reward_per_target=int(target_state.reward_per_target) if target_state else 0,
    )


def _active_models(state: Any) -> dict[Id32, ActiveModel]:
    registry = getattr(state, "model_registry", None)
    models: dict[Id32, ActiveModel] = {}
    for text, versioned in vars(registry.models).items() if registry else ():
        model = getattr(versioned.V1, "Active", None)
        if model is None:
            continue
        manifest = model.manifest.V1
        metadata = manifest.metadata.V1
        model_id = parse_id(text)
        models[model_id] = ActiveModel(
            model_id=model_id,
            owner=parse_id(model.owner),
            manifest=Manifest(manifest.url, parse_digest(metadata.checksum), int(metadata.size)),
            decryption_key=parse_digest(model.decryption_key),
            embedding=np.frombuffer(bytes(model.embedding.bytes), dtype="<f4").astype(np.float32),
            stake=int(model.staking_pool.soma_balance),
        )
    return dict(sorted(models.items()))


def _open_target(target_id: Id32, view: Any) -> OpenTarget:
    return OpenTarget(
        target_id=target_id,
        embedding=np.asarray(view.embedding, dtype=np.float32),
        model_ids=tuple(map(parse_id, view.model_ids)),
        distance_threshold=float(view.distance_threshold),
        reward=int(view.reward_pool),
        generation_epoch=int(view.generation_epoch),
    )


def _coin(view: Any) -> Coin:
    contents = bytes(view.data.contents)
    (balance,) = struct.unpack("<Q", contents[32:40])
    return Coin(ObjectRef(parse_id(view.id), int(view.version), parse_digest(view.digest)), int(balance))


def _owner(view: Any) -> Id32 | None:
    """Address that owns an object; None when it is shared."""
    address = getattr(view.owner, "AddressOwner", None)
    return None if address is None else parse_id(address)


def _scalar(tensor: Any) -> float:
    (value,) = struct.unpack("<f", bytes(tensor.bytes))
    return float(value)
