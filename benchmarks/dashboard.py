"""How long the dashboard's pages take with many submissions in the ledger, at rest and while a submitter writes.

uv run python benchmarks/dashboard.py [--submissions 100000] [--requests 60]
"""

import argparse
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.testclient import TestClient

from quickstart.chain.coins import CoinChanges
from quickstart.chain.ids import Id32, blake2b_256, format_digest
from quickstart.dashboard.asked import Asker, Said
from quickstart.dashboard.guard import Guard
from quickstart.dashboard.pages import Sources, create_app
from quickstart.desk.health import Workplace
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import EpochReport, Fill, Intent, IntentKind, IntentStatus, Movement
from quickstart.ledger.wallet_files import wallet_files

EPOCHS = 30
REWARD, BOND = 25_370_370, 3_072_000
WIDTHS = (20, 7, 11, 11, 7, 11)
PAGES = {
    "overview": "",
    "submissions": "submissions",
    "submissions, deep": "submissions?before=15-99999999",
    "search, found soon": "submissions?text=file99",
    "search, found nowhere": "submissions?text=nothing+is+called+so",
    "a transaction by name": f"submissions?text={format_digest(blake2b_256(b'send 77'))}",
    "by state": "submissions?state=slashed",
    "epochs": "epochs",
    "a plot": "plots/earnings.svg",
}


def name(what: str, number: int) -> Id32:
    return blake2b_256(f"{what} {number}".encode())


def rows(number: int, epoch: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """One submission, and its claim two epochs later, as the ledger keeps them."""
    send, target, window = name("send", number), name("target", number), name("window", number % 5000)
    details = {
        "bond": BOND,
        "url": f"https://bucket.invalid/{window.hex()}",
        "reward": REWARD,
        "window": window.hex(),
        "model": "0x" + name("model", number % 3).hex(),
        "distance": 0.95,
        "loss": 2.1,
        "provenance": {
            "source": "stack-v2",
            "path": f"project{number % 977}/src/file{number}.py",
            "offset": 1024,
            "licence": "MIT",
            "revision": None,
            "kind": "python",
        },
    }
    intent = "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, 'landed', NULL, ?, ?)"
    money = "INSERT INTO movements VALUES (?, ?, ?, ?)"
    yield intent, (send, "submit", target, epoch, number, bytes(600), json.dumps(details), epoch, number)
    for item, amount in (("fee_base", -1000), ("fee_operation", -1800), ("fee_value", -300), ("bond_locked", -BOND)):
        yield money, (send, item, amount, epoch)
    state = "slashed" if number % 1000 == 7 else "claimed" if epoch < EPOCHS - 1 else "filled"
    yield (
        "INSERT INTO fills (target_id, digest, epoch, reward, bond, window, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (target, send, epoch, REWARD, BOND, window, state),
    )
    yield "INSERT INTO timings VALUES (?, 'own', ?, ?, ?, ?, ?)", (target, number, number, number, number, number + 400)
    if state != "filled":
        claim = name("claim", number)
        yield intent, (claim, "claim", target, epoch + 2, number, bytes(400), "{}", epoch + 2, number)
        for item, amount in (("fee_base", -1000), ("reward_submitter", REWARD // 2), ("bond_returned", BOND)):
            yield money, (claim, item, amount, epoch + 2)


def fill(path: Path, submissions: int) -> None:
    with closing(Ledger(path)) as ledger:
        for epoch in range(1, EPOCHS + 1):
            ledger.report_epoch(EpochReport(epoch, 1.3 - epoch / 100, 4000, 3700, 3333, 20, 300, "exhausted"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for number in range(submissions):
            for query, values in rows(number, 1 + number * EPOCHS // submissions):
                database.execute(query, values)
        database.commit()


def write(path: Path, ended: threading.Event) -> None:
    """A submitter at ten transactions a second."""
    number = 10**9
    with closing(Ledger(path)) as ledger:
        while not ended.wait(0.1):
            number += 1
            send, target = name("send", number), name("target", number)
            ledger.record(Intent(send, IntentKind.SUBMIT, target, EPOCHS, number, bytes(600), (), {}))
            ledger.settle(
                send,
                IntentStatus.LANDED,
                outcome=None,
                executed_epoch=EPOCHS,
                settled_ms=number,
                changes=CoinChanges((), frozenset(), frozenset()),
                movements=[Movement("fee_base", -1000), Movement("bond_locked", -BOND)],
            )
            ledger.add_fills([Fill(target, send, EPOCHS, REWARD, BOND, None)])


def measure(client: TestClient, root: str, requests: int) -> dict[str, tuple[float, float, float]]:
    """Median and 95th percentile of the CPU time by page, and the latter of the clock's, ms; pages take turns.

    Client, server and SQLite are this one process: on a machine with nothing else to do both times are the same.
    """
    taken: dict[str, list[tuple[float, float]]] = {page: [] for page in PAGES}
    for _ in range(requests):
        for page, path in PAGES.items():
            began, spent = time.perf_counter(), time.process_time()
            assert client.get(root + path).status_code == 200
            taken[page].append((1000 * (time.process_time() - spent), 1000 * (time.perf_counter() - began)))
    return {page: figures(times) for page, times in taken.items()}


def figures(times: list[tuple[float, float]]) -> tuple[float, float, float]:
    spent, passed = (sorted(column) for column in zip(*times, strict=True))
    late = int(len(times) * 0.95)
    return spent[len(times) // 2], spent[late], passed[late]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=60, help="of each page")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        state = Path(folder)
        path = state / "networks" / "bench" / ("5a" * 32) / "ledger.sqlite"
        fill(path, arguments.submissions)
        print(f"{arguments.submissions:,} submissions, {path.stat().st_size / 1e6:.0f} MB")
        clock = time.time_ns
        sources = Sources(
            lambda: wallet_files(state),
            lambda _: Workplace(),
            Asker(Said, lambda: clock() // 10**6),
            lambda: clock() // 10**6,
        )
        root, ended = f"/w/bench/{'5a' * 32}/", threading.Event()
        with TestClient(Guard(create_app(sources), None, None)) as client:
            client.get(root)
            rest = measure(client, root, arguments.requests)
            writer = threading.Thread(target=write, args=(path, ended))
            writer.start()
            busy = measure(client, root, arguments.requests)
            ended.set()
            writer.join()
        print(f"{'page, ms':<22}{'at rest: CPU median':>20}{'p95':>7}{'clock p95':>11}{'written to: the same':>29}")
        for page in PAGES:
            print(
                f"{page:<22}"
                + "".join(f"{value:{width}.1f}" for value, width in zip(rest[page] + busy[page], WIDTHS, strict=True))
            )


if __name__ == "__main__":
    main()
