"""The training loop: steps, checkpoints, metrics. Stopped anywhere, it goes on as if it had not been."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from quickstart.data.window import WINDOW_BYTES, Source
from quickstart.errors import UsageError
from quickstart.trainer.batches import Position, TrainingStream, token_arrays
from quickstart.trainer.checkpoints import Checkpoints
from quickstart.trainer.loss import network_loss, noise_projection
from quickstart.trainer.metrics import Metrics, StepReport
from quickstart.trainer.model import TrainableModel
from quickstart.trainer.plan import TrainingPlan, learning_rate

BETAS = (0.9, 0.95)


class Training:
    """One run in `folder`, which holds its checkpoints and metrics. Begins where the folder's last run stopped.
    `checkpointed` is called after each checkpoint.

    Raises:
        UsageError: the folder holds a run with another model, data or order.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        model: TrainableModel,
        sources: Sequence[Source],
        folder: Path,
        checkpointed: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.model = plan, model
        self._checkpointed = checkpointed
        self.device = next(model.parameters()).device
        self._identity = plan.identity(model.architecture, tuple(source.name for source in sources))
        self._optimizer = torch.optim.AdamW(_groups(model, plan.weight_decay), lr=0.0, betas=BETAS)
        self._checkpoints = Checkpoints(folder / "checkpoints", plan.keep)
        self._positions = torch.arange(WINDOW_BYTES, device=self.device)[None]
        self.step = 0
        position = self._restore(folder)
        self._stream = TrainingStream(sources, plan.seed, position)
        self._metrics = Metrics(folder / "metrics.jsonl", self.step)

    def run(self, stop: Callable[[], bool], report: Callable[[StepReport], None]) -> bool:
        """Trains to the end, or until `stop()` is true after a step; whether the end is reached.

        Leaves a checkpoint of where it stopped.
        """
        self.model.train()
        saved = self.step
        while self.step < self.plan.steps:
            done = self._step()
            self._metrics.add(done)
            report(done)
            if self.step % self.plan.checkpoint_every == 0:
                self._save()
                saved = self.step
            if stop():
                break
        if saved != self.step:
            self._save()
        return self.step >= self.plan.steps

    def _step(self) -> StepReport:
        plan, started = self.plan, time.perf_counter()
        rate = learning_rate(plan, self.model.architecture.width, self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Fresh noise every step, the same for all of its sequences, as the network's is for a batch.
        noise = noise_projection(self.model.architecture.width, plan.seed + self.step, self.device)
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for _ in range(plan.accumulation):
            ids, targets = (
                torch.from_numpy(array).to(self.device)
                for array in token_arrays(self._stream.take(plan.batch_sequences))
            )
            with torch.autocast(self.device.type, torch.bfloat16, enabled=plan.bfloat16):
                part = network_loss(self.model, ids, self._positions, targets, noise).mean() / plan.accumulation
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
        self._optimizer.step()
        self.step += 1
        size = plan.batch_sequences * plan.accumulation * WINDOW_BYTES
        return StepReport(self.step, plan.steps, float(loss), rate, float(norm), size / (time.perf_counter() - started))

    def _save(self) -> None:
        position = self._stream.position
        content = {
            "identity": self._identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "position": json.dumps([position.turn, position.passes, position.cursors]),
            "random": torch.get_rng_state(),
        }
        self._checkpoints.save(self.step, content)
        self._checkpointed()

    def _restore(self, folder: Path) -> Position | None:
        content = self._checkpoints.latest(self.device)
        if content is None:
            return None
        if content["identity"] != self._identity:
            differ = ", ".join(name for name, value in self._identity.items() if content["identity"][name] != value)
            raise UsageError(f"{folder} holds a run with another {differ}: give the same, or name another --out")
        self.model.load_state_dict(content["model"])
        self._optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"].cpu())
        self.step = int(content["step"])
        turn, passes, cursors = json.loads(content["position"])
        return Position(turn, tuple(passes), tuple(cursors))


def _groups(model: TrainableModel, decay: float) -> list[dict[str, Any]]:
    """Matrices are pulled towards zero; norms, biases and the embedding are not."""
    pulled = [p for name, p in model.named_parameters() if p.ndim == 2 and name != "embedding.weight"]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or name == "embedding.weight"]
    return [{"params": pulled, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
