"""The network as soma-sdk shows it: reads with paging, light masks and normalised ids, and the one call that sends.

One `SomaClient` does one thing at a time (it holds a lock for a whole call), so there is one client for reading and
one per transaction in flight. Calls are never cancelled: a cancelled SDK call leaves its client broken (§7.3).
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from quickstart.chain.backoff import Backoff, Breaker
from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.coins import Coin
from quickstart.chain.effects import Effects, effects_from_sdk
from quickstart.chain.ids import Id32, format_digest, format_id, parse_digest, parse_id
from quickstart.chain.objects import TargetContents
from quickstart.chain.outcomes import ReadFailure, ReadProblem, read_failure
from quickstart.chain.own_models import OwnModel, own_models
from quickstart.chain.protocol import Parameters
from quickstart.chain.replies import MALFORMED, reply_of, usable
from quickstart.chain.transactions import Manifest, ObjectRef
from quickstart.chain.validators import ValidatorSet, validator_set
from quickstart.errors import NetworkError, QuickstartError
from quickstart.units import SECONDS

LIGHT_MASK = "id,status,generation_epoch,reward_pool,distance_threshold,model_ids"
"""A listing without embeddings: 100 targets in one page at any width."""

FULL_MASK = LIGHT_MASK + ",embedding"

BULK_THRESHOLD = 8
"""From this many unknown targets on, one listing with embeddings is cheaper than one object each."""

MOST_PAGES = 2_000
"""Pages of 1,000 that a listing may have: a day of the network has 86 of filled targets."""

READ_TRIES = 4
READ_PAUSE_SECONDS = 0.5
READ_BACKOFF = Backoff(first=READ_PAUSE_SECONDS, longest=30 * SECONDS)

Reconnect: TypeAlias = Callable[[], Awaitable[Any]]

log = logging.getLogger(__name__)

CLAIM_MASK = "id,status,generation_epoch,reward_pool,submitter,bond_amount"
FILLED_MASK = CLAIM_MASK + ",winning_model_id"


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


@dataclass(frozen=True, slots=True)
class FilledTarget:
    """A target that is filled and not claimed yet: in which epoch, by whom, with whose model; shannons."""

    target_id: Id32
    epoch: int
    reward: int
    bond: int
    submitter: Id32
    model_id: Id32 | None


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
    still fails after a few tries, and for longer than `patience_seconds` (`away_seconds` when nothing answers at its
    address). `reconnect` makes a new client where a connection has failed: the SDK does not always recover one.
    """

    def __init__(
        self,
        sdk: Any,
        rpc_url: str,
        reconnect: Reconnect | None = None,
        breaker: Breaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sdk = sdk
        self._rpc_url = rpc_url
        self._reconnect = reconnect
        self._breaker = breaker or Breaker(READ_BACKOFF)
        self._sleep = sleep
        self._left_out: set[Id32] = set()
        self.patience_seconds = 0.0
        self.away_seconds = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the node is being left alone after a failure."""
        return self._breaker.is_open

    async def board(self, known: Mapping[Id32, OpenTarget] | None = None) -> Board:
        """A snapshot of everything open. A target in `known` that is as the listing says is that same object again;
        only others are read whole.
        """
        state = await self._read("get_latest_system_state")
        with reply_of(self._rpc_url):
            epoch = _epoch(state)
            models = _active_models(state)
        listed = await self._list_targets(LIGHT_MASK, status="open", epoch=epoch.number)
        width = epoch.parameters.target_embedding_dim
        with reply_of(self._rpc_url):
            kept = {target_id: target for target_id, target in (known or {}).items() if _agrees(target, listed)}
        missing = [target_id for target_id in listed if target_id not in kept and target_id not in self._left_out]
        fresh = await self._targets_with_embeddings(missing, epoch.number)
        self._left_out |= {target_id for target_id, target in fresh.items() if not usable(target, width)}
        found = {target_id: target for target_id, target in (fresh | kept).items() if target_id not in self._left_out}
        return Board(epoch, models, {target_id: found[target_id] for target_id in listed if target_id in found})

    async def own_models(self, owner: Id32) -> tuple[Epoch, tuple[OwnModel, ...]]:
        """The models of `owner`, committed and lost ones too, and the epoch they were read in."""
        state = await self._read("get_latest_system_state")
        with reply_of(self._rpc_url):
            return _epoch(state), own_models(state, owner)

    async def _targets_with_embeddings(self, missing: list[Id32], epoch: int) -> dict[Id32, OpenTarget]:
        if len(missing) >= BULK_THRESHOLD:
            full = await self._list_targets(FULL_MASK, status="open", epoch=epoch)
            with reply_of(self._rpc_url):
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
        with reply_of(self._rpc_url):
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

    async def filled(self, submitter: Id32 | None = None) -> tuple[FilledTarget, ...]:
        """Everybody's filled and not yet claimed targets, or one submitter's. On the network that is up to a page for
        each thousand fills of two days.
        """
        filters = {} if submitter is None else {"submitter": submitter.hex()}
        listed = await self._list_targets(FILLED_MASK, status="filled", **filters)
        with reply_of(self._rpc_url):
            return tuple(
                FilledTarget(
                    target_id,
                    int(view.generation_epoch),  # a target is filled in the epoch that made it, or expires
                    int(view.reward_pool),
                    int(view.bond_amount),
                    parse_id(view.submitter),
                    parse_id(view.winning_model_id) if view.winning_model_id else None,
                )
                for target_id, view in listed.items()
            )

    async def validators(self) -> ValidatorSet:
        """The validators of this epoch, and what is reported of them."""
        state = await self._read("get_latest_system_state")
        with reply_of(self._rpc_url):
            return validator_set(state)

    async def target(self, target_id: Id32) -> TargetContents | None:
        """A target as the chain stores it, or None when it was claimed (and so deleted) or never was."""
        view = await self._object(target_id)
        with reply_of(self._rpc_url):
            return None if view is None else TargetContents.decode(bytes(view.data.contents)[32:])

    async def coins(self, owner: Id32) -> tuple[Coin, ...]:
        """All coins of `owner`, in no particular order. The listing lags behind execution by about 0.3 s."""
        listed = await self._read("list_owned_objects", owner.hex(), object_type="coin")
        with reply_of(self._rpc_url):
            return tuple(_coin(view) for view in listed)

    async def coin(self, coin_id: Id32, owner: Id32, at_least_version: int = 0) -> Coin | None:
        """One coin at `at_least_version` or newer, or None when it is gone or no longer `owner`'s. Waits for a node
        that lags behind.
        """
        for attempt in range(READ_TRIES):
            view = await self._object(coin_id)
            if view is None:
                return None
            with reply_of(self._rpc_url):
                if int(view.version) >= at_least_version:
                    return _coin(view) if _owner(view) == owner else None
            await asyncio.sleep(READ_PAUSE_SECONDS * (attempt + 1))
        raise NetworkError(f"{self._rpc_url} does not show coin {format_id(coin_id)} at version {at_least_version}")

    async def previous_transaction(self, object_id: Id32) -> Id32 | None:
        """Digest of the transaction that wrote an object's present version."""
        view = await self._object(object_id)
        with reply_of(self._rpc_url):
            return None if view is None else parse_digest(view.previous_transaction)

    async def transaction(self, digest: Id32) -> Effects | None:
        """Effects of an executed transaction, or None: never executed, or executed within the last 0.3 s."""
        try:
            response = await self._read("get_transaction", format_digest(digest))
        except _NotFound:
            return None
        with reply_of(self._rpc_url):
            return effects_from_sdk(response)

    async def _object(self, object_id: Id32) -> Any:
        try:
            return await self._read("get_object", format_id(object_id))
        except _NotFound:
            return None

    async def _list_targets(self, mask: str, **filters: Any) -> dict[Id32, Any]:
        found: dict[Id32, Any] = {}
        token: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._read("list_targets", read_mask=mask, page_token=token, limit=1000, **filters)
            with reply_of(self._rpc_url):
                found.update((parse_id(view.id), view) for view in page.targets)
                token = page.next_page_token
            if not token:
                return found
        raise NetworkError(f"{self._rpc_url} lists targets without end; read another node")

    async def _read(self, method: str, *arguments: Any, **options: Any) -> Any:
        """One read with retries where the failure is of the passing kind."""
        tries, started = 0, self._breaker.clock()
        while True:
            try:
                # Shielded: whoever waits may be cancelled, the call may not.
                answer = await asyncio.shield(asyncio.ensure_future(getattr(self._sdk, method)(*arguments, **options)))
            except (RuntimeError, ValueError) as error:
                failure: ReadFailure = read_failure(error, self._rpc_url)
                if failure.not_found:
                    raise _NotFound from error
                tries += 1
                away = failure.problem is ReadProblem.UNREACHABLE
                patience = self.away_seconds if away else self.patience_seconds
                patient = tries < READ_TRIES or self._breaker.clock() - started < patience
                if not (failure.retryable and patient):
                    raise failure.as_error() from error
                pause = self._breaker.failed(failure.retry_after_seconds)
                log.warning("left alone for %.1f s: %s", pause, failure.message)
                await self._sleep(pause)
                await self._renew(failure)
            else:
                self._breaker.succeeded()
                return answer

    async def _renew(self, failure: ReadFailure) -> None:
        """A new client after a connection that failed; the old one while the node cannot be reached."""
        if self._reconnect is None or failure.problem is ReadProblem.RATE_LIMITED:
            return
        with suppress(QuickstartError):  # the next read tells
            self._sdk = await self._reconnect()


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
        protocol_version=int(state.protocol_version),
    )


