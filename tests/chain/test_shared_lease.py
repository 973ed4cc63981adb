"""The lease across machines: never two holders, whatever freezes, gets lost or arrives late; and it moves on."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quickstart.chain.lease import Holder
from quickstart.chain.shared_lease import (
    CLOCK_ERROR,
    GIVE_UP_SECONDS,
    SILENT_SECONDS,
    TTL_SECONDS,
    AllOf,
    Record,
    SharedLease,
    elapsed_seconds,
)
from quickstart.errors import HeldElsewhereError, LeaseHeldError, NetworkError

KEY = "leases/chain/wallet"


@dataclass
class Memory:
    """A store that does what its protocol says. `values`: key to (value, version)."""

    values: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def read(self, key: str) -> tuple[bytes, str] | None:
        return self.values.get(key)

    def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
        known = self.values.get(key)
        if (known[1] if known else None) != version:
            return None
        self.values[key] = value, str(next(self.versions))
        return self.values[key][1]

    @property
    def record(self) -> Record:
        return Record.decode(self.values[KEY][0])


@dataclass
class Clock:
    """Seconds of one machine: `rate` of them pass in each real one."""

    world: list[float]
    rate: float = 1.0
    offset: float = 0.0

    def __call__(self) -> float:
        return self.offset + self.world[0] * self.rate


FATES = st.sampled_from(["arrives"] * 6 + ["answer lost", "request lost", "late"])

INSTANT = 0.01
EDGES = [
    # Around the end of a lease, as the fastest, an exact and the slowest clock see it.
    TTL_SECONDS / rate + side
    for rate in (1 + CLOCK_ERROR, 1.0, 1 - CLOCK_ERROR)
    for side in (-INSTANT, INSTANT)
]
WAITS = st.sampled_from([1.0, 5.0, 5.0, 10.0, 100.0, *EDGES])
FREEZES = st.one_of(*[st.just(0.0)] * 9, WAITS)


class SeveralMachines(RuleBasedStateMachine):
    """Three machines with clocks of their own before one store, under a network that loses and delays.

    Every call of the store may freeze its machine before and after, and while it is frozen the others act: so steps
    interleave between any clock reading and any write.
    """

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = [0.0]
        self.memory = Memory()
        self.delayed: list[tuple[bytes, str | None]] = []
        self.busy: set[int] = set()
        self.calm = False
        self.data = data
        rate = st.sampled_from((1 - CLOCK_ERROR, 1.0, 1 + CLOCK_ERROR))
        self.clocks = [Clock(self.world, data.draw(rate), data.draw(st.sampled_from((0.0, 12345.0)))) for _ in range(3)]
        self.machines = [self.new(number) for number in range(3)]

    def new(self, number: int) -> SharedLease:
        return SharedLease(self.Line(self, number), KEY, f"machine {number}", clock=self.clocks[number])

    @dataclass
    class Line:
        """One machine's way to the store."""

        world: "SeveralMachines"
        number: int

        def read(self, key: str) -> tuple[bytes, str] | None:
            self.world.meanwhile()
            found = self.world.memory.read(key)
            self.world.meanwhile()
            return found

        def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
            world = self.world
            fate = "arrives" if world.calm else world.data.draw(FATES, label=f"write of {self.number}")
            world.meanwhile()
            if fate == "late":
                world.delayed.append((value, version))
                raise NetworkError("no answer in time")
            if fate == "request lost":
                raise NetworkError("nothing was sent")
            written = world.memory.write_if(key, value, version)
            world.meanwhile()
            if fate == "answer lost":
                raise NetworkError("connection reset")
            return written

    def meanwhile(self) -> None:
        """Machines that are not in the middle of something may act, before and after time has passed."""
        if self.calm:
            return
        self.others_may_act()
        if seconds := self.data.draw(FREEZES, label="freeze"):
            self.world[0] += seconds
            self.never_two()
            self.others_may_act()

    def others_may_act(self) -> None:
        idle = [number for number in range(3) if number not in self.busy]
        if idle and len(self.busy) < 3 and self.data.draw(st.sampled_from((False, False, True)), label="others act"):
            self.act(self.data.draw(st.sampled_from(idle)))

    def act(self, number: int) -> None:
        """One step of a machine: renew what it holds, else try to get it."""
        self.busy.add(number)
        lease = self.machines[number]
        try:
            if lease.renew() or lease.held():
                return
            lease.attempt()
        except (NetworkError, HeldElsewhereError):
            pass
        finally:
            self.busy.discard(number)
        self.never_two()

    @rule(number=st.integers(0, 2))
    def step(self, number: int) -> None:
        self.act(number)

    @rule(first=st.integers(0, 2), second=st.integers(0, 2), seconds=WAITS, calm=st.booleans())
    def contend(self, first: int, second: int, seconds: float, calm: bool) -> None:
        """The story of every takeover: one holds it, another sees that, time passes, the other tries again.

        When `calm` nothing freezes or gets lost, so that it comes down to their clocks.
        """
        self.calm = calm
        self.act(first)
        self.act(second)
        self.world[0] += seconds
        self.never_two()
        self.act(second)
        self.calm = False

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.world[0] += seconds

    @rule(number=st.integers(0, 2))
    def let_go(self, number: int) -> None:
        """Whoever holds it lets go, if somebody does."""
        number = next((n for n, lease in enumerate(self.machines) if lease.held()), number)
        self.busy.add(number)
        self.machines[number].release()
        self.busy.discard(number)

    @rule(number=st.integers(0, 2))
    def die_and_start_again(self, number: int) -> None:
        self.machines[number] = self.new(number)

    @rule(which=st.integers(0, 5))
    def late_write_arrives(self, which: int) -> None:
        if self.delayed:
            self.memory.write_if(KEY, *self.delayed.pop(which % len(self.delayed)))

    @invariant()
    def never_two(self) -> None:
        if hasattr(self, "machines"):
            assert sum(lease.held() for lease in self.machines) <= 1


