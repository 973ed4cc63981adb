"""One cycle at a time: the function call that is at work is named in the store, and a dead one is succeeded.

A call that was preempted or retried is the same call again, and recognises itself.
"""

from collections.abc import Callable
from types import TracebackType

from quickstart.chain.lease import Lease
from quickstart.modal_app.names import RUNNING
from quickstart.modal_app.store import Store


def take_over(store: Store, me: str, is_at_work: Callable[[str], bool]) -> str | None:
    """Makes `me` the call at work; else the id of the one that is.

    `is_at_work`: whether a call waits or runs.
    """
    while not store.put(RUNNING, me, skip_if_exists=True):
        other = store.get(RUNNING, None)
        if other == me:
            return None
        if other is not None:
            if is_at_work(other):
                return str(other)
            store.pop(RUNNING, None)
    return None


def at_work(store: Store, is_at_work: Callable[[str], bool]) -> str | None:
    """The id of the call at work, if there is one."""
    owner = store.get(RUNNING, None)
    return str(owner) if owner is not None and is_at_work(owner) else None


def leave(store: Store, me: str) -> None:
    """The end of `me` as the call at work."""
    if store.get(RUNNING, None) == me:
        store.pop(RUNNING, None)


class LeaseThenReload:
    """A lease after which a volume is brought up to date: whoever held it before may have changed what lies there."""

    def __init__(self, lease: Lease, reload: Callable[[], object]) -> None:
        self._lease = lease
        self._reload = reload

    def __enter__(self) -> "LeaseThenReload":
        self._lease.__enter__()
        try:
            self._reload()
        except BaseException:
            self._lease.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.__exit__(kind, error, trace)

    def held(self) -> bool:
        return self._lease.held()
