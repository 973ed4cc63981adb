"""What a person should hear of, judged from what was seen of a wallet. Pure; times in ms since 1970, money in shannons.

What could not be seen now is not judged: an alert neither begins nor ends because a source is silent.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from quickstart.alerts.sight import ChainSight, Deployment, Limits, Sight
from quickstart.chain.ids import format_id
from quickstart.chain.treasury import SUBMISSIONS_PER_COIN
from quickstart.chain.versions import explain
from quickstart.data.window import WINDOW_BYTES
from quickstart.desk.accounts import Accounts
from quickstart.desk.health import next_firing_ms
from quickstart.ledger.records import AlarmKind
from quickstart.trainer.reveals import Phase, pending_reveals, status
from quickstart.units import DAYS, HOURS, format_soma

REVEAL_MS = int(12 * HOURS * 1000)
"""What is left of the epoch when a reveal that is still due is told of: the loop tries from its first minute on."""

START_MS = int(1 * HOURS * 1000)
"""How long after the schedule's hour a cycle must have left a sign of life."""

WATCH_MS = int(2 * HOURS * 1000)
"""How long what watches on Modal may be silent: it looks every half hour."""

CAP_SHARE = 0.95
"""Of the day's dollars: what might not fit into the rest is not begun."""


class AlertKind(StrEnum):
    NO_HIT = "no hit"
    LOW_FUNDS = "low funds"
    UNREADABLE = "upload unreadable"
    REVEAL_DUE = "reveal due"
    REPORTED = "report filed against us"
    CAP = "cap reached"
    DEAD = "deployment dead"
    VERSION = "version out of date"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that stands. `key`: of whom, and after a slash of what; one of a kind and key stands at a time."""

    kind: AlertKind
    key: str
    text: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """`alerts`: what stands; `judged`: kinds and whose, of which everything that stands is among them."""

    alerts: tuple[Alert, ...]
    judged: frozenset[tuple[AlertKind, str]]

    def only(self, names: Collection[tuple[AlertKind, str]]) -> "Judgement":
        """Without alerts other than these kinds and keys."""
        return Judgement(tuple(one for one in self.alerts if (one.kind, one.key) in names), self.judged)


def judge(sight: Sight, limits: Limits, standing: Collection[tuple[AlertKind, str]] = ()) -> Judgement:
    """What stands for one wallet. `standing`: kinds and keys of what stood before: funds end being low at more than
    they begin with.
    """
    alerts: list[Alert] = []
    judged: set[AlertKind] = set()
    if sight.alarms is not None:
        judged |= {AlertKind.NO_HIT, AlertKind.UNREADABLE}
        alerts += [*_no_hit(sight, limits), *_unreadable(sight)]
    if sight.chain is not None:
        judged |= {AlertKind.REVEAL_DUE, AlertKind.LOW_FUNDS}
        if sight.chain.read_all:
            judged.add(AlertKind.REPORTED)
        low = (AlertKind.LOW_FUNDS, sight.wallet) in standing
        alerts += [*_reveals(sight, sight.chain), *_reported(sight, sight.chain), *_funds(sight, limits, low)]
    if sight.chain is not None and sight.alarms is not None:
        judged.add(AlertKind.VERSION)
        alerts += _version(sight, sight.chain)
    if sight.chain is not None and sight.accounts is not None:
        judged.add(AlertKind.CAP)
        alerts += _caps(sight, sight.chain, sight.accounts, limits)
    return Judgement(tuple(alerts), frozenset((kind, sight.wallet) for kind in judged))


def judge_deployment(now_ms: int, seen: Deployment | None, armed_ms: int | None, *, inside: bool) -> Judgement:
    """Whether what is deployed lives. `seen`: None where Modal could not be asked. `armed_ms`: since when we have seen
    the schedule armed, None where it is not. `inside`: this is what watches on Modal; from elsewhere, everything is
    left to that as long as it looks and has somebody to tell.
    """
    if seen is None:
        return Judgement((), frozenset())
    judged = frozenset({(AlertKind.DEAD, seen.name)})
    if seen.missing is not None:
        return Judgement((Alert(AlertKind.DEAD, seen.name, seen.missing, now_ms),), judged)
    place = seen.workplace
    if place is None or place.stopped is not None or armed_ms is None:
        return Judgement((), judged)
    watched_ms = max(seen.watched_ms or 0, armed_ms)
    if not inside and now_ms - watched_ms > WATCH_MS:
        text = f"nothing of ours on Modal has given a sign since {_moment(watched_ms)}"
        return Judgement((Alert(AlertKind.DEAD, seen.name, f"{text}: run `uv run status`", watched_ms),), judged)
    if not inside and seen.tells:
        return Judgement((), judged)
    fired_ms = next_firing_ms(now_ms) - int(DAYS * 1000)
    missed = armed_ms <= fired_ms and now_ms - fired_ms > START_MS and (place.last_ms or 0) < fired_ms
    if not missed or place.at_work:
        return Judgement((), judged)
    text = f"the schedule fired at {_moment(fired_ms)}, and no run has left a sign since: run `uv run logs`"
    return Judgement((Alert(AlertKind.DEAD, seen.name, text, fired_ms),), judged)


def _no_hit(sight: Sight, limits: Limits) -> Iterator[Alert]:
    since_ms = sight.began_ms if sight.last_hit_ms is None else sight.last_hit_ms
    hours = (sight.now_ms - since_ms) / (HOURS * 1000)
    if sight.stopped or limits.hours_without_hit == 0 or hours < limits.hours_without_hit:
        return
    told = "none yet" if sight.last_hit_ms is None else f"the last at {_moment(since_ms)}"
    text = f"no target was filled for {limits.hours_without_hit} hours ({told}): run `uv run status` and `uv run board`"
    yield Alert(AlertKind.NO_HIT, sight.wallet, text, since_ms)


def _unreadable(sight: Sight) -> Iterator[Alert]:
    """One for all windows, one for all weights: a bucket that is away makes thousands."""
    keys = {AlarmKind.UNREADABLE: sight.wallet, AlarmKind.WEIGHTS_UNREADABLE: f"{sight.wallet}/weights"}
    for kind, key in keys.items():
        alarms = [alarm for alarm in sight.alarms or () if alarm.kind is kind]
        if alarms:
            first = min(alarms, key=lambda alarm: alarm.raised_ms)
            more = f" (and {len(alarms) - 1} more)" if len(alarms) > 1 else ""
            yield Alert(AlertKind.UNREADABLE, key, first.message + more, first.raised_ms)


def _reveals(sight: Sight, chain: ChainSight) -> Iterator[Alert]:
    models = {model.model_id: model for model in chain.models}
    for reveal in pending_reveals(chain.models):
        due = status(reveal, models, chain.answer.epoch).phase is Phase.REVEAL_DUE
        if due and chain.ends_ms - sight.now_ms <= REVEAL_MS:
            at_stake = "half its stake is lost" if reveal.first else "the update is lost"
            text = (
                f"the model {format_id(reveal.model_id)} is not revealed yet, and after {_moment(chain.ends_ms)} "
                f"{at_stake}: run `uv run reveal`"
            )
            key = f"{sight.wallet}/{reveal.model_id.hex()}"
            yield Alert(AlertKind.REVEAL_DUE, key, text, chain.answer.epoch_start_ms)


def _reported(sight: Sight, chain: ChainSight) -> Iterator[Alert]:
    if chain.reported:
        first = format_id(min(chain.reported))
        text = (
            f"validators report {len(chain.reported)} of our submissions as false ({first}): "
            "with two thirds of their power the bond is lost; run `uv run review`"
        )
        yield Alert(AlertKind.REPORTED, sight.wallet, text, sight.now_ms)
    for model_id in sorted(chain.reported_models):
        text = f"validators report our model {format_id(model_id)}: with two thirds of their power its stake is lost"
        yield Alert(AlertKind.REPORTED, f"{sight.wallet}/{model_id.hex()}", text, sight.now_ms)


def _funds(sight: Sight, limits: Limits, low: bool) -> Iterator[Alert]:
    """Coins for one submission in each lane; once low, enough for as many as the lanes' coins are made for."""
    assert sight.chain is not None
    answer = sight.chain.answer
    least = limits.lanes * answer.parameters.submission_cost(WINDOW_BYTES)
    if answer.balance < least * (SUBMISSIONS_PER_COIN if low else 1):
        text = (
            f"the wallet holds {format_soma(answer.balance)}; bonds and fees of its {limits.lanes} lanes take "
            f"{format_soma(least)}: send it SOMA, or run `uv run claim`"
        )
        yield Alert(AlertKind.LOW_FUNDS, sight.wallet, text, sight.now_ms)


