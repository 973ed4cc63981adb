"""How many sequences are scored at a time, and what happens when that was too many."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from quickstart.scoring.contract import SEQUENCE_TOKENS
from quickstart.scoring.engine import Architecture

log = logging.getLogger(__name__)

MOST_SEQUENCES = {"cpu": 1, "cuda": 64}
"""A card's products are large enough at 64; on a CPU a single sequence stays in the caches best."""

USABLE_SHARE = 0.8
"""Of the free memory: the rest is for what libraries take for themselves, and for fragments."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batched(Generic[T]):
    """`results`: of the parts in order, without the positions in `failed`, which did not fit even alone. `size`: that
    held in the end.
    """

    results: tuple[T, ...]
    failed: tuple[int, ...]
    size: int


def run_batches(
    count: int,
    size: int,
    run: Callable[[slice], T],
    out_of_memory: Callable[[Exception], bool],
    recover: Callable[[], None],
) -> Batched[T]:
    """Runs positions 0 to `count` in batches of `size`, halved whenever memory does not suffice: that batch starts
    again, so nothing is lost. `recover` is called in between, with nothing of the failed batch alive. A position that
    fails alone says nothing of the size: the next ones are tried with the first again.

    Raises:
        Exception: whatever `run` raises that is not `out_of_memory`.
    """
    results: list[T] = []
    failed: list[int] = []
    first_size = size
    start = 0
    while start < count:
        part = slice(start, min(start + size, count))
        try:
            results.append(run(part))
            start = part.stop
            continue
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        recover()
        if size == 1:
            failed.append(start)
            start += 1
            size = first_size
        else:
            size = max(1, min(size, count - start) // 2)
            log.warning("out of memory: batches of %d sequences from here on", size)
    return Batched(tuple(results), tuple(failed), size)


def sequence_bytes(architecture: Architecture, type_bytes: int) -> int:
    """Memory that one sequence needs at most while it passes a layer, for products of `type_bytes` a number.

    Per position: the stream, a norm of it and its sum in float32; in the model's type the norm, query, key and value,
    those turned, their mixture, the inner layer before and after its activation.
    """
    stream = 3 * 4 * architecture.width
    products = type_bytes * (10 * architecture.width + 2 * architecture.feed_forward)
    return SEQUENCE_TOKENS * (stream + products)


def sequences_that_fit(free_bytes: int, sequence_bytes: int, most: int) -> int:
    """The largest power of two up to `most` that fits, at least one."""
    fit = max(1, int(free_bytes * USABLE_SHARE) // sequence_bytes)
    return min(most, 1 << (fit.bit_length() - 1))
