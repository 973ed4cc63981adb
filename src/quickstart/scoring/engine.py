"""The one interface of every engine, and the values that cross it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.ids import Id32


@dataclass(frozen=True, slots=True)
class Architecture:
    """The network's transformer: 24 layers x 2048, feed-forward 8192, 8 heads; small ones have 4 heads."""

    width: int
    layers: int
    feed_forward: int
    heads: int


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """One model's decrypted weights. `checksum`: BLAKE2b-256 of the decrypted safetensors, the key of all
    results.

    `tensors`: safetensors name -> float32 array, linear weights as (in, out). Those of a file are read when they are
    asked for, anew each time; StateError if they cannot be.
    """

    checksum: Id32
    architecture: Architecture
    tensors: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class CertifiedError:
    """Three times the largest difference seen between the engine and the float64 reference (or fp32 on the
    same card).

    `distance`: 3 x max |(ê - ê_ref)·t̂| over unit embeddings and random targets, after the float16 rounding a bank entry
    gets. `loss`: absolute, 3 x max |loss - loss_ref|.
    """

    distance: float
    loss: float


OUT_OF_MEMORY = "out of memory"
"""Why a window was not scored that does not fit beside its model, not even alone."""

MORE_MEMORY = "end what else uses that memory, or score on another device (QUICKSTART_GPU on Modal, --engine here)"


@dataclass(frozen=True, slots=True)
class WindowFailure:
    """A window that one model could not score: its position in the request, and why."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoredShard:
    """One model's results for n windows, in the order of the request.

    `embeddings`: float32 (n, width), not normalised. `losses`: float32 (n,). Rows named in `failures` are
    NaN.
    """

    weights_checksum: Id32
    engine_id: str
    embeddings: NDArray[np.float32]
    losses: NDArray[np.float32]
    error: CertifiedError
    failures: tuple[WindowFailure, ...] = ()


class Engine(Protocol):
    """Scores windows with a model. `exact=True` asks for the most exact arithmetic the engine has.

    Windows are byte strings of up to 16,384 bytes (16 sequences); the product sends 1,024.

    Raises:
        WeightsError: the model itself gives NaN or infinity, or cannot be certified.
        DeviceMemoryError: it does not fit into the memory here, or no window does beside it.
    """

    @property
    def id(self) -> str: ...

    def prepare(self, weights: Weights) -> None:
        """Brings a model that is wanted soon to where it is computed, if there is room. May be called by another thread
        while this one scores.

        Raises:
            DeviceMemoryError: it is too large for the device.
            StateError: its file cannot be read.
        """
        ...

    def score(self, weights: Weights, windows: Sequence[bytes], exact: bool = False) -> ScoredShard: ...
