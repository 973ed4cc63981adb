"""One wallet at one moment: what its ledger says, held against the last answers of chain and Modal."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from quickstart.charts import bar_chart, line_chart
from quickstart.dashboard.asked import Heard
from quickstart.desk.accounts import Accounts, Books, ChainAnswer, EpochAccount, accounts
from quickstart.desk.asking import Answer, clock_reading
from quickstart.desk.health import Health, Reading, Workplace, open_alarms, queue_of
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, EpochReport
from quickstart.ledger.wallet_files import WalletFile
from quickstart.units import SHANNONS_PER_SOMA

BARS = 14
"""Epochs that a bar chart has room for."""

NOT_ASKED: Answer[ChainAnswer] = Answer(None, "not asked yet")


@dataclass(frozen=True, slots=True)
class Picture:
    """`reports`: epochs of the past as our runs saw them; `alarms`: all there ever were, the newest first."""

    wallet: WalletFile
    now_ms: int
    accounts: Accounts
    health: Health
    reports: tuple[EpochReport, ...]
    alarms: tuple[Alarm, ...]

    @property
    def epochs(self) -> tuple[tuple[int, EpochAccount | None, EpochReport | None], ...]:
        """Money and course of every epoch that has either, the newest first."""
        money = {one.epoch: one for one in self.accounts.epochs}
        course = {one.epoch: one for one in self.reports}
        return tuple(
            (epoch, money.get(epoch), course.get(epoch)) for epoch in sorted(money.keys() | course.keys(), reverse=True)
        )


def picture(wallet: WalletFile, heard: Heard, here: Workplace, now_ms: int, *, newest: bool) -> Picture:
    """`newest`: this wallet is the one that GPUs work for: they are paid for as a whole.

    Raises:
        StateError: the ledger cannot be read.
    """
    said = heard.said
    chain = said.chains.get(wallet, NOT_ASKED)
    modal: Reading[Workplace] | None = None
    if said.modal is not None:
        modal = Reading("Modal", heard.modal_ms, said.modal.value, said.modal.trouble)
    with closing(Ledger(wallet.path, read_only=True)) as ledger:
        return Picture(
            wallet=wallet,
            now_ms=now_ms,
            accounts=accounts(Books.of(ledger), chain.value, said.costs if newest else None),
            health=Health(
                now_ms=now_ms,
                here=Reading("lease", now_ms, here),
                modal=modal,
                bucket=None,  # whoever serves the page holds no credentials
                chain=clock_reading(chain, heard.chains_ms.get(wallet, now_ms), heard.chains_ms.get(wallet)),
                queue=Reading("ledger", now_ms, queue_of(ledger)),
                alarms=Reading("ledger", now_ms, open_alarms(ledger)),
            ),
            reports=ledger.epoch_reports(),
            alarms=tuple(reversed(ledger.alarms())),
        )


def thresholds(seen: Picture) -> str:
    """SVG: how hard targets were."""
    lines = {"new targets": [(float(one.epoch), one.distance_threshold) for one in seen.reports]}
    return line_chart("Difficulty", "epoch", "distance threshold", lines)


def coverage(seen: Picture) -> str:
    """SVG: of the targets an epoch showed, what the bank could fill, and what was filled."""
    known = [one for one in seen.reports if one.targets_seen]
    lines = {
        "fillable": [(float(one.epoch), one.fillable / one.targets_seen) for one in known],
        "filled": [(float(one.epoch), one.filled / one.targets_seen) for one in known],
    }
    return line_chart("Coverage", "epoch", "share of targets seen", lines)


def earnings(seen: Picture) -> str:
    """SVG: what the last epochs paid and cost, in SOMA."""
    bars = {
        str(one.epoch): {
            "earned": one.earned / SHANNONS_PER_SOMA,
            "to come": (one.in_audit + one.claimable) / SHANNONS_PER_SOMA,
            "fees": one.fees / SHANNONS_PER_SOMA,
            "bond lost": one.bond_lost / SHANNONS_PER_SOMA,
        }
        for one in seen.accounts.epochs[-BARS:]
    }
    return bar_chart("Money by epoch", "SOMA", bars)


@dataclass(frozen=True, slots=True)
class Plot:
    """`says`: in words what it shows, for whoever does not see it."""

    title: str
    says: str
    draw: Callable[[Picture], str]


PLOTS = {
    "thresholds": Plot("Difficulty", "Distance threshold of new targets by epoch: the lower, the harder.", thresholds),
    "coverage": Plot(
        "Coverage", "Share of the targets seen in an epoch that the bank could fill, and that were filled.", coverage
    ),
    "earnings": Plot("Money", "Earned, to come, fees and lost bonds of the last epochs, in SOMA.", earnings),
}
