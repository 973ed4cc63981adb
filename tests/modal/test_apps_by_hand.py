"""A run by hand, a claim by hand (from then on with a bill from Modal), and a day without money for GPUs, one after the
other on one wallet.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cloud_world import BONDS, CAP, SCORER, World, world
from fakemodal.records import BilledHour

from quickstart.chain.identity import service_info
from quickstart.errors import HeldElsewhereError
from quickstart.modal_app import names
from quickstart.submission.premises import Places
from quickstart.submission.s3_lease import bucket_lease

LATER = {"QUICKSTART_WINDOWS_PER_RUN": "8", "QUICKSTART_GPU": "H100", "QUICKSTART_MAX_CONTAINERS": "9"}
"""Settings pushed to the secrets. GPUs are those of the deployment all the same."""

DAMAGED = b"no database " * 500


@dataclass(frozen=True)
class History:
    world: World
    shown: str
    run: dict[str, Any]
    claim: dict[str, Any]
    scored: int
    refusal: str
    asked: dict[str, Any]
    idle_day: dict[str, Any]
    idle_call: str
    refused: dict[str, Any]
    rebuilt: dict[str, Any]
    cleaned: dict[str, Any]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with world(tmp_path_factory.mktemp("by-hand"), {**CAP, **LATER}, models=1) as it:
        shown, run = it.run_interactively()
        two_epochs_later(it)
        it.standin.workspace.bill = bill()
        claim = claimed_by_hand(it)
        scored = it.calls(SCORER)["inputs"]
        it.change_secret(QUICKSTART_GPU_DOLLARS_PER_DAY="0")
        (call_id,) = it.standin.fire(names.SUBMITTER)
        it.until(lambda: len(it.chain.filled()) == BONDS, "nothing was filled without GPUs")
        refusal = signing_on_a_laptop(it)
        two_epochs_later(it)
        asked = claimed_by_hand(it)
        refused = upkeep(it, names.REBUILD)
        it.stop_cycle()
        outcome = it.standin.wait_for_call(call_id)
        assert outcome.status == "success", outcome.exception
        (ledger,) = it.folder(names.LEDGER_VOLUME).rglob("ledger.sqlite")
        ledger.write_bytes(DAMAGED)
        rebuilt, cleaned = upkeep(it, names.REBUILD), upkeep(it, names.CLEANUP)
        yield History(it, shown, run, claim, scored, refusal, asked, outcome.value, call_id, refused, rebuilt, cleaned)


def two_epochs_later(it: World) -> None:
    it.chain.next_epoch()
    it.chain.next_epoch()


def bill() -> list[BilledHour]:
    """The first hour of today and of tomorrow, of our app and of another."""
    today = int(time.time()) // 86_400 * 86_400
    dollars = {"L4": "4.00", "CPU": "9.00", "Memory": "9.00"}
    return [
        BilledHour(object_id, name, float(day), dollars)
        for day in (today, today + 86_400)
        for object_id, name in (("ap-" + "1" * 22, names.APP), ("ap-" + "2" * 22, "another"))
    ]


def claimed_by_hand(it: World) -> dict[str, Any]:
    found: dict[str, Any] = it.client(f"answer = modal.Function.from_name({names.APP!r}, {names.CLAIM!r}).remote()")
    return found


def upkeep(it: World, what: str) -> dict[str, Any]:
    code = f"answer = modal.Function.from_name({names.APP!r}, {names.UPKEEP!r}).remote({what!r})"
    found: dict[str, Any] = it.client(code)
    return found


def signing_on_a_laptop(it: World) -> str:
    """Takes the wallet's lease as `--local` does on another machine; what that says."""
    with TemporaryDirectory() as state:
        info = asyncio.run(service_info(it.chain.server.urls.rpc))
        places = Places.of(Path(state), info, it.chain.wallet)
        with pytest.raises(HeldElsewhereError) as held, bucket_lease(it.bucket, places, "submit --local"):
            pass
    return str(held.value)


