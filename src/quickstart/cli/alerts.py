"""`alerts`: what stands, a look that tells of it, and a message that tries the channels out."""

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.alerts.alert import Judgement, judge_deployment
from quickstart.alerts.channels import Channel, channels_of, secrets_of
from quickstart.alerts.journal import Journal, read
from quickstart.alerts.sight import Deployment
from quickstart.alerts.telling import CHANNEL_SECONDS, Teller, trial, without_secrets
from quickstart.alerts.watch import wallet_look
from quickstart.chain.keys import Wallet
from quickstart.cli.networks import checked_url
from quickstart.cli.rendering import print_dry_action, print_json, print_row
from quickstart.cli.shared_devnet import served_by_other
from quickstart.cli.state import open_state
from quickstart.cli.status import modal_answer
from quickstart.desk.accounts import Costs
from quickstart.desk.asking import ask_nodes, begin
from quickstart.desk.modal_side import ModalAnswer
from quickstart.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    QuickstartError,
    SettingsError,
    UnreachableError,
    UsageError,
)
from quickstart.ledger.wallet_files import wallet_files
from quickstart.modal_app.watch import DEPLOYED
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.settings import Settings, load_settings, remedy
from quickstart.submission.alarms import now_ms
from quickstart.units import age

NO_CHANNEL = "no channel is set: QUICKSTART_ALERT_WEBHOOK, or QUICKSTART_ALERT_MAIL_TO and QUICKSTART_ALERT_SMTP"


def run_alerts(arguments: argparse.Namespace) -> int:
    """Shows what stands; with `check` tells of what is new or over; with `test` sends a message by each channel.

    Raises:
        UsageError: there is no channel to tell by.
    """
    if arguments.rpc_url is not None:
        arguments.rpc_url = checked_url("rpc_url", arguments.rpc_url)
    settings = load_settings()
    channels = channels_of(settings)
    if arguments.what != "show" and not channels:
        raise UsageError(f"{NO_CHANNEL}; {remedy()}")
    if arguments.what == "test":
        return _test(arguments, channels)
    state = open_state(arguments.state or settings.state)
    tells = arguments.what == "check" and not arguments.dry_run
    with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as copies:
        eyes = _Eyes(arguments, settings, state, Path(copies), leaves_to_modal=tells)
        if tells:
            journal = Teller(state, channels, secrets_of(settings), now_ms).round(eyes.look)
            if journal is None:
                raise UsageError(f"another command tells alerts from {state} now: wait until it is done")
        else:
            at_ms = now_ms()
            journal, judgements = eyes.look(read(state, at_ms), at_ms)
            cleaned = (without_secrets(one, secrets_of(settings)) for one in judgements)
            journal = journal.noted(cleaned, at_ms, [channel.name for channel in channels])
    if arguments.json:
        print_json(_document(journal, channels, eyes.unseen, tells=tells))
    else:
        _print(journal, channels, eyes.unseen)
    return EXIT_FAILED if tells and _untold(journal, channels) else EXIT_DONE