def _active_models(state: Any) -> dict[Id32, ActiveModel]:
    registry = getattr(state, "model_registry", None)
    models: dict[Id32, ActiveModel] = {}
    for text, versioned in vars(registry.models).items() if registry else ():
        model = getattr(versioned.V1, "Active", None)
        if model is None:
            continue
        try:
            model_id = parse_id(text)
            models[model_id] = _active_model(model_id, model)
        except MALFORMED as error:  # one stranger's, which takes only the targets that need it with it
            log.warning("model %s is left out: %s", text[:80], error)
    return dict(sorted(models.items()))


def _active_model(model_id: Id32, model: Any) -> ActiveModel:
    manifest = model.manifest.V1
    metadata = manifest.metadata.V1
    return ActiveModel(
        model_id=model_id,
        owner=parse_id(model.owner),
        manifest=Manifest(manifest.url, parse_digest(metadata.checksum), int(metadata.size)),
        decryption_key=parse_digest(model.decryption_key),
        embedding=np.frombuffer(bytes(model.embedding.bytes), dtype="<f4").astype(np.float32),
        stake=int(model.staking_pool.soma_balance),
    )


def _agrees(target: OpenTarget, listed: Mapping[Id32, Any]) -> bool:
    """Whether a listing without embeddings shows this very target."""
    view = listed.get(target.target_id)
    return view is not None and (
        target.model_ids == tuple(map(parse_id, view.model_ids))
        and target.distance_threshold == float(view.distance_threshold)
        and target.reward == int(view.reward_pool)
        and target.generation_epoch == int(view.generation_epoch)
    )


def _open_target(target_id: Id32, view: Any) -> OpenTarget:
    with np.errstate(over="ignore"):  # infinite then, and left out as such
        embedding = np.asarray(view.embedding, dtype=np.float32)
    return OpenTarget(
        target_id=target_id,
        embedding=embedding,
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
