"""Sources against stand-ins of the hub and of the archive, which run in this process too: contents at 100 ms of
latency, concurrently and one at a time in the same run, and windows a second by source.

uv run python benchmarks/sources.py
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from data_hosts import GOOD_TOKEN, ArchiveStandIn, HubStandIn, Repository
from data_samples import fineweb_edu, stack, starcoder, swe_bench, text

from quickstart.data.contents import Contents
from quickstart.data.filters import FilterCounts, Filters, usable_windows
from quickstart.data.sources import open_source
from quickstart.data.window import SourcePlan
from quickstart.settings import Settings

GOAL = 20
"""Times the rate of a plain loop."""

SOURCES = ("stack-v2:Python", "starcoder:python", "fineweb-edu", "hf:me/lines", "python-library", "mixture:default")


def loop_rate(archive: ArchiveStandIn, count: int) -> float:
    """Contents a second of the plain loop: one client, one request after the other."""
    started = time.perf_counter()
    with httpx.Client() as client:
        for name in list(archive.objects)[:count]:
            response = client.get(f"{archive.url}/content/{name}")
            zlib.decompress(response.raise_for_status().content, wbits=31)
    return count / (time.perf_counter() - started)


def concurrent_rate(archive: ArchiveStandIn, count: int, concurrency: int) -> float:
    """Contents a second as the product fetches them, each proven by its name."""
    contents = Contents(archive.url, concurrency=concurrency)
    wanted = ((name, name, "UTF-8") for name in list(archive.objects)[:count])
    started = time.perf_counter()
    got = sum(1 for _ in contents.fetch_all(wanted, concurrency, Counter()))
    assert got == count
    return count / (time.perf_counter() - started)


def window_rates(open_named: Callable[[str], Any], name: str, windows: int) -> dict[str, float]:
    """Windows a second as they come, and with all filters behind it."""
    started = time.perf_counter()
    cut = list(itertools.islice(open_named(name).windows(SourcePlan(1)), windows))
    seconds = time.perf_counter() - started
    counts = FilterCounts()
    started = time.perf_counter()
    list(usable_windows(iter(cut), Filters(set()), counts))
    filtering = time.perf_counter() - started
    return {"windows": len(cut), "cut": len(cut) / seconds, "cut_and_filtered": len(cut) / (seconds + filtering)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--latency", type=float, default=0.1, metavar="S", help="of each answer (0.1)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="medians of so many (3)")
    parser.add_argument("--windows", type=int, default=3_000, metavar="N", help="per source (3000)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    code, blobs = stack(("Python",), files=4, rows=500)
    lines = "".join(json.dumps({"text": text(row, 5_000)}) + "\n" for row in range(600))
    sets = {
        "bigcode/the-stack-v2-dedup": code,
        "bigcode/starcoderdata": starcoder(rows=800),
        "HuggingFaceFW/fineweb-edu": fineweb_edu(rows=1_200),
        "princeton-nlp/SWE-bench": swe_bench(rows=300),
        "me/lines": Repository({"train.jsonl": lines.encode()}),
    }
    with tempfile.TemporaryDirectory() as home, HubStandIn(sets) as hub, ArchiveStandIn(blobs) as archive:
        os.environ["HF_HOME"] = home
        archive.host.latency = arguments.latency
        runs = [
            (loop_rate(archive, 40), *(concurrent_rate(archive, 1_500, lanes) for lanes in (16, 32, 64)))
            for _ in range(arguments.runs)
        ]
        loop, *many = (statistics.median(column) for column in zip(*runs, strict=True))
        archive.host.latency = 0.0
        settings = Settings(
            _env_file=None, HF_TOKEN=GOOD_TOKEN, HF_ENDPOINT=hub.url, QUICKSTART_SWH_ENDPOINT=archive.url
        )
        rates = {name: window_rates(lambda n: open_source(n, settings), name, arguments.windows) for name in SOURCES}
    contents = {
        "latency_seconds": arguments.latency,
        "one_at_a_time": loop,
        **{f"in_flight_{lanes}": rate for lanes, rate in zip((16, 32, 64), many, strict=True)},
        "times": statistics.median(row[-1] / row[0] for row in runs),
    }
    if arguments.json:
        print(json.dumps({"goal_times": GOAL, "contents_per_second": contents, "windows_per_second": rates}))
        return 0
    print(f"contents a second at {arguments.latency * 1000:.0f} ms, medians of {arguments.runs}")
    print(f"  plain loop {loop:.1f}; in flight 16: {many[0]:.0f}, 32: {many[1]:.0f}, 64: {many[2]:.0f}")
    print(f"  64 in flight is {contents['times']:.0f} times the plain loop [{GOAL}]")
    print("windows a second, no latency          cut  and filtered")
    for name, rate in rates.items():
        print(f"  {name:<30} {rate['cut']:>8.0f} {rate['cut_and_filtered']:>8.0f}   ({rate['windows']} windows)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
