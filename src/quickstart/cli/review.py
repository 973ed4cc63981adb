"""`review`: an epoch looked back at, from the state folder alone."""

import argparse
from contextlib import closing
from dataclasses import asdict
from typing import Any

from quickstart.bank import Bank
from quickstart.chain.ids import format_digest, format_id
from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS
from quickstart.cli.rendering import print_json
from quickstart.cli.review_text import markdown
from quickstart.cli.state import ledgers_of
from quickstart.data.window import address_seed
from quickstart.desk.review import Records, Review, review, shortfall
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.wallet_files import WalletFile
from quickstart.modal_app.prices import scorer_dollars_per_second
from quickstart.settings import load_settings
from quickstart.submission.premises import Places
from quickstart.submission.scoring_plan import scoring_plan

BYTES = {"target_id": format_id, "window": format_digest, "model": format_id, "taker": format_id, "address": format_id}


def run_review(arguments: argparse.Namespace) -> int:
    """Every wallet of the state folder that was at work in that epoch.

    Raises:
        UsageError: none was, or no wallet has run yet.
    """
    settings = load_settings()
    state = arguments.state or settings.state
    found: list[tuple[WalletFile, Review]] = []
    for wallet in ledgers_of(state):
        with closing(Ledger(wallet.path)) as ledger:
            epoch = arguments.epoch if arguments.epoch is not None else _last_epoch(ledger)
            if epoch is None:
                continue
            records = Records.of(ledger, epoch)
            if records.report is None and not records.fills and not records.unfilled:
                continue
            seconds = 1.0 / scorer_dollars_per_second(settings.gpus)
            seed = address_seed(wallet.owner)
            plan = scoring_plan(Bank(Places(wallet.path.parent).bank), ledger, budget_seconds=seconds, seed=seed)
            found.append((wallet, review(records, PARAMETERS[NEWEST_PROTOCOL], plan)))
    if not found:
        which = (
            "no epoch has been worked in" if arguments.epoch is None else f"nothing was done in epoch {arguments.epoch}"
        )
        raise UsageError(f"{which} by any wallet of {state}: `uv run status` shows which epochs there are")
    if arguments.json:
        print_json({"wallets": [_about(wallet) | _document(one) for wallet, one in found]})
    else:
        print("\n".join(markdown(one, f"0x{wallet.address}") for wallet, one in found), flush=True)
    return EXIT_DONE


def _last_epoch(ledger: Ledger) -> int | None:
    reports = ledger.epoch_reports()
    return reports[-1].epoch if reports else None


def _about(wallet: WalletFile) -> dict[str, Any]:
    return {"chain_id": wallet.chain, "address": "0x" + wallet.address}


def _document(one: Review) -> dict[str, Any]:
    """Ready for JSON: ids as text, and by how much each target was out of reach."""
    document = asdict(one)
    for target, row in zip(one.unfilled, document["unfilled"], strict=True):
        row["shortfall"] = shortfall(target)
        row["taker_model"] = None if target.taker_model is None else format_id(target.taker_model)
    for name in ("wins", "unfilled", "models", "takers"):
        for row in document[name]:
            row |= {key: BYTES[key](row[key]) for key in BYTES if isinstance(row.get(key), bytes)}
    return document