def _version(sight: Sight, chain: ChainSight) -> Iterator[Alert]:
    alarms = [alarm for alarm in sight.alarms or () if alarm.kind is AlarmKind.UNKNOWN_VERSION]
    if chain.withheld or alarms:
        text = explain(chain.withheld) if chain.withheld else alarms[0].message
        since_ms = min((alarm.raised_ms for alarm in alarms), default=sight.now_ms)
        yield Alert(AlertKind.VERSION, sight.wallet, text, since_ms)


def _caps(sight: Sight, chain: ChainSight, money: Accounts, limits: Limits) -> Iterator[Alert]:
    parameters = chain.answer.parameters
    fees = next((one.fees for one in money.epochs if one.epoch == money.epoch), 0)
    reached: Mapping[str, tuple[bool, str]] = {
        "bond": (
            money.bond_out + parameters.bond(WINDOW_BYTES) > limits.bond_cap,
            f"{format_soma(money.bond_out)} are locked in bonds: nothing is submitted until some return, or "
            "QUICKSTART_BOND_CAP is higher",
        ),
        "gas": (
            fees + parameters.submission_fee > limits.gas_cap,
            f"{format_soma(fees)} went for fees in this epoch: nothing is submitted or claimed until the next, or "
            "QUICKSTART_GAS_CAP is higher",
        ),
        "gpu": (
            limits.gpu_dollars > 0 and (sight.gpu_dollars_today or 0.0) >= CAP_SHARE * limits.gpu_dollars,
            f"GPUs cost ${sight.gpu_dollars_today or 0.0:.2f} today: nothing is scored until tomorrow, or "
            "QUICKSTART_GPU_DOLLARS_PER_DAY is higher",
        ),
    }
    for name, (is_reached, text) in reached.items():
        if is_reached:
            yield Alert(AlertKind.CAP, f"{sight.wallet}/{name}", text, sight.now_ms)


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
