"""What a wallet has done and earned, from its ledger alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from quickstart.chain.ids import format_digest, format_id
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import EpochReport, FillState, FillSum, IntentKind, IntentStatus
from quickstart.submission.latency import latency
from quickstart.submission.loop import EXHAUSTED

FEE_ITEMS = ("fee_base", "fee_operation", "fee_value")
EARNED_ITEMS = ("reward_submitter", "reward_model", "incentive")


def summary(
    ledger: Ledger,
    *,
    since_epoch: int = 0,
    current_epoch: int | None = None,
    settled_before: Mapping[FillState, int] | None = None,
) -> dict[str, Any]:
    """Counts, money and latency, ready for JSON. Amounts in shannons, latency in milliseconds.

    `since_epoch` limits fills and epochs to later ones; money is always the whole ledger's. `current_epoch` tells
    fills in audit from claimable ones.

    With `settled_before`, the ledger's `fill_counts` when a run began, it is that run's summary: what it settled and
    what is open now are told of fills of any epoch, since a reward comes two epochs after its fill.
    """
    sums = ledger.fill_sums()
    fills = [one for one in sums if one.epoch >= since_epoch]
    told = fills if settled_before is None else sums
    before = settled_before or {}
    reports = [report for report in ledger.epoch_reports() if report.epoch >= since_epoch]
    totals = dict(ledger.totals())
    earned = sum(totals.get(item, 0) for item in EARNED_ITEMS)
    fees = -sum(totals.get(item, 0) for item in FEE_ITEMS)
    bond_lost = sum(one.bond * one.count for one in sums if one.state is FillState.SLASHED)
    open_fills = [one for one in told if one.state is FillState.FILLED]
    claimable = [one for one in open_fills if current_epoch is not None and current_epoch > one.epoch + 1]
    return {
        "filled": _count(fills),
        "in_audit": _count(open_fills) - _count(claimable),
        "claimable": _count(claimable),
        "claimed": _settled(told, before, FillState.CLAIMED),
        "false_claims": _settled(told, before, FillState.SLASHED),
        "lost": _lost(ledger, reports),
        "pending": len(ledger.pending()),
        "claims_landed": ledger.counts(IntentKind.CLAIM).get(IntentStatus.LANDED, 0),
        "missed": sum(report.missed for report in reports if report.ended_by == EXHAUSTED),
        "distinct_windows": ledger.distinct_windows(since_epoch),
        "data": data_used(ledger),
        "epochs": [asdict(report) for report in reports],
        "latency_ms": latency(ledger.timings(since_epoch)),
        "money": {
            "earned_shannons": earned,
            "fees_shannons": fees,
            "bond_locked_shannons": ledger.bond_outstanding(),
            "bond_lost_shannons": bond_lost,
            "net_shannons": earned - fees - bond_lost,
        },
        "alarms": [asdict(alarm) for alarm in ledger.alarms() if alarm.cleared_ms is None],
        "books": {"items": totals, "ledger_shannons": sum(totals.values())},
    }


def _count(sums: Iterable[FillSum]) -> int:
    return sum(one.count for one in sums)


def _settled(sums: Iterable[FillSum], before: Mapping[FillState, int], state: FillState) -> int:
    return _count(one for one in sums if one.state is state) - before.get(state, 0)


def _lost(ledger: Ledger, reports: Sequence[EpochReport]) -> int:
    """Targets that somebody else got first: before we had sent anything, as reports tell, or after."""
    failed = ledger.counts(IntentKind.SUBMIT).get(IntentStatus.FAILED, 0)
    before = (report.lost - len(ledger.failed_subjects(IntentKind.SUBMIT, report.epoch)) for report in reports)
    return failed + sum(max(0, count) for count in before)


def data_used(ledger: Ledger) -> dict[str, dict[str, int]]:
    """How many submissions came from each source, and under which licence."""
    sources, licences = Counter[str](), Counter[str]()
    for source, licence, number in ledger.data_used():
        sources[source or "(not noted)"] += number
        licences[licence or "(unknown)"] += number
    return {"sources": dict(sources.most_common()), "licences": dict(licences.most_common())}


def submissions(ledger: Ledger) -> list[dict[str, Any]]:
    """Every submission, ready for JSON: target, transaction, window, and where its bytes are from."""
    return [
        {
            "target": format_id(submission.target_id),
            "transaction": format_digest(submission.digest),
            "epoch": submission.epoch,
            "window": submission.details.get("window"),
            "provenance": submission.details.get("provenance"),
        }
        for submission in ledger.submissions()
    ]
