"""`plan`: what to score and to cut next, for every wallet of the state folder."""

import argparse
import math
from typing import Any

from quickstart.bank import Bank
from quickstart.cli.rendering import print_json, print_plan
from quickstart.cli.state import ledgers_of
from quickstart.data.window import address_seed
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.settings import load_settings
from quickstart.submission.premises import Places
from quickstart.submission.scoring_plan import scoring_plan


def run_plan(arguments: argparse.Namespace) -> int:
    """Reads banks and ledgers; needs no network.

    Raises:
        UsageError: no wallet has run yet.
    """
    state = arguments.state or load_settings().state
    documents: list[dict[str, Any]] = []
    for wallet in ledgers_of(state):
        ledger = Ledger(wallet.path)
        try:
            found = scoring_plan(
                Bank(Places(wallet.path.parent).bank),
                ledger,
                budget_seconds=arguments.gpu_seconds or math.inf,
                seed=address_seed(wallet.owner),
            )
        finally:
            ledger.close()
        if found is not None:
            documents.append({"chain_id": wallet.chain, "address": "0x" + wallet.address, **found})
    if not documents:
        raise UsageError(
            f"no wallet in {state} has scored anything yet: run `uv run submit` first, or name --state DIR"
        )
    document = {"wallets": documents}
    if arguments.json:
        print_json(document)
    else:
        print_plan(document)
    return EXIT_DONE
