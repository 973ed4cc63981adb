"""Under a version that this program does not know nothing is signed, until a person says so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_devnet import LiveDevnet, office, running
from sessions import session

from quickstart.chain.keys import Wallet
from quickstart.chain.versions import KNOWN, SigningPermit, installed_sdk, unknown_versions
from quickstart.errors import UnknownVersionError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import AlarmKind
from quickstart.submission.outbox import Settled

SDK = installed_sdk()


def test_what_is_unknown_is_named() -> None:
    assert unknown_versions(5, 1, SDK) == ()
    assert unknown_versions(None, None, SDK) == ()
    assert unknown_versions(6, 2, "0.2.0") == ("protocol-6", "architecture-2", "sdk-0.2.0")
    assert unknown_versions(6, 2, "0.2.0", ("protocol-6", "sdk-0.2.0")) == ("architecture-2",)
    assert unknown_versions(0, 1, SDK) == ("protocol-0",)


def test_the_locked_sdk_is_a_known_one() -> None:
    assert SDK in KNOWN["sdk"]


def test_the_outbox_asks_before_every_signature(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, 10**9) as own:
        before = live.executed()
        own.outbox.permit.observe(6, 1)
        coin = own.take()
        with pytest.raises(UnknownVersionError, match=r"protocol 6.*nothing is signed.*ACCEPT_VERSIONS=protocol-6"):
            live.run(own.submit(live.open_targets()[0], coin))
        own.outbox.permit.observe(5, 2)
        with pytest.raises(UnknownVersionError, match="architecture 2"):
            live.run(own.submit(live.open_targets()[0], coin))
        assert (live.executed(), own.ledger.pending()) == (before, ())
        own.outbox.permit = SigningPermit(sdk="9.9.9")
        with pytest.raises(UnknownVersionError, match=r"sdk 9\.9\.9"):
            live.run(own.submit(live.open_targets()[0], coin))
        own.outbox.permit = SigningPermit(("sdk-9.9.9",), sdk="9.9.9")
        assert isinstance(live.run(own.submit(live.open_targets()[0], coin)), Settled)


def renew(live: LiveDevnet, version: int) -> None:
    """The network runs another protocol version from now on."""
    live.node.state.rules = replace(live.node.state.rules, protocol_version=version)


def open_alarms(ledger: Path) -> list[AlarmKind]:
    books = Ledger(ledger)
    try:
        return [alarm.kind for alarm in books.alarms() if alarm.cleared_ms is None]
    finally:
        books.close()


def test_a_run_on_an_unknown_network_sends_nothing_until_a_person_says_so(tmp_path: Path) -> None:
    with running(models=1, targets=40) as live:
        wallet = Wallet(b"\x21" * 32)
        live.fund(wallet.address, 10**9)
        renew(live, 6)
        refused = live.run(session(live, wallet, tmp_path))
        with pytest.raises(UnknownVersionError):
            live.run(refused.run())
        assert live.executed() == 0
        assert open_alarms(refused.places.ledger) == [AlarmKind.UNKNOWN_VERSION]
        accepted = live.run(session(live, wallet, tmp_path, accepted_versions=("protocol-6",)))
        assert live.run(accepted.run())["filled"] > 0
        assert open_alarms(accepted.places.ledger) == []


def test_a_version_that_changes_in_the_middle_of_a_run_ends_the_signing(tmp_path: Path) -> None:
    with running(models=1, targets=40) as live:
        wallet = Wallet(b"\x22" * 32)
        live.fund(wallet.address, 10**9)
        signed: list[int] = []

        async def next_epoch() -> int:
            signed.append(live.executed())
            renew(live, 6)
            return int(await live.node.advance_epoch())

        run = live.run(session(live, wallet, tmp_path, epochs=3, advance_epoch=next_epoch))
        told: dict[str, Any] = live.run(run.run())
        assert len(signed) == 1 and signed[0] > 0
        assert live.executed() == signed[0]
        assert [alarm["kind"] for alarm in told["alarms"]] == [AlarmKind.UNKNOWN_VERSION]
        assert [epoch["ended_by"] for epoch in told["epochs"]][1:] == ["read_only"]
        assert told["books"]["difference_shannons"] == 0
        assert open_alarms(run.places.ledger) == [AlarmKind.UNKNOWN_VERSION]
