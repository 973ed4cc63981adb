"""What scorers cost: counted once, killed ones too, never above the cap by more than a shard per container."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_store import Kept

from quickstart.chain.transactions import Manifest
from quickstart.errors import NetworkError
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed, ScoreRequest
from quickstart.executors.modal import ModalExecutor, Remote
from quickstart.modal_app.attempts import MOST_CONTAINERS, Attempt, alive_seconds, note, noted, to_give_up
from quickstart.modal_app.billing import ASK_SECONDS, Bill
from quickstart.modal_app.prices import (
    GPU_DOLLARS_PER_SECOND,
    container_dollars_per_gpu_dollar,
    container_dollars_per_second,
)
from quickstart.modal_app.spending import Spending, Tariff


class Days:
    def __init__(self) -> None:
        self.day = "2026-11-23"

    def __call__(self) -> str:
        return self.day


class Flaky(Kept):
    """Fails the next `failing` writes and the next `unread` reads."""

    failing = unread = 0

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool:
        if self.failing:
            self.failing -= 1
            raise ConnectionError("Modal's Dict is away")
        return super().put(key, value, skip_if_exists=skip_if_exists)

    def get(self, key: str, default: Any = None) -> Any:
        if self.unread:
            self.unread -= 1
            raise ConnectionError("Modal's Dict is away")
        return super().get(key, default)


def no_bill(day: str) -> float | None:
    return None


def spending(store: Kept, days: Days, dollars: float = 1.0, bill: Callable[[str], float | None] = no_bill) -> Spending:
    return Spending(store, Tariff(dollars, dollars_per_second=0.001, overhead_seconds=100.0), bill, days)


def test_a_containers_time_counts_once_with_its_start_and_idling() -> None:
    money = spending(Kept(), Days())
    money.scored("a", 10.0, 10.0)
    money.scored("a", 30.0, 20.0)
    money.scored("b", 5.0, 5.0)
    assert money.dollars == pytest.approx(0.001 * (30 + 100 + 5 + 100))
    money.lived({"a": 29.0, "b": 7.0})
    assert money.dollars == pytest.approx(0.001 * (30 + 100 + 7 + 100)), "it never becomes less"


def test_a_restarted_submitter_goes_on_counting_and_a_new_day_begins_at_nothing() -> None:
    store, days = Kept(), Days()
    spending(store, days).scored("a", 50.0, 50.0)
    again = spending(store, days)
    again.scored("a", 60.0, 10.0)
    assert again.dollars == pytest.approx(0.160)
    days.day = "2026-11-24"
    assert again.dollars == 0.0
    for money in (spending(store, days), again):
        money.lived({"a": 70.0})
        assert money.dollars == pytest.approx(0.010), "the rest was yesterday's"
    days.day = "2026-11-25"
    tomorrow = spending(store, days)
    tomorrow.lived({"a": 75.0, "b": 1.0})
    assert tomorrow.dollars == pytest.approx(0.005 + 0.101)
    assert set(store.get("spent/2026-11-25")["alive"]) == {"a", "b"}


def test_what_could_not_be_written_down_is_written_with_the_next_count() -> None:
    store, days = Flaky(), Days()
    money = spending(store, days)
    store.failing = 1
    with pytest.raises(ConnectionError):
        money.scored("a", 50.0, 50.0)
    money.scored("a", 50.0, 50.0)
    assert spending(store, days).dollars == money.dollars == pytest.approx(0.150)


def test_a_day_that_could_not_be_opened_is_opened_again() -> None:
    store, days = Flaky(), Days()
    spending(store, days).scored("a", 50.0, 50.0)
    money = spending(store, days)
    store.unread = 1
    with pytest.raises(ConnectionError):
        _ = money.dollars
    assert money.dollars == pytest.approx(0.150)


def test_the_cap_stops_it_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    money = spending(Kept(), Days(), dollars=0.2)
    assert not money.capped
    money.scored("a", 100.0, 100.0)
    assert [money.shards_left, money.shards_left] == [0, 0]
    assert money.capped
    assert caplog.text.count("no GPUs any more today") == 1
    assert spending(Kept(), Days(), dollars=0.0).shards_left == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 200)), max_size=40))
def test_what_may_be_in_flight_fits_into_what_is_left(work: list[tuple[str, float]]) -> None:
    money, alive = spending(Kept(), Days(), dollars=2.0), dict.fromkeys("abc", 0.0)
    expected = 300.0
    assert money.shards_left == 6
    for container, seconds in work:
        alive[container] += seconds
        money.scored(container, alive[container], seconds)
        expected = 0.75 * expected + 0.25 * seconds
        left, shard = 2.0 - money.dollars, 0.001 * expected
        number = money.shards_left
        assert number * shard <= max(0.0, left) + 1e-9
        assert (number + 1) * shard > left - 1e-9


def test_the_dearest_gpu_of_a_list_is_counted() -> None:
    price = container_dollars_per_second(("L4", "H100"), 2.0, 16.0)
    assert price == pytest.approx(GPU_DOLLARS_PER_SECOND["H100"] + 2 * 0.0000131 + 16 * 0.00000222)
    assert container_dollars_per_second((), 0.0, 0.0) == 0.0
    share = container_dollars_per_gpu_dollar(("H100", "L4"), 2.0, 16.0)
    assert share == pytest.approx(container_dollars_per_second(("L4",), 2.0, 16.0) / GPU_DOLLARS_PER_SECOND["L4"])


# -- Modal's own count


def test_the_larger_of_bill_and_estimate_counts() -> None:
    billed: list[float | None] = [None]
    money = spending(Kept(), Days(), dollars=1.0, bill=lambda _: billed[0])
    money.scored("a", 400.0, 400.0)
    assert money.summary() == {"dollars_today": 0.5, "billed": None, "cap": 1.0}
    billed[0] = 0.2
    assert money.summary() == {"dollars_today": 0.5, "billed": 0.2, "cap": 1.0}
    billed[0] = 1.2
    assert money.summary() == {"dollars_today": 1.2, "billed": 1.2, "cap": 1.0}
    assert money.shards_left == 0


def test_a_bill_is_asked_for_now_and_then_and_its_absence_told_once(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    clock = [0.0]

    def billed(day: str) -> float:
        asked.append(day)
        if len(asked) < 3:
            raise NetworkError("not part of your plan")
        return 2.0

    bill = Bill(billed, 1.5, lambda: clock[0])
    assert [bill.dollars("monday"), bill.dollars("monday")] == [None, None]
    assert len(asked) == 1
    clock[0] += ASK_SECONDS
    assert bill.dollars("monday") is None
    assert caplog.text.count("not part of your plan") == 1
    assert bill.dollars("tuesday") == 3.0
    assert asked == ["monday", "monday", "tuesday"]


# -- who works on what


def test_a_container_at_work_lives_and_a_lost_one_lived_until_the_next_began() -> None:
    attempts = (
        Attempt("started", "", 100.0, 0.0),
        Attempt("idle", "over", 100.0, 30.0),
        Attempt("lost", "call", 100.0, 10.0),
        Attempt("working", "call", 150.0, 2.0),
    )
    assert alive_seconds(attempts, {"call"}, 170.0) == {"started": 0.0, "idle": 30.0, "lost": 60.0, "working": 22.0}
    assert alive_seconds(attempts, set(), 170.0) == {"started": 0.0, "idle": 30.0, "lost": 10.0, "working": 2.0}


def test_a_call_is_given_up_with_the_cap_or_after_too_many_containers() -> None:
    once = Attempt("a", "once", 1.0, 0.0)
    again = [Attempt(name, "again", 1.0, 0.0) for name in "bc"]
    often = [Attempt(f"d{number}", "often", 1.0, 0.0) for number in range(MOST_CONTAINERS)]
    attempts, in_flight = (once, *again, *often), {"once", "again", "often", "waiting"}
    assert to_give_up(attempts, in_flight, capped=False).keys() == {"often"}
    given_up = to_give_up(attempts, in_flight, capped=True)
    assert {call_id: one.put_off for call_id, one in given_up.items()} == {
        "often": False,
        "again": True,
        "waiting": True,
    }
    assert to_give_up(attempts, set(), capped=True) == {}


def test_notes_are_kept_per_container_and_forgotten_after_a_day() -> None:
    store, first, second = Kept(), Attempt("a", "x", 1000.0, 5.0), Attempt("b", "x", 1010.0, 0.0)
    note(store, Attempt("a", "", 990.0, 0.0))
    note(store, first)
    note(store, second)
    store.put("running", "x")
    assert set(noted(store, 1020.0)) == {first, second}
    assert noted(store, 1005.0 + 86_400) == (second,)
    assert set(store.keys()) == {"at-work/b", "running"}


# -- the executor, with containers that a test moves


class ScorerCall:
    """A call on Modal as its caller sees it: waiting until it is given an end."""

    def __init__(self, number: int) -> None:
        self.object_id = f"fc-{number}"
        self.ended: dict[str, Any] | Exception | None = None
        self.cancelled = threading.Event()

    def get(self, timeout: float | None = None) -> Any:
        if self.ended is None:
            raise TimeoutError
        if isinstance(self.ended, Exception):
            raise self.ended
        return self.ended

    def cancel(self, terminate_containers: bool = False) -> None:
        assert terminate_containers, "an idle GPU is paid for too"
        self.cancelled.set()


class Attached:
    """A call found again by its id, which Modal's own does not tell before it was first asked for something."""

    def __init__(self, call: ScorerCall) -> None:
        self.get, self.cancel = call.get, call.cancel

    @property
    def object_id(self) -> str:
        raise AttributeError("unhydrated")


