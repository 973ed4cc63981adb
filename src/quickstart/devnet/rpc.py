"""The full node's gRPC calls, as generic handlers by method path (`soma-protocol` §1, §4-§8)."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from quickstart.chain import bcs
from quickstart.chain.ids import (
    SYSTEM_STATE_ID,
    ZERO_ID,
    address_of,
    blake2b_256,
    format_digest,
    format_id,
    parse_digest,
    parse_id,
)
from quickstart.devnet.codec import effects_message, object_message, read_transaction, timestamp
from quickstart.devnet.effects import Effects, Refusal
from quickstart.devnet.execution import simulate
from quickstart.devnet.inputs import Applied
from quickstart.devnet.keys import signature_is_valid
from quickstart.devnet.listings import list_owned, list_targets
from quickstart.devnet.masks import Tree, mask_tree, masked
from quickstart.devnet.node import Node, chain_id_text, now_ms
from quickstart.devnet.views import PARAMETER_NAMES, system_state_message, target_message
from quickstart.errors import StateError
from quickstart.wire import soma_pb2 as pb

SERVER_VERSION = "soma-node/0.1.19"
BLS_POINT_AT_INFINITY = b"\xc0" + bytes(47)
"""A signature the SDK can decode; any 48 bytes that are no point of the curve would abort its process."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = Callable[[Any, Context], Awaitable[Message]]


