"""Runs the long form of every promise of docs/reliability.md and writes what it found into that file's table.

uv run python -m tests.campaign [--only 3 --only 13] [--short] [--seed N] [--json FILE] [--no-table]
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / area) for area in ("submission", "edges", "guard")]  # pytest finds these by itself

from tests.campaign.registry import promises  # noqa: E402
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
    rows: list[dict[str, Any]] = []
    for promise in promises():
        if (arguments.only and promise.number not in arguments.only) or (arguments.short and not promise.short):
            continue
        print(f"{promise.name} ...", flush=True)
        started = time.monotonic()
        found = promise.measure(max(1, promise.short) if arguments.short else promise.long, arguments.seed)
        seconds = time.monotonic() - started
        rows.append(
            {"promise": promise.number, "text": promise.text, **found, "seed": arguments.seed, "seconds": seconds}
        )
        print(f"    {found['times']} times, {found['lost']} lost, {seconds:.1f} s; {found['figures']}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if not (arguments.no_table or arguments.short):
        write_table(DOCUMENT, rows)
    return 1 if any(row["lost"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
