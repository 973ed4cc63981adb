"""The life of a model: create, commit, reveal, stake, commission, deactivate, report (`soma-protocol`
§11.5)."""

from typing import Any

from quickstart.chain import bcs
from quickstart.chain.ids import blake2b_256
from quickstart.chain.objects import AddressOwner
from quickstart.chain.transactions import (
    AddStakeToModel,
    CommitModel,
    CreateModel,
    DeactivateModel,
    ReportModel,
    RevealModel,
    SetModelCommissionRate,
    UndoReportModel,
)
from quickstart.devnet.effects import ErrorKind, ExecutionFailed
from quickstart.devnet.staging import Staged
from quickstart.devnet.state import Commitment, Model, ModelStatus, StakedSoma
from quickstart.units import BPS


def create_model(staged: Staged, kind: CreateModel) -> None:
    parameters = staged.parameters
    if kind.architecture_version != parameters.model_architecture_version:
        raise ExecutionFailed(ErrorKind.MODEL_ARCHITECTURE_VERSION_MISMATCH)
    if kind.stake < parameters.model_min_stake:
        raise ExecutionFailed(ErrorKind.MODEL_MIN_STAKE_NOT_MET)
    if kind.commission_bps > BPS:
        raise ExecutionFailed(ErrorKind.MODEL_COMMISSION_RATE_TOO_HIGH)
    balance = 0 if staged.gas_id in staged.deleted else staged.balance(staged.gas_id)
    if balance < kind.stake + staged.value_fee + staged.writing_fee(3):
        raise ExecutionFailed(ErrorKind.INSUFFICIENT_COIN_BALANCE)
    model_id, pool_id = staged.next_id(), staged.next_id()
    staged.models[model_id] = Model(
        model_id=model_id,
        owner=staged.sender,
        pool_id=pool_id,
        stake=kind.stake,
        commission_bps=kind.commission_bps,
        next_commission_bps=kind.commission_bps,
        create_epoch=staged.state.epoch,
        architecture_version=kind.architecture_version,
    )
    _give_receipt(staged, pool_id, kind.stake)
    staged.set_balance(staged.gas_id, balance - kind.stake)


def commit_model(staged: Staged, kind: CommitModel) -> None:
    model = _owned(staged, kind.model_id, (ModelStatus.CREATED, ModelStatus.ACTIVE))
    commitment = Commitment(
        kind.manifest,
        kind.weights_commitment,
        kind.embedding_commitment,
        kind.key_commitment,
        staged.state.epoch,
    )
    if model.status is ModelStatus.CREATED:
        staged.change_model(kind.model_id, status=ModelStatus.PENDING, commitment=commitment)
    else:
        staged.change_model(kind.model_id, pending_update=commitment)


def reveal_model(staged: Staged, kind: RevealModel) -> None:
    model = _owned(staged, kind.model_id, (ModelStatus.PENDING, ModelStatus.ACTIVE))
    commitment = model.pending_update if model.is_active else model.commitment
    if commitment is None:
        raise ExecutionFailed(ErrorKind.MODEL_NO_PENDING_UPDATE)
    if staged.state.epoch != commitment.epoch + 1:
        raise ExecutionFailed(ErrorKind.MODEL_REVEAL_EPOCH_MISMATCH)
    if blake2b_256(kind.decryption_key) != commitment.key:
        raise ExecutionFailed(ErrorKind.MODEL_DECRYPTION_KEY_COMMITMENT_MISMATCH)
    if blake2b_256(bcs.tensor(kind.embedding)) != commitment.embedding:
        raise ExecutionFailed(ErrorKind.MODEL_EMBEDDING_COMMITMENT_MISMATCH)
    width = staged.parameters.target_embedding_dim
    if len(kind.embedding) != width:
        # Upstream does not check this and would fail at the next target; a devnet that stops helps nobody.
        detail = f"expected={width}, actual={len(kind.embedding)}"
        raise ExecutionFailed(ErrorKind.EMBEDDING_DIMENSION_MISMATCH, detail)
    staged.change_model(
        kind.model_id,
        status=ModelStatus.ACTIVE,
        commitment=commitment,
        pending_update=None,
        decryption_key=kind.decryption_key,
        embedding=kind.embedding,
        activation_epoch=staged.state.epoch if model.activation_epoch is None else model.activation_epoch,
    )


