"""What a settled transaction says of our fills, written in the same commit as its outcome."""

from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill, IntentKind
from quickstart.submission.outbox import Settled


def record_settled(ledger: Ledger, settled: Settled) -> None:
    """A landed submission is a new fill; a landed claim says what became of one."""
    intent = settled.intent
    if settled.effects.failure is not None or intent.subject is None:
        return
    if intent.kind is IntentKind.SUBMIT:
        fill = Fill(
            target_id=intent.subject,
            digest=intent.digest,
            epoch=settled.effects.epoch,
            reward=int(intent.details["reward"]),
            bond=int(intent.details["bond"]),
            window=bytes.fromhex(intent.details["window"]),
            url=intent.details.get("url"),
        )
        ledger.add_fills((fill,))
    elif settled.account.fill_state is not None:
        ledger.mark_fill(intent.subject, settled.account.fill_state)
