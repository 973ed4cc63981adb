"""Order, resumption, links and errors of a folder as a source."""

import itertools
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstart.chain.ids import blake2b_256
from quickstart.data.filters import FilterCounts, usable_windows
from quickstart.data.folder import FolderSource, _plan, python_library
from quickstart.data.window import Window
from quickstart.errors import SourceError


def write_file(folder: Path, name: str, windows: int, extra: int = 100) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = random.Random(name).randbytes(windows * 512 + extra // 2).hex()
    path.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, windows in {
        "a.txt": 1,
        "b.txt": 5,
        "deep/er/c.txt": 3,
        "deep/d.txt": 9,
        "short.txt": 0,
    }.items():
        write_file(tmp_path / "data", name, windows)
    return tmp_path / "data"


def places(windows: list[Window]) -> list[tuple[str, int]]:
    return [(window.provenance.path, window.provenance.offset) for window in windows]


def test_every_window_comes_once_with_its_place(folder: Path) -> None:
    source = FolderSource(folder, licence="MIT")
    windows = list(source.windows(1))
    expected = {
        (name, slot * 1024)
        for name, count in {"a.txt": 1, "b.txt": 5, "deep/er/c.txt": 3, "deep/d.txt": 9}.items()
        for slot in range(count)
    }
    assert len(windows) == len(expected)
    assert set(places(windows)) == expected
    assert source.skipped == {"shorter than a window": 1}
    for window in windows:
        place = window.provenance
        raw = (folder / place.path).read_bytes()[place.offset : place.offset + 1024]
        assert window.data == raw
        assert window.checksum == blake2b_256(raw)
        assert (place.source, place.licence) == (f"dir:{folder}", "MIT")


def test_every_file_gives_one_before_any_gives_two(folder: Path) -> None:
    rounds = [path for path, _ in places(list(FolderSource(folder).windows(7)))]
    assert set(rounds[:4]) == set(rounds)
    assert Counter(rounds[:10]) == {"a.txt": 1, "b.txt": 3, "deep/er/c.txt": 3, "deep/d.txt": 3}


def test_the_seed_fixes_the_order(folder: Path) -> None:
    orders = {seed: tuple(places(list(FolderSource(folder).windows(seed)))) for seed in range(6)}
    assert orders[3] == tuple(places(list(FolderSource(folder).windows(3))))
    assert len(set(orders.values())) == len(orders)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    names = [f"{number % 3}/{number}.txt" for number in range(30)]
    for folder, order in (("one", names), ("two", names[::-1])):
        for name in order:
            write_file(tmp_path / folder, name, 2)
    one, two = (places(list(FolderSource(tmp_path / folder).windows(4))) for folder in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("start", range(20))
def test_resume_skips_exactly_that_many(folder: Path, start: int) -> None:
    whole = places(list(FolderSource(folder).windows(5)))
    assert places(list(FolderSource(folder).windows(5, resume_from=start))) == whole[start:]


@given(slots=st.integers(1, 5000), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_plan_visits_every_slot_once(slots: int, seed: int) -> None:
    plan = _plan("name", slots, seed)
    assert sorted(plan.offset(turn) for turn in range(slots)) == [slot * 1024 for slot in range(slots)]


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    before = set(places(list(FolderSource(folder).windows(1))))
    write_file(tmp_path, "outside.txt", 3)
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "out.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    assert set(places(list(FolderSource(folder).windows(1)))) == before


def test_object_stores_and_compiled_files_are_left_out(folder: Path) -> None:
    before = set(places(list(FolderSource(folder).windows(1))))
    for name in (".git/objects/x.txt", "deep/__pycache__/y.txt", "node_modules/z.txt"):
        write_file(folder, name, 2)
    assert set(places(list(FolderSource(folder).windows(1)))) == before


def test_a_binary_file_gives_one_window_for_the_filters_to_count(folder: Path) -> None:
    (folder / "program").write_bytes(random.Random(1).randbytes(50 * 1024))
    source, counts = FolderSource(folder), FilterCounts()
    windows = list(usable_windows(source, 1, set(), counts))
    assert len(windows) == 18
    assert counts.rejected == {"binary": 1}
    assert source.skipped["binary"] == 1


def test_a_file_that_vanishes_is_counted_and_skipped(folder: Path) -> None:
    source = FolderSource(folder)
    windows = source.windows(2)
    first = list(itertools.islice(windows, 4))
    (folder / "deep/d.txt").unlink()
    with (folder / "b.txt").open("r+b") as file:
        file.truncate(100)
    rest = list(windows)
    assert {path for path, _ in places(rest)} == {"deep/er/c.txt"}
    assert len(first) + len(rest) == 6
    assert source.skipped == {"shorter than a window": 1, "unreadable": 8, "changed while reading": 4}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).write_text("déjà vu " * 200)
    (window,) = list(FolderSource(tmp_path).windows(0))[:1]
    assert os.fsencode(window.provenance.path) == b"caf\xe9.txt"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, r"cannot be read \(No such file or directory\)"),
        (lambda path: path.write_text("x" * 2000), r"cannot be read \(Not a directory\)"),
        (lambda path: path.mkdir(), "it is empty"),
        (lambda path: write_file(path, "s.txt", 0), "1 shorter than a window"),
    ],
    ids=["missing", "a file", "empty", "too short"],
)
def test_a_useless_folder_is_one_line(tmp_path: Path, make, reason: str) -> None:
    path = tmp_path / "source"
    make(path)
    with pytest.raises(SourceError, match=reason) as failure:
        list(FolderSource(path).windows(0))
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_the_python_library_is_a_source() -> None:
    source, counts, seen = python_library(), FilterCounts(), set()
    windows = list(itertools.islice(usable_windows(source, 3, seen, counts), 60))
    assert len({window.provenance.path for window in windows}) == 60
    assert {window.provenance.licence for window in windows} == {"PSF-2.0"}
    assert len(seen) == 60
