"""The commands as a person runs them, against the stand-in for Modal."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fakemodal import FakeModal

import quickstart

SOURCE = Path(quickstart.__file__).parents[1]
OURS = ("SOMA_", "HF_", "S3_", "QUICKSTART_")


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def environment(standin: FakeModal, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a client of the stand-in sees: none of the settings that whoever runs the tests may have."""
    clean = {name: value for name, value in standin.environment.items() if not name.startswith(OURS)}
    return clean | {"PYTHONPATH": str(SOURCE)} | dict(extra or {})


def argv(command: str, *arguments: str) -> list[str]:
    """The entry point of a command, without the script that an installation makes of it."""
    function = command.replace("-", "_")
    code = f"import sys; sys.argv[0] = {command!r}; from quickstart.cli.main import {function} as run; run()"
    return [sys.executable, "-c", code, *arguments]


def run(
    standin: FakeModal, command: str, *arguments: str, folder: Path, extra: Mapping[str, str] | None = None
) -> Finished:
    """Runs a command to its end in `folder`, which may hold a `.env`."""
    done = subprocess.run(
        argv(command, *arguments),
        cwd=folder,
        env=environment(standin, extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def refused(done: Finished, *names: str) -> None:
    """One line, exit code 2, nothing else."""
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    for name in names:
        assert name in done.err
