"""A run that is killed, met by other commands, and interrupted: nothing is lost, nothing is sent twice."""

import os
import pty
import signal
import struct
import termios
import threading
from collections import Counter
from fcntl import ioctl
from pathlib import Path

from cli_processes import Shell, ledger_rows, transactions_on_chain, wait_until

from quickstart.chain.transactions import ClaimRewards, SubmitData

FILLS = "SELECT COUNT(*) FROM fills"
LINE = ("submit", "--network", "devnet", "--workers", 1, "--windows", 8)


def fills(state: Path) -> int:
    rows = ledger_rows(state, FILLS)
    return int(rows[0][0]) if rows else 0


class Terminal:
    """A terminal of 100 columns, and everything that was written to it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # nobody has the other end open any more
                return
            if not data:
                return
            self._written += data

    def text(self) -> str:
        """All of it; waits until the last process has closed its end."""
        os.close(self.theirs)
        self._reader.join()
        os.close(self._ours)
        return self._written.decode()


def test_killed_met_interrupted_and_finished(shell: Shell, state: Path) -> None:
    shell.environment["TERM"] = "xterm-256color"

    # Killed in the middle, with submissions in flight, while a `claim` waits for it: that one takes over.
    with shell.started(*LINE, "--state", state, "--epochs", 3, "--json") as killed:
        killed.until(lambda: fills(state) >= 3)
        killed.process.send_signal(signal.SIGSTOP)
        with shell.started("claim", "--network", "devnet", "--state", state, "--json") as waiting:
            waiting.until(lambda: list(state.glob("networks/*/*/requests/*.request")))
            killed.kill()
            wait_until(lambda: not killed.others_alive(), seconds=3.0)
            taken_over = waiting.finish()
    assert (taken_over.code, taken_over.err) == (0, "")
    assert taken_over.document()["books"]["difference_shannons"] == 0
    assert ledger_rows(state, "SELECT COUNT(*) FROM intents WHERE status = 'pending'") == [(0,)]

    # Started again; another `submit` is turned away, a `claim` is made by the one that runs.
    before = fills(state)
    with shell.started(*LINE, "--state", state, "--epochs", 50) as running:
        running.until(lambda: fills(state) > before + 2)
        turned_away = shell.run(*LINE, "--state", state, "--json")
        assert turned_away.code == 2
        assert turned_away.out == ""
        assert turned_away.err.count("\n") == 1
        assert f"`submit` (process {running.process.pid} on " in turned_away.err
        assert "Ctrl-C" in turned_away.err

        claimed = shell.run("claim", "--network", "devnet", "--state", state, "--json")
        assert (claimed.code, claimed.err) == (0, "")
        assert str(running.process.pid) in claimed.document()["asked"]

        # Ctrl-C ends it within 3 seconds, in one line.
        assert running.process.poll() is None
        interrupted = running.interrupt()
        assert interrupted.code == 1
        assert interrupted.seconds < 3.5
        assert interrupted.err == "interrupted; nothing is lost, run the same command again to go on\n"
        assert all(len(line) <= 100 for line in interrupted.out.splitlines())
        assert "filled" in interrupted.out
        wait_until(lambda: not running.others_alive(), seconds=3.0)

    # On a terminal, to the end.
    terminal = Terminal()
    with shell.started(
        *LINE, "--state", state, "--epochs", 1, "--max-hits", 5, stdin=terminal.theirs, stdout=terminal.theirs
    ) as last:
        done = last.finish()
        shown = terminal.text()
    assert (done.code, done.err) == (0, "")
    live, _, end = shown.rpartition("\x1b[?25h")  # the cursor comes back when the live view ends
    for word in ("open targets", "in flight", "coverage", "windows x models"):
        assert word in live
    assert "difference 0 shannons" in end
    assert "0 false claims" in end
    assert "pending" not in end

    transactions = [given.transaction.kind for given in transactions_on_chain(state)]
    submitted = Counter(kind.target_id for kind in transactions if isinstance(kind, SubmitData))
    claims = Counter(kind.target_id for kind in transactions if isinstance(kind, ClaimRewards))
    assert set(submitted.values()) == set(claims.values()) == {1}
    assert fills(state) == len(submitted)
    assert dict(ledger_rows(state, "SELECT status, COUNT(*) FROM intents GROUP BY status")).keys() == {"landed"}
    assert dict(ledger_rows(state, "SELECT state, COUNT(*) FROM fills GROUP BY state")) == {"claimed": len(submitted)}
