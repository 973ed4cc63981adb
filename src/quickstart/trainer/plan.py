"""What a training run is told, and its learning rate at every step. Loads no torch."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from quickstart.scoring.engine import Architecture


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """`steps` of `batch_sequences` x `accumulation` windows each.

    `learning_rate`: the peak, after `warmup_steps`; None is `usual_learning_rate`. `bfloat16`: autocast of matrix
    products. `checkpointing`: less memory for more time. `keep`: checkpoints kept, one every `checkpoint_every` steps.
    """

    steps: int
    batch_sequences: int = 8
    accumulation: int = 1
    learning_rate: float | None = None
    warmup_steps: int = 20
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    bfloat16: bool = False
    checkpointing: bool = False
    checkpoint_every: int = 50
    keep: int = 3

    def identity(self, architecture: Architecture, sources: tuple[str, ...]) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on from: model, data, and their order."""
        return {
            "architecture": asdict(architecture),
            "sources": list(sources),
            "seed": self.seed,
            "windows_per_step": self.batch_sequences * self.accumulation,
        }


def usual_learning_rate(width: int) -> float:
    """3e-3 up to width 128, then falling with the width: 2e-4 at the network's 2048."""
    return min(3e-3, 0.4 / width)


def learning_rate(plan: TrainingPlan, width: int, step: int) -> float:
    """Of `step` (from 0): a linear warm-up, then half a cosine down to a tenth of the peak at the last step."""
    peak = usual_learning_rate(width) if plan.learning_rate is None else plan.learning_rate
    warmup = min(plan.warmup_steps, max(1, plan.steps // 2))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, plan.steps - 1 - warmup)
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, done))) / 2)
