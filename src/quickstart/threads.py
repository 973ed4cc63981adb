"""Work that cannot be cancelled, in threads that nobody has to wait for."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def unattended(work: Callable[[], T]) -> Future[T]:
    """Begins `work` beside everything else, with the profile and whatever else is chosen where it is begun.

    It holds up no end of the program; a future that is cancelled, or is waited for no more, leaves it running.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: raised again by whoever waits
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name="unattended", daemon=True).start()
    return outcome
