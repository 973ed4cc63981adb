"""A ledger made again from the chain, and published bytes that nobody needs taken away."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from live_devnet import BOND, LiveDevnet, running
from sessions import session

from quickstart.bank import Bank
from quickstart.chain.ids import blake2b_256
from quickstart.chain.keys import Wallet
from quickstart.errors import LeaseHeldError, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import AlarmKind, Fill, FillState, Intent, IntentKind, Published
from quickstart.submission.actions import Policy
from quickstart.submission.premises import Premises
from quickstart.submission.session import Session, claims_only
from quickstart.submission.upkeep import Upkeep, removable

SOMA = 1_000_000_000


@dataclass
class Place:
    live: LiveDevnet
    run: Session
    upkeep: Upkeep

    def ledger(self) -> Any:
        return closing(Ledger(self.run.places.ledger))

    def rebuild(self, **options: Any) -> dict[str, Any]:
        return self.live.run(self.upkeep.rebuild(**{"dry_run": False, **options}))

    def cleanup(self, *others: Path, **options: Any) -> dict[str, Any]:
        return self.live.run(self.upkeep.cleanup(others, **{"dry_run": False, **options}))

    def claim(self, folder: Path) -> None:
        for _ in range(2):
            self.live.next_epoch()
        policy = claims_only(Policy())
        opened = session(self.live, self.run.wallet, folder, epochs=0, policy=policy, storage=self.run.storage)
        assert self.live.run(self.live.run(opened).run())["claims_landed"] >= 6

    def objects(self) -> set[str]:
        return {path.name for path in (self.run.places.root / "published" / "windows").iterdir()}


@contextmanager
def submitted(folder: Path, secret: bytes) -> Iterator[Place]:
    """A wallet that has filled six targets in one epoch."""
    with running(models=1, targets=40) as live:
        wallet = Wallet(secret)
        live.fund(wallet.address, SOMA)
        run = live.run(session(live, wallet, folder))
        assert live.run(run.run())["filled"] == 6
        yield Place(live, run, Upkeep(run.network, wallet, run.places, run.info, run.storage, Premises()))


def forget(place: Place) -> None:
    for path in place.run.places.root.glob("ledger.sqlite*"):
        path.unlink()


def test_a_lost_ledger_is_made_again_with_the_fills_of_another_client(tmp_path: Path) -> None:
    with submitted(tmp_path, b"\x41" * 32) as place:
        live, wallet = place.live, place.run.wallet
        target = live.open_targets()[0]
        (gas,) = live.fund(wallet.address, SOMA)
        live.act_as(wallet, live.submission(target, gas), gas)  # with the same key, of bytes at a dead address
        with place.ledger() as ledger:
            before = {fill.target_id: (fill.epoch, fill.bond, fill.window, fill.url) for fill in ledger.fills()}
        forget(place)
        assert place.rebuild(dry_run=True)["fills_restored"] == 7
        assert not place.run.places.ledger.exists()
        told = place.rebuild()
        assert (told["fills_restored"], told["filled"], told["books"]["difference_shannons"]) == (7, 7, 0)
        with place.ledger() as ledger:
            after = {fill.target_id: (fill.epoch, fill.bond, fill.window, fill.url) for fill in ledger.fills()}
            assert {key: after[key] for key in before} == before
            assert ledger.bond_outstanding() == 7 * BOND
            (alarm,) = ledger.alarms()
            assert alarm.kind is AlarmKind.UNREADABLE and alarm.subject == "http://127.0.0.1:9/d"
            verified = {copy.url for copy in ledger.published() if copy.verified_ms}
        assert verified == {url for _, _, _, url in before.values()}
        assert place.rebuild()["fills_restored"] == 0


def test_a_damaged_ledger_is_set_aside_and_what_the_bucket_lost_is_put_back(tmp_path: Path) -> None:
    with submitted(tmp_path, b"\x43" * 32) as place:
        with place.ledger() as ledger:
            lost = ledger.fills()[0].window
        assert lost is not None and Bank(place.run.places.bank).row_of(lost) is not None
        (place.run.places.root / "published" / "windows" / lost.hex()).unlink()
        path = place.run.places.ledger
        garbage = b"not a database " * 1000
        path.write_bytes(garbage)
        told = place.rebuild()
        assert (told["ledger"], told["fills_restored"], told["alarms"]) == ("damaged, begun anew", 6, [])
        assert path.with_name("ledger.sqlite.damaged-1").read_bytes() == garbage
        assert lost.hex() in place.objects()


def test_nothing_is_touched_while_somebody_signs_or_an_outcome_is_open(tmp_path: Path) -> None:
    with submitted(tmp_path, b"\x44" * 32) as place:
        before = place.objects()
        with place.upkeep.premises.lease(place.run.places, "a test"):
            for work in (place.rebuild, place.cleanup):
                with pytest.raises(LeaseHeldError):
                    work()
            assert place.cleanup(dry_run=True)["removed"] == []
        with place.ledger() as ledger:
            ledger.record(Intent(bytes(32), IntentKind.CLAIM, b"t", 1, 1, b"signed", ()))
        for work in (place.rebuild, place.cleanup):
            with pytest.raises(UsageError, match="1 transactions may have landed or not: run `uv run claim`"):
                work()
        assert place.objects() == before


def test_windows_go_when_all_their_targets_are_claimed(tmp_path: Path) -> None:
    with submitted(tmp_path, b"\x45" * 32) as place:
        published = place.objects()
        assert place.cleanup()["removed"] == []  # in audit still
        with place.ledger() as ledger:
            fills = ledger.fills()
            needed = fills[0].window
            assert needed is not None
            for fill in fills:  # whatever the ledger says, the chain has them still
                ledger.mark_fill(fill.target_id, FillState.CLAIMED)
        assert place.cleanup()["removed"] == []
        with place.ledger() as ledger:
            for fill in fills:
                ledger.mark_fill(fill.target_id, FillState.FILLED)
            for copy in ledger.published():  # and six hours have passed: the next run reads them again
                ledger.publish(replace(copy, verified_ms=0))
        (place.run.places.root / "published" / "windows" / needed.hex()).unlink()
        place.claim(tmp_path)
        assert place.objects() == published  # what was lost was put back
        with place.ledger() as ledger:
            rested_on = {fill.window for fill in fills}
            assert all(copy.verified_ms for copy in ledger.published() if copy.window in rested_on)
            assert ledger.alarms() == ()
        other = tmp_path / "other.sqlite"
        with closing(Ledger(other)) as ledger:  # another wallet that publishes in the same bucket
            ledger.add_fills([Fill(b"t" * 32, None, 1, 1, 1, needed)])
        told = place.cleanup(other, dry_run=True)
        assert place.objects() == published
        used = {fill.window.hex() for fill in fills if fill.window}
        assert len(told["removed"]) == len(used) - 1
        assert place.cleanup(other)["removed"] == told["removed"]
        assert place.objects() == published - used | {needed.hex()}
        with place.ledger() as ledger:
            assert not {copy.window.hex() for copy in ledger.published()} & (used - {needed.hex()})
        assert place.cleanup()["removed"] and place.objects() == published - used
        assert place.cleanup()["removed"] == []


windows = st.integers(0, 4).map(lambda n: blake2b_256(b"%d" % n))
one = st.just(1)
ids = st.binary(min_size=4, max_size=4)
states = st.sampled_from(list(FillState))
fills = st.builds(Fill, ids, st.none(), one, one, one, st.none() | windows, st.none(), states)


@given(st.lists(windows, unique=True), st.lists(fills, max_size=8), st.frozensets(windows))
def test_nothing_that_a_bond_rests_on_is_removable(published: list[bytes], all_fills: list[Fill], needed: Any) -> None:
    copies = [Published(window, "u", 1024, 0) for window in published]
    gone = {copy.window for copy in removable(copies, all_fills, needed)}
    assert not gone & needed
    assert not gone & {fill.window for fill in all_fills if fill.state is FillState.FILLED}
    assert gone <= {fill.window for fill in all_fills}