def add_stake_to_model(staged: Staged, kind: AddStakeToModel) -> None:
    model = staged.model(kind.model_id)
    coin_id = kind.coin.object_id
    is_gas = coin_id == staged.gas_id
    balance = staged.balance(coin_id)
    fees_to_come = staged.value_fee + staged.writing_fee(2)
    if kind.amount is not None:
        amount = kind.amount
        if balance < amount + (fees_to_come if is_gas else 0):
            raise ExecutionFailed(ErrorKind.INSUFFICIENT_COIN_BALANCE)
    else:
        amount = max(0, balance - fees_to_come - staged.writing_fee(1)) if is_gas else balance
    if amount == 0:
        raise ExecutionFailed(ErrorKind.INVALID_ARGUMENTS, "Stake amount cannot be 0!")
    if model.status is ModelStatus.INACTIVE:
        raise ExecutionFailed(ErrorKind.MODEL_ALREADY_INACTIVE)
    if model.activation_epoch is None:
        staged.change_model(kind.model_id, stake=model.stake + amount)
    else:
        staged.change_model(kind.model_id, pending_stake=model.pending_stake + amount)
    _give_receipt(staged, model.pool_id, amount)
    if amount == balance and not is_gas:
        staged.delete(coin_id)
    else:
        staged.set_balance(coin_id, balance - amount)


def set_commission_rate(staged: Staged, kind: SetModelCommissionRate) -> None:
    if kind.commission_bps > BPS:
        raise ExecutionFailed(ErrorKind.MODEL_COMMISSION_RATE_TOO_HIGH)
    _active_and_owned(staged, kind.model_id)
    staged.change_model(kind.model_id, next_commission_bps=kind.commission_bps)


def deactivate_model(staged: Staged, kind: DeactivateModel) -> None:
    _active_and_owned(staged, kind.model_id)
    staged.change_model(kind.model_id, status=ModelStatus.INACTIVE, deactivation_epoch=staged.state.epoch)


def report_model(staged: Staged, kind: ReportModel) -> None:
    reporters = _model_reporters(staged, kind)
    staged.model_reports[kind.model_id] = reporters | {staged.sender}


def undo_report_model(staged: Staged, kind: UndoReportModel) -> None:
    reporters = _model_reporters(staged, kind)
    if staged.sender not in reporters:
        raise ExecutionFailed(ErrorKind.REPORT_RECORD_NOT_FOUND)
    staged.model_reports[kind.model_id] = reporters - {staged.sender}


def _model_reporters(staged: Staged, kind: ReportModel | UndoReportModel) -> frozenset[bytes]:
    if staged.sender not in staged.state.validators:
        raise ExecutionFailed(ErrorKind.NOT_A_VALIDATOR)
    if not staged.model(kind.model_id).is_active:
        raise ExecutionFailed(ErrorKind.MODEL_NOT_ACTIVE)
    return staged.state.model_reports.get(kind.model_id, frozenset())


def _owned(staged: Staged, model_id: bytes, states: tuple[ModelStatus, ...]) -> Model:
    model = staged.model(model_id)
    if model.status not in states:
        raise ExecutionFailed(ErrorKind.OTHER_ERROR, "Model in invalid state for this operation")
    if model.owner != staged.sender:
        raise ExecutionFailed(ErrorKind.NOT_MODEL_OWNER)
    return model


def _active_and_owned(staged: Staged, model_id: bytes) -> None:
    model = staged.model(model_id)
    if not model.is_active:
        raise ExecutionFailed(ErrorKind.MODEL_NOT_ACTIVE)
    if model.owner != staged.sender:
        raise ExecutionFailed(ErrorKind.NOT_MODEL_OWNER)


def _give_receipt(staged: Staged, pool_id: bytes, principal: int) -> None:
    receipt = StakedSoma(pool_id, staged.state.epoch + 1, principal)
    staged.create(receipt, AddressOwner(staged.sender))


RULES: dict[type, Any] = {
    CreateModel: create_model,
    CommitModel: commit_model,
    RevealModel: reveal_model,
    AddStakeToModel: add_stake_to_model,
    SetModelCommissionRate: set_commission_rate,
    DeactivateModel: deactivate_model,
    ReportModel: report_model,
    UndoReportModel: undo_report_model,
}
