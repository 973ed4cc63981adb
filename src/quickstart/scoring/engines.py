"""Picks an engine by name, importing only what that one needs."""

import importlib.util
import logging
from pathlib import Path

from quickstart.errors import SettingsError
from quickstart.scoring.engine import Engine

NVIDIA_DEVICE = Path("/dev/nvidiactl")

ENGINE_NAMES = ("auto", "numpy", "torch")

_log = logging.getLogger(__name__)


def create_engine(name: str = "auto") -> Engine:
    """`numpy`: float32 on the CPU. `torch`: bfloat16 on a CUDA card if there is one, else float32 on the CPU.
    `auto`: torch where torch sees a CUDA card, else numpy; the choice is logged.

    Raises:
        SettingsError: an unknown name, or torch asked for and not installed.
    """
    if name not in ENGINE_NAMES:
        raise SettingsError(f"no engine named {name!r}; choose one of {', '.join(ENGINE_NAMES)}")
    installed = importlib.util.find_spec("torch") is not None
    if name == "torch" and not installed:
        raise SettingsError("the torch engine needs torch: install the extra with `uv sync --extra scorer`")
    if name == "torch" or (name == "auto" and installed and _has_cuda()):
        return _torch_engine()
    if name == "auto":
        _log.info("engine: numpy (%s)", "torch sees no CUDA card" if installed else "torch is not installed")
    from quickstart.scoring.numpy_engine import NumpyEngine

    return NumpyEngine()


def _has_cuda() -> bool:
    """Asks torch only where the machine has the driver's device file: importing torch takes seconds."""
    if not NVIDIA_DEVICE.exists():
        return False
    import torch

    return torch.cuda.is_available()


def _torch_engine() -> Engine:
    import torch

    from quickstart.scoring.torch_engine import TorchEngine

    engine = TorchEngine("cuda", torch.bfloat16) if torch.cuda.is_available() else TorchEngine("cpu")
    _log.info("engine: %s", engine.id)
    return engine
