"""The watch on Modal: apart from the cycle, so that it sees when that is dead, and that cannot suffer from it."""

import asyncio
import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.alerts.alert import Judgement, judge_deployment
from quickstart.alerts.channels import channels_of, secrets_of
from quickstart.alerts.journal import FILE, Journal
from quickstart.alerts.sight import Deployment
from quickstart.alerts.telling import Teller
from quickstart.alerts.watch import wallet_look
from quickstart.chain.keys import Wallet
from quickstart.desk.asking import ask_nodes
from quickstart.desk.health import Workplace as Place
from quickstart.desk.modal_side import costs, workplace
from quickstart.durable import copy_durably
from quickstart.errors import StateError
from quickstart.ledger.wallet_files import wallet_files
from quickstart.modal_app.account import described
from quickstart.modal_app.names import CYCLE_SEEN, LEDGER_VOLUME, WATCHED
from quickstart.modal_app.ownership import at_work
from quickstart.modal_app.prices import container_dollars_per_second
from quickstart.modal_app.workplace import TESTNET_RPC, Shared, Workplace
from quickstart.settings import Settings
from quickstart.submission.alarms import now_ms

log = logging.getLogger(__name__)

DEPLOYED = "Modal"
"""How alerts name what is deployed."""


def run_watch(on: Workplace, settings: Settings) -> dict[str, Any]:
    """One look at schedule, ledger and chain, and what is to be told. Returns what stands.

    Raises:
        SettingsError: a channel is set in part.
        StateError: the journal is damaged; nothing is told then.
    """
    channels = channels_of(settings)
    on.ledgers.reload()
    with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as folder:
        look = _Look(on, settings, Path(folder))
        kept = _Kept(on.ledgers, Path(folder))
        kept.take()
        try:
            journal = Teller(Path(folder), channels, secrets_of(settings), now_ms, kept.put).round(look.round)
        except StateError as error:  # of the copy, whose folder nobody will find
            raise StateError(str(error).replace(f"{folder}/", f"{LEDGER_VOLUME}:/")) from error
    assert journal is not None  # the folder is ours alone
    able = [channel.name for channel in channels if channel.name not in journal.rests]
    on.store.put(WATCHED, (now_ms(), bool(able)))
    return {
        "standing": [{"kind": alert.kind.value, "key": alert.key, "text": alert.text} for alert in journal.standing],
        "untold": len(journal.letters),
    }


@dataclass(frozen=True, slots=True)
class _Kept:
    """The journal's place on the volume, and its copy in `folder`."""

    volume: Shared
    folder: Path

    def take(self) -> None:
        with suppress(FileNotFoundError):
            shutil.copyfile(self.volume.folder / FILE, self.folder / FILE)

    def put(self) -> None:
        with (self.folder / FILE).open("rb") as file:
            copy_durably(self.volume.folder / FILE, file)
        self.volume.commit()


@dataclass(frozen=True, slots=True)
class _Look:
    on: Workplace
    settings: Settings
    folder: Path

    def round(self, journal: Journal, at_ms: int) -> tuple[Journal, Iterable[Judgement]]:
        ledger = self._newest_ledger()
        last_ms = None if ledger is None else ledger.stat().st_mtime_ns // 1_000_000
        place = self._place(last_ms, at_ms)
        journal = journal.armed(place, at_ms)
        seen = None if place is None else Deployment(DEPLOYED, place)
        judgements = [judge_deployment(at_ms, seen, journal.armed_ms, inside=True)]
        if ledger is not None:
            price = container_dollars_per_second(self.on.gpus, self.on.scorer_cores, self.on.scorer_memory_gib)
            url = self.settings.rpc_url or TESTNET_RPC
            served, _ = asyncio.run(ask_nodes([url]))
            stopped = place is not None and place.stopped is not None
            spent = None if place is None else costs(self.on.store, price)
            look = wallet_look(self.settings, ledger, served.get(ledger.parent.parent.name), spent, stopped=stopped)
            journal, found = look(journal, at_ms)
            judgements += found
        return journal, judgements

    def _place(self, last_ms: int | None, at_ms: int) -> Place | None:
        """`last_ms`: when the ledger changed. It counts for as long as no cycle has given a sign: what reveals or
        tidies up changes it too.
        """
        store = self.on.store
        try:
            return workplace(store, at_work(store, self.on.is_at_work), store.get(CYCLE_SEEN, last_ms), at_ms)
        except Exception as error:  # noqa: BLE001 - Modal's Dict may fail for a moment; the wallet is looked at all the same
            log.warning("Modal: %s", described(error))
            return None

    def _newest_ledger(self) -> Path | None:
        """A copy of the wallet's ledger that changed last, with its time: no file of the volume stays open."""
        assert self.settings.secret_key is not None  # WALLET_NAMES
        address = Wallet.parse(self.settings.secret_key.get_secret_value()).address.hex()
        newest = next((one.path for one in wallet_files(self.on.ledgers.folder) if one.address == address), None)
        if newest is None:
            return None
        copy = self.folder / newest.relative_to(self.on.ledgers.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(newest, copy)
        return copy
