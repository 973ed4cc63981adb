"""Models that complete the most targets for their time come first."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from quickstart.planning.model_choice import stages

A, B, C, D, E = (letter.encode() * 32 for letter in "abcde")


def test_the_models_of_most_targets_come_first() -> None:
    targets = [(A, B), (A, B), (A, B), (C, D)]
    assert stages(targets, dict.fromkeys((A, B, C, D), 10)) == ((A, B), (C, D))


def test_what_costs_little_comes_before_what_completes_a_little_more() -> None:
    targets = [(A,), (A,), (A,), (B,), (B,)]
    assert stages(targets, {A: 100, B: 10}) == ((B,), (A,))


def test_a_model_that_is_chosen_already_makes_others_cheaper() -> None:
    targets = [(A, B), (A, B), (A, C), (D, E)]
    assert stages(targets, dict.fromkeys((A, B, C, D, E), 10)) == ((A, B), (C,), (D, E))


def test_targets_of_excluded_models_count_for_nothing_and_unneeded_models_come_last() -> None:
    assert stages([(A, E), (A, E), (B,)], {A: 1, B: 1, C: 1}) == ((B,), (A, C))
    assert stages([], {}) == ()


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3), max_size=12),
    st.dictionaries(st.integers(0, 7), st.integers(0, 1000)),
)
def test_every_model_is_in_one_group_and_order_of_targets_does_not_matter(
    targets: Sequence[Sequence[int]], cost: dict[int, int]
) -> None:
    needs = [[bytes([model]) * 32 for model in target] for target in targets]
    costs = {bytes([model]) * 32: value for model, value in cost.items()}
    found = stages(needs, costs)
    assert sorted(model for group in found for model in group) == sorted(costs)
    assert found == stages(needs[::-1], costs)
