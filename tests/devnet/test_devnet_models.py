"""The life of a model, and what the epoch boundary does to it (`soma-protocol` §11.5)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pure_chain import KEY, MANIFEST, SOMA, PureChain, model_embedding

from quickstart.chain import bcs
from quickstart.chain.ids import SYSTEM_STATE_ID, blake2b_256, derive_id
from quickstart.chain.objects import ObjectType
from quickstart.chain.transactions import (
    AddStakeToModel,
    CommitModel,
    CreateModel,
    DeactivateModel,
    Kind,
    ReportModel,
    RevealModel,
    SetModelCommissionRate,
    UndoReportModel,
)
from quickstart.devnet.effects import Effects, ErrorKind
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.state import Model, ModelStatus


@pytest.fixture
def chain() -> PureChain:
    chain = PureChain()
    chain.fund("owner", 100 * SOMA)
    chain.fund("a", 100 * SOMA)
    return chain


def kind_of(effects: Effects) -> ErrorKind | None:
    return effects.failure.kind if effects.failure else None


def now(chain: PureChain, model: Model) -> Model:
    return chain.state.models[model.model_id]


def test_creating_a_model_costs_stake_and_half_the_value_fee(chain: PureChain) -> None:
    before = chain.balance("owner")
    effects = chain.send("owner", CreateModel(SOMA, 1000, 1))
    assert (effects.operation_fee, effects.value_fee) == (900, 500_000)
    assert before - chain.balance("owner") == SOMA + 1000 + 900 + 500_000
    model = chain.state.models[derive_id(effects.digest, 0)]
    assert (model.status, model.stake, model.pool_id) == (ModelStatus.CREATED, SOMA, derive_id(effects.digest, 1))
    assert effects.created(ObjectType.STAKED_SOMA) == [derive_id(effects.digest, 2)]
    assert SYSTEM_STATE_ID in {c.object_id for c in effects.changed}


def test_the_books_of_a_model_at_eight_bps(chain: PureChain) -> None:
    """§16: creating with a stake of 1 SOMA costs 400,000 + 1,900; commit and reveal 1,600 each."""
    chain.epoch()
    chain.epoch()
    assert chain.state.parameters.value_fee_bps == 8
    before = chain.balance("owner")
    model = chain.create_model()
    assert before - chain.balance("owner") == SOMA + 400_000 + 1_900
    assert chain.commit(model).total_fee == 1_600
    chain.epoch()
    assert chain.reveal(model).total_fee == 1_600


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        (CreateModel(SOMA, 0, 2), ErrorKind.MODEL_ARCHITECTURE_VERSION_MISMATCH),
        (CreateModel(SOMA - 1, 0, 1), ErrorKind.MODEL_MIN_STAKE_NOT_MET),
        (CreateModel(SOMA, 10_001, 1), ErrorKind.MODEL_COMMISSION_RATE_TOO_HIGH),
        (CreateModel(100 * SOMA, 0, 1), ErrorKind.INSUFFICIENT_COIN_BALANCE),
    ],
)
def test_creation_failures(chain: PureChain, kind: CreateModel, failure: ErrorKind) -> None:
    assert kind_of(chain.send("owner", kind)) is failure


def test_commit_and_reveal_activate(chain: PureChain) -> None:
    model = chain.create_model()
    assert kind_of(chain.commit(model)) is None
    assert now(chain, model).status is ModelStatus.PENDING
    chain.epoch()
    assert kind_of(chain.reveal(model)) is None
    active = now(chain, model)
    assert active.is_active
    assert active.decryption_key == KEY
    np.testing.assert_array_equal(active.embedding, model_embedding(0))


def test_targets_appear_at_the_first_boundary_after_a_reveal(chain: PureChain) -> None:
    model = chain.create_model()
    chain.commit(model)
    chain.epoch()
    chain.reveal(model)
    assert chain.open_targets() == []
    chain.epoch()
    assert len(chain.open_targets()) == 100


def test_reveal_failures_in_their_order(chain: PureChain) -> None:
    model = chain.create_model()
    assert kind_of(chain.reveal(model)) is ErrorKind.OTHER_ERROR
    chain.commit(model)
    assert kind_of(chain.reveal(model)) is ErrorKind.MODEL_REVEAL_EPOCH_MISMATCH
    chain.epoch()
    wrong_both = RevealModel(model.model_id, b"x" * 32, model_embedding(1))
    assert kind_of(chain.send("owner", wrong_both)) is ErrorKind.MODEL_DECRYPTION_KEY_COMMITMENT_MISMATCH
    assert kind_of(chain.reveal(model, seed=1)) is ErrorKind.MODEL_EMBEDDING_COMMITMENT_MISMATCH
    assert kind_of(chain.reveal(model, "a")) is ErrorKind.NOT_MODEL_OWNER
    assert kind_of(chain.reveal(model)) is None
    assert kind_of(chain.reveal(model)) is ErrorKind.MODEL_NO_PENDING_UPDATE


def test_commit_failures(chain: PureChain) -> None:
    model = chain.create_model()
    assert kind_of(chain.commit(model, "a")) is ErrorKind.NOT_MODEL_OWNER
    assert kind_of(chain.commit(replace(model, model_id=b"\x01" * 32))) is ErrorKind.MODEL_NOT_FOUND
    chain.commit(model)
    assert kind_of(chain.commit(model)) is ErrorKind.OTHER_ERROR


def test_an_update_replaces_weights_once_revealed(chain: PureChain) -> None:
    model = chain.with_active_model()
    assert kind_of(chain.commit(model, seed=5)) is None
    assert now(chain, model).is_active
    chain.epoch()
    assert kind_of(chain.reveal(model, seed=5)) is None
    updated = now(chain, model)
    np.testing.assert_array_equal(updated.embedding, model_embedding(5))
    assert updated.pending_update is None


def test_an_update_that_is_not_revealed_is_dropped_without_loss(chain: PureChain) -> None:
    model = chain.with_active_model()
    chain.commit(model, seed=5)
    chain.epoch()
    assert now(chain, model).pending_update is not None
    chain.epoch()
    assert now(chain, model).pending_update is None
    assert now(chain, model).stake == model.stake


def test_a_model_that_is_never_committed_loses_half_again_and_again(chain: PureChain) -> None:
    """Created in 0: a commit is allowed in 0 or 1, the change to 2 slashes."""
    model = chain.create_model()
    stakes = []
    for _ in range(3):
        chain.epoch()
        stakes.append(now(chain, model).stake)
    assert stakes == [SOMA, SOMA // 2, SOMA // 4]
    assert now(chain, model).status is ModelStatus.CREATED
    assert chain.state.supply() == chain.state.minted - chain.state.slashed


def test_a_pending_model_that_is_never_revealed_goes_inactive_with_half_its_stake(chain: PureChain) -> None:
    model = chain.create_model()
    chain.commit(model)
    chain.epoch()
    assert now(chain, model).status is ModelStatus.PENDING
    chain.epoch()
    gone = now(chain, model)
    assert (gone.status, gone.stake) == (ModelStatus.INACTIVE, SOMA // 2)
    assert gone.decryption_key == bytes(32)
    assert gone.embedding.size == 0


def test_stake_counts_at_once_before_activation_and_later_after(chain: PureChain) -> None:
    model = chain.create_model()
    effects = chain.send("a", AddStakeToModel(model.model_id, chain.coin("a"), SOMA))
    assert kind_of(effects) is None
    assert effects.operation_fee == 900
    assert now(chain, model).stake == 2 * SOMA
    chain.commit(model)
    chain.epoch()
    chain.reveal(model)
    chain.send("a", AddStakeToModel(model.model_id, chain.coin("a"), SOMA))
    assert (now(chain, model).stake, now(chain, model).pending_stake) == (2 * SOMA, SOMA)
    chain.epoch()
    assert (now(chain, model).stake, now(chain, model).pending_stake) == (3 * SOMA, 0)


@pytest.mark.parametrize("amount", [None, 2 * SOMA])
def test_a_whole_coin_of_stake_is_used_up(chain: PureChain, amount: int | None) -> None:
    model = chain.create_model()
    source, gas = chain.fund("b", 2 * SOMA, SOMA)
    effects = chain.send("b", AddStakeToModel(model.model_id, source, amount), gas)
    assert (effects.operation_fee, effects.value_fee) == (900, 1_000_000)
    assert source.object_id not in chain.state.objects
    assert now(chain, model).stake == 3 * SOMA


def test_staking_the_whole_gas_coin_pays_its_own_fees(chain: PureChain) -> None:
    model = chain.create_model()
    (coin,) = chain.fund("b", 2 * SOMA)
    effects = chain.send("b", AddStakeToModel(model.model_id, coin, None))
    assert kind_of(effects) is None
    assert now(chain, model).stake + chain.balance("b") + effects.total_fee == 3 * SOMA


@pytest.mark.parametrize(
    ("amount", "failure"),
    [(0, ErrorKind.INVALID_ARGUMENTS), (100 * SOMA, ErrorKind.INSUFFICIENT_COIN_BALANCE)],
)
def test_stake_failures(chain: PureChain, amount: int, failure: ErrorKind) -> None:
    model = chain.create_model()
    assert kind_of(chain.send("a", AddStakeToModel(model.model_id, chain.coin("a"), amount))) is failure


def test_nothing_can_be_staked_on_an_inactive_model(chain: PureChain) -> None:
    model = chain.with_active_model()
    chain.send("owner", DeactivateModel(model.model_id))
    effects = chain.send("a", AddStakeToModel(model.model_id, chain.coin("a"), SOMA))
    assert kind_of(effects) is ErrorKind.MODEL_ALREADY_INACTIVE


def test_a_commission_takes_effect_at_the_boundary(chain: PureChain) -> None:
    model = chain.with_active_model()
    assert kind_of(chain.send("owner", SetModelCommissionRate(model.model_id, 77))) is None
    assert now(chain, model).commission_bps == 1000
    chain.epoch()
    assert now(chain, model).commission_bps == 77


@pytest.mark.parametrize(
    ("sender", "make", "failure"),
    [
        ("owner", lambda i: SetModelCommissionRate(i, 10_001), ErrorKind.MODEL_COMMISSION_RATE_TOO_HIGH),
        ("a", lambda i: SetModelCommissionRate(i, 1), ErrorKind.NOT_MODEL_OWNER),
        ("a", DeactivateModel, ErrorKind.NOT_MODEL_OWNER),
        ("a", ReportModel, ErrorKind.NOT_A_VALIDATOR),
        ("a", UndoReportModel, ErrorKind.NOT_A_VALIDATOR),
        (VALIDATOR, UndoReportModel, ErrorKind.REPORT_RECORD_NOT_FOUND),
    ],
)
def test_failures_on_an_active_model(
    chain: PureChain, sender: str, make: Callable[[bytes], Kind], failure: ErrorKind
) -> None:
    model = chain.with_active_model()
    assert kind_of(chain.send(sender, make(model.model_id))) is failure


@pytest.mark.parametrize("make", [lambda i: SetModelCommissionRate(i, 1), DeactivateModel])
def test_failures_on_a_model_that_is_not_active(chain: PureChain, make: Callable[[bytes], Kind]) -> None:
    model = chain.create_model()
    assert kind_of(chain.send("owner", make(model.model_id))) is ErrorKind.MODEL_NOT_ACTIVE


def test_a_reported_model_loses_nearly_all_at_the_boundary(chain: PureChain) -> None:
    model = chain.with_active_model()
    assert kind_of(chain.send(VALIDATOR, ReportModel(model.model_id))) is None
    chain.epoch()
    gone = now(chain, model)
    assert (gone.status, gone.stake) == (ModelStatus.INACTIVE, SOMA - SOMA * 95 // 100)
    assert chain.open_targets() == []


def test_a_report_that_is_undone_costs_nothing(chain: PureChain) -> None:
    model = chain.with_active_model()
    chain.send(VALIDATOR, ReportModel(model.model_id))
    chain.send(VALIDATOR, UndoReportModel(model.model_id))
    chain.epoch()
    assert now(chain, model).is_active


def test_an_embedding_of_another_width_cannot_be_revealed(chain: PureChain) -> None:
    """Upstream does not check this and would stop at the next target (§11.5)."""
    model = chain.create_model()
    narrow = np.zeros(3, np.float32)
    commitment = blake2b_256(bcs.tensor(narrow))
    chain.send("owner", CommitModel(model.model_id, MANIFEST, MANIFEST.checksum, commitment, blake2b_256(KEY)))
    chain.epoch()
    effects = chain.send("owner", RevealModel(model.model_id, KEY, narrow))
    assert kind_of(effects) is ErrorKind.EMBEDDING_DIMENSION_MISMATCH
