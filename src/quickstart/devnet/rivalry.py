"""Options that make a devnet less kind: rivals, and faults of its chain. Light to import: `submit` offers them too."""

import argparse
from typing import Any

MOST_RIVALS = 8
WRONG_SEED = "wrong-seed"
FAULTS = (WRONG_SEED,)
"""Faults of the chain itself, which are its for good; the others come and go, see `faults`."""


def add_rivalry(parser: argparse.ArgumentParser) -> None:
    """Adds what makes a devnet less kind: `--rivals`, `--rival-poll` and `--fault`. None is no rival, and 1 s."""
    add = parser.add_argument
    add("--rivals", type=int, metavar="N", help=f"simulated submitters on the devnet, at most {MOST_RIVALS} (0)")
    add("--rival-poll", type=float, metavar="S", help="how often a rival reads the listing (1)")
    add("--fault", choices=FAULTS, action="append", help="what is wrong with the devnet's chain")


def rivalry_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_rivalry` say, as fields of `DevnetConfig`."""
    given = {"rivals": args.rivals, "rival_poll_seconds": args.rival_poll, "wrong_seed": args.fault and True}
    return {name: value for name, value in given.items() if value is not None}
