"""Runs the long form of every promise of docs/reliability.md and writes what it found into that file's table.

uv run python -m tests.campaign [--only 3 --only 13] [--short] [--seed N] [--json FILE] [--no-table]
"""

import argparse
import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / area) for area in ("submission", "edges", "guard")]  # pytest finds these by itself

from tests.campaign.registry import Promise, promises  # noqa: E402
from tests.campaign.table import write_table  # noqa: E402

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", type=int, metavar="N", help="this promise only; repeatable")
    parser.add_argument("--short", action="store_true", help="as often as the suite does; writes no table")
    parser.add_argument("--seed", type=int, default=8, help="what all draws come from (8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    parser.add_argument("--no-table", action="store_true", help="leave docs/reliability.md as it is")
    arguments = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # the product tells of every fault that is made
    chosen = [promise for promise in promises() if not arguments.only or promise.number in arguments.only]
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for place, promise in enumerate(chosen, start=1):
        scale = max(1, promise.short) if arguments.short else promise.long
        print(f"[{place}/{len(chosen)}, {(time.monotonic() - began) / 60:.0f} min] {promise.name} ...", flush=True)
        try:
            rows.append(_row(promise, scale, arguments.seed))
        except KeyboardInterrupt:
            print("stopped; what was measured before is kept", flush=True)
            return 1
        # What is done is kept at once: this may be stopped at any time.
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
        if not (arguments.no_table or arguments.short):
            write_table(DOCUMENT, rows)
    return 1 if any(row["lost"] for row in rows) else 0


def _row(promise: Promise, scale: int, seed: int) -> dict[str, Any]:
    """One measurement, told as it ends."""
    started = time.monotonic()
    try:
        found = promise.measure(scale, seed)
    except Exception as error:  # noqa: BLE001 - a broken promise, or a broken measurement: the others go on
        traceback.print_exc()
        first = f"{type(error).__name__}: {error}".splitlines()[0][:200].replace("|", "/")
        found = {"done": "broke off", "times": 0, "lost": 1, "figures": {"first": first}}
    seconds = time.monotonic() - started
    print(f"    {found['times']:,} times, {found['lost']} lost, {seconds:.1f} s; {found['figures']}", flush=True)
    return {"promise": promise.number, "text": promise.text, **found, "seed": seed, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
