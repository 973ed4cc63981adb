"""Requests to the cycle at work, left in the store: `request/<name>`, answered as `answer/<name>`."""

import threading
import time
import uuid
from typing import Any

from quickstart.modal_app.store import Store
from quickstart.submission.requests import ABANDONED_AFTER_SECONDS

REQUEST, ANSWER = "request", "answer"


def post(store: Store, what: str) -> str:
    """Leaves a request; its name."""
    name = uuid.uuid4().hex
    store.put(f"{REQUEST}/{name}", {"what": what, "at": time.time()})
    return name


def take_answer(store: Store, name: str) -> dict[str, Any] | None:
    """The answer, once; None while there is none."""
    answer: dict[str, Any] | None = store.pop(f"{ANSWER}/{name}", None)
    return answer


def withdraw(store: Store, name: str) -> None:
    store.pop(f"{REQUEST}/{name}", None)


class StoreRequests:
    """The box as the cycle at work sees it. Only `exchange` talks to the store; the others never wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: dict[str, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def waiting(self) -> tuple[tuple[str, str], ...]:
        with self._lock:
            return tuple(self._waiting.items())

    def answer(self, name: str, answer: dict[str, Any]) -> None:
        with self._lock:
            self._answers[name] = answer
            self._waiting.pop(name, None)

    def exchange(self) -> None:
        """Hands answers over and sees what is asked."""
        with self._lock:
            answers = dict(self._answers)
        for name, answer in answers.items():
            self._store.put(f"{ANSWER}/{name}", answer)
            self._store.pop(f"{REQUEST}/{name}", None)
        keys = [str(key) for key in list(self._store.keys())]
        names = [key.partition("/")[2] for key in keys if key.startswith(f"{REQUEST}/")]
        found = {name: self._store.get(f"{REQUEST}/{name}", None) for name in names}
        recent = {
            name: str(request["what"])
            for name, request in found.items()
            if request is not None and time.time() - float(request["at"]) < ABANDONED_AFTER_SECONDS
        }
        with self._lock:
            for name in answers:
                self._answers.pop(name, None)
            self._waiting = {name: what for name, what in recent.items() if name not in self._answers}
