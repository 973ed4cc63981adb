"""`status`: money and health of every wallet, from whatever answers."""

import argparse
import asyncio
import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.chain.keys import Wallet
from quickstart.chain.lease import Holder
from quickstart.cli.networks import checked_url
from quickstart.cli.rendering import print_json
from quickstart.cli.shared_devnet import served_by_other
from quickstart.cli.state import ledgers_of
from quickstart.cli.status_text import print_status
from quickstart.desk.accounts import Accounts, Books, ChainAnswer, Costs, accounts
from quickstart.desk.asking import (
    Answer,
    ask_chain,
    ask_nodes,
    begin,
    clock_reading,
    recall,
    remember,
    workplace_here,
)
from quickstart.desk.health import Health, Reading, Signer, Workplace, open_alarms, queue_of
from quickstart.desk.modal_side import ModalAnswer, ask_modal
from quickstart.errors import EXIT_DONE, EXIT_FAILED, QuickstartError, SettingsError, StateError, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.modal_app.prices import scorer_dollars_per_second
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.profiles import profiles, using
from quickstart.settings import Settings, load_settings
from quickstart.submission.alarms import now_ms
from quickstart.submission.premises import Places
from quickstart.submission.s3_lease import bucket_holder
from quickstart.submission.summary import submissions, summary

HERE, MODAL = "this machine", "Modal"

