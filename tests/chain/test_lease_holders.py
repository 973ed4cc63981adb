"""One signer per wallet: whoever does not hold the lease learns who does, also when that one was killed."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quickstart.chain.lease import FileLease, holder
from quickstart.errors import LeaseHeldError, UsageError

HOLDER = """
import sys
from pathlib import Path
from quickstart.chain.lease import FileLease
with FileLease(Path(sys.argv[1]), "submit"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert select.select([child.stdout], [], [], 20)[0]
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


def test_a_second_lease_in_one_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet" / "lease"
    with FileLease(path, "claim") as first:
        assert first.held()
        with pytest.raises(LeaseHeldError, match=rf"`claim` \(process {os.getpid()} on .*stop it"):
            FileLease(path, "submit").__enter__()
        assert first.held()
    assert not first.held()
    assert holder(path) is None
    with FileLease(path, "submit") as next_one:
        assert next_one.held()


def test_another_process_is_named_and_lets_go_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with other_process(path) as child:
        with pytest.raises(LeaseHeldError, match=rf"`submit` \(process {child.pid} on"):
            FileLease(path, "claim").__enter__()
        seen = holder(path)
        assert seen is not None
        assert seen.pid == child.pid
    with FileLease(path, "claim") as own:
        assert own.held()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with other_process(path) as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        with FileLease(path, "claim") as own:
            assert own.held()
            seen = holder(path)
            assert seen is not None
            assert seen.pid == os.getpid()


def test_to_be_refused_is_the_person_s_to_mend(tmp_path: Path) -> None:
    assert issubclass(LeaseHeldError, UsageError)
    assert holder(tmp_path / "nothing here") is None
    (tmp_path / "lease").write_text("half a jso")
    assert holder(tmp_path / "lease") is None
