"""A process that is killed between recording an intent and settling it leaves the intent pending."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from ledger_values import coin, intent, name

from quickstart.ledger.ledger import ConflictError, Ledger

CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from ledger_values import coin, intent, settle
from quickstart.ledger.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]))
ledger.record(intent("t1", "target 1", coin("a")))
settle(ledger, "t1", movements={"fee_base": -1000})
ledger.record(intent("t2", "target 2", coin("b", 7, 500), details={"bond": 66560}))
print("recorded", flush=True)
ledger._database.execute("BEGIN IMMEDIATE")
ledger._database.execute("UPDATE intents SET status = 'landed'")
print("half way", flush=True)
sys.stdin.read()
"""


def test_what_was_recorded_survives_a_kill_and_half_a_commit_does_not(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        ready, _, _ = select.select([child.stdout], [], [], 20)
        assert ready
        assert [child.stdout.readline().strip() for _ in range(2)] == ["recorded", "half way"]
    finally:
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        child.stdin.close()
    ledger = Ledger(path)
    assert ledger.pending() == (intent("t2", "target 2", coin("b", 7, 500), details={"bond": 66560}),)
    assert ledger.totals() == {"fee_base": -1000}
    try:
        ledger.record(intent("t3", "target 3", coin("b", 7, 500)))
    except ConflictError:
        assert [one.digest for one in ledger.pending()] == [name("t2")]
    else:
        raise AssertionError("a second transaction named a coin of a pending one")
    ledger.close()
