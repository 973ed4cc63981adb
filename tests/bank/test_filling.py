"""Where a source goes on is kept with the windows: whatever ends a run, none is lost and none comes twice."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from quickstart.bank import Bank
from quickstart.bank.filling import WindowShelf, add_new_windows
from quickstart.bank.segments import MARKER
from quickstart.bank.shards import read_shard
from quickstart.data.folder import FolderSource
from quickstart.data.window import Cursor, Provenance, SourcePlan, Window, WindowStream
from quickstart.errors import SourceError
from tests.support.banks import checksums_in

PLAN = SourcePlan(4)
WORDS = ("window", "shard", "epoch", "target", "ledger", "bond", "lease", "claim", "lane", "board")


class Counted:
    """A source of so many windows of random text; `served` tells which were asked for."""

    def __init__(self, size: int, name: str = "counted", broken_at: int | None = None) -> None:
        self.size, self.name, self.broken_at = size, name, broken_at
        self.skipped: Counter[str] = Counter()
        self.served: list[int] = []

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream:
        return WindowStream(self._steps(plan, resume_from or {"next": 0}), resume_from)

    def _steps(self, plan: SourcePlan, start: Cursor) -> Iterator[tuple[Window, Cursor]]:
        for number in range(start["next"], self.size):
            if number == self.broken_at:
                raise SourceError("the hub is gone: come back later")
            self.served.append(number)
            dice = random.Random(f"{self.name} {plan.seed} {number}")
            words = " ".join(f"{dice.choice(WORDS)}{dice.randrange(10_000)}" for _ in range(200))
            place = Provenance("test", self.name, number, kind=self.name)
            yield Window.cut(words.encode()[:1024], place), {"next": number + 1}


def offsets(root: Path) -> Counter[tuple[str, int]]:
    return Counter((place.path, place.offset) for place in Bank(root).provenance())


def test_the_next_run_goes_on_behind_the_last_window(tmp_path: Path) -> None:
    first, second = Counted(100), Counted(100)
    assert add_new_windows(WindowShelf(tmp_path), [first], 25, PLAN, 10).passed == 25
    assert add_new_windows(WindowShelf(tmp_path), [second], 30, PLAN, 10).passed == 30
    assert first.served + second.served == list(range(55))
    assert offsets(tmp_path) == {("counted", number): 1 for number in range(55)}


def test_streams_of_other_seeds_and_shares_are_told_apart(tmp_path: Path) -> None:
    seen: list[SourcePlan] = []
    for plan in (SourcePlan(1), SourcePlan(2), SourcePlan(1, 0, 2), SourcePlan(1)):
        source = Counted(100)
        add_new_windows(Bank(tmp_path), [source], 10, plan, 10)
        assert source.served[0] == (0 if plan not in seen else 10)
        seen.append(plan)
    again = Counted(100)
    add_new_windows(Bank(tmp_path), [again], 1, SourcePlan(2), 10)
    assert again.served == [10]


def test_sources_take_turns_and_each_goes_on(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    add_new_windows(WindowShelf(tmp_path), [Counted(100, name) for name in names], 20, PLAN, 7)
    sources = [Counted(100, name) for name in names]
    add_new_windows(WindowShelf(tmp_path), sources, 10, PLAN, 7)
    assert [source.served[0] for source in sources] == [7, 7, 6]
    assert set(offsets(tmp_path).values()) == {1}


def test_trouble_keeps_what_came_before(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the hub is gone"):
        add_new_windows(WindowShelf(tmp_path), [Counted(100, broken_at=33)], 90, PLAN, 10)
    source = Counted(100)
    add_new_windows(WindowShelf(tmp_path), [source], 10, PLAN, 10)
    assert source.served[0] == 33
    assert offsets(tmp_path) == {("counted", number): 1 for number in range(43)}


def test_a_torn_last_shard_is_cut_again(tmp_path: Path) -> None:
    shelf = WindowShelf(tmp_path)
    add_new_windows(shelf, [Counted(100)], 20, PLAN, 10)
    (last,) = (folder for folder in (tmp_path / "windows").iterdir() if _next(folder) == 20)
    (last / MARKER).unlink()
    source = Counted(100)
    add_new_windows(shelf, [source], 20, PLAN, 10)
    assert source.served == list(range(30))  # the ten that are there are known by their checksums
    assert offsets(tmp_path) == {("counted", number): 1 for number in range(30)}


def _next(folder: Path) -> int | None:
    """Where the shard's marks go on; None for one that is not the last of its batch."""
    shard = read_shard(folder.parents[1], folder.name)
    assert shard is not None
    return next((int(mark["cursor"]["next"]) for mark in shard.marks.values()), None)


def test_shards_are_of_as_few_kinds_as_may_be(tmp_path: Path) -> None:
    sources = [Counted(100, name) for name in ("one", "two", "three")]
    add_new_windows(WindowShelf(tmp_path), sources, 60, PLAN, 10)
    shards = [read_shard(tmp_path, folder.name) for folder in (tmp_path / "windows").iterdir()]
    kinds = [{place.kind for place in shard.provenance()} for shard in shards if shard is not None]
    assert sorted(map(sorted, kinds)) == [["one"]] * 2 + [["three"]] * 2 + [["two"]] * 2


def test_an_ended_source_is_no_error_and_a_useless_one_is(tmp_path: Path) -> None:
    assert add_new_windows(WindowShelf(tmp_path / "a"), [Counted(5)], 10, PLAN, 10).passed == 5
    assert add_new_windows(WindowShelf(tmp_path / "a"), [Counted(5)], 10, PLAN, 10).passed == 0
    with pytest.raises(SourceError, match=r"counted has no usable window \(nothing read\)"):
        add_new_windows(WindowShelf(tmp_path / "b"), [Counted(0)], 10, PLAN, 10)
    assert add_new_windows(WindowShelf(tmp_path / "c"), [], 10, PLAN, 10).passed == 0


KILLED = """
import itertools, os, sys
from pathlib import Path
from quickstart.bank import segments
from quickstart.bank.filling import WindowShelf, add_new_windows
from quickstart.data.folder import FolderSource
from quickstart.data.window import SourcePlan
writes, real = itertools.count(), segments.write_file
def dying(*arguments):
    if next(writes) == int(sys.argv[3]):
        os._exit(9)
    real(*arguments)
segments.write_file = dying
add_new_windows(WindowShelf(Path(sys.argv[1])), [FolderSource(Path(sys.argv[2]))], 60, SourcePlan(4), 20)
"""


@pytest.mark.parametrize("write", [0, 2, 3, 4, 5, 7, 8, 11])
def test_killed_at_any_write_the_windows_are_those_of_one_run(tmp_path: Path, write: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(12):
        dice = random.Random(number)
        lines = (
            f"{dice.choice(WORDS)}_{dice.randrange(10**6)} = {dice.choice(WORDS)}({dice.randrange(10**9)})\n"
            for _ in range(300)
        )
        (data / f"{number}.py").write_text("".join(lines))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    add_new_windows(WindowShelf(whole), [FolderSource(data)], 60, PLAN, 20)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(parts), str(data), str(write)], env=environment)
    assert done.returncode == 9
    have = len(checksums_in(Bank(parts))) if (parts / "format.json").exists() else 0
    add_new_windows(WindowShelf(parts), [FolderSource(data)], 60 - have, PLAN, 20)
    assert offsets(parts) == offsets(whole)
    assert checksums_in(Bank(parts)) == checksums_in(Bank(whole))
    assert list(offsets(parts).values()) == [1] * 60
