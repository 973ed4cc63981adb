"""How far an engine is from the reference, measured anew for every model before its results are believed."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from arrgen import normal_array
from numpy.typing import NDArray

from quickstart.chain.ids import Id32, format_digest
from quickstart.errors import DeviceMemoryError, WeightsError
from quickstart.scoring.contract import SEQUENCE_TOKENS, TOLERANCE
from quickstart.scoring.engine import MORE_MEMORY, OUT_OF_MEMORY, CertifiedError

SAFETY_FACTOR = 3.0

CALIBRATION_TARGETS = 1024
_TARGET_SEED = 8

NETWORK_LOSS_ERROR = 1.1e-5
NETWORK_DISTANCE_ERROR = 2e-6
"""What the network's own float32 answers differ from the float64 reference, at most, over its recorded
answers (§13).

They count as seen in every certification: the winner must be safe against the network's rounding too, not
only against ours.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Plain results of a run over n windows: `embeddings` (n, width) and `losses` (n,), of any float type.

    `failures`: position -> why, for windows that were not scored; their rows are NaN.
    """

    embeddings: NDArray[Any]
    losses: NDArray[Any]
    failures: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Certificate:
    """`tolerance_share`: the largest part of the audit's tolerance that three times a difference takes."""

    error: CertifiedError
    tolerance_share: float


Run: TypeAlias = Callable[[Sequence[bytes]], Scores]
"""Scores windows with one model that it already holds."""


def certify(engine_run: Run, reference_run: Run, windows: Sequence[bytes]) -> Certificate:
    """Three times the largest difference seen over `windows`, in loss and in the distance to any of 1,024 targets, with
    the engine's embeddings rounded as a bank entry is (float16).

    Targets are drawn as the network draws them, independently of any model. The largest of 1,024 is 3.4 standard
    deviations away from a right angle to the difference, so three times that is a bound at ten.

    Raises:
        WeightsError: one of the runs gives NaN, infinity, a zero embedding or one that float16 cannot hold, or cannot
        score a window.
        DeviceMemoryError: one of them had no memory for a window.
    """
    expected, actual = reference_run(windows), engine_run(windows)
    for reason in (*expected.failures.values(), *actual.failures.values()):
        if reason == OUT_OF_MEMORY:
            raise DeviceMemoryError(f"{OUT_OF_MEMORY} with a calibration window: {MORE_MEMORY}")
        raise WeightsError(f"a calibration window cannot be scored: {reason}")
    with np.errstate(all="ignore"):
        stored = np.asarray(actual.embeddings).astype(np.float16)
        gaps = np.abs((_unit(stored) - _unit(expected.embeddings)) @ _targets(stored.shape[1]).T).max(axis=1)
        losses = np.asarray(expected.losses, np.float64)
        loss_gaps = np.abs(np.asarray(actual.losses, np.float64) - losses)
    if not (np.isfinite(gaps).all() and np.isfinite(loss_gaps).all()):
        raise WeightsError("the model gives NaN, infinity or a zero embedding on the calibration windows")
    shares = np.maximum(gaps / TOLERANCE, loss_gaps / (TOLERANCE * np.maximum(1.0, np.abs(losses))))
    error = CertifiedError(
        distance=SAFETY_FACTOR * max(float(gaps.max()), NETWORK_DISTANCE_ERROR),
        loss=SAFETY_FACTOR * max(float(loss_gaps.max()), NETWORK_LOSS_ERROR),
    )
    return Certificate(error, SAFETY_FACTOR * float(shares.max()))


@lru_cache(maxsize=2)
def _targets(width: int) -> NDArray[np.float64]:
    """Unit vectors (1024, width) of directions as random as the network's."""
    return _unit(normal_array(_TARGET_SEED, [CALIBRATION_TARGETS, width], 0.0, 1.0))


def _unit(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(embeddings, np.float64)
    unit: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


class Certificates:
    """What was certified in this process, so that each model is measured once: (weights checksum, engine id)
    -> certificate.
    """

    def __init__(self, extra_windows: Sequence[bytes] = ()) -> None:
        self._windows = (*calibration_windows(), *extra_windows)
        self._known: dict[Hashable, Certificate] = {}

    def has(self, checksum: Id32, engine_id: str) -> bool:
        return (checksum, engine_id) in self._known

    def of(self, checksum: Id32, engine_id: str, engine_run: Run, reference_run: Run) -> Certificate:
        """The certificate of these weights on this engine; measured on first use.

        Raises:
            WeightsError, DeviceMemoryError: as `certify`, with the checksum of the weights in the message.
        """
        key = (checksum, engine_id)
        if key not in self._known:
            try:
                self._known[key] = certify(engine_run, reference_run, self._windows)
            except (WeightsError, DeviceMemoryError) as error:
                raise type(error)(f"weights {format_digest(checksum)}: {error}") from error
        return self._known[key]


_PROSE = (
    "The tide had gone out further than anyone remembered, and the boats lay on their sides along the mud. "
    "“Nine years,” said the old woman, counting them, “and not one of you thought to mend the slip.” "
    "Nobody answered; there was a smell of salt and tar, and far away a bell rang three times. "
)
_CODE = (
    "def merge(left: list[int], right: list[int]) -> list[int]:\n"
    "    merged = []\n"
    "    while left and right:\n"
    "        merged.append(left.pop(0) if left[0] <= right[0] else right.pop(0))\n"
    "    return merged + left + right\n\n\n"
    "class Ledger:\n    def __init__(self) -> None:\n        self.entries: dict[str, float] = {}\n\n"
)


@lru_cache(maxsize=1)
def calibration_windows() -> tuple[bytes, ...]:
    """Five fixed windows of 1,024 bytes: prose, code, a table of numbers, noise, and nearly nothing."""
    table = "".join(f'{{"id": {n}, "x": {n * n % 977}, "ok": {str(n % 3 == 0).lower()}}},\n' for n in range(64))
    noise = (normal_array(7, [SEQUENCE_TOKENS], 0.0, 1.0).astype(np.float64) * 1e6).astype(np.int64) % 256
    sparse = bytes(SEQUENCE_TOKENS - 1) + b"\x01"
    texts = [(text * 8).encode()[:SEQUENCE_TOKENS] for text in (_PROSE, _CODE, table)]
    return (*texts, noise.astype(np.uint8).tobytes(), sparse)