TestSeveralMachines = SeveralMachines.TestCase
TestSeveralMachines.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def world() -> list[float]:
    return [1000.0]


def lease(memory: Memory, world: list[float], command: str) -> SharedLease:
    return SharedLease(memory, KEY, command, clock=Clock(world))


def take(one: SharedLease) -> None:
    assert one.attempt() is None
    assert one.held()


@dataclass
class Slow(Memory):
    """A store that takes its time before or after it acts, and calls `during` meanwhile."""

    world: list[float] = field(default_factory=list)
    before: float = 0.0
    after: float = 0.0
    during: Callable[[], object] = lambda: None

    def read(self, key: str) -> tuple[bytes, str] | None:
        self.world[0] += self.before
        self.during()
        found = super().read(key)
        self.world[0] += self.after
        return found

    def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
        self.world[0] += self.before
        self.during()
        written = super().write_if(key, value, version)
        self.world[0] += self.after
        return written


def test_the_fastest_clock_outwaits_the_slowest(world: list[float]) -> None:
    memory = Memory()
    holder = SharedLease(memory, KEY, "submit", clock=Clock(world, 1 - CLOCK_ERROR))
    other = SharedLease(memory, KEY, "claim", clock=Clock(world, 1 + CLOCK_ERROR, 777.0))
    take(holder)
    other.attempt()
    world[0] += TTL_SECONDS / (1 - CLOCK_ERROR) - INSTANT
    assert holder.held()
    assert other.attempt() is not None
    world[0] += 2 * INSTANT
    assert not holder.held()
    take(other)


def test_a_slow_read_does_not_count_as_waiting(world: list[float]) -> None:
    memory = Slow(world=world)
    holder, other = lease(memory, world, "submit"), lease(memory, world, "claim")
    take(holder)
    memory.before, memory.during = TTL_SECONDS * 1.2, lambda: memory.before and holder_renews()

    def holder_renews() -> None:
        memory.before = 0.0
        assert holder.renew()

    assert other.attempt() is not None
    world[0] += TTL_SECONDS * 0.1
    assert holder.held()
    assert other.attempt() is not None


def test_a_renewal_counts_from_when_it_was_sent(world: list[float]) -> None:
    memory = Slow(world=world)
    holder = lease(memory, world, "submit")
    take(holder)
    memory.after = TTL_SECONDS * 0.75
    assert holder.renew() and holder.held()
    world[0] += TTL_SECONDS * 0.25
    assert not holder.held()


def test_nothing_is_held_while_it_is_given_back(world: list[float]) -> None:
    memory = Slow(world=world)
    holder, seen = lease(memory, world, "submit"), []
    take(holder)
    memory.during = lambda: seen.append(holder.held())
    holder.release()
    assert seen == [False]


def test_a_late_renewal_does_not_undo_a_takeover(world: list[float]) -> None:
    memory, late = Memory(), []

    class Delaying(Memory):
        read = memory.read

        def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
            late.append((key, value, version))
            raise NetworkError("no answer in time")

    holder, other = lease(memory, world, "submit"), lease(memory, world, "claim")
    take(holder)
    holder._store = Delaying()
    assert holder.renew() and holder.held(), "in doubt; what it had is not over yet"
    other.attempt()
    world[0] += TTL_SECONDS * 1.1
    take(other)
    assert memory.write_if(*late[0]) is None
    holder._store = memory
    assert not holder.renew() and other.renew()


def test_a_late_renewal_that_came_in_after_all_is_our_own(world: list[float]) -> None:
    memory, late = Memory(), []

    class Delaying(Memory):
        read = memory.read

        def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
            late.append((key, value, version))
            raise NetworkError("no answer in time")

    holder = lease(memory, world, "submit")
    take(holder)
    holder._store = Delaying()
    assert holder.renew()
    memory.write_if(*late[0])
    holder._store = memory
    world[0] += 5.0
    assert holder.renew(), "it sees that the newer record is its own"
    assert holder.renew() and holder.held()


