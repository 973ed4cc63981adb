"""One cycle at a time: the function call that is at work is named in the store, and a dead one is succeeded.

A call that was preempted or retried is the same call again, and recognises itself.
"""

from collections.abc import Callable

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
