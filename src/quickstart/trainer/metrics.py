"""A run's metrics: one JSON object a line, one line a step."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step done. `loss`: the network's, in nats per byte; `bytes_per_second` of the step."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    bytes_per_second: float


class Metrics:
    """The file `path`. What an earlier run wrote after `step`, where this one begins, is dropped: it is done again."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        draft = path.with_suffix(".tmp")
        draft.write_text("".join(json.dumps(record) + "\n" for record in kept))
        draft.replace(path)

    def add(self, report: StepReport) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(report)) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All records; a last line that was cut off by a crash is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
