"""Round trips, superseding, several writers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstart.bank import Bank, BankView
from quickstart.chain.ids import Id32
from quickstart.data.window import Provenance, Window
from quickstart.errors import StateError
from quickstart.scoring.engine import CertifiedError, ScoredShard, WindowFailure
from tests.support.banks import checksums_in

ERROR = CertifiedError(distance=1e-3, loss=2e-3)
ALICE, BOB = b"\xaa" * 32, b"\xbb" * 32


def make_windows(count: int, seed: int = 0, path: str = "file.py") -> list[Window]:
    random = np.random.default_rng(seed)
    return [Window.cut(random.bytes(1024), Provenance("dir:test", path, 1024 * place, "MIT")) for place in range(count)]


def make_scores(
    weights: Id32, count: int, seed: int = 0, width: int = 16, error: CertifiedError = ERROR
) -> ScoredShard:
    random = np.random.default_rng(seed)
    embeddings = random.standard_normal((count, width)).astype(np.float32)
    losses = random.uniform(1, 4, count).astype(np.float32)
    return ScoredShard(weights, "test", embeddings, losses, error)


def stored(view: BankView, weights: Id32) -> np.ndarray:
    return np.stack([view.embedding(weights, row) for row in range(view.n)])


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("reopened", [False, True])
def test_round_trip(tmp_path: Path, reopened: bool) -> None:
    bank, windows, scored = Bank(tmp_path), make_windows(7), make_scores(ALICE, 7)
    shard = bank.add_windows(windows)
    assert not bank.is_scored(shard, ALICE)
    bank.add_scores(shard, scored, created_at=1)
    if reopened:
        bank = Bank(tmp_path)
    assert [(item.id, item.n, item.first_row) for item in bank.shards()] == [(shard, 7, 0)]
    assert bank.is_scored(shard, ALICE) and not bank.is_scored(shard, BOB)
    assert bank.windows(shard) == windows
    assert [bank.window(row) for row in range(7)] == windows
    assert [bank.row_of(window.checksum) for window in windows] == list(range(7))
    assert [bank.locate(row) for row in range(7)] == [(shard, row) for row in range(7)]
    assert checksums_in(bank) == {window.checksum for window in windows}
    assert list(bank.provenance()) == [window.provenance for window in windows]
    view = bank.view([ALICE, BOB])
    assert set(view.models) == {ALICE}
    assert [view.checksum(row) for row in range(7)] == [window.checksum for window in windows]
    columns = view.models[ALICE]
    half = scored.embeddings.astype(np.float16)
    np.testing.assert_array_equal(stored(view, ALICE), half.astype(np.float32))
    np.testing.assert_array_equal(columns.losses, scored.losses)
    np.testing.assert_allclose(columns.inverse_norms, 1 / np.linalg.norm(half.astype(np.float64), axis=1), rtol=1e-7)
    assert (columns.distance_errors >= ERROR.distance).all() and (columns.loss_errors >= ERROR.loss).all()
    np.testing.assert_allclose(columns.distance_errors, ERROR.distance, rtol=1e-6)
    unit = np.empty((7, 16), np.float32)
    columns.unit_rows(np.arange(7), unit)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)


def test_rows_that_do_not_exist(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    bank.add_windows(make_windows(3))
    for row in (-1, 3):
        with pytest.raises(IndexError):
            bank.window(row)


def test_adding_again_writes_nothing(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(5))
    name = bank.add_scores(shard, make_scores(ALICE, 5), created_at=3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    for again in (bank, Bank(tmp_path)):
        assert again.add_windows(make_windows(5)) == shard
        assert again.add_scores(shard, make_scores(ALICE, 5), created_at=3) == name
        assert len(again.shards()) == 1 and again.view([ALICE]).n == 5
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


def test_no_file_changes_after_its_marker(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(5))
    bank.add_scores(shard, make_scores(ALICE, 5), created_at=1)
    before = files_of(tmp_path)
    bank.add_scores(shard, make_scores(ALICE, 5, seed=1), created_at=2)
    bank.add_scores(bank.add_windows(make_windows(5, seed=1)), make_scores(ALICE, 5), created_at=2)
    after = files_of(tmp_path)
    assert before.items() < after.items()
    assert not list((tmp_path / "tmp").iterdir())


def test_an_exact_score_of_some_rows_supersedes(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(6))
    rough, exact = make_scores(ALICE, 6), make_scores(ALICE, 2, seed=9, error=CertifiedError(1e-6, 1e-5))
    bank.add_scores(shard, rough, created_at=1)
    before = bank.view([ALICE])
    bank.add_scores(shard, exact, created_at=2, rows=[4, 1])
    for view in (bank.view([ALICE]), Bank(tmp_path).view([ALICE])):
        losses = rough.losses.copy()
        losses[[4, 1]] = exact.losses
        np.testing.assert_array_equal(view.models[ALICE].losses, losses)
        np.testing.assert_array_equal(view.embedding(ALICE, 4), exact.embeddings[0].astype(np.float16))
        np.testing.assert_array_equal(view.embedding(ALICE, 0), rough.embeddings[0].astype(np.float16))
        assert np.flatnonzero(view.models[ALICE].loss_errors < 1e-4).tolist() == [1, 4]
    np.testing.assert_array_equal(before.models[ALICE].losses, rough.losses)


@given(order=st.permutations(range(4)))
@settings(max_examples=24, deadline=None)
def test_the_newest_counts_in_whatever_order_it_is_seen(tmp_path_factory, order: list[int]) -> None:
    root = tmp_path_factory.mktemp("bank")
    writer, reader = Bank(root), Bank(root)
    shard = writer.add_windows(make_windows(3))
    for created_at in order:
        rows = [[0, 1, 2], [1], [0, 1], [1, 2]][created_at]
        writer.add_scores(shard, make_scores(ALICE, len(rows), seed=created_at), created_at=created_at, rows=rows)
        reader.refresh()
    expected = [make_scores(ALICE, 2, seed=2).losses[0], *make_scores(ALICE, 2, seed=3).losses]
    for bank in (writer, reader, Bank(root)):
        np.testing.assert_array_equal(bank.view([ALICE]).models[ALICE].losses, expected)


def test_equal_times_are_decided_by_name(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(1))
    scores = [make_scores(ALICE, 1, seed=seed) for seed in range(5)]
    names = [bank.add_scores(shard, scored, created_at=7) for scored in scores]
    winner = scores[names.index(max(names))]
    for view in (bank.view([ALICE]), Bank(tmp_path).view([ALICE])):
        assert view.models[ALICE].losses[0] == winner.losses[0]


def test_failed_rows_are_asked_for_but_never_matched(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(6))
    scored = make_scores(ALICE, 6)
    scored.losses[1] = np.nan
    scored.embeddings[2] = np.inf
    scored.embeddings[3] = 0
    scored.embeddings[4, 0] = 1e6  # beyond float16
    failures = (WindowFailure(1, "NaN loss"),)
    scored = ScoredShard(ALICE, "test", scored.embeddings, scored.losses, ERROR, failures)
    bank.add_scores(shard, scored, created_at=1)
    view = bank.view([ALICE])
    assert bank.is_scored(shard, ALICE)
    assert view.scored([ALICE]).tolist() == [True, False, False, False, False, True]
    assert not view.scored([ALICE, BOB]).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda bank, shard: bank.add_scores(shard, make_scores(ALICE, 4), created_at=1),
        lambda bank, shard: bank.add_scores(shard, make_scores(ALICE, 2), created_at=1, rows=[0, 5]),
        lambda bank, shard: bank.add_scores(shard, make_scores(ALICE, 2), created_at=1, rows=[0, -1]),
        lambda bank, shard: bank.add_scores(shard, make_scores(ALICE, 2), created_at=1, rows=[0, 0]),
        lambda bank, shard: bank.add_scores(shard, make_scores(ALICE, 0), created_at=1, rows=[]),
        lambda bank, shard: bank.add_scores(shard, make_scores(BOB, 5, width=8), created_at=1),
        lambda bank, shard: bank.add_scores(
            shard, make_scores(ALICE, 5, error=CertifiedError(float("nan"), 0)), created_at=1
        ),
        lambda bank, shard: bank.add_windows([]),
        lambda bank, shard: bank.add_windows([Window.cut(b"short", Provenance("s", "p", 0))]),
    ],
    ids=["count", "beyond", "negative", "twice", "none", "width", "error", "no windows", "short window"],
)
def test_what_does_not_fit_is_refused_before_writing(tmp_path: Path, change) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(5))
    bank.add_scores(shard, make_scores(BOB, 5), created_at=1)
    before = files_of(tmp_path)
    with pytest.raises(ValueError):
        change(bank, shard)
    assert files_of(tmp_path) == before


def test_scores_of_an_unknown_shard(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Bank(tmp_path).add_scores("00" * 16, make_scores(ALICE, 1), created_at=1)


def test_two_writers_on_one_folder(tmp_path: Path) -> None:
    one, two = Bank(tmp_path), Bank(tmp_path)
    first = one.add_windows(make_windows(4, seed=1))
    second = two.add_windows(make_windows(3, seed=2))
    one.add_scores(first, make_scores(ALICE, 4), created_at=1)
    assert two.refresh() == 2
    assert one.refresh() == 1
    assert one.refresh() == two.refresh() == 0
    two.add_scores(first, make_scores(BOB, 4), created_at=1)
    one.refresh()
    assert {shard.id for shard in one.shards()} == {shard.id for shard in two.shards()} == {first, second}
    for bank in (one, two):
        view = bank.view([ALICE, BOB])
        rows = [bank.row_of(window.checksum) for window in make_windows(4, seed=1)]
        np.testing.assert_array_equal(view.models[ALICE].losses[rows], make_scores(ALICE, 4).losses)
        assert view.scored([ALICE, BOB]).sum() == 4


def test_rows_stay_the_same_while_others_write(tmp_path: Path) -> None:
    one, two = Bank(tmp_path), Bank(tmp_path)
    for seed in range(8):
        (one if seed % 3 else two).add_windows(make_windows(2, seed=seed))
    before = {checksum: two.row_of(checksum) for checksum in checksums_in(two)}
    view = two.view([])
    two.refresh()
    assert {checksum: two.row_of(checksum) for checksum in before} == before
    assert all(view.checksum(row) == checksum for checksum, row in before.items())
    assert two.view([]).n == 16


@pytest.mark.parametrize("value", [0.7, 0.007, 1e-3, 3e-5])
def test_a_certified_error_is_rounded_upwards(tmp_path: Path, value: float) -> None:
    bank = Bank(tmp_path)
    scored = make_scores(ALICE, 1, error=CertifiedError(value, value))
    bank.add_scores(bank.add_windows(make_windows(1)), scored, created_at=1)
    columns = bank.view([ALICE]).models[ALICE]
    assert value < float(columns.distance_errors[0]) < value * 1.000001
    assert value < float(columns.loss_errors[0]) < value * 1.000001


def test_the_same_bytes_from_another_place(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    one, two = bank.add_windows(make_windows(3)), bank.add_windows(make_windows(3, path="copy.py"))
    assert one != two
    assert {window.provenance.path for window in bank.windows(two)} == {"copy.py"}
    assert len(checksums_in(bank)) == 3


def test_a_window_in_two_shards_keeps_one_row(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    windows = make_windows(6)
    one = bank.add_windows(windows[:4])
    two = bank.add_windows(windows[2:])
    bank.add_scores(one, make_scores(ALICE, 4, seed=1), created_at=1)
    bank.add_scores(two, make_scores(ALICE, 4, seed=2), created_at=2)
    for again in (bank, Bank(tmp_path)):
        view = again.view([ALICE])
        rows = [again.row_of(window.checksum) for window in windows]
        expected = [*make_scores(ALICE, 4, seed=1).losses[:2], *make_scores(ALICE, 4, seed=2).losses]
        np.testing.assert_array_equal(view.models[ALICE].losses[rows], expected)
        assert view.scored([ALICE]).sum() == 6
        assert len(checksums_in(again)) == 6


def test_views_share_blocks_and_unchanged_columns(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(5))
    bank.add_scores(shard, make_scores(ALICE, 5), created_at=1)
    one, two = bank.view([ALICE]), bank.view([ALICE])
    assert one.models[ALICE] is two.models[ALICE]
    bank.add_scores(bank.add_windows(make_windows(5, seed=1)), make_scores(ALICE, 5), created_at=1)
    three = bank.view([ALICE])
    assert three.models[ALICE].segments[0] is one.models[ALICE].segments[0]
    assert (one.n, three.n) == (5, 10)
    with pytest.raises(ValueError, match="read-only"):
        three.models[ALICE].losses[0] = 0


WRITER = """
import sys
from pathlib import Path
import numpy as np
from quickstart.bank import Bank
from quickstart.data.window import Provenance, Window
from quickstart.scoring.engine import CertifiedError, ScoredShard

