"""Values for tests of the ledger."""

from collections.abc import Mapping
from typing import Any

from quickstart.chain.coins import Coin, CoinChanges
from quickstart.chain.transactions import ObjectRef
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Intent, IntentKind, IntentStatus, Movement

NOTHING = CoinChanges((), frozenset(), frozenset())


def name(text: str) -> bytes:
    """An id that reads as `text`."""
    return text.encode().ljust(32, b".")


def coin(text: str, version: int = 1, balance: int = 1000) -> Coin:
    return Coin(ObjectRef(name(text), version, name(f"{text}@{version}")), balance)


def intent(
    digest: str,
    subject: str | None = None,
    *coins: Coin,
    kind: IntentKind = IntentKind.SUBMIT,
    epoch: int = 3,
    created_ms: int = 10,
    details: Mapping[str, Any] | None = None,
) -> Intent:
    signed = b"signed " + digest.encode()
    subject_id = name(subject) if subject else None
    return Intent(name(digest), kind, subject_id, epoch, created_ms, signed, coins, details or {})


def settle(
    ledger: Ledger,
    digest: str,
    status: IntentStatus = IntentStatus.LANDED,
    changes: CoinChanges = NOTHING,
    movements: Mapping[str, int] | None = None,
) -> None:
    ledger.settle(
        name(digest),
        status,
        outcome=None,
        executed_epoch=3,
        settled_ms=20,
        changes=changes,
        movements=[Movement(item, amount) for item, amount in (movements or {}).items()],
    )
