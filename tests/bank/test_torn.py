"""What a crash, a bad disk or a full one leaves behind does not count, and writing again repairs it."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quickstart.bank import Bank
from quickstart.bank.segments import disk_errors, write_file
from quickstart.data.window import Provenance, Window
from quickstart.errors import StateError
from quickstart.scoring.engine import CertifiedError, ScoredShard

ALICE = b"\xaa" * 32
RANDOM = np.random.default_rng(3)
WINDOWS = [Window.cut(RANDOM.bytes(1024), Provenance("s", "p", place)) for place in range(20)]
SCORED = ScoredShard(
    ALICE,
    "test",
    RANDOM.standard_normal((20, 32)).astype(np.float32),
    RANDOM.random(20).astype(np.float32),
    CertifiedError(1e-3, 1e-3),
)
SHARD_FILES = ["data.bin", "checksums.bin", "provenance.json", "complete.json"]
SCORE_FILES = ["embeddings.f16", "losses.f32", "inverse_norms.f32", "rows.u32", "complete.json"]


def fill(root: Path) -> tuple[Bank, str]:
    bank = Bank(root)
    shard = bank.add_windows(WINDOWS)
    bank.add_scores(shard, SCORED, created_at=1)
    return bank, shard


def the_file(root: Path, name: str) -> Path:
    (path,) = (path for path in root.rglob(name) if (path.parent.parent.name == "windows") == (name in SHARD_FILES[:3]))
    return path


def marker(root: Path, kind: str) -> Path:
    (path,) = (root / kind).rglob("complete.json")
    return path


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", SHARD_FILES)
@pytest.mark.parametrize("harm", [truncate, Path.unlink], ids=["cut short", "missing"])
def test_a_torn_shard_is_ignored_with_its_scores_and_repaired(tmp_path: Path, name: str, harm) -> None:
    fill(tmp_path)
    harm(marker(tmp_path, "windows") if name == "complete.json" else the_file(tmp_path, name))
    bank = Bank(tmp_path)
    assert bank.shards() == []
    assert bank.view([ALICE]).n == 0
    shard = bank.add_windows(WINDOWS)
    assert bank.windows(shard) == WINDOWS
    bank.refresh()  # the scores are still there
    assert bank.is_scored(shard, ALICE)
    assert Bank(tmp_path).view([ALICE]).scored([ALICE]).all()


@pytest.mark.parametrize("name", SCORE_FILES)
@pytest.mark.parametrize("harm", [truncate, Path.unlink], ids=["cut short", "missing"])
def test_a_torn_score_segment_is_ignored_and_repaired(tmp_path: Path, name: str, harm) -> None:
    _, shard = fill(tmp_path)
    harm(marker(tmp_path, "scores") if name == "complete.json" else the_file(tmp_path, name))
    bank = Bank(tmp_path)
    assert bank.view([ALICE]).n == 20 and not bank.view([ALICE]).models
    assert not bank.is_scored(shard, ALICE)
    bank.add_scores(shard, SCORED, created_at=1)
    for again in (bank, Bank(tmp_path)):
        np.testing.assert_array_equal(again.view([ALICE]).models[ALICE].losses, SCORED.losses)


@pytest.mark.parametrize("name", ["checksums.bin", "provenance.json", "losses.f32", "inverse_norms.f32", "rows.u32"])
def test_a_damaged_table_is_ignored(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    flip(the_file(tmp_path, name))
    assert not Bank(tmp_path).view([ALICE]).scored([ALICE]).any()


def test_damaged_window_bytes_are_never_handed_out(tmp_path: Path) -> None:
    bank, _ = fill(tmp_path)
    flip(the_file(tmp_path, "data.bin"))
    with pytest.raises(StateError, match="is damaged: remove that folder"):
        bank.window(10)
    assert bank.window(0) == WINDOWS[0]


def test_a_marker_of_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    fill(tmp_path)
    path = marker(tmp_path, "scores")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3}))
    assert not Bank(tmp_path).view([ALICE]).models


def test_strangers_in_the_folder_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "windows" / "notes.txt").write_text("hello")
    (tmp_path / "windows" / "empty").mkdir()
    (tmp_path / "scores" / "not-hex").mkdir()
    (tmp_path / "scores" / ALICE.hex() / "x").mkdir()
    assert Bank(tmp_path).view([ALICE]).scored([ALICE]).all()


LIMITED = """
import resource, signal, sys
from pathlib import Path
import test_torn as t
from quickstart.bank import Bank
from quickstart.errors import StateError

bank = Bank(Path(sys.argv[1]))
shard = bank.add_windows(t.WINDOWS[:1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (15000, 15000))
try:
    bank.add_windows(t.WINDOWS)
except StateError as error:
    print(error)
bank.add_windows(t.WINDOWS[:2])
"""


def test_a_disk_that_takes_no_more_leaves_nothing_that_counts(tmp_path: Path) -> None:
    """A real refusal of the kernel: files of this process may not grow beyond 15,000 bytes."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"the disk of the bank {tmp_path} is full: free some space and run again\n"
    assert [shard.n for shard in Bank(tmp_path).shards()] in ([1, 2], [2, 1])
    assert not list((tmp_path / "tmp").iterdir())
    bank = Bank(tmp_path)
    assert bank.windows(bank.add_windows(WINDOWS)) == WINDOWS


def test_a_full_device(tmp_path: Path) -> None:
    """`/dev/full` refuses every byte with ENOSPC, as a full disk does."""
    with (
        pytest.raises(StateError, match="is full"),
        disk_errors(tmp_path),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"x" * 100_000)


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "occupied").touch()
    with pytest.raises(OSError):
        write_file(tmp_path, tmp_path / "target", [b"x"])
    assert not list((tmp_path / "tmp").iterdir())


def test_what_a_killed_writer_left_is_swept_later(tmp_path: Path) -> None:
    fill(tmp_path)
    old, young = tmp_path / "tmp" / "old", tmp_path / "tmp" / "young"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert Bank(tmp_path).view([ALICE]).scored([ALICE]).all()
    assert not old.exists() and young.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_other_refusals_are_one_line(tmp_path: Path, number: int) -> None:
    with pytest.raises(StateError, match="cannot be used") as failure, disk_errors(tmp_path):
        raise OSError(number, "no")
    assert "\n" not in str(failure.value)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("")
    with pytest.raises(StateError, match="cannot be used"):
        Bank(tmp_path / "bank")
