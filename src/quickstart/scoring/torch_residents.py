"""The models on a device: brought there tensor by tensor, the longest unused dropped when another needs their room."""

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

import torch

from quickstart.chain.ids import Id32, format_digest
from quickstart.errors import DeviceMemoryError
from quickstart.scoring.engine import MORE_MEMORY, Weights
from quickstart.scoring.torch_memory import is_out_of_memory, parameters
from quickstart.scoring.torch_model import TorchModel

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[Id32, torch.dtype]


class Residents:
    """Models by checksum and type, for one thread that works with them; another may call `prepare` meanwhile.

    `free_bytes`: memory of the device that is free now.
    """

    def __init__(self, device: torch.device, free_bytes: Callable[[], int]) -> None:
        self._device = device
        self._free_bytes = free_bytes
        self._models: dict[Key, TorchModel] = {}  # the longest unused first
        self._present = threading.Lock()
        self._loading = threading.Lock()
        # Of its own, so that what is copied does not wait for what is computed.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def get(self, weights: Weights, dtype: torch.dtype, reserve: int) -> TorchModel:
        """The model, from the device if it is there. `reserve`: bytes to be left free for the work with it.

        Raises:
            DeviceMemoryError: the device is too small for it.
            StateError: its file cannot be read.
        """
        key = (weights.checksum, dtype)
        model = self._find(key)
        if model is None:
            with self._loading:
                model = self._find(key)  # perhaps it was just being prepared
                if model is None:
                    while self._lacks_room(weights, dtype, reserve) and self._drop_oldest(weights.checksum):
                        pass
                    model = self._load(weights, dtype)
        return model

    def prepare(self, weights: Weights, dtype: torch.dtype, reserve: int) -> None:
        """Brings a model that is wanted soon, if there is room beside those that are here. Raises what `get` does."""
        with self._loading:
            if self._find((weights.checksum, dtype)) is None and not self._lacks_room(weights, dtype, reserve):
                self._load(weights, dtype)

    def drop(self, weights: Weights, dtype: torch.dtype) -> None:
        with self._present:
            self._models.pop((weights.checksum, dtype), None)

    def _lacks_room(self, weights: Weights, dtype: torch.dtype, reserve: int) -> bool:
        return self._free_bytes() < parameters(weights.architecture) * dtype.itemsize + reserve

    def _find(self, key: Key) -> TorchModel | None:
        with self._present:
            model = self._models.pop(key, None)
            if model is not None:
                self._models[key] = model
            return model

    def _load(self, weights: Weights, dtype: torch.dtype) -> TorchModel:
        name = format_digest(weights.checksum)
        try:
            with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
                wider = self._find((weights.checksum, torch.float32))
                model = wider.narrowed(dtype) if wider else TorchModel.load(weights, self._device, dtype)
                if self._stream:
                    self._stream.synchronize()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise DeviceMemoryError(f"weights {name}: no room for them on {self._device}: {MORE_MEMORY}") from error
            raise
        log.info("weights %s are on %s: %d MB", name, self._device, model.bytes // 10**6)
        with self._present:
            self._models[weights.checksum, dtype] = model
        return model

    def _drop_oldest(self, but: Id32) -> bool:
        """Drops the longest unused of the other models, if there is one."""
        with self._present:
            oldest = next((key for key in self._models if key[0] != but), None)
            if oldest is None:
                return False
            del self._models[oldest]
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return True
