"""The page behind its guard, served on loopback; and what its ledger holds, by SQL of our own over the single rows."""

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from kept_ledger import ADDRESS, CHAIN, NOW_MS

from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS
from quickstart.dashboard.asked import Asker, Said
from quickstart.dashboard.guard import Guard
from quickstart.dashboard.pages import Sources, create_app
from quickstart.desk.accounts import ChainAnswer
from quickstart.desk.asking import Answer
from quickstart.desk.health import Workplace
from quickstart.ledger.wallet_files import wallet_files

ROOT = f"/w/{CHAIN}/{ADDRESS}/"
PASSWORD = "a long enough password"
HOSTS = frozenset({"127.0.0.1", "localhost"})
AT_WORK = Workplace(at_work="`submit` (process 7 on here)", since_ms=NOW_MS)


def chain_says(state: Path, balance: int) -> Said:
    answer = ChainAnswer(3, NOW_MS - 1_000, PARAMETERS[NEWEST_PROTOCOL], balance, ())
    return Said({wallet: Answer(answer) for wallet in wallet_files(state)})


def guarded(state: Path, ask: Callable[[], Said], password: str | None = None, place: Workplace = AT_WORK) -> Guard:
    """The application as it is served; the first round of asking is over."""
    asker = Asker(ask, lambda: NOW_MS)
    asker.heard()
    asker.wait(10.0)
    return Guard(
        create_app(Sources(lambda: wallet_files(state), lambda _: place, asker, lambda: NOW_MS)), password, HOSTS
    )


@contextmanager
def served(application: Guard) -> Iterator[str]:
    """Its address, without the slash at the end."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server does not start"
        time.sleep(0.01)
    (socket,) = server.servers[0].sockets
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def books(path: Path) -> dict[str, int]:
    """Money by the names that the overview gives it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:

        def number(query: str) -> int:
            return int(database.execute(query).fetchone()[0] or 0)

        earned = number(
            "SELECT SUM(amount) FROM movements WHERE item IN ('reward_submitter', 'reward_model', 'incentive')"
        )
        fees = -number("SELECT SUM(amount) FROM movements WHERE item LIKE 'fee%'")
        lost = number("SELECT SUM(bond) FROM fills WHERE state = 'slashed'")
        return {
            "earned": earned,
            "fees": fees,
            "bond lost": lost,
            "net": earned - fees - lost,
            "bond out": number("SELECT SUM(bond) FROM fills WHERE state = 'filled'"),
            "balance": number("SELECT SUM(amount) FROM movements"),
            "open fills": number("SELECT COUNT(*) FROM fills WHERE state = 'filled'"),
        }


def shown(html: str) -> dict[str, int]:
    """The figures of an overview, by name."""
    found: list[tuple[str, Any]] = re.findall(r'data-name="([^"]+)" data-(?:shannons|count)="(-?\d+)"', html)
    return {name: int(value) for name, value in found}
