"""A dry run scores and matches, and cannot sign: not by promise, but because it has nothing to sign with."""

from pathlib import Path

import pytest
from live_devnet import LiveDevnet, running

from quickstart.chain.keys import Wallet
from quickstart.data.folder import FolderSource
from quickstart.executors.base import Executor
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.ledger.ledger import Ledger
from quickstart.submission.actions import Policy
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.premises import Network, Places, Plan
from quickstart.submission.session import Session, open_session

SOURCE = Path(__file__).parents[2] / "src" / "quickstart" / "chain"


class SigningForbidden(Wallet):
    """Every way to get at a signature ends the test."""

    def sign(self, transaction_bytes: bytes) -> bytes:
        raise AssertionError("a dry run signed")

    def keypair(self) -> object:  # type: ignore[override]
        raise AssertionError("a dry run took the key out")


def executor(places: Places) -> Executor:
    return LocalExecutor(
        WorkerSettings(places.bank, places.root / "weights", 10**9, "numpy", private_hosts=True), workers=1
    )


async def opened(live: LiveDevnet, folder: Path) -> Session:
    plan = Plan(Policy(), epochs=1, windows=6, sources=(FolderSource(SOURCE),), dry_run=True)
    network = Network("devnet", live.endpoints)
    return await open_session(
        network,
        SigningForbidden(b"\x05" * 32),
        folder,
        plan,
        lambda places: FolderStorage(places.root / "public", "http://127.0.0.1:9"),
        executor,
        lambda progress: None,
    )


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> tuple[LiveDevnet, Path, Session, dict[str, object]]:
    folder = tmp_path_factory.mktemp("rehearsal")
    with running(models=1, targets=40) as live:
        live.fund(Wallet(b"\x05" * 32).address, 10**9)
        session = live.run(opened(live, folder))
        told = live.run(session.rehearse())
        return live, folder, session, told


def test_it_says_what_it_would_do(rehearsal: tuple[LiveDevnet, Path, Session, dict[str, object]]) -> None:
    told = rehearsal[3]
    assert told["dry_run"] is True
    assert told["windows"] == {"new": 6, "rejected": {}, "in_bank": 6, "scored": 6}
    assert told["open_targets"] == 40
    assert isinstance(told["would_submit"], int)
    assert told["would_submit"] > 0  # six windows fill many of forty targets at the first threshold


def test_it_sent_published_and_recorded_nothing(
    rehearsal: tuple[LiveDevnet, Path, Session, dict[str, object]],
) -> None:
    live, _, session, _ = rehearsal
    assert live.executed() == 0
    assert not (session.places.root / "public").exists()
    assert not session.places.lease.exists()
    ledger = Ledger(session.places.ledger)
    assert (ledger.pending(), ledger.coins(), ledger.totals(), ledger.fills()) == ((), (), {}, ())
    assert len(ledger.weights_names()) == 1  # what was scored is not scored again
    ledger.close()


def test_the_forbidden_wallet_does_end_a_run_that_signs(tmp_path: Path) -> None:
    """The test's own test: the same session, run for real, trips over the wallet."""
    with running(models=1, targets=40) as live:
        live.fund(Wallet(b"\x05" * 32).address, 10**9)
        session = live.run(opened(live, tmp_path))
        with pytest.raises(AssertionError, match="a dry run signed"):
            live.run(session.run())
