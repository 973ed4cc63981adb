"""What stands: by what was seen, and nothing by what was not."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_devnet import SOMA, running

from quickstart.alerts.alert import AlertKind, Judgement, judge, judge_deployment
from quickstart.alerts.journal import Journal
from quickstart.alerts.sight import ChainSight, Deployment, Limits, Sight, in_audit, look_at_chain, look_at_wallet
from quickstart.chain.ids import blake2b_256
from quickstart.chain.own_models import Commitment, ModelState, OwnModel
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest, ReportSubmission
from quickstart.desk.accounts import Books, ChainAnswer, accounts
from quickstart.desk.health import Workplace
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.keys import devnet_key
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, AlarmKind, FillState, FillSum

HOUR = 3_600_000
NOW = 1_800_000_000_000  # 08:00 UTC
FIRED = NOW - 5 * HOUR
RULES = PARAMETERS[5]
WALLET = "0xab on c1"
MODEL = blake2b_256(b"model")
FILL = blake2b_256(b"fill")
UNREADABLE = Alarm(AlarmKind.UNREADABLE, "https://b.example/1", "bytes that others cannot read", NOW - HOUR)
UNKNOWN = Alarm(AlarmKind.UNKNOWN_VERSION, "protocol-9", "protocol 9 is not known", NOW - 2 * HOUR)
WEIGHTS = Alarm(AlarmKind.WEIGHTS_UNREADABLE, "https://b.example/m", "weights that others cannot read", NOW - HOUR)
LIMITS = Limits(hours_without_hit=26, lanes=8, bond_cap=SOMA, gas_cap=SOMA // 100, gpu_dollars=5.0)
COST = RULES.submission_cost(1024)


def answer(balance: int = 50 * SOMA) -> ChainAnswer:
    return ChainAnswer(7, NOW - 16 * HOUR, RULES, balance, ())


def pending(epoch: int, state: ModelState = ModelState.PENDING) -> OwnModel:
    return OwnModel(MODEL, state, SOMA, pending=Commitment(FILL, FILL, Manifest("u", FILL, 1), epoch))


def sight(balance: int = 50 * SOMA, bonds: int = 0, fees: int = 0, **changes: Any) -> Sight:
    """A wallet that is well, but for the changes."""
    chain = changes.pop("chain", ChainSight(answer(balance)))
    fills = (FillSum(7, FillState.FILLED, 1, bonds, 1),) if bonds else ()
    money = accounts(Books(7, fills, {7: {"fee_base": -fees}}, 0), answer(balance), None)
    well = Sight(WALLET, NOW, NOW - 9 * HOUR, (), NOW - HOUR, money, chain, 1.0)
    return replace(well, **changes)


def names(judgement: Judgement) -> list[str]:
    return [f"{alert.kind}{alert.key.removeprefix(WALLET)}" for alert in judgement.alerts]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (sight(), []),
        (sight(last_hit_ms=NOW - 26 * HOUR + 1), []),
        (sight(last_hit_ms=NOW - 26 * HOUR), ["no hit"]),
        (sight(last_hit_ms=NOW - 26 * HOUR, stopped=True), []),
        (sight(last_hit_ms=None), []),
        (sight(last_hit_ms=None, began_ms=NOW - 27 * HOUR), ["no hit"]),
        (sight(balance=8 * COST), []),
        (sight(balance=8 * COST - 1), ["low funds"]),
        (sight(alarms=(UNREADABLE, replace(UNREADABLE, subject="https://b.example/2"))), ["upload unreadable"]),
        (sight(alarms=(UNREADABLE, WEIGHTS)), ["upload unreadable", "upload unreadable/weights"]),
        (sight(alarms=(UNKNOWN,)), ["version out of date"]),
        (sight(chain=ChainSight(answer(), withheld=("protocol-9",))), ["version out of date"]),
        (sight(chain=ChainSight(answer(), reported=frozenset({FILL}))), ["report filed against us"]),
        (
            sight(chain=ChainSight(answer(), reported_models=frozenset({MODEL}))),
            [f"report filed against us/{MODEL.hex()}"],
        ),
        (sight(chain=ChainSight(answer(), (pending(6),))), [f"reveal due/{MODEL.hex()}"]),
        (sight(chain=ChainSight(answer(), (pending(7),))), []),
        (sight(chain=ChainSight(replace(answer(), epoch_start_ms=NOW - 11 * HOUR), (pending(6),))), []),
        (sight(bonds=SOMA - RULES.bond(1024)), []),
        (sight(bonds=SOMA - RULES.bond(1024) + 1), ["cap reached/bond"]),
        (sight(fees=SOMA // 100), ["cap reached/gas"]),
        (sight(gpu_dollars_today=4.74), []),
        (sight(gpu_dollars_today=4.76), ["cap reached/gpu"]),
    ],
)
def test_what_stands(seen: Sight, expected: list[str]) -> None:
    found = judge(seen, LIMITS)
    assert names(found) == expected
    assert {kind for kind, _ in found.judged} == set(AlertKind) - {AlertKind.DEAD}
    assert all(alert.since_ms <= NOW and "\n" not in alert.text for alert in found.alerts)


@pytest.mark.parametrize("kind", AlarmKind)
def test_every_alarm_of_the_ledger_is_told(kind: AlarmKind) -> None:
    (alert,) = judge(sight(alarms=(Alarm(kind, "of what", "what is wrong", NOW),)), LIMITS).alerts
    assert "what is wrong" in alert.text


def test_what_could_not_be_seen_is_not_judged() -> None:
    nothing = replace(sight(), alarms=None, last_hit_ms=None, accounts=None, chain=None, began_ms=0)
    assert judge(nothing, LIMITS) == Judgement((), frozenset())
    some = judge(sight(chain=ChainSight(answer(), read_all=False)), LIMITS).judged
    assert (AlertKind.REPORTED, WALLET) not in some and (AlertKind.CAP, WALLET) in some
    by_ledger = judge(sight(chain=None), LIMITS).judged
    assert by_ledger == {(AlertKind.NO_HIT, WALLET), (AlertKind.UNREADABLE, WALLET)}


def test_limits_that_are_off_and_funds_that_are_low_until_there_is_room() -> None:
    off = replace(LIMITS, hours_without_hit=0, gpu_dollars=0.0)
    assert not judge(sight(last_hit_ms=0, gpu_dollars_today=0.0), off).alerts
    low = {(AlertKind.LOW_FUNDS, WALLET)}
    assert names(judge(sight(balance=9 * COST), LIMITS, low)) == ["low funds"]
    assert not judge(sight(balance=9 * COST), LIMITS).alerts
    assert not judge(sight(balance=1000 * COST), LIMITS, low).alerts


def place(**changes: Any) -> Workplace:
    return replace(Workplace(last_ms=NOW - 30 * HOUR), **changes)


def seen(watched_ms: int | None = NOW, tells: bool = True, **changes: Any) -> Deployment:
    return Deployment("Modal", place(**changes), watched_ms, tells)


@pytest.mark.parametrize(
    ("now", "deployment", "armed_ms", "inside", "dead"),
    [
        (NOW, seen(), 0, True, "the schedule fired at 2027-01-15 03:00 UTC"),
        (NOW, seen(last_ms=None), 0, True, "no run has left a sign"),
        (FIRED + HOUR // 2, seen(), 0, True, ""),  # it may still be starting
        (NOW, seen(last_ms=FIRED + HOUR), 0, True, ""),
        (NOW, seen(at_work="fc-1"), 0, True, ""),
        (NOW, seen(stopped="by a person"), None, True, ""),
        (NOW, seen(), FIRED + 1, True, ""),  # armed after it fired
        (NOW, seen(), 0, False, ""),  # what watches there tells it
        (NOW, seen(tells=False), 0, False, "the schedule fired"),
        (
            NOW,
            seen(watched_ms=NOW - 3 * HOUR, last_ms=NOW),
            0,
            False,
            "nothing of ours on Modal has given a sign since",
        ),
        (NOW, seen(watched_ms=None), NOW - HOUR, False, ""),
        (NOW, seen(watched_ms=None), NOW - 3 * HOUR, False, "nothing of ours"),
        (NOW, Deployment("Modal", missing="nothing is deployed"), 0, False, "nothing is deployed"),
    ],
)
def test_a_dead_deployment(now: int, deployment: Deployment, armed_ms: int | None, inside: bool, dead: str) -> None:
    found = judge_deployment(now, deployment, armed_ms, inside=inside)
    assert found.judged == {(AlertKind.DEAD, "Modal")}
    assert [dead in alert.text for alert in found.alerts] == [True] * bool(dead)


def test_a_schedule_is_armed_since_it_was_first_seen_so() -> None:
    assert judge_deployment(NOW, None, 0, inside=False) == Judgement((), frozenset())
    journal = Journal(0).armed(place(), 1).armed(None, 2).armed(place(), 3)
    assert journal.armed_ms == 1
    assert journal.armed(place(stopped="by a person"), 4).armed(place(), 5).armed_ms == 5


def test_a_report_is_seen_on_the_chain_and_a_hit_in_the_ledger(tmp_path: Path) -> None:
    stranger, validator = devnet_key("a stranger"), devnet_key(VALIDATOR)
    with running(models=2, targets=3) as live:
        mine, other = live.open_targets()[:2]
        live.fill_by_stranger(mine)
        live.fill_by_stranger(other)
        url = live.endpoints.rpc
        before = live.run(look_at_chain(url, stranger.address, (), NOW))
        assert before is not None and before.answer.balance > SOMA and not before.reported and not before.withheld
        live.next_epoch()
        (gas,) = live.fund(validator.address, SOMA)
        live.act_as_key(validator, ReportSubmission(mine), gas)
        chain = live.run(look_at_chain(url, stranger.address, (), NOW))
        assert chain is not None and (chain.reported, chain.read_all) == ({mine}, True)
        assert set(in_audit(chain.answer, NOW)) == {mine, other} and in_audit(before.answer, NOW) == ()
        assert live.run(look_at_chain(url, validator.address, (), NOW)).reported == frozenset()
        assert chain.ends_ms > chain.answer.epoch_start_ms

    path = tmp_path / "networks" / "c1" / stranger.address.hex() / "ledger.sqlite"
    unread = look_at_wallet(path, chain, None, now_ms=NOW, began_ms=NOW)
    assert (unread.alarms, unread.accounts, path.exists()) == (None, None, False)
    path.parent.mkdir(parents=True)
    with closing(Ledger(path)) as ledger:
        ledger.raise_alarm(UNREADABLE)
        assert ledger.last_hit_ms() is None
    read = look_at_wallet(path, chain, None, now_ms=NOW, began_ms=NOW)
    assert read.alarms == (UNREADABLE,)
    assert names(judge(replace(read, wallet=WALLET), LIMITS)) == ["upload unreadable", "report filed against us"]
    path.write_bytes(b"no database" * 999)
    assert look_at_wallet(path, chain, None, now_ms=NOW, began_ms=NOW).alarms is None
