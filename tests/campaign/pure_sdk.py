"""A `PureNode` in the SDK's terms: the calls that the product makes of a client, their values and failure texts.

A test holds it against the real SDK on a served devnet (`tests/reliability/test_pure_network.py`).
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from quickstart.chain.client import NetworkReader
from quickstart.chain.failures import FailureKind
from quickstart.chain.ids import format_digest, format_id, parse_digest, parse_id
from quickstart.chain.objects import AddressOwner
from quickstart.chain.protocol import Parameters
from quickstart.devnet.codec import absolute
from quickstart.devnet.effects import ChangedObject, Effects, Refusal
from quickstart.devnet.listings import list_targets
from quickstart.devnet.state import Coin, Commitment, Model, StoredObject
from quickstart.wire import soma_pb2 as pb
from tests.campaign.pure_node import NotAnsweredError, PureNode

BASE_URL = "http://127.0.0.1:9"

_VARIANTS = {kind.value.lower(): kind.value for kind in FailureKind}


class PureSdk:
    """One client. Like the SDK's it does one thing at a time."""

    def __init__(self, node: PureNode) -> None:
        self._node = node
        self._turn = asyncio.Lock()

    async def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async with self._turn:
            try:
                return await work()
            except NotAnsweredError as lost:
                code, text = ("Unknown", "transport error") if lost.sent else ("Unavailable", "tcp connect error")
                raise _status(code, text) from None
            except Refusal as refusal:
                code = "".join(part.capitalize() for part in refusal.code.value.split("_"))
                raise _status(code, refusal.message) from None
            except ValueError as error:
                raise _status("InvalidArgument", str(error)) from None

    async def _read(self, give: Callable[[], Any]) -> Any:
        async def work() -> Any:
            await self._node.answer()
            return give()

        return await self._call(work)

    async def execute_transaction(self, signed: bytes) -> Any:
        async def work() -> Any:
            return effects_view(await self._node.execute(signed))

        return await self._call(work)

    async def get_transaction(self, digest: str) -> Any:
        def give() -> Any:
            found = self._node.index.transaction(self._node.clock(), parse_digest(digest))
            if found is None or found[0].effects is None:
                raise _status("NotFound", f"Transaction {digest} not found")
            return effects_view(found[0].effects)

        return await self._read(give)

    async def get_object(self, object_id: str) -> Any:
        def give() -> Any:
            stored = self._node.state.objects.get(parse_id(object_id))
            if stored is None:
                raise _status("NotFound", f"Object {object_id} not found")
            return object_view(stored)

        return await self._read(give)

    async def list_owned_objects(self, owner: str, object_type: str) -> Any:
        assert object_type == "coin"

        def give() -> Any:
            owned = self._node.index.owned(self._node.clock(), parse_id(owner))
            return [object_view(stored) for stored in owned if isinstance(stored.contents, Coin)]

        return await self._read(give)

    async def list_targets(
        self,
        *,
        read_mask: str,
        page_token: Any = None,
        limit: int = 100,
        status: str | None = None,
        epoch: int | None = None,
        claimable: bool = False,
        submitter: str | None = None,
    ) -> Any:
        request = pb.ListTargetsRequest(
            page_size=limit,
            page_token=page_token or b"",
            status_filter="claimable" if claimable else status,
            epoch_filter=epoch,
            submitter_filter=submitter,
        )
        request.read_mask.paths.extend(read_mask.split(","))

        def give() -> Any:
            page = list_targets(self._node.index, request, self._node.clock())
            return SimpleNamespace(
                targets=[_target_view(t) for t in page.targets], next_page_token=page.next_page_token
            )

        return await self._read(give)

    async def get_latest_system_state(self) -> Any:
        return await self._read(lambda: state_view(self._node))


def reader_of(node: PureNode) -> NetworkReader:
    """The product's reader, on a client of its own."""
    return NetworkReader(PureSdk(node), BASE_URL)


def effects_view(effects: Effects) -> Any:
    """As `execute_transaction` gives it, as far as the product reads it."""
    return SimpleNamespace(
        V1=SimpleNamespace(
            status=_status_view(effects),
            executed_epoch=effects.epoch,
            transaction_fee=SimpleNamespace(
                base_fee=effects.base_fee, operation_fee=effects.operation_fee, value_fee=effects.value_fee
            ),
            transaction_digest=format_digest(effects.digest),
            version=effects.version,
            changed_objects=[(format_id(change.object_id), _changed_view(change)) for change in effects.changed],
        )
    )


