"""The parts that know nothing of Modal: caps, ownership, mirrors, snapshots, weights on a volume."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_store import Kept

from quickstart.bank import Bank
from quickstart.bank.filling import WindowShelf, add_new_windows
from quickstart.bank.mirror import mirror
from quickstart.bank.segments import MARKER
from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.data.folder import FolderSource
from quickstart.data.window import SourcePlan
from quickstart.devnet.genesis import packaged_model
from quickstart.errors import SettingsError, StateError, WeightsError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.snapshots import KeptLedger, restore, take_snapshot
from quickstart.modal_app.names import FIRING_HOUR
from quickstart.modal_app.ownership import at_work, leave, take_over
from quickstart.modal_app.requests import StoreRequests, post, take_answer
from quickstart.modal_app.run import SHORTEST_SECONDS, working_seconds
from quickstart.modal_app.windows import LARGEST_SHARD, shard_windows
from quickstart.scoring.download import Downloader
from quickstart.scoring.engine import CertifiedError, ScoredShard
from quickstart.scoring.weights_shelf import WeightsShelf
from quickstart.scoring.weights_store import WeightsStore
from quickstart.settings import load_settings
from quickstart.units import HOURS, MINUTES
from tests.support.banks import checksums_in

HERE = Path(__file__).parent
WEIGHTS = b"w" * 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUICKSTART_GPU", "L5"),
        ("QUICKSTART_GPU", "L4,,H100"),
        ("QUICKSTART_GPU_DOLLARS_PER_DAY", "-1"),
        ("QUICKSTART_GPU_DOLLARS_PER_DAY", "NaN"),
        ("QUICKSTART_MAX_CONTAINERS", "0"),
    ],
)
def test_malformed_caps_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings(env_file=None)


@given(st.integers(1, 10_000_000), st.integers(1, 100))
def test_shards_are_for_all_containers_and_none_too_large(windows: int, containers: int) -> None:
    size = shard_windows(windows, containers)
    assert 1 <= size <= LARGEST_SHARD
    assert -(-windows // size) <= max(containers * 4, -(-windows // LARGEST_SHARD))


# -- when a run ends


@given(st.floats(0, 10 * 86_400))
def test_a_run_ends_an_hour_before_the_next_firing_however_often_it_began_again(now: float) -> None:
    seconds = working_seconds(now)
    assert SHORTEST_SECONDS <= seconds <= 23 * HOURS
    if SHORTEST_SECONDS < seconds < 23 * HOURS:
        assert (now + seconds) / HOURS % 24 == pytest.approx(FIRING_HOUR - 1)


@pytest.mark.parametrize(("clock", "hours"), [("03:00", 23), ("10:00", 16), ("20:00", 6), ("01:00", 1), ("02:30", 23)])
def test_a_run_started_by_hand_leaves_the_place_to_the_schedule(clock: str, hours: int) -> None:
    hour, minute = clock.split(":")
    assert working_seconds(5 * 86_400 + int(hour) * HOURS + int(minute) * MINUTES) == hours * HOURS


# -- who is at work, and requests to it


def test_one_call_is_at_work_and_a_dead_one_is_succeeded() -> None:
    store, alive = Kept(), {"first"}
    assert take_over(store, "first", alive.__contains__) is None
    assert take_over(store, "first", alive.__contains__) is None  # preempted: the same call again
    assert take_over(store, "second", alive.__contains__) == "first"
    assert at_work(store, alive.__contains__) == "first"
    alive.clear()
    assert at_work(store, alive.__contains__) is None
    assert take_over(store, "second", alive.__contains__) is None
    leave(store, "first")  # ends late: what it held is another's by now
    assert store.get("running") == "second"
    leave(store, "second")
    assert store.get("running") is None


def test_trouble_with_asking_takes_nothing_over() -> None:
    store = Kept()
    store.put("running", "first")

    def unreachable(call_id: str) -> bool:
        raise ConnectionError(call_id)

    with pytest.raises(ConnectionError):
        take_over(store, "second", unreachable)
    assert store.get("running") == "first"


def test_a_request_is_seen_answered_and_gone() -> None:
    store = Kept()
    name = post(store, "claim")
    box = StoreRequests(store)
    assert box.waiting() == ()
    box.exchange()
    assert box.waiting() == ((name, "claim"),)
    box.answer(name, {"claims_landed": 3})
    assert box.waiting() == ()
    assert take_answer(store, name) is None
    box.exchange()
    assert take_answer(store, name) == {"claims_landed": 3}
    assert take_answer(store, name) is None
    assert list(store.keys()) == []


# -- the bank on this machine


def filled_bank(root: Path) -> Bank:
    add_new_windows(WindowShelf(root), [FolderSource(HERE)], 6, SourcePlan(), 4)
    bank = Bank(root)
    for shard in bank.shards():
        scores = np.full((shard.n, 8), 0.5, np.float32)
        scored = ScoredShard(WEIGHTS, "test", scores, np.ones(shard.n, np.float32), CertifiedError(0.0, 0.0))
        bank.add_scores(shard.id, scored, created_at=1)
    return bank


def test_a_mirror_takes_complete_segments_once(tmp_path: Path) -> None:
    volume, here = tmp_path / "volume", tmp_path / "here"
    bank = filled_bank(volume)
    torn = next((volume / "scores" / WEIGHTS.hex()).iterdir())
    (torn / MARKER).rename(tmp_path / "marker")
    assert mirror(volume, here) == 3
    copy = Bank(here)
    assert checksums_in(copy) == checksums_in(bank)
    scored = {shard.id for shard in copy.shards() if copy.is_scored(shard.id, WEIGHTS)}
    assert len(scored) == 1
    (tmp_path / "marker").rename(torn / MARKER)
    assert mirror(volume, here) == 1
    assert copy.refresh() == 1
    assert all(copy.is_scored(shard.id, WEIGHTS) for shard in copy.shards())
    assert mirror(volume, here) == 0


def test_windows_on_the_shelf_are_not_cut_again(tmp_path: Path) -> None:
    shelf = WindowShelf(tmp_path)
    add_new_windows(shelf, [FolderSource(HERE)], 5, SourcePlan(), 2)
    first = checksums_in(Bank(tmp_path))
    add_new_windows(shelf, [FolderSource(HERE)], 5, SourcePlan(), 2)
    assert len(first) == 5
    assert len(checksums_in(Bank(tmp_path))) == 10


# -- the ledger's snapshots


def test_a_snapshot_is_one_whole_file_while_the_ledger_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.name_weights(b"a" * 32, b"b" * 32)
    take_snapshot(ledger.path, tmp_path / "volume" / "ledger.sqlite")
    ledger.name_weights(b"c" * 32, b"d" * 32)
    ledger.close()
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["ledger.sqlite"]
    assert restore(tmp_path / "volume" / "ledger.sqlite", tmp_path / "ledger.sqlite")
    taken_up = Ledger(tmp_path / "ledger.sqlite")
    assert taken_up.weights_names() == {b"a" * 32: b"b" * 32}
    taken_up.close()


def test_changes_reach_the_snapshot_while_the_ledger_is_open(tmp_path: Path) -> None:
    snapshot = tmp_path / "volume" / "ledger.sqlite"
    committed = threading.Event()
    with KeptLedger(tmp_path / "ledger.sqlite", snapshot, committed.set, every=0.01) as ledger:
        assert committed.wait(10)
        ledger.name_weights(b"a" * 32, b"b" * 32)
        for _ in range(1000):
            committed.clear()
            with closing(sqlite3.connect(snapshot)) as database:
                if database.execute("SELECT COUNT(*) FROM model_weights").fetchone() == (1,):
                    break
            committed.wait(1)
        else:
            raise AssertionError("the change did not reach the snapshot")


def test_a_volume_that_fails_for_good_is_told_at_the_end(tmp_path: Path) -> None:
    def refuse() -> None:
        raise OSError("no commit")

    with pytest.raises(OSError, match="no commit"), KeptLedger(tmp_path / "l", tmp_path / "s", refuse, every=60):
        pass


def test_without_a_snapshot_there_is_nothing_to_take_up(tmp_path: Path) -> None:
    assert restore(tmp_path / "none", tmp_path / "ledger.sqlite") is False
    assert not (tmp_path / "ledger.sqlite").exists()


# -- decrypted weights


def on_disk(folder: Path, name: str = "python64") -> tuple[Manifest, bytes, WeightsStore]:
    """A packaged model as the store holds it once it is downloaded: nothing is fetched from anywhere."""
    packaged = packaged_model(name)
    manifest = Manifest("http://127.0.0.1:9/w", blake2b_256(packaged.encrypted), len(packaged.encrypted))
    folder.mkdir(exist_ok=True)
    (folder / f"{manifest.checksum.hex()}.enc").write_bytes(packaged.encrypted)
    return manifest, packaged.key, WeightsStore(folder, downloader=Downloader(private_hosts=True))


def test_weights_are_put_once_and_read_by_name(tmp_path: Path) -> None:
    manifest, key, store = on_disk(tmp_path / "cache")
    shelf = WeightsShelf(tmp_path / "volume", 10**9)
    checksum = shelf.add(manifest, key, store)
    assert shelf.load(checksum).checksum == checksum
    (tmp_path / "cache" / f"{manifest.checksum.hex()}.enc").unlink()
    assert WeightsShelf(tmp_path / "volume", 10**9).add(manifest, key, store) == checksum
    with pytest.raises(WeightsError):  # another key is other weights, and noise
        shelf.add(manifest, bytes(32), on_disk(tmp_path / "cache")[2])


def test_damaged_and_missing_weights_are_not_loaded(tmp_path: Path) -> None:
    manifest, key, store = on_disk(tmp_path / "cache")
    shelf = WeightsShelf(tmp_path / "volume", 10**9)
    checksum = shelf.add(manifest, key, store)
    path = tmp_path / "volume" / f"{checksum.hex()}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StateError, match="damaged"):
        shelf.load(checksum)
    path.unlink()
    with pytest.raises(StateError, match="cannot be read"):
        shelf.load(checksum)


def test_the_longest_unused_weights_make_room(tmp_path: Path) -> None:
    first, second = on_disk(tmp_path / "cache"), on_disk(tmp_path / "cache", "c64")
    shelf = WeightsShelf(tmp_path / "volume", first[0].size + 1)
    old = shelf.add(*first)
    new = shelf.add(*second)
    assert not shelf.has(old)
    assert shelf.has(new)
    manifest, _, store = first
    with pytest.raises(WeightsError):  # noise: what cannot be used takes nobody's place
        shelf.add(manifest, bytes(32), store)
    assert shelf.has(new)
    assert shelf.add(*first) == old  # fetched again, not believed to be there
