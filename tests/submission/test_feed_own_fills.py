"""What we know of our own fills before anybody else does, and what we do with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from feed_histories import fill
from live_devnet import BOND, SOMA, LiveDevnet, Office, office, running

from quickstart.chain.effects import Effects
from quickstart.chain.ids import Id32
from quickstart.ledger.records import IntentKind, Origin
from quickstart.submission.board_watch import BoardWatch
from quickstart.submission.outbox import Settled

DETAILS = {"bond": BOND, "reward": 12_685_185, "window": "00" * 32}


@pytest.fixture
def own(live: LiveDevnet, tmp_path: Path) -> Iterator[Office]:
    with office(live, tmp_path, SOMA, SOMA) as opened:
        yield opened


async def submit(own: Office, watch: BoardWatch, target_id: Id32, seen: list[str]) -> Settled:
    """One submission as the dispatch makes it; `seen`: what was known when."""
    coin = own.take()

    def signed(digest: Id32) -> None:
        watch.expect(digest)
        assert [intent.digest for intent in own.ledger.pending()] == [digest]
        assert digest not in own.live.node.state.effects
        seen.extend(format_of(own.live, target) for target in watch.expected)

    def executed(effects: Effects) -> None:
        watch.own_fill(target_id, effects)
        assert [intent.digest for intent in own.ledger.pending()] == [effects.digest]

    outcome = await own.outbox.send(
        own.live.submission(target_id, coin),
        (coin,),
        1,
        purpose=IntentKind.SUBMIT,
        subject=target_id,
        epoch=own.live.node.state.epoch,
        details=DETAILS,
        on_signed=signed,
        on_executed=executed,
    )
    assert isinstance(outcome, Settled)
    return outcome


def format_of(live: LiveDevnet, target_id: Id32) -> str:
    return "exists" if live.node.state.target(target_id) is not None else "is expected"


def test_what_our_fill_spawns_is_expected_before_it_exists_and_open_with_its_effects(own: Office) -> None:
    async def work() -> None:
        watch = BoardWatch(own.reader, await own.reader.board())
        target_id, seen = own.live.open_targets()[0], list[str]()
        await submit(own, watch, target_id, seen)
        assert seen == ["is expected"]
        assert watch.board.targets.keys() == set(own.live.open_targets())
        assert (watch.report.computed, watch.report.snapshots, watch.expected) == (1, 0, {})
        new = next(reversed(watch.board.targets))
        sighting = watch.sightings.get(new)
        assert sighting is not None
        assert sighting.origin is Origin.OWN

    own.live.run(work())


def test_what_a_failed_submission_would_have_spawned_never_opens(own: Office) -> None:
    async def work() -> None:
        watch = BoardWatch(own.reader, await own.reader.board())
        target_id, seen = own.live.open_targets()[0], list[str]()
        assert fill(own.live, "a stranger", target_id)
        before = watch.board.targets.keys()
        outcome = await submit(own, watch, target_id, seen)
        assert outcome.effects.failure is not None
        assert seen == ["is expected"]
        assert (watch.board.targets.keys(), watch.expected) == (before, {})

    own.live.run(work())


def test_listings_that_lag_behind_undo_nothing(tmp_path: Path) -> None:
    with running(targets=12, index_lag_seconds=0.4) as live, office(live, tmp_path, SOMA) as own:

        async def work() -> None:
            await own.reader.board()
            watch = BoardWatch(own.reader, await own.reader.board())
            target_id = live.open_targets()[0]
            await submit(own, watch, target_id, [])
            listed = await own.reader.board()
            assert target_id in listed.targets  # it still is in the listing
            await watch.refresh()
            assert watch.board.targets.keys() == set(live.open_targets())

        live.run(work())


def test_with_another_rule_our_own_fills_are_read_too(tmp_path: Path) -> None:
    with running(targets=12, wrong_seed=True) as live, office(live, tmp_path, SOMA, SOMA) as own:

        async def work() -> None:
            watch = BoardWatch(own.reader, await own.reader.board())
            await submit(own, watch, live.open_targets()[0], [])
            assert watch.report.computed == 0
            assert watch.distrusted
            while watch.told()["mismatch"] is None:
                await watch.refresh()
            assert watch.board.targets.keys() == set(live.open_targets())
            seen: list[str] = []
            await submit(own, watch, live.open_targets()[0], seen)
            assert seen == []
            await watch.refresh()
            assert watch.board.targets.keys() == set(live.open_targets())

        live.run(work())
