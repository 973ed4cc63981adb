"""The network's own answers for deeper models made by a formula (width 256, 4 layers)."""

from typing import Any


def test_reference(synthetic_case: Any, reference: Any, meets_the_answer: Any) -> None:
    meets_the_answer(synthetic_case, reference)


def test_numpy_engine(
    synthetic_case: Any, numpy_engine: Any, meets_the_answer: Any, is_close_to_reference: Any
) -> None:
    meets_the_answer(synthetic_case, numpy_engine)
    is_close_to_reference(synthetic_case, numpy_engine)
