"""Between the wire's messages and the program's values (`soma-protocol` §4)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from quickstart.chain import bcs
from quickstart.chain.ids import format_digest, format_id, parse_digest, parse_id
from quickstart.chain.objects import AddressOwner, ObjectType, Owner
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    DeactivateModel,
    Kind,
    Manifest,
    ObjectRef,
    OtherKind,
    PayCoins,
    ReportModel,
    ReportSubmission,
    RevealModel,
    SetModelCommissionRate,
    SubmitData,
    TransactionData,
    TransferCoin,
    TransferObjects,
    UndoReportModel,
    UndoReportSubmission,
)
from quickstart.devnet.effects import ChangedObject, Effects
from quickstart.devnet.state import StoredObject
from quickstart.wire import soma_pb2 as pb

TYPE_NAMES = {
    ObjectType.SYSTEM_STATE: "SystemState",
    ObjectType.COIN: "Coin",
    ObjectType.STAKED_SOMA: "StakedSoma",
    ObjectType.TARGET: "Target",
}


def read_transaction(message: pb.Transaction) -> TransactionData:
    """The value a wire transaction describes.

    Raises:
        ValueError: no kind, or malformed ids and digests.
    """
    name = message.kind.WhichOneof("kind")
    if name is None:
        raise ValueError("the transaction has no kind")
    kind = _KINDS[name](getattr(message.kind, name))
    return TransactionData(kind, parse_id(message.sender), tuple(map(_ref, message.gas_payment)))


def _ref(message: pb.ObjectReference) -> ObjectRef:
    return ObjectRef(parse_id(message.object_id), message.version, parse_digest(message.digest))


def _manifest(message: pb.Manifest) -> Manifest:
    metadata = message.v1.metadata.v1
    return Manifest(message.v1.url, metadata.checksum, metadata.size)


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _floats(values: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.fromiter(values, dtype=np.float32, count=len(values))


def _submit_data(m: pb.SubmitData) -> SubmitData:
    return SubmitData(
        target_id=parse_id(m.target_id),
        manifest=_manifest(m.data_manifest.manifest),
        model_id=parse_id(m.model_id),
        embedding=_floats(m.embedding),
        distance=m.distance_score,
        loss=tuple(m.loss_score),
        bond_coin=_ref(m.bond_coin),
    )


def _pay_coins(m: pb.PayCoins) -> PayCoins:
    return PayCoins(tuple(map(_ref, m.coins)), tuple(m.amounts), tuple(map(parse_id, m.recipients)))


def _commit_model(m: pb.CommitModel) -> CommitModel:
    commitments = (m.weights_commitment, m.embedding_commitment, m.decryption_key_commitment)
    return CommitModel(parse_id(m.model_id), _manifest(m.manifest), *commitments)


def _add_stake(m: pb.AddStake) -> OtherKind:
    coin = _ref(m.coin_ref)
    return OtherKind(12, parse_id(m.address) + coin.encode() + bcs.option(_optional(m, "amount"), bcs.u64), (coin,))


def _withdraw_stake(m: pb.WithdrawStake) -> OtherKind:
    receipt = _ref(m.staked_soma)
    return OtherKind(13, receipt.encode(), (receipt,))


def _byte_fields(index: int, *names: str) -> Callable[[Any], OtherKind]:
    return lambda m: OtherKind(index, b"".join(bcs.byte_string(getattr(m, name)) for name in names))


def _update_validator(m: pb.UpdateValidatorMetadata) -> OtherKind:
    names = (
        "network_address", "p2p_address", "primary_address", "proxy_address",
        "protocol_pubkey", "worker_pubkey", "network_pubkey", "proof_of_possession",
    )  # fmt: skip
    fields = (_optional(m, f"next_epoch_{name}") for name in names)
    return OtherKind(7, b"".join(bcs.option(field, bcs.byte_string) for field in fields))


_KINDS: dict[str, Callable[[Any], Kind]] = {
    "add_validator": _byte_fields(
        3,
        "pubkey_bytes",
        "network_pubkey_bytes",
        "worker_pubkey_bytes",
        "proof_of_possession",
        "net_address",
        "p2p_address",
        "primary_address",
        "proxy_address",
    ),
    "remove_validator": _byte_fields(4, "pubkey_bytes"),
    "report_validator": lambda m: OtherKind(5, parse_id(m.reportee)),
    "undo_report_validator": lambda m: OtherKind(6, parse_id(m.reportee)),
    "update_validator_metadata": _update_validator,
    "set_commission_rate": lambda m: OtherKind(8, bcs.u64(m.new_rate)),
    "transfer_coin": lambda m: TransferCoin(_ref(m.coin), _optional(m, "amount"), parse_id(m.recipient)),
    "pay_coins": _pay_coins,
    "transfer_objects": lambda m: TransferObjects(tuple(map(_ref, m.objects)), parse_id(m.recipient)),
    "add_stake": _add_stake,
    "withdraw_stake": _withdraw_stake,
    "create_model": lambda m: CreateModel(m.stake_amount, m.commission_rate, m.architecture_version),
    "commit_model": _commit_model,
    "reveal_model": lambda m: RevealModel(parse_id(m.model_id), m.decryption_key, _floats(m.embedding)),
    "add_stake_to_model": lambda m: AddStakeToModel(parse_id(m.model_id), _ref(m.coin_ref), _optional(m, "amount")),
    "set_model_commission_rate": lambda m: SetModelCommissionRate(parse_id(m.model_id), m.new_rate),
    "deactivate_model": lambda m: DeactivateModel(parse_id(m.model_id)),
    "report_model": lambda m: ReportModel(parse_id(m.model_id)),
    "undo_report_model": lambda m: UndoReportModel(parse_id(m.model_id)),
    "submit_data": _submit_data,
    "claim_rewards": lambda m: ClaimRewards(parse_id(m.target_id)),
    "report_submission": lambda m: ReportSubmission(parse_id(m.target_id)),
    "undo_report_submission": lambda m: UndoReportSubmission(parse_id(m.target_id)),
}


def timestamp(time_ms: int) -> Timestamp:
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def owner_message(owner: Owner) -> pb.Owner:
    if isinstance(owner, AddressOwner):
        return pb.Owner(kind=pb.Owner.ADDRESS, address=owner.address.hex())
    return pb.Owner(kind=pb.Owner.SHARED, version=owner.initial_version)


def object_message(stored: StoredObject) -> pb.Object:
    """An object; `contents` come without the id in front."""
    return pb.Object(
        object_id=format_id(stored.object_id),
        version=stored.version,
        digest=format_digest(stored.digest),
        owner=owner_message(stored.owner),
        object_type=TYPE_NAMES[stored.object_type],
        contents=stored.contents.encode(),
        previous_transaction=format_digest(stored.previous_transaction),
    )


def manifest_message(manifest: Manifest, base_url: str) -> pb.Manifest:
    """A manifest; a URL that is relative to the node gets the node's address."""
    metadata = pb.Metadata(v1=pb.MetadataV1(checksum=manifest.checksum, size=manifest.size))
    return pb.Manifest(v1=pb.ManifestV1(url=absolute(manifest.url, base_url), metadata=metadata))


