"""The models on a device: read by a thread of their own, the longest unused dropped when another needs their room."""

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeAlias

import torch

from quickstart.chain.ids import Id32, format_digest
from quickstart.errors import WeightsError
from quickstart.scoring.engine import Weights
from quickstart.scoring.torch_memory import is_out_of_memory, parameters
from quickstart.scoring.torch_model import TorchModel

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[Id32, torch.dtype]


class _NoRoom(Exception):
    """A model that is only read ahead takes nobody's place."""


class Residents:
    """Models by checksum and type. Used by one thread; `prepare` lets another read meanwhile.

    `free_bytes`: memory of the device that is free now.
    """

    def __init__(self, device: torch.device, free_bytes: Callable[[], int]) -> None:
        self._device = device
        self._free_bytes = free_bytes
        self._models: dict[Key, Future[TorchModel]] = {}  # the longest unused first
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "weights")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def get(self, weights: Weights, dtype: torch.dtype, reserve: int) -> TorchModel:
        """The model, from the device if it is there. `reserve`: bytes to be left free for the work with it.

        Raises:
            WeightsError: the device is too small for it.
            StateError: its file cannot be read.
        """
        key = (weights.checksum, dtype)
        with self._lock:
            future = self._started(key)
        if future is None or (wait([future]) and future.exception()):  # read ahead it may have found no room
            future = self._reader.submit(self._load, weights, dtype, reserve, True)
        with self._lock:
            self._models.pop(key, None)
            self._models[key] = future
        try:
            return future.result()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                name = format_digest(weights.checksum)
                raise WeightsError(f"weights {name}: they do not fit into the memory of the device") from error
            raise

    def prepare(self, weights: Weights, dtype: torch.dtype, reserve: int) -> None:
        """Starts reading a model that is wanted soon, if there is room beside those that are here."""
        key = (weights.checksum, dtype)
        with self._lock:
            if self._started(key) is None:
                self._models[key] = self._reader.submit(self._load, weights, dtype, reserve, False)

    def _started(self, key: Key) -> Future[TorchModel] | None:
        """A model that is here or on its way; not one that failed."""
        future = self._models.get(key)
        return None if future is None or (future.done() and future.exception()) else future

    def drop(self, weights: Weights, dtype: torch.dtype) -> None:
        with self._lock:
            self._models.pop((weights.checksum, dtype), None)

    def _load(self, weights: Weights, dtype: torch.dtype, reserve: int, make_room: bool) -> TorchModel:
        needed = parameters(weights.architecture) * dtype.itemsize + reserve
        while self._free_bytes() < needed:
            if not make_room:
                raise _NoRoom
            if not self._drop_oldest(weights.checksum):
                break
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            wider = self._present((weights.checksum, torch.float32))
            model = wider.narrowed(dtype) if wider else TorchModel.load(weights, self._device, dtype)
            if self._stream:
                self._stream.synchronize()
        log.info("weights %s on %s: %d MB", format_digest(weights.checksum), self._device, model.bytes // 10**6)
        return model

    def _present(self, key: Key) -> TorchModel | None:
        with self._lock:
            future = self._started(key)
        return future.result() if future and future.done() else None

    def _drop_oldest(self, but: Id32) -> bool:
        """Drops the longest unused of the other models, if there is one."""
        with self._lock:
            oldest = next((key for key, future in self._models.items() if key[0] != but and future.done()), None)
            if oldest is None:
                return False
            del self._models[oldest]
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return True
