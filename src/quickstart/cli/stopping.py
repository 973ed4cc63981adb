"""Ctrl-C and SIGTERM end a run in order, and within seconds."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quickstart.errors import EXIT_FAILED

INTERRUPTED = "interrupted; nothing is lost, run the same command again to go on"

STOP_SECONDS = 2.0
"""How long a stop waits for transactions in flight; those still open are settled by the next run."""


@contextmanager
def stop_on_signals(stop: Callable[[], None], leave_terminal: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` at the first signal. When that has not ended the program in time, leaves at once.

    What is in flight is in the ledger already, workers and devnet end with their parent. `leave_terminal` gives
    the terminal back before.
    """
    loop = asyncio.get_running_loop()

    def leave() -> None:
        leave_terminal()
        print(INTERRUPTED, file=sys.stderr, flush=True)
        os._exit(EXIT_FAILED)

    def on_signal() -> None:
        loop.call_later(STOP_SECONDS, leave)
        stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def interrupts_noted() -> Iterator[threading.Event]:
    """Within it Ctrl-C raises nothing, it sets the event; a second one ends the program as usual.

    For waiting inside of Modal's client: an exception raised there at the wrong moment is lost.
    """
    interrupted = threading.Event()

    def note(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
