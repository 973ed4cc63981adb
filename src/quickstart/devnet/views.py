"""The chain's state as the wire's read calls show it (`soma-protocol` §4, §8)."""

from collections.abc import Container
from dataclasses import fields

from quickstart.chain.ids import Id32, blake2b_256, format_id
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.protocol import Parameters
from quickstart.devnet.codec import manifest_message
from quickstart.devnet.state import ChainState, Commitment, Model, ModelStatus
from quickstart.wire import soma_pb2 as pb

_BLS_G1_GENERATOR = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
)
_BLS_G2_GENERATOR = bytes.fromhex(
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
)
_ED25519_BASE_POINT = bytes.fromhex("58" + 31 * "66")

PARAMETER_NAMES = tuple(f.name for f in fields(Parameters))


def short_id(raw: Id32) -> str:
    """`0x` and hexadecimal without leading zeros: how targets name themselves and their models on the real
    node."""
    return "0x" + (raw.hex().lstrip("0") or "0")


def target_message(target_id: Id32, target: TargetContents, names: Container[str], claimable: bool) -> pb.Target:
    """The fields in `names` of a target."""
    message = pb.Target()
    if "id" in names:
        message.id = short_id(target_id)
    if "embedding" in names:
        message.embedding.extend(target.embedding.tolist())
    if "model_ids" in names:
        message.model_ids.extend(map(short_id, target.model_ids))
    if "distance_threshold" in names:
        message.distance_threshold = target.distance_threshold
    if "reward_pool" in names:
        message.reward_pool = target.reward
    if "generation_epoch" in names:
        message.generation_epoch = target.generation_epoch
    if "status" in names:
        message.status = "claimable" if claimable else target.status.value
    if "bond_amount" in names:
        message.bond_amount = target.bond
    if target.status is TargetStatus.FILLED:
        _describe_fill(message, target, names)
    return message


def _describe_fill(message: pb.Target, target: TargetContents, names: Container[str]) -> None:
    if "fill_epoch" in names:
        message.fill_epoch = target.fill_epoch
    if "submitter" in names and target.submitter:
        message.submitter = target.submitter.hex()
    if "winning_model_id" in names and target.winning_model:
        message.winning_model_id = short_id(target.winning_model)
    if "winning_model_owner" in names and target.winning_owner:
        message.winning_model_owner = target.winning_owner.hex()
    if "data_url" in names and target.manifest:
        message.data_url = target.manifest.url


def system_state_message(state: ChainState, base_url: str) -> pb.SystemState:
    """The whole system state."""
    message = pb.SystemState(
        epoch=state.epoch,
        epoch_start_timestamp_ms=state.epoch_start_ms,
        protocol_version=state.rules.protocol_version,
        parameters=pb.SystemParameters(**{name: getattr(state.parameters, name) for name in PARAMETER_NAMES}),
        validators=pb.ValidatorSet(total_stake=0),
        emission_pool=pb.EmissionPool(balance=state.pool, emission_per_epoch=state.rules.emission_per_epoch),
        target_state=pb.TargetState(
            distance_threshold=state.threshold,
            targets_generated_this_epoch=state.generated,
            hits_this_epoch=state.hits,
            hits_ema=state.hits_ema,
            reward_per_target=state.reward_per_target,
        ),
        safe_mode=False,
        safe_mode_accumulated_fees=0,
        safe_mode_accumulated_emissions=0,
    )
    message.validators.validators.extend(_validator_message(*one) for one in sorted(state.validators.items()))
    registry = message.model_registry
    registry.total_model_stake = sum(model.stake for model in state.active_models())
    for model_id, model in state.models.items():
        registry.models[format_id(model_id)].CopyFrom(model_message(model, base_url))
        registry.staking_pool_mappings[format_id(model.pool_id)] = format_id(model_id)
    for model_id, reporters in state.model_reports.items():
        registry.model_report_records[format_id(model_id)].reporters.extend(r.hex() for r in sorted(reporters))
    for target_id, target in state.targets():
        if target.reporters:
            records = message.submission_report_records[format_id(target_id)]
            records.reporters.extend(reporter.hex() for reporter in sorted(target.reporters))
    return message


def _validator_message(address: Id32, voting_power: int) -> pb.Validator:
    """A validator as the set holds it. It has a vote and no stake: the devnet has no validator pools. Its consensus
    keys, which nothing here uses, are the curves' generators, and the addresses lead nowhere.
    """
    return pb.Validator(
        soma_address=format_id(address),
        protocol_pubkey=_BLS_G2_GENERATOR,
        network_pubkey=_ED25519_BASE_POINT,
        worker_pubkey=_ED25519_BASE_POINT,
        net_address="/ip4/127.0.0.1/tcp/8080/http",
        p2p_address="/ip4/127.0.0.1/udp/8084",
        primary_address="/ip4/127.0.0.1/udp/8081",
        voting_power=voting_power,
        commission_rate=0,
        next_epoch_stake=0,
        next_epoch_commission_rate=0,
        staking_pool=pb.StakingPool(
            id=format_id(blake2b_256(b"ValidatorPool::" + address)),
            soma_balance=0,
            rewards_pool=0,
            pool_token_balance=0,
            pending_stake=0,
            pending_total_soma_withdraw=0,
            pending_pool_token_withdraw=0,
        ),
        proof_of_possession=_BLS_G1_GENERATOR,
    )


def model_message(model: Model, base_url: str) -> pb.Model:
    """A model as the registry holds it; which fields are set depends on its state (§6)."""
    message = pb.Model(
        owner=model.owner.hex(),
        architecture_version=model.architecture_version,
        staking_pool=_pool_message(model),
        commission_rate=model.commission_bps,
        next_epoch_commission_rate=model.next_commission_bps,
        state=model.status.value,
    )
    if model.commitment is None:
        message.create_epoch = model.create_epoch
        return message
    message.manifest.CopyFrom(manifest_message(model.commitment.manifest, base_url))
    message.weights_commitment = model.commitment.weights
    message.embedding_commitment = model.commitment.embedding
    message.decryption_key_commitment = model.commitment.key
    if model.status is ModelStatus.PENDING:
        message.commit_epoch = model.commitment.epoch
    else:
        message.decryption_key = model.decryption_key
        message.embedding.extend(model.embedding.tolist())
    if model.pending_update is not None:
        message.pending_update.CopyFrom(_update_message(model.pending_update, base_url))
    return message


def _update_message(update: Commitment, base_url: str) -> pb.PendingModelUpdate:
    return pb.PendingModelUpdate(
        manifest=manifest_message(update.manifest, base_url),
        weights_commitment=update.weights,
        embedding_commitment=update.embedding,
        decryption_key_commitment=update.key,
        commit_epoch=update.epoch,
    )


def _pool_message(model: Model) -> pb.StakingPool:
    message = pb.StakingPool(
        id=format_id(model.pool_id),
        soma_balance=model.stake,
        rewards_pool=0,
        pool_token_balance=model.stake,
        pending_stake=model.pending_stake,
        pending_total_soma_withdraw=0,
        pending_pool_token_withdraw=0,
    )
    if model.activation_epoch is not None:
        message.activation_epoch = model.activation_epoch
    if model.deactivation_epoch is not None:
        message.deactivation_epoch = model.deactivation_epoch
    return message