def test_a_laptop_beside_the_cycle_does_not_sign_and_is_told_who_does(history: History) -> None:
    assert "`cycle on Modal`" in history.refusal


def test_a_run_by_hand_shows_progress_and_ends_by_itself(history: History) -> None:
    assert "scored 8/8" in history.shown
    assert history.run["filled"] == BONDS
    assert history.run["interrupted"] is False
    assert history.run["epochs"][-1]["ended_by"] == "bond_cap"
    assert history.run["books"]["difference_shannons"] == 0


def test_a_claim_while_nothing_runs_is_made_at_once(history: History) -> None:
    assert "asked" not in history.claim
    assert history.claim["claims_landed"] >= BONDS
    assert history.claim["books"]["difference_shannons"] == 0


def test_dollars_are_estimated_without_a_bill_and_the_larger_of_both_with_one(history: History) -> None:
    log = history.world.standin.log_of(names.SUBMITTER)
    assert history.run["gpu"]["billed"] is None
    assert 0 < history.run["gpu"]["dollars_today"] < 1
    assert log.count("no bill from Modal, what GPUs cost is estimated: PermissionDeniedError") == 1
    assert (
        history.claim["gpu"]["billed"]
        == history.claim["gpu"]["dollars_today"]
        == pytest.approx(4 * (1 + (2 * 0.0000131 + 16 * 0.00000222) / 0.000222), abs=1e-3)
    )


def test_a_claim_beside_the_cycle_is_made_by_it(history: History) -> None:
    assert history.asked["asked"] == history.idle_call
    assert history.asked["claims_landed"] >= 2 * BONDS


def test_a_day_without_dollars_rents_nothing_and_goes_on_with_what_is_free(history: History) -> None:
    assert history.idle_day["gpu"]["cap"] == 0
    assert history.idle_day["windows"]["scored"] == 0
    assert history.idle_day["claimed"] >= BONDS
    assert history.idle_day["books"]["difference_shannons"] == 0
    assert history.world.calls(SCORER)["inputs"] == history.scored
    assert "no GPUs any more today: the cap is $0.00 a day" in history.world.standin.log_of(names.SUBMITTER)


def test_the_ledger_is_made_again_where_it_lies_while_nothing_signs(history: History) -> None:
    assert history.refused["exit_code"] == 2
    assert f"{history.idle_call} is at work" in history.refused["error"]
    assert history.rebuilt["ledger"] == "damaged, begun anew"
    assert history.rebuilt["fills_restored"] == BONDS
    assert 0 < history.rebuilt["copies"] <= history.cleaned["kept"], "windows of which some filled several"
    assert history.rebuilt["books"]["difference_shannons"] == 0
    folder = history.world.folder(names.LEDGER_VOLUME)
    (aside,) = folder.rglob("ledger.sqlite.damaged-1")
    assert aside.read_bytes() == DAMAGED
    (ledger,) = folder.rglob("ledger.sqlite")
    with closing(sqlite3.connect(ledger)) as database:
        (fills,) = database.execute("SELECT COUNT(*) FROM fills").fetchone()
    assert fills == history.rebuilt["fills_restored"]
    assert history.cleaned["removed"] == [], "what is not claimed rests on its copy"


def test_a_wrong_secret_ends_in_one_line_and_nothing_is_sent(history: History) -> None:
    it = history.world
    before = it.chain.executed()
    it.client(f"state.pop({names.DISARMED!r}); answer = None")
    it.change_secret(SOMA_SECRET_KEY="not a key", S3_BUCKET="")
    (call_id,) = it.standin.fire(names.SUBMITTER)
    outcome = it.standin.wait_for_call(call_id)
    assert outcome.status == "success"
    assert outcome.value["exit_code"] == 2
    line = outcome.value["error"]
    assert "SOMA_SECRET_KEY" in line and "S3_BUCKET" in line and "\n" not in line
    assert f"error: {line}" in it.standin.log_of(names.SUBMITTER)
    assert "not a key" not in json.dumps(outcome.value)
    assert it.chain.executed() == before
