"""Filling, claiming and reporting targets (`soma-protocol` §11.2-§11.4)."""

from dataclasses import replace
from typing import Any

import numpy as np

from quickstart.chain.ids import format_id
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import ClaimRewards, ReportSubmission, SubmitData, UndoReportSubmission
from quickstart.devnet.effects import ErrorKind, ExecutionFailed
from quickstart.devnet.staging import SHARED, Staged
from quickstart.devnet.state import QUORUM, Model
from quickstart.devnet.targets import new_target
from quickstart.units import basis_points


def submit_data(staged: Staged, kind: SubmitData) -> None:
    target = staged.target(kind.target_id)
    bond = _check_submission(staged, kind, target)
    _take_bond(staged, kind, bond)
    winner = _active_winner(staged, kind)
    filled = replace(
        target,
        status=TargetStatus.FILLED,
        fill_epoch=staged.state.epoch,
        submitter=staged.sender,
        winning_model=kind.model_id,
        winning_owner=winner.owner,
        bond=bond,
        manifest=kind.manifest,
        winning_embedding=kind.embedding,
        winning_distance=kind.distance,
        winning_loss=kind.loss,
    )
    staged.write(kind.target_id, filled)
    staged.hits += 1
    _respawn(staged)


def _check_submission(staged: Staged, kind: SubmitData, target: TargetContents) -> int:
    """The checks before the bond is taken, in the chain's order; gives the bond."""
    epoch = staged.state.epoch
    if target.status is not TargetStatus.OPEN:
        raise ExecutionFailed(ErrorKind.TARGET_NOT_OPEN)
    if epoch > target.generation_epoch:
        detail = f"generation_epoch={target.generation_epoch}, current_epoch={epoch}"
        raise ExecutionFailed(ErrorKind.TARGET_EXPIRED, detail)
    if kind.model_id not in target.model_ids:
        detail = f"model_id={format_id(kind.model_id)}, target_id={format_id(kind.target_id)}"
        raise ExecutionFailed(ErrorKind.MODEL_NOT_IN_TARGET, detail)
    if len(kind.embedding) != len(target.embedding):
        detail = f"expected={len(target.embedding)}, actual={len(kind.embedding)}"
        raise ExecutionFailed(ErrorKind.EMBEDDING_DIMENSION_MISMATCH, detail)
    # "Greater than" and not "not at most": NaN and negative distances pass, as on the network.
    distance, threshold = np.float32(kind.distance), np.float32(target.distance_threshold)
    if distance > threshold:
        raise ExecutionFailed(ErrorKind.DISTANCE_EXCEEDS_THRESHOLD, f"score={distance:.7g}, threshold={threshold:.7g}")
    largest = staged.parameters.max_submission_data_size
    if kind.manifest.size > largest:
        raise ExecutionFailed(ErrorKind.DATA_EXCEEDS_MAX_SIZE, f"size={kind.manifest.size}, max_size={largest}")
    return staged.parameters.bond(kind.manifest.size)


def _take_bond(staged: Staged, kind: SubmitData, bond: int) -> None:
    coin_id = kind.bond_coin.object_id
    balance = 0 if coin_id in staged.deleted else staged.balance(coin_id)
    if balance < bond:
        raise ExecutionFailed(ErrorKind.INSUFFICIENT_BOND, f"required={bond}, provided={balance}")
    if balance == bond and coin_id != staged.gas_id:
        staged.delete(coin_id)
    elif coin_id not in staged.deleted:
        staged.set_balance(coin_id, balance - bond)


def _active_winner(staged: Staged, kind: SubmitData) -> Model:
    model = staged.state.models.get(kind.model_id)
    if model is None or not model.is_active:
        raise ExecutionFailed(ErrorKind.MODEL_NOT_ACTIVE)
    return model


def _respawn(staged: Staged) -> None:
    """A filled target is replaced if pool and budget allow. Its seed is creation 1 and its id creation 2."""
    staged.next_creation()
    state = staged.state
    models = state.active_models()
    if not models or not state.can_fund_target(staged.pool, staged.generated):
        return
    staged.pool -= state.reward_per_target
    staged.generated += 1
    seed = staged.next_target_seed() ^ state.rules.wrong_seed
    staged.create(new_target(state, models, seed), SHARED)


