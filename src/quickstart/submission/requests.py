"""Requests to whoever holds the wallet's lease: a folder in which one file is one request, and one its answer.

A command that does not get the lease leaves its request here and follows it; the holder does what is asked.
"""

import json
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

CLAIM = "claim"
POLL_SECONDS = 0.2
ABANDONED_AFTER_SECONDS = 3600.0


class Requests(Protocol):
    """What the holder of the lease sees of a box."""

    def waiting(self) -> tuple[tuple[str, str], ...]:
        """(name, what) of requests without an answer; never waits."""
        ...

    def answer(self, name: str, answer: dict[str, Any]) -> None: ...


class RequestBox:
    """The folder of requests beside one wallet's ledger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def post(self, what: str) -> str:
        """Leaves a request; its name, to follow it with."""
        name = uuid.uuid4().hex
        self._write(f"{name}.request", {"what": what, "at": time.time()})
        return name

    def waiting(self) -> tuple[tuple[str, str], ...]:
        """(name, what) of requests without an answer. Old ones that nobody follows any more are removed."""
        found: list[tuple[str, str]] = []
        for path in sorted(self._folder.glob("*.request")):
            request = _read(path)
            if request is None or not _is_request(request):
                continue
            if time.time() - request["at"] > ABANDONED_AFTER_SECONDS:
                path.unlink(missing_ok=True)
            else:
                found.append((path.stem, request["what"]))
        return tuple(found)

    def answer(self, name: str, answer: dict[str, Any]) -> None:
        self._write(f"{name}.answer", answer)
        (self._folder / f"{name}.request").unlink(missing_ok=True)

    def take_answer(self, name: str) -> dict[str, Any] | None:
        """The answer, once; None while there is none."""
        path = self._folder / f"{name}.answer"
        answer = _read(path)
        if answer is not None:
            path.unlink(missing_ok=True)
        return answer

    def wait_for_answer(self, name: str) -> dict[str, Any]:
        """Blocks until the holder of the lease has answered."""
        while (answer := self.take_answer(name)) is None:
            time.sleep(POLL_SECONDS)
        return answer

    def withdraw(self, name: str) -> None:
        (self._folder / f"{name}.request").unlink(missing_ok=True)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{name}.tmp"
        draft.write_text(json.dumps(content))
        draft.replace(self._folder / name)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_request(content: dict[str, Any]) -> bool:
    """A file that somebody else left there may hold anything."""
    return isinstance(content.get("at"), int | float) and isinstance(content.get("what"), str)