def test_a_living_holder_is_named_within_a_renewal(world: list[float]) -> None:
    memory = Memory()
    first, second = lease(memory, world, "cycle on Modal"), lease(memory, world, "submit")
    take(first)
    assert second.attempt() is not None
    world[0] += 5.0
    assert first.renew()
    with pytest.raises(HeldElsewhereError, match=r"`cycle on Modal` \(process \d+ on .*since .*`uv run stop`.*30 s"):
        second.attempt()
    assert issubclass(HeldElsewhereError, LeaseHeldError)
    assert first.held() and not second.held()


def test_a_holder_that_went_silent_is_succeeded_after_its_time_and_not_before(world: list[float]) -> None:
    memory = Memory()
    first, second = lease(memory, world, "submit"), lease(memory, world, "claim")
    take(first)
    second.attempt()
    world[0] += TTL_SECONDS
    assert not first.held(), "by its own clock alone"
    assert second.attempt() is not None
    world[0] += TTL_SECONDS * 0.09
    take(second)
    assert not first.renew()
    assert not first.held() and second.held()
    assert memory.record.holder is not None and memory.record.holder.command == "claim"


def test_a_silent_holder_is_named_while_its_end_is_awaited(
    world: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory()
    first, second = lease(memory, world, "submit"), lease(memory, world, "claim")
    take(first)
    second.attempt()
    world[0] += SILENT_SECONDS - INSTANT
    assert second.attempt() is not None
    assert caplog.text == ""
    for _ in range(3):
        world[0] += 1.0
        assert second.attempt() is not None
    assert len(caplog.records) == 1, "once is enough"
    assert "`submit` (process" in caplog.text and "to take over" in caplog.text and "up to 25 s" in caplog.text


def test_a_holder_that_thawed_in_time_goes_on(world: list[float]) -> None:
    memory = Memory()
    first = lease(memory, world, "submit")
    take(first)
    world[0] += TTL_SECONDS * 3
    assert not first.held()
    assert first.renew() and first.held(), "nobody took it meanwhile"
    world[0] += TTL_SECONDS + GIVE_UP_SECONDS + 1
    assert not first.renew(), "after so long a store may have forgotten who took it"


def test_what_is_let_go_is_free_at_once(world: list[float]) -> None:
    memory = Memory()
    first, second = lease(memory, world, "submit"), lease(memory, world, "claim")
    take(first)
    first.release()
    assert not first.held()
    take(second)


def test_a_write_whose_answer_was_lost_counts(world: list[float]) -> None:
    memory = Memory()

    class Deaf(Memory):
        def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
            memory.write_if(key, value, version)
            raise NetworkError("connection reset")

        def read(self, key: str) -> tuple[bytes, str] | None:
            return memory.read(key)

    take(SharedLease(Deaf(), KEY, "submit", clock=Clock(world)))


def test_a_record_that_cannot_be_read_is_waited_for(world: list[float]) -> None:
    memory = Memory()
    memory.write_if(KEY, b"\xff{half", None)
    one = lease(memory, world, "submit")
    assert one.attempt() is not None
    world[0] += TTL_SECONDS * 1.1
    take(one)


def test_time_asleep_counts() -> None:
    before, machine = elapsed_seconds(), time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(before - machine) < 1.0


@contextmanager
def entered(memory: Memory, command: str) -> Iterator[SharedLease]:
    with SharedLease(memory, KEY, command, ttl_seconds=1.0, renew_seconds=0.05) as one:
        yield one


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_the_thread_renews_until_the_end() -> None:
    memory = Memory()
    threads = threading.active_count()
    with entered(memory, "submit") as one:
        first = memory.values[KEY][1]
        until(lambda: int(memory.values[KEY][1]) > int(first) + 25)
        assert one.held(), "longer than its time without a renewal"
        with pytest.raises(HeldElsewhereError):
            SharedLease(memory, KEY, "claim").__enter__()
    assert not one.held()
    assert memory.record.holder is None
    assert threading.active_count() == threads


def test_several_leases_are_held_together_and_given_back_together() -> None:
    one, other = Memory(), Memory()
    other.write_if(KEY, Record(Holder(1, "h", "c", 0.0), "somebody", "w", 0.2).encode(), None)
    both = AllOf(SharedLease(one, KEY, "submit"), SharedLease(other, KEY, "submit"))
    with both:
        assert both.held()
        assert other.record.holder is not None
        stolen = Record(Holder(1, "h", "c", 0.0), "thief", "w", 9.0).encode()
        other.write_if(KEY, stolen, other.values[KEY][1])
        assert both.held(), "not noticed before its own time is over, which no contender cuts short"
    assert one.record.holder is None
    assert other.record.owner == "thief"
