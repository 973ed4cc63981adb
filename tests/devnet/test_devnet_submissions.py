"""Filling, claiming and reporting targets (`soma-protocol` §11.2-§11.4, books of §12 and §16)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pure_chain import SOMA, PureChain

from quickstart.chain.ids import SYSTEM_STATE_ID, derive_id, format_id, target_seed
from quickstart.chain.objects import ObjectType, TargetStatus
from quickstart.chain.protocol import assign_models
from quickstart.chain.transactions import (
    ClaimRewards,
    DeactivateModel,
    Manifest,
    ReportSubmission,
    SubmitData,
    TransactionData,
    TransferCoin,
    UndoReportSubmission,
)
from quickstart.devnet.effects import ErrorKind, UnknownObject
from quickstart.devnet.execution import check
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.targets import direction

REWARD = 12_685_185
BOND = 1024 * 65


@pytest.fixture
def chain() -> PureChain:
    chain = PureChain()
    chain.with_active_model()
    chain.fund("a", 10 * SOMA)
    return chain


def test_a_new_epoch_has_a_hundred_targets_that_pay_as_the_network(chain: PureChain) -> None:
    targets = chain.open_targets()
    assert len(targets) == 100
    assert {target.reward for _, target in targets} == {REWARD}
    assert {target.distance_threshold for _, target in targets} == {1.05}


def test_a_fill_costs_the_bond_and_five_writes(chain: PureChain) -> None:
    bond, gas = chain.fund("b", SOMA, SOMA)
    target_id, _ = chain.open_targets()[0]
    effects = chain.send("b", chain.submission(target_id, bond), gas)
    assert (effects.base_fee, effects.operation_fee, effects.value_fee) == (1000, 1500, 0)
    assert chain.balance_of(bond) == SOMA - BOND
    assert chain.balance_of(gas) == SOMA - 2500


def test_a_fill_from_one_coin_writes_four(chain: PureChain) -> None:
    before = chain.balance("a")
    assert chain.fill("a", chain.open_targets()[0][0]).operation_fee == 1200
    assert before - chain.balance("a") == BOND + 2200


def test_a_bond_coin_that_is_used_up_is_deleted_and_free(chain: PureChain) -> None:
    bond, gas = chain.fund("b", BOND, SOMA)
    effects = chain.send("b", chain.submission(chain.open_targets()[0][0], bond), gas)
    assert effects.operation_fee == 1200
    assert bond.object_id not in chain.state.objects


def test_the_least_coin_that_can_fill(chain: PureChain) -> None:
    least = chain.state.parameters.submission_cost(1024)
    for balance, fails in ((least - 1, True), (least, False)):
        (coin,) = chain.fund("b", balance)
        effects = chain.send("b", chain.submission(chain.open_targets()[0][0], coin), coin)
        assert (effects.failure is not None) is fails


def test_a_fill_is_recorded_and_replaced(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    pool, generated = chain.state.pool, chain.state.generated
    effects = chain.fill("a", target_id)
    filled = chain.state.target(target_id)
    assert filled is not None
    assert (filled.status, filled.fill_epoch, filled.bond) == (TargetStatus.FILLED, 2, BOND)
    assert filled.submitter == chain.address("a")
    assert filled.winning_owner == chain.address("owner")
    assert chain.state.hits == 1
    assert (pool - chain.state.pool, chain.state.generated - generated) == (REWARD, 1)
    # The replacement follows from the digest alone (§16).
    assert effects.created(ObjectType.TARGET) == [derive_id(effects.digest, 2)]
    new = chain.state.target(derive_id(effects.digest, 2))
    assert new is not None
    np.testing.assert_array_equal(new.embedding, direction(target_seed(effects.digest, 1), 8))


def test_changed_objects_name_the_system_state_and_its_version_counts(chain: PureChain) -> None:
    version = chain.state.system_version
    effects = chain.fill("a", chain.open_targets()[0][0])
    system = next(c for c in effects.changed if c.object_id == SYSTEM_STATE_ID)
    assert system.before is not None
    assert system.after is not None
    assert system.before.version == version
    assert system.after.version == effects.version == version + 1
    assert effects.gas_index is not None
    assert effects.changed[effects.gas_index].object_id == chain.coin("a").object_id


def _not_open(chain: PureChain, claim: SubmitData) -> SubmitData:
    chain.fund("b", SOMA)
    chain.fill("b", claim.target_id)
    return claim


def _expired(chain: PureChain, claim: SubmitData) -> SubmitData:
    chain.epoch()
    return claim


def _inactive(chain: PureChain, claim: SubmitData) -> SubmitData:
    assert chain.send("owner", DeactivateModel(claim.model_id)).failure is None
    return claim


def _change(**changes: object) -> Callable[[PureChain, SubmitData], SubmitData]:
    return lambda chain, claim: replace(claim, **changes)  # type: ignore[arg-type]


def _too_large(chain: PureChain, claim: SubmitData) -> SubmitData:
    return replace(claim, manifest=Manifest("http://h/d", b"d" * 32, 1_048_577))


def _poor(chain: PureChain, claim: SubmitData) -> SubmitData:
    return replace(claim, bond_coin=chain.fund("a", BOND - 1)[0])


SUBMISSION_FAILURES = [
    (_not_open, ErrorKind.TARGET_NOT_OPEN, None),
    (_expired, ErrorKind.TARGET_EXPIRED, "generation_epoch=2, current_epoch=3"),
    (_change(model_id=b"\x01" * 32), ErrorKind.MODEL_NOT_IN_TARGET, "model_id=0x0101"),
    (_change(embedding=np.zeros(2, np.float32)), ErrorKind.EMBEDDING_DIMENSION_MISMATCH, "expected=8, actual=2"),
    (_change(distance=1.06), ErrorKind.DISTANCE_EXCEEDS_THRESHOLD, "score=1.06, threshold=1.05"),
    (_too_large, ErrorKind.DATA_EXCEEDS_MAX_SIZE, "size=1048577, max_size=1048576"),
    (_poor, ErrorKind.INSUFFICIENT_BOND, f"required={BOND}, provided={BOND - 1}"),
    (_inactive, ErrorKind.MODEL_NOT_ACTIVE, None),
]


@pytest.mark.parametrize(
    ("change", "kind", "detail"), SUBMISSION_FAILURES, ids=[k.name for _, k, _ in SUBMISSION_FAILURES]
)
def test_submission_failures(
    chain: PureChain, change: Callable[[PureChain, SubmitData], SubmitData], kind: ErrorKind, detail: str | None
) -> None:
    target_id, _ = chain.open_targets()[0]
    claim = change(chain, chain.submission(target_id, chain.fund("a", SOMA)[0]))
    gas = chain.coin("a")
    before = chain.balance("a")
    effects = chain.send("a", claim, gas)
    assert effects.failure is not None
    assert effects.failure.kind is kind
    assert (effects.failure.detail or "").startswith(detail or "")
    assert before - chain.balance("a") == effects.total_fee == 1000


@pytest.mark.parametrize("distance", [float("nan"), -3.0, 1.05])
def test_distances_that_pass(chain: PureChain, distance: float) -> None:
    claim = chain.submission(chain.open_targets()[0][0], chain.coin("a"), distance=distance)
    assert chain.send("a", claim).failure is None


def test_empty_data_needs_no_bond(chain: PureChain) -> None:
    chain.fill("a", chain.open_targets()[0][0], size=0)


def test_a_target_that_never_existed_is_unknown_and_a_claimed_one_deleted(chain: PureChain) -> None:
    claim = chain.submission(b"\x09" * 32, chain.coin("a"))
    with pytest.raises(UnknownObject):
        check(chain.state, TransactionData(claim, chain.address("a"), (chain.coin("a"),)))
    target_id, _ = chain.open_targets()[0]
    chain.epoch()
    assert chain.claim("a", target_id).failure is None
    effects = chain.claim("a", target_id)
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.INPUT_OBJECT_DELETED


@pytest.mark.parametrize(
    ("epochs", "kind", "detail"),
    [
        (0, ErrorKind.AUDIT_WINDOW_OPEN, "fill_epoch=2, current_epoch=2"),
        (1, ErrorKind.AUDIT_WINDOW_OPEN, "fill_epoch=2, current_epoch=3"),
        (2, None, None),
    ],
)
def test_a_fill_can_be_claimed_two_epochs_later(
    chain: PureChain, epochs: int, kind: ErrorKind | None, detail: str | None
) -> None:
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    for _ in range(epochs):
        chain.epoch()
    failure = chain.claim("a", target_id).failure
    assert (failure.kind, failure.detail) == (kind, detail) if failure else kind is None


def test_an_open_target_cannot_be_claimed(chain: PureChain) -> None:
    failure = chain.claim("a", chain.open_targets()[0][0]).failure
    assert failure is not None
    assert failure.kind is ErrorKind.TARGET_NOT_FILLED


def test_books_of_one_fill_to_the_shannon() -> None:
    """The example of §12: 10,240 bytes at 10 bps, and §16's net incomes."""
    chain = PureChain()
    chain.with_active_model()
    # Value fees fall at each boundary: set the rate the example uses.
    chain.state.parameters = replace(chain.state.parameters, value_fee_bps=10)
    for name in "abc":
        chain.fund(name, SOMA)
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id, size=10_240)
    chain.state.epoch += 2
    a, b, owner, pool = chain.balance("a"), chain.balance("b"), chain.balance("owner"), chain.state.pool
    effects = chain.claim("b", target_id)
    assert (effects.operation_fee, effects.value_fee, effects.total_fee) == (1800, 6_342, 9_142)
    assert chain.balance("a") - a == 6_310_881 + 665_600
    assert chain.balance("owner") - owner == 6_310_879
    assert chain.balance("b") - b == 63_425 - 9_142
    assert chain.state.pool == pool
    assert target_id not in chain.state.objects


