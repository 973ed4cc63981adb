"""A wallet's ledger after three epochs, made by the ledger's own methods; hostile where strangers' text gets in."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from quickstart.chain.coins import CoinChanges
from quickstart.chain.ids import Id32, blake2b_256, format_id
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import (
    Alarm,
    AlarmKind,
    EpochReport,
    Fill,
    FillState,
    Intent,
    IntentKind,
    IntentStatus,
    Movement,
    Origin,
    Published,
    Timing,
)

CHAIN, ADDRESS = "devnet0123", "5a" * 32
NOW_MS = 1_795_000_000_000
NOTHING = CoinChanges((), frozenset(), frozenset())
HOSTILE = '<script>alert("&amp;")</script><img src=x onerror=alert(1)>"\'{{ 7*7 }}'
SUBMISSIONS = 130
REWARD, BOND = 25_370_001, 3_072_000


def id_of(*parts: object) -> Id32:
    return blake2b_256(repr(parts).encode())


def ledger_path(state: Path) -> Path:
    return state / "networks" / CHAIN / ADDRESS / "ledger.sqlite"


def make(state: Path, submissions: int = SUBMISSIONS) -> Path:
    """A state folder with that ledger."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "version").write_text("1\n")
    path = ledger_path(state)
    with closing(Ledger(path)) as ledger:
        ledger.move(id_of("faucet"), [Movement("received", 3_000_000_000)], 0)
        ledger.group([lambda into, number=number: submit(into, number) for number in range(submissions)])
        for epoch, threshold in ((1, 1.283), (2, 1.001), (3, 0.964)):
            ledger.report_epoch(EpochReport(epoch, threshold, 250, 240, 60, 2, 120, "max_hits"))
        ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, "a", "over by now", NOW_MS - 900_000))
        ledger.clear_alarms(AlarmKind.UNREADABLE, NOW_MS - 800_000)
        ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, "b", f"cannot be read: {HOSTILE}", NOW_MS - 60_000))
        ledger.publish(Published(id_of("window", 1), "https://example.invalid/1", 1024, NOW_MS))
    return state


def submit(ledger: Ledger, number: int) -> None:
    """One submission and what became of it: most are claimed, every 40th is judged false, every 50th was too late."""
    epoch = 1 + number // 50
    digest, target = id_of("submit", number), id_of("target", number)
    ledger.record(intent(IntentKind.SUBMIT, digest, target, epoch, number, details(number)))
    fees = {"fee_base": -1_000, "fee_operation": -1_800, "fee_value": -number}
    if number % 50 == 49:
        settle(ledger, digest, epoch, IntentStatus.FAILED, {"fee_base": -1_000})
        return
    if number % 50 == 48:
        return
    settle(ledger, digest, epoch, IntentStatus.LANDED, {**fees, "bond_locked": -BOND})
    url = "https://example.invalid/w"
    ledger.add_fills([Fill(target, digest, epoch, REWARD + number, BOND, id_of("window", number), url=url)])
    at = NOW_MS + number
    ledger.add_timing(Timing(target, Origin.OWN, at, at + 1, at + 2, at + 3, at + 250 + number))
    if epoch == 1:
        claim = id_of("claim", number)
        ledger.record(intent(IntentKind.CLAIM, claim, target, 3, number, {}))
        slashed = number % 40 == 39
        paid = {} if slashed else {"reward_submitter": 12_600_000, "bond_returned": BOND}
        settle(ledger, claim, 3, IntentStatus.LANDED, {"fee_base": -1_000, "incentive": 12_685, **paid})
        ledger.mark_fill(target, FillState.SLASHED if slashed else FillState.CLAIMED)


def details(number: int) -> dict[str, Any]:
    path = f"src/{HOSTILE}.py" if number == 77 else f"src/Größe{number}.py"
    provenance = {"source": "stack-v2", "path": path, "offset": 1024 * number, "licence": "MIT", "kind": "python"}
    return {
        "bond": BOND,
        "reward": REWARD + number,
        "window": id_of("window", number).hex(),
        "model": format_id(id_of("model", number % 3)),
        "distance": 0.9 + number / 10_000,
        "loss": 2.5,
        "url": "https://example.invalid/w",
        "provenance": {**provenance, "revision": None},
    }


def intent(kind: IntentKind, digest: Id32, subject: Id32, epoch: int, number: int, about: Mapping[str, Any]) -> Intent:
    return Intent(digest, kind, subject, epoch, NOW_MS + number, b"signed", (), about)


def settle(ledger: Ledger, digest: Id32, epoch: int, status: IntentStatus, money: Mapping[str, int]) -> None:
    ledger.settle(
        digest,
        status,
        outcome="ETargetNotOpen" if status is IntentStatus.FAILED else None,
        executed_epoch=epoch,
        settled_ms=NOW_MS,
        changes=NOTHING,
        movements=[Movement(item, amount) for item, amount in money.items()],
    )