CSV_COLUMNS = (
    "place", "chain_id", "address", "epoch", "earned", "fees", "bond_lost", "net", "in_audit", "claimable",
    "fills", "fills_claimed", "fills_slashed", "gpu_dollars",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Place:
    """A wallet's ledger, and where it is: `HERE`, or `MODAL` as a copy that was the volume's at `at_ms`."""

    path: Path
    name: str
    at_ms: int

    @property
    def chain(self) -> str:
        return self.path.parent.parent.name

    @property
    def address(self) -> str:
        return self.path.parent.name


def run_status(arguments: argparse.Namespace) -> int:
    """Every wallet of the state folder and of what is deployed; a source that is silent takes only its part with it.

    Raises:
        UsageError: there is no ledger anywhere, or options that exclude each other.
    """
    if arguments.csv and arguments.json:
        raise UsageError("--csv and --json exclude each other: leave one out")
    if arguments.rpc_url is not None:
        arguments.rpc_url = checked_url("rpc_url", arguments.rpc_url)
    document = _of_all_profiles(arguments) if arguments.all_profiles else _of_profile(arguments)
    if arguments.csv:
        return _print_csv(document)
    if arguments.json:
        print_json(document)
    else:
        print_status(document)
    return EXIT_DONE


def _of_profile(arguments: argparse.Namespace) -> dict[str, Any]:
    """The wallets of the chosen profile."""
    settings = load_settings()
    state = arguments.state or settings.state
    with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as copies:
        return _Asked(arguments, settings, state, Path(copies)).document()


def _of_all_profiles(arguments: argparse.Namespace) -> dict[str, Any]:
    """The wallets of every profile, one after the other; what is wrong with one hides no other.

    Raises:
        UsageError: options that choose one, or nothing can be told of any.
    """
    if arguments.profile or arguments.state is not None:
        raise UsageError("--all-profiles looks at all of them: leave --profile and --state out")
    wallets: list[dict[str, Any]] = []
    troubles: dict[str, UsageError] = {}
    for profile in profiles():
        try:
            with using(profile):
                found = _of_profile(arguments)["wallets"]
        except UsageError as error:
            troubles[profile.name] = error
        else:
            wallets += [{"profile": profile.name, **wallet} for wallet in found]
    if not wallets:
        raise next(iter(troubles.values()))
    return {"wallets": wallets, "troubles": {name: str(error) for name, error in troubles.items()}}


class _Asked:
    """Everybody is asked at once; then each wallet is told of with what came back."""

    def __init__(self, arguments: argparse.Namespace, settings: Settings, state: Path, copies: Path) -> None:
        self._arguments = arguments
        self._state = state
        self._now = now_ms()
        self._before = recall(state)
        self._answered: dict[str, int] = {}
        self._leases = {} if arguments.local else self._ask_bucket(settings)
        ask = None if arguments.local or arguments.state is not None else begin(lambda: modal_answer(settings, copies))
        self._modal: ModalAnswer | None = None
        self._modal_trouble: str | None = None
        self._ledgers = self._ledgers_here(required=ask is None)
        nodes = () if arguments.local else self._nodes(settings)
        self._served, self._troubles = asyncio.run(ask_nodes(nodes)) if nodes else ({}, ())
        if ask is not None:
            self._take_modal(ask)
        if not self._ledgers:
            self._ledgers = self._ledgers_here(required=True)

    def _ledgers_here(self, *, required: bool) -> list[_Place]:
        try:
            return [_Place(one.path, HERE, self._now) for one in ledgers_of(self._state)]
        except StateError:
            raise
        except UsageError:
            if required:
                raise
            return []

    def _ask_bucket(self, settings: Settings) -> dict[Path, Callable[[], tuple[Holder, int] | None]]:
        """Asks for the leases of the configured wallet on every chain of the state folder; by its folder."""
        if settings.s3_bucket is None or settings.secret_key is None:
            return {}
        wallet = Wallet.parse(settings.secret_key.get_secret_value())
        roots = self._state.glob(f"networks/*/{wallet.address.hex()}")
        return {root: begin(partial(_lease_of, settings, Places(root))) for root in roots}

    def _bucket(self, place: _Place) -> Reading[Signer] | None:
        ask = self._leases.get(place.path.parent)
        if ask is None or place.name != HERE:
            return None
        try:
            found = ask()
        except QuickstartError as error:
            return Reading("bucket", self._before.get("bucket"), None, str(error))
        self._answered["bucket"] = self._now
        if found is None:
            return Reading("bucket", self._now)
        holder, renewed_ms = found
        return Reading("bucket", self._now, Signer(holder.describe(), int(holder.since * 1000), renewed_ms))

    def _nodes(self, settings: Settings) -> list[str]:
        devnet = served_by_other(self._state / "devnet")
        urls = [devnet.rpc] if devnet is not None else []
        given = self._arguments.rpc_url or settings.rpc_url or (TESTNET_RPC if settings.secret_key else None)
        return urls + ([given] if given else [])

    def _take_modal(self, ask: Callable[[], ModalAnswer]) -> None:
        try:
            answer = ask()
        except SettingsError as error:  # nobody has set it up, unless it did answer once
            self._modal_trouble = str(error) if "modal" in self._before else None
        except QuickstartError as error:
            self._modal_trouble = str(error)
        else:
            self._modal = answer
            self._answered["modal"] = self._now
            self._ledgers += [_Place(one.path, MODAL, one.at_ms) for one in answer.ledgers]

    def document(self) -> dict[str, Any]:
        chains = asyncio.run(self._ask_chains())
        wallets = [self._wallet(place, chains[place.chain, place.address]) for place in self._ledgers]
        remember(self._state, self._answered)
        return {"wallets": wallets}

    async def _ask_chains(self) -> Mapping[tuple[str, str], Answer[ChainAnswer]]:
        """Each wallet's chain, once."""
        found: dict[tuple[str, str], Answer[ChainAnswer]] = {}
        for key in {(place.chain, place.address) for place in self._ledgers}:
            url = self._served.get(key[0])
            if url is None:
                asked = "; ".join(self._troubles) or "no node of this chain was asked: name one with --rpc-url"
                found[key] = Answer(None, "not asked (--local)" if self._arguments.local else asked)
                continue
            found[key] = await ask_chain(url, bytes.fromhex(key[1]))
            if found[key].value is not None:
                self._answered[f"chain/{key[0]}"] = self._now
        return found

    def _wallet(self, place: _Place, chain: Answer[ChainAnswer]) -> dict[str, Any]:
        """One wallet, ready for JSON. What its ledger cannot tell is left out, and why is said."""
        only: int | None = self._arguments.epoch
        here = workplace_here(Places(place.path.parent).lease) if place.name == HERE else Workplace()
        about = {"chain_id": place.chain, "address": "0x" + place.address, "place": place.name}
        try:
            with closing(Ledger(place.path)) as ledger:
                books = Books.of(ledger)
                money = accounts(books, chain.value, self._costs_of(place))
                queue = Reading("ledger", place.at_ms, queue_of(ledger))
                alarms = Reading("ledger", place.at_ms, open_alarms(ledger))
                told = summary(ledger, current_epoch=money.epoch, since_epoch=only or 0)
                rows = submissions(ledger) if self._arguments.json else []
        except StateError as error:
            health = self._health(place, here, chain, str(error), None, None)
            return about | {"trouble": str(error), "health": _health_document(health)}
        health = self._health(place, here, chain, None, queue, alarms)
        if only is not None:
            money = money.only(only)
            told["epochs"] = [epoch for epoch in told["epochs"] if epoch["epoch"] == only]
            rows = [row for row in rows if row["epoch"] == only]
        return {
            **about,
            "epoch": money.epoch,
            "running": health.at_work,
            **told,
            "accounts": _accounts_document(money),
            "health": _health_document(health),
            **({"submissions": rows} if self._arguments.json else {}),
        }

    def _costs_of(self, place: _Place) -> Costs | None:
        """GPUs are paid for as a whole: the wallet on Modal whose ledger changed last is the one they work for."""
        if self._modal is None or not self._modal.ledgers or self._modal.ledgers[0].path != place.path:
            return None
        return self._modal.costs

    def _health(
        self,
        place: _Place,
        here: Workplace,
        chain: Answer[ChainAnswer],
        trouble: str | None,
        queue: Reading[Any] | None,
        alarms: Reading[Any] | None,
    ) -> Health:
        modal: Reading[Workplace] | None = None
        if self._modal is not None:
            modal = Reading("Modal", self._now, self._modal.workplace)
        elif self._modal_trouble is not None:
            modal = Reading("Modal", self._before.get("modal"), None, self._modal_trouble)
        clock = clock_reading(chain, self._now, self._before.get(f"chain/{place.chain}"))
        unread: Reading[Any] = Reading("ledger", None, None, trouble)
        lease = Reading("lease", self._now, here)
        return Health(self._now, lease, modal, self._bucket(place), clock, queue or unread, alarms or unread)


def _lease_of(settings: Settings, places: Places) -> tuple[Holder, int] | None:
    """Who holds a lease in the bucket. Raises as `Settings.s3` and `bucket_holder` do."""
    return None if (bucket := settings.s3) is None else bucket_holder(bucket, places)


def modal_answer(settings: Settings, copies: Path) -> ModalAnswer:
    """What `ask_modal` finds, GPUs at the prices of what these settings deploy; ledgers are copied into `copies`."""
    return ask_modal(copies, now_ms(), scorer_dollars_per_second(settings.gpus))


def _accounts_document(money: Accounts) -> dict[str, Any]:
    return {
        **asdict(money),
        "net": money.net,
        "net_per_dollar": money.net_per_dollar,
        "difference": money.difference,
        "epochs": [{**asdict(one), "net": one.net, "net_per_dollar": one.net_per_dollar} for one in money.epochs],
    }


def _health_document(health: Health) -> dict[str, Any]:
    return {
        "now_ms": health.now_ms,
        **{
            name: {**asdict(part), "known": part.known, "age_ms": part.age_ms(health.now_ms)}
            for name, part in health.sources.items()
        },
    }


def _csv_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for wallet in document["wallets"]:
        for epoch in wallet.get("accounts", {}).get("epochs", ()):
            yield {**wallet, **epoch}


def _print_csv(document: Mapping[str, Any]) -> int:
    """What cannot be told has no line; a dollar amount that is not known is empty. Of all profiles, the first column
    names one, and those that nothing can be told of are named on stderr, with an exit code of their own.
    """
    troubles = document.get("troubles")
    columns = CSV_COLUMNS if troubles is None else ("profile", *CSV_COLUMNS)
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_rows(document))
    for profile, trouble in (troubles or {}).items():
        print(f"error: profile {profile or '(the plain one)'}: {trouble}", file=sys.stderr)
    return EXIT_FAILED if troubles else EXIT_DONE
