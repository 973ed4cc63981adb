"""The network's own answers for the trained small models."""

from typing import Any


def test_reference(trained_case: Any, reference: Any, meets_the_answer: Any) -> None:
    meets_the_answer(trained_case, reference)


def test_numpy_engine(trained_case: Any, numpy_engine: Any, meets_the_answer: Any, is_close_to_reference: Any) -> None:
    meets_the_answer(trained_case, numpy_engine)
    is_close_to_reference(trained_case, numpy_engine)
