"""Memory of a device: how much is free, how much a model needs, and how its lack shows."""

import math
import os
import re
from pathlib import Path

import torch

from quickstart.scoring.engine import Architecture
from quickstart.scoring.weights import expected_shapes
from quickstart.units import KIB

_MEMINFO = Path("/proc/meminfo")
_REFUSALS = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Torch on a CPU; the CUDA driver; cuBLAS, cuDNN, cuSOLVER and cuSPARSE, which take memory past torch."""


def free_bytes(device: torch.device) -> int:
    """What can be allocated on a device now; of a CPU's memory what the system could hand out without swapping, or
    half of all where it does not tell.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    if _MEMINFO.exists() and (available := re.search(r"MemAvailable:\s+(\d+) kB", _MEMINFO.read_text())):
        return int(available[1]) * KIB
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def parameters(architecture: Architecture) -> int:
    return sum(math.prod(shape) for shape in expected_shapes(architecture).values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, refused memory; some of what torch calls says so in words only."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _REFUSALS)
    )