@pytest.mark.parametrize(
    ("claimer", "filled", "net"),
    [
        ("a", True, 6_434_261),
        ("b", True, 56_820),
        ("b", False, 57_720),
    ],
    ids=["own fill, bond included", "somebody else's fill", "expired"],
)
def test_net_income_as_measured_at_seven_bps(claimer: str, filled: bool, net: int) -> None:
    chain = PureChain()
    chain.with_active_model()
    chain.fund("a", SOMA)
    chain.fund("b", SOMA)
    target_id, _ = chain.open_targets()[0]
    if filled:
        chain.fill("a", target_id)
    chain.epoch()
    chain.epoch()
    assert chain.state.parameters.value_fee_bps == 7
    before = chain.balance(claimer)
    assert chain.claim(claimer, target_id).failure is None
    assert chain.balance(claimer) - before == net


def test_a_claims_coins_come_in_order(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    chain.epoch()
    chain.epoch()
    chain.fund("b", SOMA)
    effects = chain.claim("b", target_id)
    coins = [chain.state.objects[derive_id(effects.digest, n)] for n in range(4)]
    owners = [coin.owner.address for coin in coins]  # type: ignore[union-attr]
    assert owners == [chain.address(name) for name in ("a", "owner", "b", "a")]
    assert [chain.balance_of(coin.ref) for coin in coins] == [6_310_881, 6_310_879, 63_425, BOND]


def test_an_expired_target_gives_half_a_percent_and_the_rest_to_the_pool(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    chain.epoch()
    pool, before = chain.state.pool, chain.balance("a")
    effects = chain.claim("a", target_id)
    assert effects.operation_fee == 900
    assert chain.balance("a") - before == 63_425 - effects.total_fee
    assert chain.state.pool - pool == REWARD - 63_425


def test_reports_with_a_quorum_cost_the_bond(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    chain.epoch()
    report = chain.send(VALIDATOR, ReportSubmission(target_id))
    assert report.failure is None
    assert report.operation_fee == 600
    chain.epoch()
    pool, validator, cheat = chain.state.pool, chain.balance(VALIDATOR), chain.balance("a")
    chain.fund("b", SOMA)
    effects = chain.claim("b", target_id)
    assert chain.balance(VALIDATOR) - validator == BOND
    assert chain.state.pool - pool == REWARD
    assert chain.balance("a") == cheat
    assert chain.balance("b") == SOMA + 63_425 - effects.total_fee


def test_several_reporters_share_the_bond_and_the_first_gets_the_remainder(chain: PureChain) -> None:
    names = [VALIDATOR, "v1", "v2"]
    chain.state.validators = {chain.address(name): 3333 for name in names}
    for name in names:
        chain.fund(name, SOMA)
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    chain.epoch()
    for name in names:
        assert chain.send(name, ReportSubmission(target_id)).failure is None
    chain.epoch()
    before = {name: chain.balance(name) for name in names}
    chain.claim("a", target_id)
    gains = {chain.address(name): chain.balance(name) - before[name] for name in names}
    assert [gains[address] for address in sorted(gains)] == [BOND - 2 * (BOND // 3), BOND // 3, BOND // 3]


def test_a_report_below_the_quorum_changes_nothing(chain: PureChain) -> None:
    chain.state.validators[chain.address("v")] = 3000
    chain.state.validators[chain.address(VALIDATOR)] = 6666
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    chain.epoch()
    chain.send(VALIDATOR, ReportSubmission(target_id))
    chain.epoch()
    owner = chain.balance("owner")
    chain.claim("a", target_id)
    assert chain.balance("owner") - owner == 6_310_879


@pytest.mark.parametrize(
    ("sender", "epochs", "fill", "kind"),
    [
        ("a", 1, True, ErrorKind.NOT_A_VALIDATOR),
        (VALIDATOR, 1, False, ErrorKind.TARGET_NOT_FILLED),
        (VALIDATOR, 0, True, ErrorKind.AUDIT_WINDOW_CLOSED),
        (VALIDATOR, 2, True, ErrorKind.AUDIT_WINDOW_CLOSED),
    ],
)
def test_report_failures(chain: PureChain, sender: str, epochs: int, fill: bool, kind: ErrorKind) -> None:
    target_id, _ = chain.open_targets()[0]
    if fill:
        chain.fill("a", target_id)
    for _ in range(epochs):
        chain.epoch()
    for report in (ReportSubmission(target_id), UndoReportSubmission(target_id)):
        failure = chain.send(sender, report).failure
        assert failure is not None
        assert failure.kind is kind


def test_a_report_can_be_undone_once(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    chain.fill("a", target_id)
    chain.epoch()
    chain.send(VALIDATOR, ReportSubmission(target_id))
    assert chain.send(VALIDATOR, UndoReportSubmission(target_id)).failure is None
    again = chain.send(VALIDATOR, UndoReportSubmission(target_id)).failure
    assert again is not None
    assert again.kind is ErrorKind.REPORT_RECORD_NOT_FOUND


def test_no_respawn_once_the_budget_is_spent(chain: PureChain) -> None:
    chain.state.generated = 86_400
    effects = chain.fill("a", chain.open_targets()[0][0])
    assert effects.created(ObjectType.TARGET) == []
    assert effects.operation_fee == 900


def test_a_failed_fill_gives_the_target_a_new_version(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    claim = chain.submission(target_id, chain.coin("a"), distance=1.9)
    effects = chain.send("a", claim)
    change = next(c for c in effects.changed if c.object_id == target_id)
    assert change.after is not None
    assert change.after.version == effects.version
    assert chain.state.objects[target_id].version == effects.version


def test_targets_go_to_the_models_with_the_lowest_score() -> None:
    """The example of §11.6: a heavily staked far model beats a near light one."""
    target = np.array([0.6, 0.8], np.float32)
    ids = (b"A" * 32, b"B" * 32, b"C" * 32)
    embeddings = np.array([[1, 0], [0, 1], [0.6, -0.8]], np.float32)
    assert assign_models(target, ids, (1, 4, 16), embeddings, 3) == (ids[1], ids[2], ids[0])


def test_ids_are_named_in_full_in_failures(chain: PureChain) -> None:
    target_id, _ = chain.open_targets()[0]
    failure = chain.send("a", chain.submission(target_id, chain.coin("a"), model_id=b"\x01" * 32)).failure
    assert failure is not None
    assert failure.detail == f"model_id=0x{'01' * 32}, target_id={format_id(target_id)}"


def test_an_ordinary_transfer_leaves_the_system_state_alone(chain: PureChain) -> None:
    version = chain.state.system_version
    effects = chain.send("a", TransferCoin(chain.coin("a"), 1, b"\x01" * 32))
    assert SYSTEM_STATE_ID not in {c.object_id for c in effects.changed}
    assert chain.state.system_version == version


def test_claims_of_unknown_kind_of_object_are_refused(chain: PureChain) -> None:
    coin = chain.coin("a")
    with pytest.raises(UnknownObject):
        check(chain.state, TransactionData(ClaimRewards(coin.object_id), chain.address("a"), (coin,)))
