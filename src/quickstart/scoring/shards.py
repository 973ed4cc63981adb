"""From an engine's plain results to a shard: what cannot be used is a failure with a reason, no number."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from quickstart.chain.ids import format_digest
from quickstart.errors import DeviceMemoryError, QuickstartError, WeightsError
from quickstart.scoring.certification import Run, Scores
from quickstart.scoring.contract import MAX_DATA_BYTES
from quickstart.scoring.engine import (
    MORE_MEMORY,
    OUT_OF_MEMORY,
    CertifiedError,
    ScoredShard,
    Weights,
    WindowFailure,
)

_LARGEST_STORED = float(np.finfo(np.float16).max)


def score_shard(
    weights: Weights, engine_id: str, windows: Sequence[bytes], run: Run, error: CertifiedError
) -> ScoredShard:
    """Runs the windows that can be scored, and names the others in `failures`.

    Raises:
        WeightsError: no window that was scored gave a usable result, so the model is at fault.
        DeviceMemoryError: no window was scored, for lack of memory.
    """
    reasons = {i: reason for i, window in enumerate(windows) if (reason := refusal(window))}
    accepted = [i for i in range(len(windows)) if i not in reasons]
    embeddings = np.full((len(windows), weights.architecture.width), np.nan, np.float32)
    losses = np.full(len(windows), np.nan, np.float32)
    if accepted:
        scores = run([windows[i] for i in accepted])
        usable = _usable(scores)
        failures = {k: scores.failures.get(k, "NaN or infinity") for k in np.flatnonzero(~usable).tolist()}
        if not usable.any():
            raise _nothing_usable(f"weights {format_digest(weights.checksum)}", failures.values())
        reasons |= {accepted[k]: reason for k, reason in failures.items()}
        rows = np.array(accepted)[usable]
        embeddings[rows], losses[rows] = scores.embeddings[usable], scores.losses[usable]
    return ScoredShard(weights.checksum, engine_id, embeddings, losses, error, _failures(reasons))


def refusal(window: bytes) -> str | None:
    """Why no model can score this window, or None."""
    if not window:
        return "empty"
    if len(window) > MAX_DATA_BYTES:
        return f"{len(window)} bytes, more than one batch of {MAX_DATA_BYTES}"
    return None


def _nothing_usable(name: str, reasons: Iterable[str]) -> QuickstartError:
    of_the_model = next((reason for reason in reasons if reason != OUT_OF_MEMORY), None)
    if of_the_model is None:
        return DeviceMemoryError(f"{name}: {OUT_OF_MEMORY} for every window: {MORE_MEMORY}")
    return WeightsError(f"{name}: {of_the_model} for every window")


def _usable(scores: Scores) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows a bank can hold: finite loss, and an embedding that is finite and not zero as float16."""
    magnitude = np.abs(scores.embeddings).max(axis=1)
    with np.errstate(invalid="ignore"):
        usable: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
            np.isfinite(scores.losses) & (magnitude > 0) & (magnitude <= _LARGEST_STORED)
        )
    return usable


def _failures(reasons: Mapping[int, str]) -> tuple[WindowFailure, ...]:
    return tuple(WindowFailure(i, reasons[i]) for i in sorted(reasons))
