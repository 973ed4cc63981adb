"""What a cycle does when node, windows, volumes or Modal itself fail, without any of Modal."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kept_store import Kept
from modal import exception

from quickstart.alerts.alert import AlertKind
from quickstart.alerts.journal import Journal
from quickstart.chain.keys import Wallet
from quickstart.errors import (
    BusyError,
    HeldElsewhereError,
    QuickstartError,
    StateError,
    UnmappedFailure,
    UnreachableError,
)
from quickstart.executors.modal import Remote
from quickstart.ledger.ledger import Ledger
from quickstart.modal_app import names
from quickstart.modal_app.account import ending_of, has_ended, own_failures
from quickstart.modal_app.attendant import Attendant
from quickstart.modal_app.cycle import run_cycle, until_reached
from quickstart.modal_app.prices import container_dollars_per_second
from quickstart.modal_app.requests import StoreRequests
from quickstart.modal_app.run import gpu_costs, tariff
from quickstart.modal_app.spending import Spending
from quickstart.modal_app.watch import _Look, run_watch
from quickstart.modal_app.weights import put_weights
from quickstart.modal_app.windows import new_windows
from quickstart.modal_app.workplace import Shared, Workplace
from quickstart.settings import Settings, load_settings
from quickstart.submission.progress import Progress

NOBODY = "http://127.0.0.1:9"
WALLET = {
    "SOMA_SECRET_KEY": "2f" * 32,
    "S3_BUCKET": "windows",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
    "S3_ENDPOINT_URL": NOBODY,
    "QUICKSTART_RPC_URL": NOBODY,
    "QUICKSTART_GPU": "L4",
    "QUICKSTART_GPU_DOLLARS_PER_DAY": "0",
}


class Told:
    """A call that does what a test tells it, one thing for each time that it is asked."""

    def __init__(self, *answers: Any) -> None:
        self.object_id = "fc-windows"
        self.answers = list(answers)

    def get(self, timeout: float | None = None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, TimeoutError):
            time.sleep(timeout or 0.0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self, terminate_containers: bool = False) -> None:
        raise AssertionError("nobody cancels this")


class Place:
    """A workplace without Modal; windows are cut by `call`, which `begun` counts."""

    def __init__(self, folder: Path, call: Told) -> None:
        self.begun, self.attached, self.call = 0, list[str](), call
        nothing = Shared(folder, lambda: None, lambda: None)
        self.workplace = Workplace(
            call_id="fc-cycle",
            store=Kept(),
            remote=Remote(self.refuse, self.refuse, self.attach),
            cut_windows=self.begin,
            is_at_work=lambda call_id: False,
            gpu_dollars_billed=lambda day: 0.0,
            bank=nothing,
            ledgers=nothing,
            gpus=("H100",),
            containers=3,
            scorer_cores=2.0,
            scorer_memory_gib=16.0,
            overhead_seconds=0.0,
        )

    def refuse(self, message: dict[str, Any]) -> Told:
        raise AssertionError("nothing is scored here")

    def begin(self, message: dict[str, Any]) -> Told:
        self.begun += 1
        return self.call

    def attach(self, call_id: str) -> Told:
        self.attached.append(call_id)
        return self.call


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in WALLET.items():
        monkeypatch.setenv(name, value)
    return load_settings(env_file=None)


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# -- how a call ended


WHERE_IT_CANNOT_BE_ASKED = (
    exception.ConnectionError("away"),
    exception.ServiceError("busy"),
    exception.AuthError("who"),
    OSError("no route"),
)


def test_what_a_function_raises_is_not_taken_for_trouble_with_asking() -> None:
    for error in (*WHERE_IT_CANNOT_BE_ASKED, TimeoutError("the bucket's")):
        with pytest.raises(RuntimeError, match=type(error).__name__) as left, own_failures():
            raise error
        ending = ending_of(Told(left.value))
        assert ending is not None and ending.error is left.value
    for error in WHERE_IT_CANNOT_BE_ASKED:
        with pytest.raises(type(error)):
            has_ended(Told(error))
    assert not has_ended(Told(TimeoutError()))
    for ended in (3, ValueError("ours"), exception.NotFoundError("forgotten"), exception.OutputExpiredError()):
        assert has_ended(Told(ended))
    with pytest.raises(UnreachableError, match="words"), own_failures():
        raise UnreachableError("words")


def test_a_volume_that_fails_is_no_models_fault(tmp_path: Path) -> None:
    def refuse() -> None:
        raise exception.ConnectionError("the volume is away")

    message = {"url": f"{NOBODY}/w", "checksum": "11" * 32, "size": 10, "key": "22" * 32}
    answer = put_weights(message, Shared(tmp_path, refuse, lambda: None), 10**6)
    assert (answer["model_at_fault"], "the volume is away" in answer["failed"]) == (False, True)
    answer = put_weights(message, Shared(tmp_path, lambda: None, lambda: None), 10**6)
    assert answer["model_at_fault"] is True, "nobody has them"
    (tmp_path / "format.json").write_text("damaged")
    answer = put_weights(message, Shared(tmp_path, lambda: None, lambda: None), 10**6)
    assert (answer["model_at_fault"], "format.json" in answer["failed"]) == (False, True)


# -- windows


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((RuntimeError("out of memory"),), "no new windows: RuntimeError: out of memory"),
        (({"failed": "the hub is away"},), "no new windows: the hub is away"),
        ((exception.ConnectionError("away"), TimeoutError(), {"windows": 3}), "Modal: ConnectionError: away"),
        ((TimeoutError(),) * 60, "no new windows yet: this run begins without them"),
    ],
    ids=["failed", "told why", "asked again", "too slow"],
)
def test_without_new_windows_a_cycle_goes_on(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture, answers: tuple[Any, ...], told: str
) -> None:
    place = Place(tmp_path, Told(*answers))
    new_windows(place.workplace, settings, patience_seconds=0.05, ask_seconds=0.001)
    assert told in caplog.text


def test_windows_are_cut_once_however_often_the_cycle_is_interrupted(tmp_path: Path, settings: Settings) -> None:
    place = Place(tmp_path, Told(KeyboardInterrupt(), {"windows": 3}))
    with pytest.raises(KeyboardInterrupt):
        new_windows(place.workplace, settings)
    new_windows(place.workplace, settings)
    assert (place.begun, place.attached) == (1, ["fc-windows"])
    new_windows(place.workplace, settings)
    assert (place.begun, place.attached, place.call.answers) == (1, ["fc-windows"], [])
    other = replace(place.workplace, call_id="fc-tomorrow")
    place.call.answers.append({"windows": 2})
    new_windows(other, settings)
    assert place.begun == 2


# -- a node that is away


def test_work_is_tried_again_until_its_time_is_over() -> None:
    pauses: list[float] = []
    errors: Iterator[QuickstartError] = iter(
        (UnreachableError("away"), BusyError("busy", 1000.0), HeldElsewhereError("a reveal signs"))
    )

    def work() -> dict[str, Any]:
        error = next(errors, None)
        if error is not None:
            raise error
        return {"filled": 1}

    def rest(what: str, seconds: float) -> bool:
        pauses.append(seconds)
        return True

    assert until_reached(work, time.monotonic() + 5000, rest) == {"filled": 1}
    assert len(pauses) == 3 and pauses[1] == 1000.0

    for error, ends in ((UnreachableError("away"), 0.0), (UnmappedFailure("strange"), 5000.0)):
        errors = iter((error,))
        with pytest.raises(type(error)):
            until_reached(work, time.monotonic() + ends, rest)
    errors = iter((UnreachableError("away"),))
    with pytest.raises(UnreachableError):
        until_reached(work, time.monotonic() + 5000, lambda what, seconds: False)
    assert len(pauses) == 3


def test_a_cycle_waits_for_a_node_that_is_away_says_so_and_can_be_stopped(tmp_path: Path, settings: Settings) -> None:
    place = Place(tmp_path, Told())
    store, failed = place.workplace.store, list[Exception]()

    def cycle() -> None:
        try:
            run_cycle(place.workplace, until_exhausted=False)
        except UnreachableError as error:
            failed.append(error)

    thread = threading.Thread(target=cycle)
    thread.start()
    until(lambda: store.get(names.PROGRESS))
    call_id, line = store.get(names.PROGRESS)
    assert call_id == "fc-cycle"
    assert NOBODY in line and "the next try is in" in line
    store.put(names.DISARMED, "by the test")
    thread.join(20)
    assert not thread.is_alive()
    assert NOBODY in str(failed[0])
    assert store.get(names.RUNNING) is None
    with pytest.raises(UnreachableError):  # somebody waits for this one
        run_cycle(place.workplace, until_exhausted=True)


# -- signs of life


NOW = 1_800_000_000_000  # 08:00 UTC
HOUR = 3_600_000


def test_a_cycle_at_work_leaves_a_sign_and_a_claim_none() -> None:
    for is_cycle in (True, False):
        store = Kept()
        progress = Progress(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        with Attendant(store, "fc", StoreRequests(store), 99.0, None, lambda _: None, is_cycle=is_cycle) as attendant:
            attendant.show(progress)
        assert (store.get(names.PROGRESS)[0], store.get(names.CYCLE_SEEN) is not None) == ("fc", is_cycle)


def test_what_changes_the_ledger_is_no_sign_of_the_cycle(tmp_path: Path, settings: Settings) -> None:
    place = Place(tmp_path / "volume", Told())
    address = Wallet.parse(WALLET["SOMA_SECRET_KEY"]).address.hex()
    ledger = tmp_path / "volume" / "networks" / "c1" / address / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    Ledger(ledger).close()
    os.utime(ledger, (NOW / 1000, NOW / 1000))
    for seen_ms, dead in ((None, False), (NOW - 30 * HOUR, True), (NOW - 4 * HOUR, False)):
        if seen_ms is not None:
            place.workplace.store.put(names.CYCLE_SEEN, seen_ms)
        (tmp_path / str(seen_ms)).mkdir()
        look = _Look(place.workplace, settings, tmp_path / str(seen_ms))
        _, judgements = look.round(Journal(0, armed_ms=1), NOW)
        assert (AlertKind.DEAD in {alert.kind for one in judgements for alert in one.alerts}) is dead


def test_a_damaged_journal_is_named_as_it_lies_on_the_volume(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "alerts.json").write_text("{")
    with pytest.raises(StateError, match=f"^{names.LEDGER_VOLUME}:/alerts.json is damaged"):
        run_watch(Place(tmp_path, Told()).workplace, settings)


# -- the end of a run


class Away(Kept):
    """A store that does not answer."""

    def get(self, key: str, default: Any = None) -> Any:
        raise exception.ConnectionError("away")

    def keys(self) -> Any:
        raise exception.ConnectionError("away")


def test_a_run_ends_in_time_and_has_a_result_also_when_modals_dict_is_away(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ended = list[str]()
    with Attendant(Away(), "fc-cycle", StoreRequests(Away()), 0.0, None, ended.append):
        until(lambda: ended)
    assert "time is over" in ended[0]
    place = Place(tmp_path, Told())
    money = Spending(Away(), tariff(place.workplace, settings), lambda day: None)
    assert gpu_costs(money) is None
    assert "what GPUs cost today is not known" in caplog.text


def test_gpus_cost_what_was_deployed_and_not_what_the_secrets_say(tmp_path: Path, settings: Settings) -> None:
    assert settings.gpus == ("L4",)
    price = tariff(Place(tmp_path, Told()).workplace, settings).dollars_per_second
    assert price == container_dollars_per_second(("H100",), 2.0, 16.0)
