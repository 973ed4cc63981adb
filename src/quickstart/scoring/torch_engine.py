"""The torch engine: the contract on a GPU or a CPU, in bfloat16 where that is certified, else in float32. Torch is
imported only by the modules of `scoring` that are named after it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from quickstart.chain.ids import Id32, format_digest
from quickstart.scoring.batches import MOST_SEQUENCES, Batched, run_batches, sequence_bytes, sequences_that_fit
from quickstart.scoring.certification import Certificates, Run, Scores
from quickstart.scoring.engine import OUT_OF_MEMORY, Architecture, CertifiedError, ScoredShard, Weights
from quickstart.scoring.numpy_engine import run_reference
from quickstart.scoring.shards import score_shard
from quickstart.scoring.tokens import Tokens, tokenize
from quickstart.scoring.torch_memory import free_bytes, is_out_of_memory, parameters
from quickstart.scoring.torch_model import TorchModel
from quickstart.scoring.torch_residents import Residents

SMALL_PARAMETERS = 16_000_000
"""Up to here the float64 reference takes seconds at most for the calibration windows."""

WORST_TOLERANCE_SHARE = 0.5
"""Of the audit's tolerance: bfloat16 that is certified with more is not used."""

log = logging.getLogger(__name__)


class TorchEngine:
    """Scores on `device` ("cpu", "cuda") in `dtype` (float32 or bfloat16). `exact=True` is float32; neither ever uses
    TF32. `batch_sequences`: at a time, to begin with; by default as many as the free memory holds.

    Small models are certified against the float64 reference; for large ones, where that would take minutes a window,
    bfloat16 is measured against float32 on the same device, and float32 against float64. A model whose error in
    bfloat16 exceeds half of the audit's tolerance is scored in float32.
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch_sequences: int | None = None,
        calibration: Sequence[bytes] = (),
        free: Callable[[torch.device], int] = free_bytes,
    ) -> None:
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"dtype is {dtype}, expected torch.float32 or torch.bfloat16")
        self._device = torch.device(device)
        self._dtype = dtype
        self._free = partial(free, self._device)
        self._certificates = Certificates(calibration)
        self._residents = Residents(self._device, self._free)
        self._batch_sequences = batch_sequences
        # That held so far. They only shrink: nothing tells when memory is free again, and each trial in vain costs a
        # batch. A container lives for hours at most, and the next one measures anew.
        self._sizes: dict[tuple[Architecture, torch.dtype], int] = {}
        self._too_narrow: set[Id32] = set()

    @property
    def id(self) -> str:
        return self._id_of(self._dtype)

    def prepare(self, weights: Weights) -> None:
        """See `Engine.prepare`."""
        dtype = self._dtype
        known = self._certificates.has(weights.checksum, self._id_of(dtype))
        if weights.checksum in self._too_narrow or not (known or _is_small(weights)):
            dtype = torch.float32  # which certification needs first, and the other is made of
        self._residents.prepare(weights, dtype, self._reserve(weights.architecture, dtype))

    def score(self, weights: Weights, windows: Sequence[bytes], exact: bool = False) -> ScoredShard:
        """See `Engine.score`."""
        dtype, error = self._certified(weights, torch.float32 if exact else self._dtype)
        return score_shard(weights, self._id_of(dtype), windows, self._run(weights, dtype), error)

    def batch_size(self, architecture: Architecture, exact: bool = False) -> int:
        """Sequences at a time, as of now."""
        return self._size(architecture, torch.float32 if exact else self._dtype)

    def _certified(self, weights: Weights, dtype: torch.dtype) -> tuple[torch.dtype, CertifiedError]:
        """The type that these weights are scored in if `dtype` is wanted, and its error."""
        certificate = self._certificates.of(
            weights.checksum, self._id_of(dtype), self._run(weights, dtype), self._reference(weights, dtype)
        )
        if dtype == torch.float32 or certificate.tolerance_share <= WORST_TOLERANCE_SHARE:
            return dtype, certificate.error
        if weights.checksum not in self._too_narrow:
            log.warning(
                "weights %s: %s takes %.0f%% of the audit's tolerance, so they are scored in float32",
                format_digest(weights.checksum),
                self._id_of(dtype),
                100 * certificate.tolerance_share,
            )
            self._too_narrow.add(weights.checksum)
            self._residents.drop(weights, dtype)
        return self._certified(weights, torch.float32)

    def _run(self, weights: Weights, dtype: torch.dtype) -> Run:
        return lambda windows: self._score(self._model(weights, dtype), windows)

    def _reference(self, weights: Weights, dtype: torch.dtype) -> Run:
        if _is_small(weights):
            return lambda windows: run_reference(weights, windows)
        if dtype == torch.bfloat16:
            return self._run(weights, torch.float32)
        return lambda windows: self._score(self._model(weights, torch.float32).widened(torch.float64), windows)

    def _model(self, weights: Weights, dtype: torch.dtype) -> TorchModel:
        return self._residents.get(weights, dtype, self._reserve(weights.architecture, dtype))

    def _reserve(self, architecture: Architecture, dtype: torch.dtype) -> int:
        return self._size(architecture, dtype) * sequence_bytes(architecture, dtype.itemsize)

    def _size(self, architecture: Architecture, dtype: torch.dtype) -> int:
        """Found when a kind of model is first seen: what fits besides one in float32 and one in `dtype`."""
        size = self._sizes.get((architecture, dtype), self._batch_sequences)
        if size is None:
            models = parameters(architecture) * (torch.float32.itemsize + dtype.itemsize)
            sequence = sequence_bytes(architecture, dtype.itemsize)
            size = sequences_that_fit(self._free() - models, sequence, MOST_SEQUENCES[self._device.type])
            log.info("%s: batches of %d sequences", self._id_of(dtype), size)
        self._sizes[architecture, dtype] = size
        return size

    def _score(self, model: TorchModel, windows: Sequence[bytes]) -> Scores:
        """Embeddings and losses of windows of 1 to 16,384 bytes, with the audit's seed; in float64 for a float64
        model, else in float32.
        """
        tokens = [tokenize(window) for window in windows]
        ids, positions, targets = (
            np.concatenate([getattr(t, field) for t in tokens]) for field in ("ids", "positions", "targets")
        )
        same = bool((positions == positions[0]).all())
        ids_there, positions_there, targets_there = (
            self._to_device(array) for array in (ids, positions[:1] if same else positions, targets)
        )
        with _without_tf32():
            batched = run_batches(
                len(ids),
                self._size(model.architecture, model.dtype),
                lambda part: model.score(
                    ids_there[part], positions_there if same else positions_there[part], targets_there[part]
                ),
                is_out_of_memory,
                self._recover,
            )
        self._sizes[model.architecture, model.dtype] = batched.size
        return _by_window(batched, model, tokens)

    def _to_device(self, array: NDArray[np.int64]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor

    def _recover(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _id_of(self, dtype: torch.dtype) -> str:
        return f"torch-{self._device.type}-{str(dtype).removeprefix('torch.')}"


def _is_small(weights: Weights) -> bool:
    return parameters(weights.architecture) <= SMALL_PARAMETERS


def _by_window(
    batched: Batched[tuple[torch.Tensor, torch.Tensor]], model: TorchModel, tokens: Sequence[Tokens]
) -> Scores:
    """Waits for the device. A window's results are the means of its sequences', taken in float64."""
    starts = np.cumsum([0, *(len(t) for t in tokens)])
    found = np.setdiff1d(np.arange(starts[-1]), batched.failed)
    embeddings = np.full((starts[-1], model.architecture.width), np.nan)
    losses = np.full(starts[-1], np.nan)
    if batched.results:
        for rows, parts in zip((embeddings, losses), zip(*batched.results, strict=True), strict=True):
            rows[found] = torch.cat(parts).cpu().numpy()
    lengths = np.diff(starts)
    result = np.float64 if model.dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):
        return Scores(
            (np.add.reduceat(embeddings, starts[:-1]) / lengths[:, None]).astype(result),
            (np.add.reduceat(losses, starts[:-1]) / lengths).astype(result),
            {int(window): OUT_OF_MEMORY for window in np.searchsorted(starts, batched.failed, "right") - 1},
        )


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Full float32 products on the card, whatever the process set; its setting is put back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
