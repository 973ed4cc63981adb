"""An event loop whose clock jumps: where nothing can happen before a timer is due, it is due at once.

Ten minutes of waiting take a moment, and two runs of the same coroutines do the same things in the same order at the
same times. Work for threads is done in place, since a thread has no place on such a clock.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never waits: what a wait would have taken is put on the loop's clock."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is left that could wake it")
        if timeout > 0:
            self._jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock starts at 0 and stands still while code runs. It reads no sockets.

    `thread_seconds`: how long what is done in a thread seems to take; other tasks run meanwhile.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self.thread_seconds = 0.0
        super().__init__(_Jumping(self._jump))

    def _jump(self, seconds: float) -> None:
        self._seconds += seconds

    def time(self) -> float:
        return self._seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        try:
            tell: Callable[[], None] = partial(future.set_result, func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does: whoever awaits the future gets it
            tell = partial(future.set_exception, error)
        if self.thread_seconds:
            self.call_later(self.thread_seconds, lambda: None if future.done() else tell())
        else:
            tell()
        return future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.run_until_complete(work)

    def pass_time(self, seconds: float) -> None:
        """Lets everything run that is due within so many seconds."""
        self.run_until_complete(asyncio.sleep(seconds))

    def step(self) -> None:
        """Lets what is ready run once, whatever an interruption has left behind."""
        self.call_soon(self.stop)
        self.run_forever()
