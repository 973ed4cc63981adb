"""What scoring a window costs with each model."""

from collections.abc import Iterable, Mapping

from quickstart.chain.ids import Id32
from quickstart.planning.planner import Unscored

Spent = tuple[int, float]
"""Windows that a model has scored, and the GPU seconds that took."""


def seconds_per_window(
    sizes: Mapping[Id32, int], names: Mapping[Id32, Id32], spent: Mapping[Id32, Spent]
) -> dict[Id32, float]:
    """By model id. A model that has not scored yet takes what its size makes likely, compared with those that have.

    `sizes`: bytes of each model's file; `names`: weights checksums by model id, as far as known; `spent`: by weights.
    """
    known = {
        model_id: spent[names[model_id]]
        for model_id in sizes
        if model_id in names and spent.get(names[model_id], (0, 0.0))[0] > 0
    }
    work = sum(windows * sizes[model_id] for model_id, (windows, _) in known.items())
    per_byte = sum(seconds for _, seconds in known.values()) / work if work else 1e-9
    return {
        model_id: known[model_id][1] / known[model_id][0] if model_id in known else size * per_byte
        for model_id, size in sizes.items()
    }


def seconds_left(shards: Iterable[Unscored], seconds: Mapping[Id32, float]) -> dict[Id32, float]:
    """GPU seconds that are left to do with each of the models of `seconds` (per window)."""
    left = dict.fromkeys(seconds, 0.0)
    for shard in shards:
        for model_id in shard.missing | shard.running:
            left[model_id] += shard.windows * seconds[model_id]
    return left
