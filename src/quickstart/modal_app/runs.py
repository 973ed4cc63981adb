"""Training runs on a volume: a folder each, with order, checkpoints and metrics, and at its end a model and a result.

`order.json` is written first and decides: a run goes on as it began, whatever the settings have become. `result.json`
is written last: where it is, the run is over.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstart.chain.ids import Id32
from quickstart.durable import write_durably
from quickstart.errors import StateError
from quickstart.trainer.products import WEIGHTS

ORDER, RESULT = "order.json", "result.json"
_OF_THE_SCHEDULE = re.compile(r"run-(\d{5})")


@dataclass(frozen=True, slots=True)
class Run:
    """A run. `result`: what training said at its end; None before."""

    name: str
    folder: Path
    result: Mapping[str, Any] | None

    @property
    def weights(self) -> Id32 | None:
        """Checksum of the model it came to."""
        return bytes.fromhex(self.result["weights"]) if self.result else None

    @property
    def is_better(self) -> bool:
        """Whether its model is better than ours in play was, on the same windows, or there was none."""
        if self.result is None:
            return False
        before = self.result["present_loss"]
        return before is None or bool(self.result["loss"] < before)


def latest_run(root: Path) -> Run | None:
    """The newest of the schedule's runs; those begun by hand have other names."""
    names = sorted(path.name for path in root.glob("run-*") if _OF_THE_SCHEDULE.fullmatch(path.name))
    return Run(names[-1], root / names[-1], read_json(root / names[-1] / RESULT)) if names else None


def next_name(run: Run | None) -> str:
    """The name of the run after this one."""
    matched = _OF_THE_SCHEDULE.fullmatch(run.name) if run else None
    return f"run-{int(matched[1]) + 1 if matched else 1:05d}"


def number_of(name: str) -> int:
    """A run's number, by which its data come in another order than the one's before; 0 for runs by hand."""
    matched = _OF_THE_SCHEDULE.fullmatch(name)
    return int(matched[1]) if matched else 0


def tidy(root: Path, name: str) -> None:
    """Takes away what no later run needs of those before `name`: checkpoints, and the models of all but the last."""
    before = sorted(path for path in root.glob("run-*") if _OF_THE_SCHEDULE.fullmatch(path.name) and path.name < name)
    if _OF_THE_SCHEDULE.fullmatch(name):
        for folder in before:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        for folder in before[:-1]:
            (folder / WEIGHTS).unlink(missing_ok=True)


def read_json(path: Path) -> Mapping[str, Any] | None:
    """None where there is none.

    Raises:
        StateError: it is damaged.
    """
    try:
        content: Mapping[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}): remove the folder it is in") from error
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all.

    Raises:
        StateError: the disk is full or refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps(content).encode())
    except OSError as error:
        raise StateError(f"{path} cannot be written ({error.strerror})") from error