class Cloud:
    """Weights are there at once; scoring calls go on until the test ends them."""

    def __init__(self) -> None:
        self.calls: list[ScorerCall] = []
        self.store = Kept()

    def fetch_weights(self, message: dict[str, Any]) -> ScorerCall:
        call = ScorerCall(-1)
        call.ended = {"weights": "11" * 32}
        return call

    def score(self, message: dict[str, Any]) -> ScorerCall:
        self.calls.append(ScorerCall(len(self.calls)))
        return self.calls[-1]

    def attach(self, call_id: str) -> "Attached":
        return Attached(next(call for call in self.calls if call.object_id == call_id))

    def takes(self, container: str, call: ScorerCall, ago: float = 0.0, alive: float = 0.0) -> None:
        note(self.store, Attempt(container, call.object_id, time.time() - ago, alive))

    def executor(self, money: Spending) -> ModalExecutor:
        """It looks after its calls at every step, as it does in the course of a long shard."""
        remote = Remote(self.fetch_weights, self.score, self.attach)
        return ModalExecutor(remote, self.store, money, 2, money.shards_left, lambda: None, 0.02, 0.0)


def request(shard: str) -> ScoreRequest:
    return ScoreRequest(shard, b"m" * 32, Manifest("http://127.0.0.1:9/w", b"c" * 32, 1), b"k" * 32)


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def test_a_scorer_that_was_killed_and_never_answered_is_paid_for() -> None:
    cloud, answers = Cloud(), list[ScoreAnswer]()
    money = spending(cloud.store, Days())
    with cloud.executor(money) as executor:
        executor.spawn(request("shard"))
        (call,) = until(lambda: cloud.calls)
        cloud.takes("killed", call, ago=300.0, alive=20.0)
        until(lambda: money.dollars >= 0.001 * (320 + 100))  # it may be at work still
        cloud.takes("second", call, ago=50.0)
        call.ended = {
            "weights": "11" * 32,
            "windows": 4,
            "failures": 0,
            "seconds": 40.0,
            "alive_seconds": 45.0,
            "container": "second",
        }
        until(lambda: answers.extend(executor.poll()) or answers)
    assert isinstance(answers[0], ScoreDone)
    assert money.dollars == pytest.approx(0.001 * (320 + 100 + 50 + 100), abs=0.005)
    kept = spending(cloud.store, Days())
    assert kept.dollars == pytest.approx(money.dollars), "a restarted submitter knows"


