"""What Modal charges, in dollars a second, as far as the spending caps need to know.

List prices; `modal billing rates` shows an account's own. The caps are estimates made from these numbers, so only GPU
types whose price is known here can be rented.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

PRICES_OF = "2026-05-07"
"""When the list was read."""

GPU_DOLLARS_PER_SECOND: Mapping[str, float] = MappingProxyType(
    {
        "L4": 0.000222,
        "A100-80GB": 0.000694,
        "H100": 0.001097,
    }
)

CPU_CORE_DOLLARS_PER_SECOND = 0.0000131
MEMORY_GIB_DOLLARS_PER_SECOND = 0.00000222

SCORER_CORES, SCORER_MEMORY_GIB = 2.0, 16
"""What a scorer's container has besides its GPU."""


def scorer_dollars_per_second(gpus: Sequence[str]) -> float:
    """What a second of a scorer costs at most."""
    return container_dollars_per_second(gpus, SCORER_CORES, SCORER_MEMORY_GIB)


def container_dollars_per_second(gpus: Sequence[str], cores: float, memory_gib: float) -> float:
    """What a second of a container costs at most: of several GPU types, the dearest is counted."""
    gpu = max((GPU_DOLLARS_PER_SECOND[name] for name in gpus), default=0.0)
    return gpu + _rest(cores, memory_gib)


def container_dollars_per_gpu_dollar(gpus: Sequence[str], cores: float, memory_gib: float) -> float:
    """What a container costs for each dollar that its GPU does, at most: of several GPU types, the cheapest counts."""
    return 1.0 + _rest(cores, memory_gib) / min(GPU_DOLLARS_PER_SECOND[name] for name in gpus)


def _rest(cores: float, memory_gib: float) -> float:
    return cores * CPU_CORE_DOLLARS_PER_SECOND + memory_gib * MEMORY_GIB_DOLLARS_PER_SECOND
