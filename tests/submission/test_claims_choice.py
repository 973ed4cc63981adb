"""Which claims are worth making."""

import hypothesis.strategies as st
from hypothesis import given

from quickstart.chain.client import ClaimableTarget
from quickstart.chain.protocol import PARAMETERS
from quickstart.submission.claims import worth_claiming

OWNER, OTHER = b"\x01" * 32, b"\x02" * 32
PARAMS = PARAMETERS[5]

listed = st.lists(
    st.builds(
        ClaimableTarget,
        st.integers(0, 30).map(lambda n: bytes([n]) * 32),
        st.integers(0, 20_000_000),
        st.sampled_from([None, OWNER, OTHER]),
        st.integers(0, 70_000),
    ),
    unique_by=lambda target: target.target_id,
    max_size=20,
)


@given(listed, st.frozensets(st.integers(0, 30).map(lambda n: bytes([n]) * 32)))
def test_own_fills_always_and_first_others_where_the_incentive_exceeds_the_fee(
    claimable: list[ClaimableTarget], taken: frozenset[bytes]
) -> None:
    claims = worth_claiming(claimable, OWNER, taken, PARAMS)
    by_id = {target.target_id: target for target in claimable}
    chosen = [by_id[claim.target_id] for claim in claims]
    ours = [target.submitter == OWNER for target in chosen]
    assert ours == sorted(ours, reverse=True)
    assert len({claim.target_id for claim in claims}) == len(claims)
    for target in claimable:
        claim = next((claim for claim in claims if claim.target_id == target.target_id), None)
        if target.target_id in taken:
            assert claim is None
        elif target.submitter == OWNER:
            assert claim is not None
            assert claim.details["ours"]
            assert not claim.details["expired"]
            shares = [claim.details[name] for name in ("submitter_share", "model_share", "incentive")]
            assert sum(shares) == target.reward
            assert claim.details["bond"] == target.bond
        else:
            written = 900 if target.submitter is None else 1800
            pays = target.reward * 50 // 10_000 > 1000 + written + target.reward * 5 // 10_000
            assert (claim is not None) == pays
            if claim is not None:
                assert not claim.details["ours"]
                assert claim.details["expired"] == (target.submitter is None)


def test_the_network_s_own_figures() -> None:
    """§16: a fill pays 49.75 % with the remainder, its claim costs 1000 + 1800 + five ten-thousandths."""
    ours = ClaimableTarget(b"a" * 32, 12_685_185, OWNER, 66_560)
    expired = ClaimableTarget(b"b" * 32, 12_685_185, None, 0)
    first, second = worth_claiming([expired, ours], OWNER, frozenset(), PARAMS)
    assert (first.target_id, first.fee) == (b"a" * 32, 1000 + 1800 + 6342)
    assert first.details["submitter_share"] == 6_310_881
    assert first.details["model_share"] == 6_310_879
    assert first.details["incentive"] == 63_425
    assert (second.target_id, second.fee) == (b"b" * 32, 1000 + 900 + 6342)
    assert second.details["expired"]