def absolute(url: str, base_url: str) -> str:
    """Genesis models lie on the node itself, at a port that differs from start to start."""
    return base_url + url if url.startswith("/") else url


def effects_message(effects: Effects) -> pb.TransactionEffects:
    message = pb.TransactionEffects(
        status=pb.ExecutionStatus(success=effects.failure is None),
        epoch=effects.epoch,
        fee=pb.TransactionFee(
            base_fee=effects.base_fee,
            operation_fee=effects.operation_fee,
            value_fee=effects.value_fee,
            total_fee=effects.total_fee,
        ),
        transaction_digest=format_digest(effects.digest),
        lamport_version=effects.version,
        changed_objects=map(_changed_message, effects.changed),
    )
    if effects.gas_index is not None:
        message.gas_object_index = effects.gas_index
    failure = effects.failure
    if failure is not None:
        error = message.status.error
        error.kind, error.description = int(failure.kind), failure.kind.name
        if failure.object_id is not None:
            error.object_id = format_id(failure.object_id)
        elif failure.detail is not None:
            error.other_error = failure.detail
    return message


def _changed_message(change: ChangedObject) -> pb.ChangedObject:
    message = pb.ChangedObject(
        object_id=format_id(change.object_id),
        input_state=pb.ChangedObject.IN_EXISTS if change.before else pb.ChangedObject.IN_DOES_NOT_EXIST,
        output_state=pb.ChangedObject.OUT_OBJECT_WRITE if change.after else pb.ChangedObject.OUT_DOES_NOT_EXIST,
        id_operation=pb.ChangedObject.OP_NONE,
        object_type=TYPE_NAMES[change.object_type],
    )
    if change.before is None:
        message.id_operation = pb.ChangedObject.OP_CREATED
    else:
        message.input_version = change.before.version
        message.input_digest = format_digest(change.before.digest)
        message.input_owner.CopyFrom(owner_message(change.before.owner))
    if change.after is None:
        message.id_operation = pb.ChangedObject.OP_DELETED
    else:
        message.output_version = change.after.version
        message.output_digest = format_digest(change.after.digest)
        message.output_owner.CopyFrom(owner_message(change.after.owner))
    return message
