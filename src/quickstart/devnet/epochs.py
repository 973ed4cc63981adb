"""The change to the next epoch (`soma-protocol` §12; the order of the steps matters)."""

from dataclasses import dataclass, replace

import numpy as np

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256, derive_id, target_seed
from quickstart.devnet.staging import SHARED
from quickstart.devnet.state import QUORUM, ChainState, Model, ModelStatus, StoredObject
from quickstart.devnet.targets import new_target
from quickstart.units import BPS, basis_points


@dataclass(frozen=True, slots=True)
class EpochChange:
    """The digest of the system transaction that changed the epoch, and the targets it made."""

    epoch: int
    digest: Id32
    target_ids: tuple[Id32, ...]


def advance_epoch(state: ChainState, now_ms: int) -> EpochChange:
    """Ends the current epoch at `now_ms`; emission flows only if its full duration has passed."""
    rewards = state.fees + _emission(state, now_ms)
    fee_bps = _next_value_fee_bps(state)
    state.parameters = replace(state.parameters, value_fee_bps=fee_bps)
    state.epoch += 1
    state.epoch_start_ms = now_ms
    state.fees = 0
    # The validators' share is computed and then returns to the pool: the devnet's validators have no staking
    # pools.
    for_validators = basis_points(rewards, state.parameters.validator_reward_allocation_bps)
    state.pool += rewards - for_validators
    _adjust_difficulty(state)
    state.hits = state.generated = 0
    state.reward_per_target = state.target_budget() // max(1, state.rules.reward_hits)
    state.pool += for_validators
    _advance_models(state)
    digest = blake2b_256(b"EpochChange::" + state.chain_id + bcs.u64(state.epoch))
    target_ids = _make_targets(state, digest)
    state.system_version += 1
    state.system_transaction = digest
    return EpochChange(state.epoch, digest, target_ids)


def _emission(state: ChainState, now_ms: int) -> int:
    """Moves this epoch's emission out of the pool if the epoch was not cut short."""
    if now_ms < state.epoch_start_ms + state.parameters.epoch_duration_ms:
        return 0
    emission = min(state.rules.emission_per_epoch, state.pool)
    state.pool -= emission
    return emission


def _next_value_fee_bps(state: ChainState) -> int:
    """Moves towards the fee target by at most an eighth, rounded down: from 10 it falls to 7 and stays
    there."""
    parameters = state.parameters
    goal, current = parameters.target_epoch_fee_collection, parameters.value_fee_bps
    if not goal:
        return current
    ratio = state.fees * BPS // goal
    largest_step = basis_points(current, parameters.fee_adjustment_rate_bps)
    if ratio > BPS:
        step = min(basis_points(current, ratio - BPS), largest_step)
        return min(current + step, parameters.max_value_fee_bps)
    step = min(basis_points(current, BPS - ratio), largest_step)
    return max(current - step, parameters.min_value_fee_bps)


def _adjust_difficulty(state: ChainState) -> None:
    """Harder after more fills than `target_hits_per_epoch`, easier after fewer, in float32 as the network
    counts."""
    parameters = state.parameters
    decay = parameters.target_hits_ema_decay_bps
    if state.hits_ema == 0:
        state.hits_ema = state.hits
    else:
        state.hits_ema = (decay * state.hits_ema + (BPS - decay) * state.hits) // BPS
    if state.hits_ema == 0:
        return
    one, sigma = np.float32(1), np.float32(state.rules.sigma)
    z = (one - np.float32(state.threshold)) / sigma
    rate = np.float32(parameters.target_difficulty_adjustment_rate_bps / BPS)
    step = max(abs(z) * rate, np.float32(state.rules.minimum_z_step))
    if state.hits_ema > parameters.target_hits_per_epoch:
        z = z + step
    elif state.hits_ema < parameters.target_hits_per_epoch:
        z = z - step
    hardest = (one - np.float32(parameters.target_min_distance_threshold)) / sigma
    easiest = (one - np.float32(parameters.target_max_distance_threshold)) / sigma
    state.threshold = float(one - sigma * min(max(z, easiest), hardest))


def _advance_models(state: ChainState) -> None:
    for model_id, model in sorted(state.models.items()):
        state.models[model_id] = _advanced(state, model)


def _advanced(state: ChainState, model: Model) -> Model:
    """A model after the boundary to `state.epoch`: slashed, put away, or with its pending changes in force
    (§11.5)."""
    epoch, parameters = state.epoch, state.parameters
    reveal_rate, tally_rate = parameters.model_reveal_slash_rate_bps, parameters.model_tally_slash_rate_bps
    if model.is_active and state.voting_power(state.model_reports.get(model.model_id, frozenset())) >= QUORUM:
        model = _slashed(state, model, tally_rate)
        return replace(model, status=ModelStatus.INACTIVE, deactivation_epoch=epoch)
    if model.status is ModelStatus.CREATED and model.create_epoch + 1 < epoch:
        return _slashed(state, model, reveal_rate)
    if model.status is ModelStatus.PENDING and model.commitment and model.commitment.epoch < epoch - 1:
        model = _slashed(state, model, reveal_rate)
        return replace(
            model,
            status=ModelStatus.INACTIVE,
            deactivation_epoch=epoch,
            decryption_key=bytes(32),
            embedding=np.empty(0, np.float32),
        )
    if not model.is_active:
        return model
    update = model.pending_update
    return replace(
        model,
        pending_update=None if update and update.epoch < epoch - 1 else update,
        commission_bps=model.next_commission_bps,
        stake=model.stake + model.pending_stake,
        pending_stake=0,
    )


def _slashed(state: ChainState, model: Model, rate_bps: int) -> Model:
    loss = basis_points(model.stake, rate_bps)
    state.slashed += loss
    return replace(model, stake=model.stake - loss)


def _make_targets(state: ChainState, digest: Id32) -> tuple[Id32, ...]:
    """The epoch's first targets, paid from the pool; none without an active model."""
    models = state.active_models()
    made: list[Id32] = []
    while models and len(made) < state.parameters.target_initial_targets_per_epoch:
        if not state.can_fund_target(state.pool, state.generated):
            break
        number = len(made)
        target_id = derive_id(digest, number)
        contents = new_target(state, models, target_seed(digest, number))
        state.objects[target_id] = StoredObject.of(target_id, 1, SHARED, contents, digest)
        state.pool -= state.reward_per_target
        state.generated += 1
        made.append(target_id)
    return tuple(made)
