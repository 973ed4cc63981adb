"""Order, resumption, links and errors of a folder, or of one large file, as a source."""

import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstart.chain.ids import blake2b_256
from quickstart.data.cutting import SLOT_BYTES, SlotOrder
from quickstart.data.filters import FilterCounts, Filters, usable_windows
from quickstart.data.folder import FolderSource, TextFileSource, python_library
from quickstart.data.window import SourcePlan, Window
from quickstart.errors import SourceError

FILES = {"a.txt": 1, "b.txt": 5, "deep/er/c.txt": 3, "deep/d.txt": 9}


def write_file(folder: Path, name: str, windows: int, extra: int = 100) -> None:
    """A file of so many slots, and some bytes, all on one line."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(random.Random(name).randbytes((windows * SLOT_BYTES + extra) // 2).hex())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, windows in {**FILES, "short.txt": 0}.items():
        write_file(tmp_path / "data", name, windows)
    return tmp_path / "data"


def cut(folder: Path, seed: int, **share: int) -> list[Window]:
    return list(FolderSource(folder).windows(SourcePlan(seed, **share)))


def places(windows: list[Window]) -> list[tuple[str, int]]:
    return [(window.provenance.path, window.provenance.offset) for window in windows]


def test_every_window_comes_once_with_its_place(folder: Path) -> None:
    source = FolderSource(folder, licence="MIT")
    windows = list(source.windows(SourcePlan(1)))
    expected = {(name, slot * SLOT_BYTES) for name, count in FILES.items() for slot in range(count)}
    assert len(windows) == len(expected)
    assert set(places(windows)) == expected
    assert source.skipped == {"shorter than a window": 1}
    for window in windows:
        place = window.provenance
        raw = (folder / place.path).read_bytes()[place.offset : place.offset + 1024]
        assert window.data == raw
        assert window.checksum == blake2b_256(raw)
        assert (place.source, place.licence, place.kind) == (f"dir:{folder}", "MIT", "txt")


def test_windows_begin_with_a_line(tmp_path: Path) -> None:
    lines = [f"{number} {'x' * (number % 90)}\n" for number in range(400)]
    (tmp_path / "lines.py").write_text("".join(lines))
    starts = set(itertools.accumulate(map(len, lines), initial=0))
    found = places(cut(tmp_path, 1))
    assert len(found) == (sum(map(len, lines)) + 256) // SLOT_BYTES
    assert {offset for _, offset in found} <= starts
    assert all(later - earlier >= 1024 for earlier, later in itertools.pairwise(sorted(o for _, o in found)))


def test_every_file_gives_one_before_any_gives_two(folder: Path) -> None:
    rounds = [path for path, _ in places(cut(folder, 7))]
    assert set(rounds[:4]) == set(rounds)
    assert Counter(rounds[:10]) == {"a.txt": 1, "b.txt": 3, "deep/er/c.txt": 3, "deep/d.txt": 3}


def test_the_seed_fixes_the_order(folder: Path) -> None:
    orders = {seed: tuple(places(cut(folder, seed))) for seed in range(6)}
    assert orders[3] == tuple(places(cut(folder, 3)))
    assert len(set(orders.values())) == len(orders)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    names = [f"{number % 3}/{number}.txt" for number in range(30)]
    for folder, order in (("one", names), ("two", names[::-1])):
        for name in order:
            write_file(tmp_path / folder, name, 2)
    one, two = (places(cut(tmp_path / folder, 4)) for folder in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_share_the_files(folder: Path, workers: int) -> None:
    shares = [set(places(cut(folder, 5, worker=worker, workers=workers))) for worker in range(workers)]
    assert set.union(*shares) == set(places(cut(folder, 5)))
    assert sum(map(len, shares)) == len(set.union(*shares))
    assert sum(len({path for path, _ in share}) for share in shares) == len(FILES)


@pytest.mark.parametrize("start", range(20))
def test_going_on_gives_exactly_the_rest(folder: Path, start: int) -> None:
    whole = places(cut(folder, 5))
    stream = FolderSource(folder).windows(SourcePlan(5))
    first = list(itertools.islice(stream, start))
    cursor = json.loads(json.dumps(stream.cursor))
    rest = FolderSource(folder).windows(SourcePlan(5), cursor)
    assert places(first + list(rest)) == whole


def test_other_files_than_before_are_read_from_the_beginning(folder: Path) -> None:
    stream = FolderSource(folder).windows(SourcePlan(5))
    next(stream), next(stream)
    write_file(folder, "new.txt", 2)
    rest = places(list(FolderSource(folder).windows(SourcePlan(5), stream.cursor)))
    assert rest == places(cut(folder, 5))
    assert "new.txt" in dict(rest)


@given(slots=st.integers(1, 5000), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_an_order_visits_every_slot_once(slots: int, seed: int) -> None:
    order = SlotOrder.of("name", slots, seed)
    assert sorted(order.slot(turn) for turn in range(slots)) == list(range(slots))


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    before = set(places(cut(folder, 1)))
    write_file(tmp_path, "outside.txt", 3)
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "out.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    assert set(places(cut(folder, 1))) == before


def test_object_stores_and_compiled_files_are_left_out(folder: Path) -> None:
    before = set(places(cut(folder, 1)))
    for name in (".git/objects/x.txt", "deep/__pycache__/y.txt", "node_modules/z.txt"):
        write_file(folder, name, 2)
    assert set(places(cut(folder, 1))) == before


def test_a_binary_file_gives_one_window_for_the_filters_to_count(folder: Path) -> None:
    (folder / "program").write_bytes(random.Random(1).randbytes(50 * 1024))
    source, counts = FolderSource(folder), FilterCounts()
    filters = Filters(set(), chosen=("binary",))
    windows = list(usable_windows(source.windows(SourcePlan(1)), filters, counts))
    assert len(windows) == 18
    assert counts.rejected == {"binary": 1}
    assert source.skipped["binary"] == 1


def test_a_file_that_vanishes_is_counted_and_skipped(folder: Path) -> None:
    source = FolderSource(folder)
    windows = source.windows(SourcePlan(2))
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
    window = cut(tmp_path, 0)[0]
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
        cut(path, 0)
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_one_large_file(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    path.write_text("".join(f"2026-01-01 step {number} took {number * 7 % 977} ms\n" for number in range(3000)))
    whole = list(TextFileSource(path).windows(SourcePlan(3)))
    assert len(whole) == (path.stat().st_size + 256) // SLOT_BYTES
    assert all(window.data.startswith(b"2026-01-01 step ") for window in whole)
    assert len(set(places(whole))) == len(whole)
    assert places(whole) != places(list(TextFileSource(path).windows(SourcePlan(4))))

    stream = TextFileSource(path).windows(SourcePlan(3))
    first = list(itertools.islice(stream, 17))
    assert first + list(TextFileSource(path).windows(SourcePlan(3), stream.cursor)) == whole
    shares = [list(TextFileSource(path).windows(SourcePlan(3, worker, 2))) for worker in (0, 1)]
    assert sorted(places(shares[0] + shares[1])) == sorted(places(whole))
    assert {window.provenance.kind for window in whole} == {"log"}


def test_a_useless_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("x")
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path / "short", "shorter than a window")):
        with pytest.raises(SourceError, match=reason):
            next(TextFileSource(path).windows(SourcePlan()))


def test_the_python_library_is_a_source() -> None:
    counts, seen = FilterCounts(), set()
    stream = usable_windows(python_library().windows(SourcePlan(3)), Filters(seen), counts)
    windows = list(itertools.islice(stream, 60))
    assert len({window.provenance.path for window in windows}) == 60
    assert {window.provenance.licence for window in windows} == {"PSF-2.0"}
    assert len(seen) == 60
    assert counts.kinds.total() == counts.licences["PSF-2.0"] == 60