@dataclass(slots=True)
class _Eyes:
    """Looks from this machine: at the wallet's ledger, here or on Modal, at its chain, and at what is deployed.

    `leaves_to_modal`: what the watch on Modal sees and tells is not told from here too. `unseen`: what did not answer.
    """

    arguments: argparse.Namespace
    settings: Settings
    state: Path
    copies: Path
    leaves_to_modal: bool
    unseen: list[str] = field(default_factory=list)

    def look(self, journal: Journal, at_ms: int) -> tuple[Journal, Iterable[Judgement]]:
        answer, missing = self._ask_modal()
        place = None if answer is None else answer.workplace
        journal = journal.armed(place, at_ms)
        seen: Deployment | None = None
        if answer is not None:
            left = self.leaves_to_modal and answer.tells
            seen = Deployment(DEPLOYED, place, answer.watched_ms, left)
        elif missing is not None and journal.armed_ms is not None:
            seen = Deployment(DEPLOYED, missing=missing)
        judgements = [judge_deployment(at_ms, seen, journal.armed_ms, inside=False)]
        alive = seen is not None and seen.tells and not judgements[0].alerts
        # Where Modal is silent, what is deployed may have filled what the ledger here knows nothing of.
        unknown = answer is None and journal.armed_ms is not None and not self.arguments.local
        told_here = any(alert.key != DEPLOYED for alert in journal.standing)
        ledger, costs = (None, None) if unknown else self._ledger(answer, watched=alive and not told_here)
        if ledger is not None:
            stopped = place is not None and place.stopped is not None and ledger.is_relative_to(self.copies)
            look = wallet_look(self.settings, ledger, self._node_of(ledger), costs, stopped=stopped)
            journal, found = look(journal, at_ms)
            if alive and ledger.is_relative_to(self.copies):  # what was told from here is ended from here, no more
                found = [one.only(journal.names) for one in found]
            judgements += found
        return journal, judgements

    def _ask_modal(self) -> tuple[ModalAnswer | None, str | None]:
        """What Modal has; or that it has nothing, and what to do about it."""
        if self.arguments.local or self.arguments.state is not None:
            return None, None
        try:
            return begin(partial(modal_answer, self.settings, self.copies))(), None
        except (SettingsError, UnreachableError) as error:
            self.unseen.append(f"Modal: {error}")
        except UsageError as error:
            self.unseen.append(f"Modal: {error}")
            return None, str(error)
        except QuickstartError as error:
            self.unseen.append(f"Modal: {error}")
        return None, None

    def _ledger(self, answer: ModalAnswer | None, *, watched: bool) -> tuple[Path | None, Costs | None]:
        """The wallet's ledger that changed last, with what its GPUs cost; none if it is Modal's, and watched there."""
        key = self.settings.secret_key
        address = None if key is None else Wallet.parse(key.get_secret_value()).address.hex()
        here = {one.path: _changed_ms(one.path) for one in wallet_files(self.state) if address in (None, one.address)}
        there = {
            one.path: one.at_ms for one in (answer.ledgers if answer else ()) if address in (None, one.path.parent.name)
        }
        both = here | there
        if not both:
            return None, None
        newest = max(both, key=both.__getitem__)
        if newest in here:
            return newest, None
        return (None, None) if watched or answer is None else (newest, answer.costs)

    def _node_of(self, ledger: Path) -> str | None:
        """A node that serves the ledger's chain."""
        devnet = served_by_other(self.state / "devnet")
        given = self.arguments.rpc_url or self.settings.rpc_url or (TESTNET_RPC if self.settings.secret_key else None)
        urls = [devnet.rpc] if devnet is not None else []
        served, troubles = asyncio.run(ask_nodes([*urls, given] if given else urls))
        url = served.get(ledger.parent.parent.name)
        if url is None:
            self.unseen.append("chain: " + ("; ".join(troubles) or "no node of this chain was asked; add --rpc-url"))
        return url


def _changed_ms(ledger: Path) -> int:
    found = [ledger.stat().st_mtime_ns]
    with suppress(OSError):
        found.append(ledger.with_name(ledger.name + "-wal").stat().st_mtime_ns)
    return max(found) // 1_000_000


def _test(arguments: argparse.Namespace, channels: Sequence[Channel]) -> int:
    places = {channel.name: channel.place for channel in channels}
    if arguments.dry_run:
        said = "; ".join(f"would send a message by {place}" for place in places.values())
        print_dry_action({"would_send": places}, said, as_json=arguments.json)
        return EXIT_DONE
    troubles: dict[str, str | None] = {}
    for channel in channels:
        try:
            begin(partial(channel.send, trial(now_ms())), CHANNEL_SECONDS)()
        except QuickstartError as error:
            troubles[channel.name] = str(error)
        else:
            troubles[channel.name] = None
    if arguments.json:
        print_json({name: {"place": places[name], "trouble": trouble} for name, trouble in troubles.items()})
    else:
        for name, trouble in troubles.items():
            print_row(name, f"taken: {places[name]}" if trouble is None else f"failed: {trouble}")
    return EXIT_FAILED if any(troubles.values()) else EXIT_DONE


def _untold(journal: Journal, channels: Sequence[Channel]) -> int:
    names = {channel.name for channel in channels}
    return sum(letter.channel in names for letter in journal.letters)


def _document(journal: Journal, channels: Sequence[Channel], unseen: list[str], *, tells: bool) -> dict[str, Any]:
    return {
        "standing": [asdict(alert) for alert in journal.standing],
        "channels": {
            channel.name: {
                "place": channel.place,
                "untold": _untold(journal, [channel]),
                "trouble": journal.rests[channel.name].trouble if channel.name in journal.rests else None,
            }
            for channel in channels
        },
        "unseen": unseen,
        "told": tells,
    }


def _print(journal: Journal, channels: Sequence[Channel], unseen: list[str]) -> None:
    for alert in journal.standing:
        since = age(max(0, now_ms() - alert.since_ms))
        print_row("alert", f"{alert.kind}, {alert.key}: {alert.text} ({since})")
    if not journal.standing:
        print_row("alert", "none stands" + (", of what could be seen" if unseen else ""))
    for trouble in unseen:
        print_row("unseen", trouble)
    for channel in channels:
        rest = journal.rests.get(channel.name)
        told = f"; failed {rest.failures} times: {rest.trouble}" if rest else ""
        print_row(channel.name, f"{channel.place}, {_untold(journal, [channel])} untold{told}")
    if not channels:
        print_row("channel", NO_CHANNEL)