class Rpc:
    """Answers every read and execution call from one node."""

    def __init__(self, node: Node, drop_connection: Callable[[str], None]) -> None:
        self._node = node
        self._drop_connection = drop_connection

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """For `grpc.aio.Server.add_generic_rpc_handlers`."""
        unary: dict[str, dict[str, tuple[Method, type[Message]]]] = {
            "soma.rpc.LedgerService": {
                "GetServiceInfo": (self.get_service_info, pb.GetServiceInfoRequest),
                "GetObject": (self.get_object, pb.GetObjectRequest),
                "GetTransaction": (self.get_transaction, pb.GetTransactionRequest),
                "GetCheckpoint": (self.get_checkpoint, pb.GetCheckpointRequest),
                "GetEpoch": (self.get_epoch, pb.GetEpochRequest),
            },
            "soma.rpc.StateService": {
                "ListOwnedObjects": (self.list_owned_objects, pb.ListOwnedObjectsRequest),
                "GetBalance": (self.get_balance, pb.GetBalanceRequest),
                "GetTarget": (self.get_target, pb.GetTargetRequest),
                "ListTargets": (self.list_targets, pb.ListTargetsRequest),
            },
            "soma.rpc.TransactionExecutionService": {
                "ExecuteTransaction": (self.execute_transaction, pb.ExecuteTransactionRequest),
                "SimulateTransaction": (self.simulate_transaction, pb.SimulateTransactionRequest),
            },
        }
        services = [
            grpc.method_handlers_generic_handler(
                service, {name: self._unary(method, request) for name, (method, request) in methods.items()}
            )
            for service, methods in unary.items()
        ]
        stream = grpc.unary_stream_rpc_method_handler(
            self.subscribe_checkpoints,
            request_deserializer=pb.SubscribeCheckpointsRequest.FromString,
            response_serializer=pb.SubscribeCheckpointsResponse.SerializeToString,
        )
        subscription = grpc.method_handlers_generic_handler(
            "soma.rpc.SubscriptionService", {"SubscribeCheckpoints": stream}
        )
        return (*services, subscription)

    def _unary(self, method: Method, request: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
        async def guarded(message: Any, context: Context) -> Message:
            faults = self._node.faults
            if faults.take("rpc_unavailable"):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the node is overloaded, try again")
            if faults.take("rpc_exhausted"):
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
            try:
                return await method(message, context)
            except Refusal as refusal:
                await context.abort(grpc.StatusCode[refusal.code.value], refusal.message)
            except ValueError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except StateError as error:
                await context.abort(grpc.StatusCode.INTERNAL, str(error))
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def get_service_info(self, _: pb.GetServiceInfoRequest, __: Context) -> pb.GetServiceInfoResponse:
        state = self._node.state
        return pb.GetServiceInfoResponse(
            chain_id=chain_id_text(state.chain_id),
            chain="localnet",
            epoch=state.epoch,
            checkpoint_height=self._node.checkpoints.published,
            timestamp=timestamp(now_ms()),
            lowest_available_checkpoint=0,
            lowest_available_checkpoint_objects=0,
            server=self._node.faults.server_version or SERVER_VERSION,
        )

    async def get_object(self, request: pb.GetObjectRequest, context: Context) -> pb.GetObjectResponse:
        stored = self._node.state.objects.get(parse_id(request.object_id))
        if stored is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Object {request.object_id} not found")
        if request.HasField("version") and stored.version != request.version:
            text = f"Object {request.object_id} with version {request.version} not found"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return pb.GetObjectResponse(object=masked(object_message(stored), _mask(request)))

    async def get_transaction(self, request: pb.GetTransactionRequest, context: Context) -> pb.GetTransactionResponse:
        found = self._node.index.transaction(time.monotonic(), parse_digest(request.digest))
        if found is None or found[0].effects is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Transaction {request.digest} not found")
        applied, checkpoint = found
        message = _executed(applied.effects)
        message.checkpoint = checkpoint
        message.timestamp.CopyFrom(timestamp(applied.time_ms))
        return pb.GetTransactionResponse(transaction=masked(message, _mask(request)))

    async def get_checkpoint(self, request: pb.GetCheckpointRequest, context: Context) -> pb.GetCheckpointResponse:
        checkpoints = self._node.checkpoints
        number = checkpoints.published
        if request.WhichOneof("checkpoint_id") == "sequence_number":
            number = request.sequence_number
        if number > checkpoints.published:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Checkpoint {number} not found")
        message = self._checkpoint_message(number, checkpoints.get(number))
        return pb.GetCheckpointResponse(checkpoint=masked(message, _mask(request)))

    def _checkpoint_message(self, number: int, applied: Applied | None) -> pb.Checkpoint:
        state = self._node.state
        epoch, time_ms = (applied.epoch, applied.time_ms) if applied else (0, 0)
        fee = pb.TransactionFee(base_fee=0, operation_fee=0, value_fee=0, total_fee=0)
        summary = pb.CheckpointSummary(
            epoch=epoch,
            sequence_number=number,
            total_network_transactions=number,
            content_digest=format_digest(applied.digest if applied else ZERO_ID),
            epoch_rolling_transaction_fees=fee,
            timestamp=timestamp(time_ms),
        )
        signature = pb.ValidatorAggregatedSignature(epoch=epoch, signature=BLS_POINT_AT_INFINITY, bitmap=[0])
        digest = format_digest(blake2b_256(b"Checkpoint::" + state.chain_id + bcs.u64(number)))
        message = pb.Checkpoint(sequence_number=number, digest=digest, summary=summary, signature=signature)
        if applied is not None:
            message.transactions.append(_listed(applied))
        return message

    async def get_epoch(self, request: pb.GetEpochRequest, context: Context) -> pb.GetEpochResponse:
        state = self._node.state
        number = request.epoch if request.HasField("epoch") else state.epoch
        if number > state.epoch:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Epoch {number} not found")
        tree = _mask(request, "epoch")
        message = pb.Epoch(epoch=number)
        if "system_state" in tree and number == state.epoch:
            message.system_state.CopyFrom(system_state_message(state, self._node.base_url))
        message.protocol_config.protocol_version = state.rules.protocol_version
        for name in PARAMETER_NAMES:
            message.protocol_config.attributes[name] = str(getattr(state.parameters, name))
        if tree.keys() & {"first_checkpoint", "last_checkpoint", "start", "end"}:
            self._describe_epoch(message, number)
        return pb.GetEpochResponse(epoch=masked(message, tree))

    def _describe_epoch(self, message: pb.Epoch, number: int) -> None:
        """First and last checkpoint and times of an epoch, from the checkpoints of the changes around it."""
        message.first_checkpoint = 0
        for sequence, applied in enumerate(self._node.checkpoints.log, start=1):
            if applied.ends_epoch and applied.epoch == number:
                message.first_checkpoint = sequence + 1
                message.start.CopyFrom(timestamp(applied.time_ms))
            if applied.ends_epoch and applied.epoch == number + 1:
                message.last_checkpoint = sequence
                message.end.CopyFrom(timestamp(applied.time_ms))

    async def get_balance(self, request: pb.GetBalanceRequest, _: Context) -> pb.GetBalanceResponse:
        balance = self._node.index.balance(time.monotonic(), parse_id(request.owner))
        return pb.GetBalanceResponse(balance=balance)

    async def list_owned_objects(self, request: pb.ListOwnedObjectsRequest, _: Context) -> pb.ListOwnedObjectsResponse:
        return list_owned(self._node.index, request, _mask(request), time.monotonic())

    async def get_target(self, request: pb.GetTargetRequest, context: Context) -> pb.GetTargetResponse:
        target_id = parse_id(request.target_id)
        target = self._node.state.target(target_id)
        if target is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Object {request.target_id} not found")
        names = frozenset(request.read_mask.paths) or frozenset(pb.Target.DESCRIPTOR.fields_by_name)
        claimable = self._node.index.is_claimable(target)
        return pb.GetTargetResponse(target=target_message(target_id, target, names, claimable))

    async def list_targets(self, request: pb.ListTargetsRequest, _: Context) -> pb.ListTargetsResponse:
        return list_targets(self._node.index, request, time.monotonic())

    async def execute_transaction(
        self, request: pb.ExecuteTransactionRequest, context: Context
    ) -> pb.ExecuteTransactionResponse:
        transaction = read_transaction(request.transaction)
        digest = transaction.digest()
        if request.transaction.HasField("digest") and request.transaction.digest != format_digest(digest):
            raise ValueError(f"digest mismatch: {request.transaction.digest} is not {format_digest(digest)}")
        if len(request.signatures) != 1:
            raise ValueError("Invalid user signature: expected one signature")
        simple = request.signatures[0].simple
        if not signature_is_valid(transaction, simple.signature, simple.public_key):
            raise ValueError("Invalid user signature: Signature is not valid: Fail to verify user sig")
        if address_of(simple.public_key) != transaction.sender:
            signer = format_id(address_of(simple.public_key))
            text = f"Required Signature from {format_id(transaction.sender)} is absent [{signer}]"
            raise ValueError(f"Invalid user signature: {text}")
        effects = await self._node.submit(transaction, simple.signature, simple.public_key)
        if self._node.faults.take("reply_lost"):
            self._drop_connection(context.peer())
        return pb.ExecuteTransactionResponse(transaction=masked(_executed(effects), _mask(request)))

    async def simulate_transaction(
        self, request: pb.SimulateTransactionRequest, _: Context
    ) -> pb.SimulateTransactionResponse:
        effects = simulate(self._node.state, read_transaction(request.transaction))
        # Unlike everywhere else, this mask starts at the response itself.
        return masked(pb.SimulateTransactionResponse(transaction=_executed(effects)), _mask(request))

    async def subscribe_checkpoints(
        self, request: pb.SubscribeCheckpointsRequest, context: Context
    ) -> AsyncIterator[pb.SubscribeCheckpointsResponse]:
        if self._node.faults.no_stream:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown service soma.rpc.SubscriptionService")
        # The SDK sends nothing else before it has seen the headers of this stream.
        await context.send_initial_metadata(())
        tree = _mask(request, "sequence_number")
        node = self._node
        async for number, applied in node.checkpoints.listen(node.config.heartbeat_seconds):
            if node.faults.take("end_streams"):
                return
            message = pb.Checkpoint(sequence_number=number)
            if "summary" in tree or "signature" in tree or "digest" in tree:
                message = self._checkpoint_message(number, node.checkpoints.get(number))
                del message.transactions[:]
            if applied is not None:
                message.transactions.append(_listed(applied))
            yield pb.SubscribeCheckpointsResponse(cursor=number, checkpoint=masked(message, tree))


def _mask(request: Any, default: str = "*") -> Tree:
    paths = list(request.read_mask.paths) if request.HasField("read_mask") else []
    return mask_tree(paths or [default])


def _executed(effects: Effects | None) -> pb.ExecutedTransaction:
    assert effects is not None
    return pb.ExecutedTransaction(digest=format_digest(effects.digest), effects=effects_message(effects))


def _listed(applied: Applied) -> pb.ExecutedTransaction:
    """A transaction as checkpoints list it: changed objects without `0x` and without types (§16)."""
    message = pb.ExecutedTransaction(digest=format_digest(applied.digest))
    if applied.effects is None:
        message.effects.CopyFrom(_system_effects(applied))
    else:
        message.effects.CopyFrom(effects_message(applied.effects))
    for change in message.effects.changed_objects:
        change.object_id = change.object_id.removeprefix("0x")
        change.ClearField("object_type")
    return message


def _system_effects(applied: Applied) -> pb.TransactionEffects:
    """What a checkpoint shows of an input that is no transaction of a user: the objects it made, by id alone."""
    message = pb.TransactionEffects(status=pb.ExecutionStatus(success=True), epoch=applied.epoch)
    for object_id in applied.object_ids:
        message.changed_objects.add(object_id=format_id(object_id), id_operation=pb.ChangedObject.OP_CREATED)
    if applied.ends_epoch:
        message.changed_objects.add(object_id=format_id(SYSTEM_STATE_ID), id_operation=pb.ChangedObject.OP_NONE)
    return message
