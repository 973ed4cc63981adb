"""What was seen of a wallet and of what is deployed; None wherever nothing could be seen. Times in ms since 1970."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.ids import Id32
from quickstart.chain.own_models import OwnModel
from quickstart.chain.versions import installed_sdk, unknown_versions
from quickstart.desk.accounts import Accounts, Books, ChainAnswer, Costs, accounts
from quickstart.desk.asking import CHAIN_SECONDS, ask_chain
from quickstart.desk.health import Workplace, open_alarms
from quickstart.errors import QuickstartError, StateError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm
from quickstart.modal_app.spending import day_of
from quickstart.settings import Settings

log = logging.getLogger(__name__)

MOST_READ = 200
"""Fills that one look reads: 3 MB at the network's width."""

LOOK_MS = 300_000
"""Looks are at least about so far apart."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to tell. `hours_without_hit` 0: never; caps in shannons and dollars a day."""

    hours_without_hit: int
    lanes: int
    bond_cap: int
    gas_cap: int
    gpu_dollars: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings.alert_hours,
            settings.lanes,
            settings.bond_cap_shannons,
            settings.gas_cap_shannons,
            float(settings.gpu_dollars_per_day),
        )


@dataclass(frozen=True, slots=True)
class ChainSight:
    """What the chain says of a wallet. `reported`: its fills that a validator reports, as far as they were read (all of
    them: `read_all`); `reported_models`: such models of its own; `withheld`: versions under which nothing is signed.
    """

    answer: ChainAnswer
    models: tuple[OwnModel, ...] = ()
    reported: frozenset[Id32] = frozenset()
    read_all: bool = True
    reported_models: frozenset[Id32] = frozenset()
    withheld: tuple[str, ...] = ()

    @property
    def ends_ms(self) -> int:
        return self.answer.epoch_start_ms + self.answer.parameters.epoch_duration_ms


@dataclass(frozen=True, slots=True)
class Sight:
    """One wallet. `wallet`: its name in alerts; `began_ms`: when it was first looked at; `stopped`: a person stopped
    the schedule that works for it. `alarms`, `accounts`, `last_hit_ms` are of its ledger, the last None for no hit yet.
    """

    wallet: str
    now_ms: int
    began_ms: int
    alarms: tuple[Alarm, ...] | None = None
    last_hit_ms: int | None = None
    accounts: Accounts | None = None
    chain: ChainSight | None = None
    gpu_dollars_today: float | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is on Modal. `missing`: why there is nothing; `watched_ms`: when what watches there last looked, and whether
    it has a channel to tell by.
    """

    name: str
    workplace: Workplace | None = None
    watched_ms: int | None = None
    tells: bool = False
    missing: str | None = None


async def look_at_chain(url: str, owner: Id32, accepted: Iterable[str], now_ms: int) -> ChainSight | None:
    """What a node says of a wallet; None when it does not answer in time."""
    answer = await ask_chain(url, owner)
    if answer.value is None:
        log.warning("the wallet's chain: %s", answer.trouble)
        return None
    try:
        async with asyncio.timeout(CHAIN_SECONDS):
            reader = NetworkReader(await connect(Endpoints(url)), url)
            epoch, models = await reader.own_models(owner)
            validators = await reader.validators()
        reported, read_all = await _reported(reader, in_audit(answer.value, now_ms))
    except (TimeoutError, QuickstartError) as error:
        log.warning("the wallet's chain: %s", error or "no answer in time")
        return None
    versions = (epoch.protocol_version, epoch.parameters.model_architecture_version, installed_sdk())
    return ChainSight(
        answer.value,
        models,
        reported,
        read_all,
        frozenset({model.model_id for model in models} & validators.model_reports.keys()),
        unknown_versions(*versions, accepted),
    )


def in_audit(answer: ChainAnswer, now_ms: int) -> tuple[Id32, ...]:
    """Fills that may be reported in this epoch (`soma-protocol` §11.4), beginning elsewhere at each look: where they
    are too many to read at once, others come first next time. Pure.
    """
    fills = sorted(fill.target_id for fill in answer.open_fills if fill.epoch + 1 == answer.epoch)
    first = now_ms // LOOK_MS * MOST_READ % max(1, len(fills))
    return (*fills[first:], *fills[:first])


async def _reported(reader: NetworkReader, fills: tuple[Id32, ...]) -> tuple[frozenset[Id32], bool]:
    """Those that a validator reports, and whether all were read. The SDK's system state leaves these reports out, so
    each fill is read by itself, as many as there is time for.
    """
    found: set[Id32] = set()
    try:
        async with asyncio.timeout(CHAIN_SECONDS):
            for target_id in fills[:MOST_READ]:
                target = await reader.target(target_id)
                if target is not None and target.reporters:
                    found.add(target_id)
    except TimeoutError:
        return frozenset(found), False
    return frozenset(found), len(fills) <= MOST_READ


def look_at_wallet(
    ledger_path: Path,
    chain: ChainSight | None,
    costs: Costs | None,
    *,
    now_ms: int,
    began_ms: int,
    stopped: bool = False,
) -> Sight:
    """One wallet's sight, from its ledger, which may be in use or not be there yet, and what the chain said."""
    name = wallet_name(ledger_path)
    if not ledger_path.exists():
        return Sight(name, now_ms, began_ms, chain=chain, stopped=stopped)
    try:
        with closing(Ledger(ledger_path)) as ledger:
            alarms, last_hit_ms = open_alarms(ledger), ledger.last_hit_ms()
            money = accounts(Books.of(ledger), None if chain is None else chain.answer, costs)
    except StateError:
        return Sight(name, now_ms, began_ms, chain=chain, stopped=stopped)
    dollars = None if costs is None else costs.gpu_by_day.get(day_of(now_ms / 1000), (0, 0.0))[1]
    return Sight(name, now_ms, began_ms, alarms, last_hit_ms, money, chain, dollars, stopped)


def wallet_name(ledger_path: Path) -> str:
    """How alerts name a wallet: by the beginning of its address, and of its chain's identity."""
    return f"0x{ledger_path.parent.name[:8]} on {ledger_path.parent.parent.name[:8]}"