def _status_view(effects: Effects) -> Any:
    if effects.failure is None:
        return "Success"
    variant = _VARIANTS[effects.failure.kind.name.replace("_", "").lower()]
    return SimpleNamespace(Failure=SimpleNamespace(error=variant))


def _changed_view(change: ChangedObject) -> dict[str, Any]:
    output: Any = "NotExist"
    if change.after is not None:
        output = {"ObjectWrite": (format_digest(change.after.digest), vars(_owner_view(change.after.owner)))}
    created, deleted = change.before is None, change.after is None
    return {"output_state": output, "id_operation": "Created" if created else "Deleted" if deleted else "None"}


def _owner_view(owner: Any) -> Any:
    if isinstance(owner, AddressOwner):
        return SimpleNamespace(AddressOwner=owner.address.hex())
    return SimpleNamespace(Shared=SimpleNamespace(initial_shared_version=owner.initial_version))


def object_view(stored: StoredObject) -> Any:
    return SimpleNamespace(
        id=format_id(stored.object_id),
        version=stored.version,
        digest=format_digest(stored.digest),
        owner=_owner_view(stored.owner),
        previous_transaction=format_digest(stored.previous_transaction),
        data=SimpleNamespace(contents=stored.object_id + stored.contents.encode()),
    )


def _target_view(message: pb.Target) -> Any:
    return SimpleNamespace(
        id=message.id,
        status=message.status,
        embedding=list(message.embedding),
        model_ids=list(message.model_ids),
        distance_threshold=message.distance_threshold,
        reward_pool=message.reward_pool,
        generation_epoch=message.generation_epoch,
        bond_amount=message.bond_amount,
        submitter=message.submitter if message.HasField("submitter") else None,
    )


def state_view(node: PureNode) -> Any:
    state = node.state
    parameters = {
        name: _tensor(value) if isinstance(value := getattr(state.parameters, name), float) else value
        for name in Parameters.__dataclass_fields__
    }
    models = {format_id(model.model_id): _model_view(model) for model in state.models.values()}
    return SimpleNamespace(
        epoch=state.epoch,
        epoch_start_timestamp_ms=state.epoch_start_ms,
        protocol_version=state.rules.protocol_version,
        parameters=SimpleNamespace(**parameters),
        target_state=SimpleNamespace(
            distance_threshold=_tensor(state.threshold), reward_per_target=state.reward_per_target
        ),
        model_registry=SimpleNamespace(models=SimpleNamespace(**models)),
    )


def _model_view(model: Model) -> Any:
    view = SimpleNamespace(owner=model.owner.hex(), staking_pool=SimpleNamespace(soma_balance=model.stake))
    if model.commitment is None:
        view.create_epoch = model.create_epoch
    else:
        vars(view).update(vars(_commitment_view(model.commitment)))
    if model.is_active:
        view.decryption_key = format_digest(model.decryption_key)
        view.embedding = SimpleNamespace(bytes=np.asarray(model.embedding, "<f4").tobytes())
        view.pending_update = model.pending_update and _commitment_view(model.pending_update)
    return SimpleNamespace(V1=SimpleNamespace(**{model.status.name.capitalize(): view}))


def _commitment_view(commitment: Commitment) -> Any:
    manifest = commitment.manifest
    metadata = SimpleNamespace(V1=SimpleNamespace(checksum=format_digest(manifest.checksum), size=manifest.size))
    return SimpleNamespace(
        manifest=SimpleNamespace(V1=SimpleNamespace(url=absolute(manifest.url, BASE_URL), metadata=metadata)),
        embedding_commitment=format_digest(commitment.embedding),
        decryption_key_commitment=format_digest(commitment.key),
        commit_epoch=commitment.epoch,
    )


def _tensor(value: float) -> Any:
    return SimpleNamespace(bytes=struct.pack("<f", value))


def _status(code: str, message: str) -> RuntimeError:
    return RuntimeError(f'status: {code}, message: "{message}", details: [], metadata: MetadataMap {{ headers: {{}} }}')