def claim_rewards(staged: Staged, kind: ClaimRewards) -> None:
    target, parameters = staged.target(kind.target_id), staged.parameters
    incentive = basis_points(target.reward, parameters.target_claimer_incentive_bps)
    epoch = staged.state.epoch
    if target.status is TargetStatus.OPEN:
        if epoch <= target.generation_epoch:
            raise ExecutionFailed(ErrorKind.TARGET_NOT_FILLED)
        staged.pool += target.reward - incentive
        _create_if_any(staged, incentive, staged.sender)
    else:
        if epoch <= target.fill_epoch + 1:
            raise ExecutionFailed(ErrorKind.AUDIT_WINDOW_OPEN, _window(target, epoch))
        if staged.state.voting_power(target.reporters) >= QUORUM:
            _pay_reporters(staged, target, incentive)
        else:
            _pay_winners(staged, target, incentive)
    staged.delete(kind.target_id)


def _pay_winners(staged: Staged, target: TargetContents, incentive: int) -> None:
    """Coins in the chain's order: submitter (with the remainder), model owner, claimer, the bond back."""
    submitter, owner = target.submitter, target.winning_owner
    if submitter is None or owner is None:
        raise ExecutionFailed(ErrorKind.TARGET_NOT_FILLED)
    share = basis_points(target.reward, staged.parameters.target_submitter_reward_share_bps)
    model_share = basis_points(target.reward, staged.parameters.target_model_reward_share_bps)
    if target.reward:
        remainder = target.reward - share - model_share - incentive
        staged.create_coin(share + remainder, submitter)
        staged.create_coin(model_share, owner)
        _create_if_any(staged, incentive, staged.sender)
    _create_if_any(staged, target.bond, submitter)


def _pay_reporters(staged: Staged, target: TargetContents, incentive: int) -> None:
    """Fraud: the reporters share the bond and the whole reward returns to the pool. The claimer's incentive
    is paid all the same: these shannons are new."""
    reporters = sorted(target.reporters)
    each, remainder = divmod(target.bond, len(reporters))
    for position, reporter in enumerate(reporters):
        _create_if_any(staged, each + (remainder if position == 0 else 0), reporter)
    staged.pool += target.reward
    staged.minted += incentive
    _create_if_any(staged, incentive, staged.sender)


def _create_if_any(staged: Staged, amount: int, owner: bytes) -> None:
    if amount:
        staged.create_coin(amount, owner)


def report_submission(staged: Staged, kind: ReportSubmission) -> None:
    target = _reportable(staged, kind.target_id)
    staged.write(kind.target_id, replace(target, reporters=target.reporters | {staged.sender}))


def undo_report_submission(staged: Staged, kind: UndoReportSubmission) -> None:
    target = _reportable(staged, kind.target_id)
    if staged.sender not in target.reporters:
        raise ExecutionFailed(ErrorKind.REPORT_RECORD_NOT_FOUND)
    staged.write(kind.target_id, replace(target, reporters=target.reporters - {staged.sender}))


def _reportable(staged: Staged, target_id: bytes) -> TargetContents:
    if staged.sender not in staged.state.validators:
        raise ExecutionFailed(ErrorKind.NOT_A_VALIDATOR)
    target = staged.target(target_id)
    if target.status is TargetStatus.OPEN:
        raise ExecutionFailed(ErrorKind.TARGET_NOT_FILLED)
    epoch = staged.state.epoch
    if epoch != target.fill_epoch + 1:
        raise ExecutionFailed(ErrorKind.AUDIT_WINDOW_CLOSED, _window(target, epoch))
    return target


def _window(target: TargetContents, epoch: int) -> str:
    return f"fill_epoch={target.fill_epoch}, current_epoch={epoch}"


RULES: dict[type, Any] = {
    SubmitData: submit_data,
    ClaimRewards: claim_rewards,
    ReportSubmission: report_submission,
    UndoReportSubmission: undo_report_submission,
}
