"""From a target's birth to our landed submission, in steps and by how we came to know the target."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from quickstart.ledger.records import Origin, Timing

STEPS: dict[str, Callable[[Timing], int]] = {
    "known": lambda t: t.known_ms - _start(t),
    "matched": lambda t: max(0, t.matched_ms - t.known_ms),
    "signed": lambda t: t.signed_ms - max(t.matched_ms, t.known_ms),
    "landed": lambda t: t.landed_ms - t.signed_ms,
}
"""The wait of each step, ms: until we knew of the target, had a match, had signed, and it was executed."""


def latency(timings: Iterable[Timing]) -> dict[str, Any]:
    """Median and 95th percentile in milliseconds: of all, and of each origin with its steps.

    A birth that no checkpoint told is taken to be the first sight.
    """
    timings = list(timings)
    by_origin = {origin: [t for t in timings if t.origin is origin] for origin in Origin}
    return {
        **_percentiles(t.landed_ms - _start(t) for t in timings),
        **{origin.value: _of_one(found) for origin, found in by_origin.items()},
    }


def _of_one(timings: Sequence[Timing]) -> dict[str, Any]:
    return {
        "count": len(timings),
        **_percentiles(t.landed_ms - _start(t) for t in timings),
        "steps": {name: _percentiles(map(step, timings)) for name, step in STEPS.items()},
    }


def _start(timing: Timing) -> int:
    return timing.known_ms if timing.birth_ms is None else timing.birth_ms


def _percentiles(values: Iterable[int]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {"p50": percentile(ordered, 50), "p95": percentile(ordered, 95)}


def percentile(ordered: Sequence[int], percent: int) -> float | None:
    """Nearest-rank percentile of ascending values; None of nothing."""
    if not ordered:
        return None
    return float(ordered[max(0, -(-len(ordered) * percent // 100) - 1)])
