"""What the ledger promises of intents, coins and money, also after it was closed, and when it cannot be written."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ledger_values import NOTHING, coin, intent, name, settle

from quickstart.chain.coins import CoinChanges
from quickstart.errors import StateError
from quickstart.ledger.ledger import ConflictError, Ledger
from quickstart.ledger.records import (
    EpochReport,
    Fill,
    FillState,
    IntentKind,
    IntentStatus,
    Movement,
    Published,
)
from quickstart.ledger.schema import MIGRATIONS


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def reopened(ledger: Ledger) -> Ledger:
    ledger.close()
    return Ledger(ledger.path)


def test_an_intent_comes_back_as_it_was(ledger: Ledger) -> None:
    sent = intent(
        "t1", "target", coin("a", 3, 77), coin("b"), details={"bond": 66_560, "amounts": [1, 2], "ours": True}
    )
    ledger.record(sent)
    again = reopened(ledger)
    assert again.pending() == (sent,)
    again.close()


def test_pending_intents_are_listed_oldest_first(ledger: Ledger) -> None:
    for number, created in enumerate((30, 10, 20)):
        ledger.record(intent(f"t{number}", None, coin(f"c{number}"), created_ms=created))
    assert [one.created_ms for one in ledger.pending()] == [10, 20, 30]


@pytest.mark.parametrize("status", [IntentStatus.PENDING, IntentStatus.LANDED])
def test_one_live_intent_per_kind_and_target(ledger: Ledger, status: IntentStatus) -> None:
    ledger.record(intent("t1", "target", coin("a")))
    if status is not IntentStatus.PENDING:
        settle(ledger, "t1", status)
    with pytest.raises(ConflictError):
        ledger.record(intent("t2", "target", coin("b")))
    ledger.record(intent("t3", "other target", coin("b")))
    ledger.record(intent("t4", "target", coin("c"), kind=IntentKind.CLAIM))
    assert [name("t2")] != [one.digest for one in ledger.pending()]
    assert ledger.live_subjects(IntentKind.SUBMIT) == {name("target"), name("other target")}


def test_a_failed_target_may_be_tried_again_and_is_remembered(ledger: Ledger) -> None:
    ledger.record(intent("t1", "target", coin("a")))
    settle(ledger, "t1", IntentStatus.FAILED)
    assert ledger.live_subjects(IntentKind.SUBMIT) == frozenset()
    assert ledger.failed_subjects(IntentKind.SUBMIT, 3) == {name("target")}
    assert ledger.failed_subjects(IntentKind.SUBMIT, 4) == frozenset()
    ledger.record(intent("t2", "target", coin("a", 2)))


@pytest.mark.parametrize("status", [IntentStatus.PENDING, IntentStatus.LANDED, IntentStatus.FAILED])
def test_a_coin_version_is_named_once_for_ever(ledger: Ledger, status: IntentStatus) -> None:
    ledger.record(intent("t1", None, coin("a", 5), coin("b"), kind=IntentKind.SPLIT))
    if status is not IntentStatus.PENDING:
        settle(ledger, "t1", status)
    with pytest.raises(ConflictError):
        ledger.record(intent("t2", None, coin("c"), coin("a", 5), kind=IntentKind.SPLIT))
    ledger.record(intent("t3", None, coin("c"), coin("a", 6), kind=IntentKind.SPLIT))


def test_a_refused_intent_frees_its_target_and_coins(ledger: Ledger) -> None:
    ledger.record(intent("t1", "target", coin("a", 5)))
    ledger.refuse(name("t1"), "stale coin", 20)
    assert ledger.pending() == ()
    assert ledger.live_subjects(IntentKind.SUBMIT) == frozenset()
    ledger.record(intent("t2", "target", coin("a", 5)))
    assert ledger.counts(IntentKind.SUBMIT) == {IntentStatus.REFUSED: 1, IntentStatus.PENDING: 1}


def test_refused_bytes_may_be_pending_again_and_others_may_not(ledger: Ledger) -> None:
    """The same coin, target and window make the same transaction, whose digest is its name."""
    ledger.record(intent("t1", "target", coin("a", 5)))
    with pytest.raises(ConflictError):
        ledger.record(intent("t1", "target", coin("a", 5)))
    ledger.refuse(name("t1"), "nothing was sent", 20)
    again = intent("t1", "another", coin("a", 5), epoch=4, created_ms=30, details={"bond": 1})
    ledger.record(again)
    assert ledger.pending() == (again,)
    settle(ledger, "t1", IntentStatus.FAILED)
    with pytest.raises(ConflictError):
        ledger.record(intent("t1", "target", coin("b", 7)))
    ledger.record(intent("t2", "target", coin("b", 7)))  # what conflicted took no coin


def test_a_conflict_records_nothing(ledger: Ledger) -> None:
    ledger.record(intent("t1", None, coin("a")))
    with pytest.raises(ConflictError):
        ledger.record(intent("t2", None, coin("z"), coin("a")))
    ledger.record(intent("t3", None, coin("z")))  # `z` was not taken by the intent that failed
    assert [one.digest for one in ledger.pending()] == [name("t1"), name("t3")]


def test_settling_replaces_the_coins_that_were_spent(ledger: Ledger) -> None:
    ledger.keep_coins([coin("a"), coin("b"), coin("kept")])
    ledger.record(intent("t1", None, coin("a"), coin("b"), kind=IntentKind.MERGE))
    changes = CoinChanges((coin("a", 2, 1900), coin("new", 2, 5)), frozenset({name("b")}), frozenset())
    settle(ledger, "t1", changes=changes, movements={"fee_base": -1000})
    assert ledger.coins() == (coin("a", 2, 1900), coin("kept"), coin("new", 2, 5))
    assert ledger.pending() == ()


def test_settling_twice_counts_once(ledger: Ledger) -> None:
    ledger.keep_coins([coin("a")])
    ledger.record(intent("t1", "target", coin("a")))
    for _ in range(2):
        changes = CoinChanges((coin("a", 2, 900),), frozenset(), frozenset())
        settle(ledger, "t1", changes=changes, movements={"fee_base": -60, "bond_locked": -40})
    assert ledger.totals() == {"bond_locked": -40, "fee_base": -60}
    assert ledger.coins() == (coin("a", 2, 900),)
    assert ledger.counts(IntentKind.SUBMIT) == {IntentStatus.LANDED: 1}


def test_money_is_summed_by_item_and_fees_by_epoch(ledger: Ledger) -> None:
    ledger.move(name("t1"), [Movement("fee_base", -1000), Movement("fee_value", -7), Movement("fee_operation", 0)], 3)
    ledger.move(name("t2"), [Movement("fee_base", -1000), Movement("received", 5000)], 4)
    ledger.move(name("t2"), [Movement("received", 5000)], 4)
    assert ledger.totals() == {"fee_base": -2000, "fee_value": -7, "received": 5000}
    assert (ledger.fees(3), ledger.fees(4), ledger.fees(5)) == (1007, 1000, 0)


def test_everything_else_comes_back_after_reopening(ledger: Ledger) -> None:
    fills = (
        Fill(name("a"), name("t1"), 3, 12_685_185, 66_560, name("w")),
        Fill(name("b"), None, 4, 12_685_185, 66_560, None, FillState.SLASHED),
    )
    report = EpochReport(3, 1.05, 100, 90, 80, 4, 6, "max_hits")
    published = Published(name("w"), "https://h/w", 1024, 99)
    ledger.add_fills(fills)
    ledger.add_fills([Fill(name("a"), None, 9, 0, 0, None)])  # known already: kept as it was
    ledger.mark_fill(name("a"), FillState.CLAIMED)
    ledger.report_epoch(report)
    ledger.publish(published)
    ledger.name_weights(name("encrypted"), name("plain"))
    ledger.keep_coins([coin("a"), coin("b")])
    ledger.forget_coins([name("b")])
    again = reopened(ledger)
    assert [fill.state for fill in again.fills()] == [FillState.CLAIMED, FillState.SLASHED]
    assert again.fills(FillState.SLASHED) == fills[1:]
    assert again.fills()[0].reward == 12_685_185
    assert again.epoch_reports() == (report,)
    assert again.published() == (published,)
    assert again.weights_names() == {name("encrypted"): name("plain")}
    assert again.coins() == (coin("a"),)
    again.close()


# -- files that cannot be used


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(ledger: Ledger) -> None:
    ledger.record(intent("t1", "target", coin("a")))
    ledger.close()
    database = sqlite3.connect(ledger.path)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    known = len(MIGRATIONS)
    with pytest.raises(StateError, match=rf"version {known + 1}, this program knows {known}; update the program"):
        Ledger(ledger.path)
    database = sqlite3.connect(ledger.path)
    assert database.execute("SELECT COUNT(*) FROM intents").fetchone() == (1,)
    database.close()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database, however long one looks at it" * 100)
    with pytest.raises(StateError, match=r"ledger\.sqlite cannot be opened"):
        Ledger(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="cannot be opened"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_several_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """A command that looks at the books starts while the first run of all makes them."""
    together = threading.Barrier(4)

    def open_it(path: Path) -> None:
        together.wait()
        Ledger(path).close()

    with ThreadPoolExecutor(4) as threads:
        for attempt in range(8):
            list(threads.map(open_it, [tmp_path / str(attempt) / "ledger.sqlite"] * 4))


def fill_up(ledger: Ledger) -> None:
    """No page more than the file has now: what a full disk is to SQLite."""
    (pages,) = ledger._database.execute("PRAGMA page_count").fetchone()
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")


def make_room(ledger: Ledger) -> None:
    ledger._database.execute("PRAGMA max_page_count = 100000")


def test_a_full_disk_is_told_and_loses_nothing(ledger: Ledger) -> None:
    ledger.record(intent("t1", "target", coin("a")))
    fill_up(ledger)
    big = intent("t2", "other", coin("b"), details={"pad": "x" * 100_000})
    with pytest.raises(StateError, match=r"ledger\.sqlite cannot be written.*free disk space"):
        ledger.record(big)
    with pytest.raises(StateError, match="cannot be written"):
        ledger.group([lambda own: own.record(intent("t3", "third", coin("c"))), lambda own: own.record(big)])
    assert [one.digest for one in ledger.pending()] == [name("t1")]
    make_room(ledger)
    ledger.group([lambda own: own.record(intent("t3", "third", coin("c"))), lambda own: own.record(big)])
    assert len(ledger.pending()) == 3


def test_a_damaged_file_is_told(ledger: Ledger) -> None:
    for number in range(300):
        ledger.record(intent(f"t{number}", None, coin(f"c{number}")))
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    tables = 32 * 4096  # the schema lies before that
    assert len(content) > tables
    content[tables:] = b"\xff" * (len(content) - tables)
    ledger.path.write_bytes(content)
    damaged = Ledger(ledger.path)
    with pytest.raises(StateError, match=r"ledger\.sqlite"):
        damaged.pending()
    with pytest.raises(StateError, match=r"ledger\.sqlite"):
        damaged.record(intent("new", None, coin("new")))
    damaged.close()


def test_nothing_is_settled_that_moved_nothing(ledger: Ledger) -> None:
    """Zero amounts make no rows: the books list what happened."""
    ledger.record(intent("t1", None, coin("a")))
    settle(ledger, "t1", changes=NOTHING, movements={"fee_value": 0})
    assert ledger.totals() == {}


def test_what_settled_long_ago_does_not_bring_its_coins_back(ledger: Ledger) -> None:
    """A process that slept settles late what its successor settled, whose coins have moved on since."""
    ledger.keep_coins([coin("a")])
    ledger.record(intent("t1", "target", coin("a")))
    changes = CoinChanges((coin("a", 2, 900),), frozenset(), frozenset())
    settle(ledger, "t1", changes=changes, movements={"fee_base": -100})
    ledger.record(intent("t2", "other", coin("a", 2, 900)))
    settle(ledger, "t2", changes=CoinChanges((coin("a", 3, 800),), frozenset(), frozenset()))
    settle(ledger, "t1", changes=changes, movements={"fee_base": -100})
    assert ledger.coins() == (coin("a", 3, 800),)


def test_figures_are_as_of_the_last_commit(ledger: Ledger) -> None:
    assert ledger.hits(3) == 0
    ledger.add_fills([Fill(name("a"), None, 3, 1, 66_560, None)])
    assert (ledger.hits(3), ledger.bond_outstanding()) == (1, 66_560)
    ledger.mark_fill(name("a"), FillState.CLAIMED)
    assert (ledger.hits(3), ledger.bond_outstanding()) == (1, 0)


def test_taken_targets_are_those_asked_about_and_those_lost(ledger: Ledger) -> None:
    for number, subject in enumerate(("pending", "landed", "failed", "refused")):
        ledger.record(intent(f"t{number}", subject, coin(f"c{number}")))
    settle(ledger, "t1")
    settle(ledger, "t2", IntentStatus.FAILED)
    ledger.refuse(name("t3"), "stale", 20)
    asked = [name(subject) for subject in ("pending", "landed", "refused", "new")]
    taken = ledger.taken_subjects(IntentKind.SUBMIT, 3, asked)
    assert taken == {name("pending"), name("landed"), name("failed")}
    assert ledger.taken_subjects(IntentKind.SUBMIT, 4, asked[1:]) == {name("landed")}
