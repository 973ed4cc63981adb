"""What a wallet has done and earned, counted from its ledger."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from quickstart.chain.coins import CoinChanges
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import EpochReport, Fill, FillState, Intent, IntentKind, IntentStatus, Movement
from quickstart.submission.latency import percentile
from quickstart.submission.summary import summary

BOND = 66_560


def name(text: str) -> bytes:
    return text.encode().ljust(32, b".")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def fill(text: str, epoch: int, state: FillState = FillState.FILLED) -> Fill:
    return Fill(name(text), None, epoch, 12_685_185, BOND, name("w" + text[0]), state)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=60).map(sorted), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values

    def enough(limit: float) -> bool:
        return 100 * sum(value <= limit for value in values) >= percent * len(values)

    assert found is not None
    assert enough(found)
    assert not any(enough(value) for value in values if value < found)


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 50) is None


def test_an_empty_ledger_has_done_nothing(ledger: Ledger) -> None:
    told = summary(ledger)
    assert told["filled"] == told["lost"] == told["pending"] == told["missed"] == 0
    assert (told["latency_ms"]["p50"], told["latency_ms"]["own"]["count"]) == (None, 0)
    assert told["money"]["net_shannons"] == 0
    assert told["books"] == {"items": {}, "ledger_shannons": 0}


def test_fills_are_told_apart_by_what_became_of_them(ledger: Ledger) -> None:
    ledger.add_fills(
        [
            fill("a1", 3, FillState.CLAIMED),
            fill("a2", 4, FillState.SLASHED),
            fill("b1", 4, FillState.FILLED),
            fill("b2", 5, FillState.FILLED),
            fill("b3", 6, FillState.FILLED),
        ]
    )
    told = summary(ledger, current_epoch=6)
    assert (told["filled"], told["claimed"], told["false_claims"]) == (5, 1, 1)
    assert (told["claimable"], told["in_audit"]) == (1, 2)  # a fill of epoch 4 from 6 on
    assert told["distinct_windows"] == 2
    assert told["money"]["bond_locked_shannons"] == 3 * BOND
    assert told["money"]["bond_lost_shannons"] == BOND
    since = summary(ledger, since_epoch=5, current_epoch=6)
    assert since["filled"] == 2
    assert since["money"] == told["money"]


def test_a_run_tells_what_it_settled_of_earlier_epochs(ledger: Ledger) -> None:
    ledger.add_fills([fill("a1", 3, FillState.CLAIMED), fill("b1", 4), fill("b2", 4), fill("b3", 4), fill("b4", 5)])
    before = ledger.fill_counts()
    ledger.mark_fill(name("b1"), FillState.CLAIMED)
    ledger.mark_fill(name("b2"), FillState.SLASHED)
    told = summary(ledger, since_epoch=6, current_epoch=6, settled_before=before)
    assert (told["filled"], told["claimed"], told["false_claims"]) == (0, 1, 1)
    assert (told["claimable"], told["in_audit"]) == (1, 1)


def test_money_earned_spent_and_lost(ledger: Ledger) -> None:
    ledger.add_fills([fill("a2", 4, FillState.SLASHED)])
    movements = {
        "received": 5_000_000,
        "fee_base": -1000,
        "fee_operation": -1200,
        "fee_value": -3,
        "bond_locked": -2 * BOND,
        "bond_returned": BOND,
        "reward_submitter": 600,
        "reward_model": 50,
        "incentive": 4,
    }
    ledger.move(name("t"), [Movement(item, amount) for item, amount in movements.items()], 4)
    told = summary(ledger)
    assert told["money"]["earned_shannons"] == 654
    assert told["money"]["fees_shannons"] == 2203
    assert told["money"]["net_shannons"] == 654 - 2203 - BOND
    assert told["books"]["ledger_shannons"] == sum(movements.values())


def test_lost_and_pending_come_from_intents(ledger: Ledger) -> None:
    for number, status in enumerate([IntentStatus.FAILED, IntentStatus.LANDED, None]):
        text = f"t{number}"
        ledger.record(Intent(name(text), IntentKind.SUBMIT, name("target " + text), 3, 0, b"", ()))
        if status:
            nothing = CoinChanges((), frozenset(), frozenset())
            ledger.settle(
                name(text), status, outcome=None, executed_epoch=3, settled_ms=1, changes=nothing, movements=()
            )
    told = summary(ledger)
    assert (told["lost"], told["pending"]) == (1, 1)


def test_missed_counts_only_epochs_that_no_cap_stopped(ledger: Ledger) -> None:
    ledger.report_epoch(EpochReport(3, 1.05, 100, 60, 50, 0, 10, "max_hits"))
    ledger.report_epoch(EpochReport(4, 1.0, 100, 60, 55, 3, 2, "exhausted"))
    told = summary(ledger)
    assert told["missed"] == 2
    assert [report["epoch"] for report in told["epochs"]] == [3, 4]
    assert summary(ledger, since_epoch=5)["epochs"] == []