bank = Bank(Path(sys.argv[1]))
for seed in range(12):  # even ones are the same in every process
    random = np.random.default_rng(seed if seed % 2 == 0 else [seed, int(sys.argv[2])])
    windows = [Window.cut(random.bytes(1024), Provenance("s", "p", i)) for i in range(10)]
    shard = bank.add_windows(windows)
    embeddings, losses = random.standard_normal((10, 8), np.float32), random.random(10, np.float32)
    scored = ScoredShard(b"m" * 32, "e", embeddings, losses, CertifiedError(0, 0))
    bank.add_scores(shard, scored, created_at=seed)
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    reader = Bank(tmp_path)
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    while any(writer.poll() is None for writer in writers):
        reader.refresh()
    assert [writer.wait() for writer in writers] == [0, 0]
    reader.refresh()
    for bank in (reader, Bank(tmp_path)):
        assert len(bank.shards()) == 6 + 2 * 6
        assert bank.view([b"m" * 32]).scored([b"m" * 32]).sum() == 180
        for shard in bank.shards():
            assert len(bank.windows(shard.id)) == 10


def test_a_million_windows_fit(tmp_path: Path) -> None:
    """Bytes on disk per window at width 2048, at shards of 1,000, times a million: under 6 GB a model."""
    bank = Bank(tmp_path)
    shard = bank.add_windows(make_windows(1000))
    bank.add_scores(shard, make_scores(ALICE, 1000, width=2048), created_at=1)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size / 1000 * 1_000_000 < 6e9
    scores = sum(path.stat().st_size for path in (tmp_path / "scores").rglob("*") if path.is_file())
    assert scores < 1000 * (2 * 2048 + 12) + 1000


def test_another_format_is_refused(tmp_path: Path) -> None:
    Bank(tmp_path)
    (tmp_path / "format.json").write_text('{"format": 3}')
    with pytest.raises(StateError, match="has format 3, this program knows 2: update the program"):
        Bank(tmp_path)
    (tmp_path / "format.json").write_text('{"format": 1}')
    with pytest.raises(StateError, match="has format 1, this program knows 2: an older version made it: move"):
        Bank(tmp_path)
    (tmp_path / "format.json").write_text("{")
    with pytest.raises(StateError, match=r"format\.json is damaged"):
        Bank(tmp_path)