def test_a_call_that_is_taken_up_again_is_paid_for_and_given_up_like_any() -> None:
    cloud = Cloud()
    money = spending(cloud.store, Days())
    with cloud.executor(money) as first:
        first.spawn(request("shard"))
        (call,) = until(lambda: cloud.calls)
        until(lambda: [key for key in cloud.store.values if key.startswith("gpu-call/")])
    cloud.takes("only", call, ago=100.0)
    with cloud.executor(money) as second:
        second.spawn(request("shard"))
        until(lambda: money.dollars > 0.001 * (100 + 100))
        assert len(cloud.calls) == 1
        for name in ("again", "and again"):
            cloud.takes(name, call)
        until(call.cancelled.is_set)
        assert isinstance(until(second.poll)[0], ScoreFailed)


def test_a_call_that_could_not_be_written_down_is_not_begun_again() -> None:
    cloud = Cloud()
    cloud.store = Flaky()
    money = spending(cloud.store, Days())
    with cloud.executor(money) as executor:
        cloud.store.failing = 3
        executor.spawn(request("shard"))
        until(lambda: [key for key in cloud.store.values if key.startswith("gpu-call/")])
        assert len(cloud.calls) == 1
    assert cloud.store.failing == 0


def test_a_call_that_failed_for_good_is_paid_for() -> None:
    cloud, answers = Cloud(), list[ScoreAnswer]()
    money = spending(cloud.store, Days())
    with cloud.executor(money) as executor:
        executor.spawn(request("shard"))
        (call,) = until(lambda: cloud.calls)
        cloud.takes("only", call, ago=200.0)
        call.ended = RuntimeError("the container ran out of memory")
        until(lambda: answers.extend(executor.poll()) or answers)
    assert isinstance(answers[0], ScoreFailed) and "out of memory" in answers[0].reason
    assert money.dollars == pytest.approx(0.001 * (200 + 100), abs=0.005)


