"""What each scorer container is at: noted when it starts and when it takes a call, since one that is killed never
answers, and is paid for all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise

from quickstart.modal_app.names import AT_WORK
from quickstart.modal_app.store import Store

MOST_CONTAINERS = 3
"""A call over which so many containers were lost is given up: perhaps it is what kills them."""

FORGOTTEN_AFTER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A container took a call at `began` (seconds since 1970), `alive_seconds` after its own start.

    `call_id` is empty for one that has just started.
    """

    container: str
    call_id: str
    began: float
    alive_seconds: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Why a call must not go on. `put_off`: it is no failure of the call, which may begin again another day."""

    reason: str
    put_off: bool


def note(store: Store, attempt: Attempt) -> None:
    """Replaces what was noted of this container."""
    store.put(f"{AT_WORK}/{attempt.container}", (attempt.call_id, attempt.began, attempt.alive_seconds))


def noted(store: Store, now: float) -> tuple[Attempt, ...]:
    """The last note of every container; those older than a day are dropped."""
    found = []
    for key in map(str, list(store.keys())):
        head, _, container = key.partition("/")
        values = store.get(key, None) if head == AT_WORK else None
        if values is None:
            continue
        if now - values[1] > FORGOTTEN_AFTER_SECONDS:
            store.pop(key, None)
        else:
            found.append(Attempt(container, *values))
    return tuple(found)


def alive_seconds(attempts: Iterable[Attempt], in_flight: Set[str], now: float) -> Mapping[str, float]:
    """How long each container has lived at least. At work on a call in flight it lives until now, unless another has
    taken that call since: then it was lost before that.
    """
    seconds: dict[str, float] = {}
    for call_id, takers in _takers(attempts).items():
        for taker in takers:
            seconds[taker.container] = taker.alive_seconds
        if call_id in in_flight:
            for earlier, later in pairwise(takers):
                seconds[earlier.container] += later.began - earlier.began
            seconds[takers[-1].container] += max(0.0, now - takers[-1].began)
    return seconds


def to_give_up(attempts: Iterable[Attempt], in_flight: Set[str], capped: bool) -> Mapping[str, GivenUp]:
    """Calls that must not go on, and why. `capped`: the day's dollars are spent; what is under way for the first time
    may end, so that each container costs at most the rest of a shard more.
    """
    takers = _takers(attempts)
    found: dict[str, GivenUp] = {}
    for call_id in in_flight:
        number = len(takers.get(call_id, ()))
        if number >= MOST_CONTAINERS:
            found[call_id] = GivenUp(f"{number} containers were lost over it", put_off=False)
        elif capped and number != 1:
            found[call_id] = GivenUp("the day's dollars for GPUs are spent", put_off=True)
    return found


def _takers(attempts: Iterable[Attempt]) -> Mapping[str, list[Attempt]]:
    """Attempts by call, in the order in which they began."""
    takers: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.began):
        takers[attempt.call_id].append(attempt)
    return takers