def test_a_shard_that_kills_containers_does_not_do_so_for_ever() -> None:
    cloud, answers = Cloud(), list[ScoreAnswer]()
    money = spending(cloud.store, Days(), dollars=100.0)
    with cloud.executor(money) as executor:
        executor.spawn(request("shard"))
        (call,) = until(lambda: cloud.calls)
        for number in range(MOST_CONTAINERS):
            assert not call.cancelled.is_set()
            cloud.takes(f"victim {number}", call, ago=30.0 - 10 * number)
        until(call.cancelled.is_set)
        until(lambda: answers.extend(executor.poll()) or answers)
    assert isinstance(answers[0], ScoreFailed) and not answers[0].model_at_fault
    assert "containers were lost over it" in answers[0].reason
    assert not any(key.startswith("gpu-call/") for key in cloud.store.values)


def test_with_the_cap_what_is_under_way_may_end_and_nothing_else_begins() -> None:
    cloud, answers = Cloud(), list[ScoreAnswer]()
    money = spending(cloud.store, Days(), dollars=1.2)
    with cloud.executor(money) as executor:
        assert executor.capacity == 2
        for number in range(4):
            executor.spawn(request(f"shard {number}"))
        until(lambda: len(cloud.calls) == 4)
        for container, call in zip("ab", cloud.calls, strict=False):
            cloud.takes(container, call, ago=550.0)
        until(lambda: executor.capacity == 0)
        under_way, waiting = cloud.calls[:2], cloud.calls[2:]
        until(lambda: all(call.cancelled.is_set() for call in waiting))
        until(lambda: answers.extend(executor.poll()) or len(answers) == 2)
        assert all(isinstance(a, ScoreFailed) and "dollars for GPUs are spent" in a.reason for a in answers)
        assert all(isinstance(a, ScoreFailed) and a.put_off for a in answers), "no failed try"
        cloud.takes("c", under_way[1])  # its container was killed, and it begins again
        until(under_way[1].cancelled.is_set)
        assert not under_way[0].cancelled.is_set()
