"""The journal: what was applied is there after any end, and damage is told from a torn tail."""

import json
import resource
import signal
import zlib
from pathlib import Path

import pytest

from quickstart.devnet import journal as journal_module
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.inputs import EpochEnd, FaucetRequest
from quickstart.devnet.journal import FORMAT, Header, Journal
from quickstart.errors import StateError

SETTINGS = DevnetConfig(models=0).chain_settings()
HEADER = Header(b"\x05" * 32, 17, SETTINGS)
INPUTS = [FaucetRequest(1, b"\x01" * 32, 5, 2), EpochEnd(2), EpochEnd(3)]


def opened(folder: Path, settings: dict[str, object] = SETTINGS) -> Journal:
    return Journal(folder, settings, lambda: HEADER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    journal = opened(tmp_path)
    for one in INPUTS:
        with journal.appended(one):
            pass
    journal.close()
    return tmp_path


def replayed(folder: Path) -> list[object]:
    journal = opened(folder)
    try:
        assert journal.header == HEADER
        return list(journal.replay())
    finally:
        journal.close()


def test_inputs_come_back_in_order(folder: Path) -> None:
    assert replayed(folder) == INPUTS


def test_any_torn_tail_is_dropped_and_written_over(folder: Path) -> None:
    path = folder / "journal"
    whole = path.read_bytes()
    last = len(whole) - (8 + len(INPUTS[-1].encode()))
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert replayed(folder) == INPUTS[:-1]
        assert path.read_bytes() == whole[:last]


def test_a_last_record_with_a_wrong_checksum_is_torn(folder: Path) -> None:
    path = folder / "journal"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert replayed(folder) == INPUTS[:-1]


def test_damage_in_the_middle_is_named(folder: Path) -> None:
    path = folder / "journal"
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"is damaged at byte \d+: remove the state folder"):
        opened(folder)


def test_an_input_whose_application_fails_is_taken_back(folder: Path) -> None:
    journal = opened(folder)
    with pytest.raises(RuntimeError, match="boom"), journal.appended(EpochEnd(9)):
        raise RuntimeError("boom")
    with journal.appended(EpochEnd(10)):
        pass
    journal.close()
    assert replayed(folder) == [*INPUTS, EpochEnd(10)]


def test_another_configuration_is_refused(folder: Path) -> None:
    other = DevnetConfig(models=0, targets=7).chain_settings()
    with pytest.raises(StateError, match=r'belongs to a devnet with {"targets": 100}, not {"targets": 7}'):
        opened(folder, other)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.close()
    path = tmp_path / "journal"
    values = json.loads(path.read_bytes()[8:])
    values["format"] = FORMAT + 1
    payload = json.dumps(values).encode()
    path.write_bytes(journal_module._FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(StateError, match="was written by a newer version"):
        opened(tmp_path)


def test_a_folder_in_use_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOCK_SECONDS", 0.1)
    journal = opened(folder)
    with pytest.raises(StateError, match=r"is in use by another devnet"):
        opened(folder)
    journal.close()
    assert replayed(folder) == INPUTS


def test_a_full_disk_leaves_the_file_as_it_was(folder: Path) -> None:
    """The kernel's file size limit fails a write as a full disk does: half of it lands first."""
    path = folder / "journal"
    before = path.read_bytes()
    journal = opened(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(StateError, match="cannot write"), journal.appended(EpochEnd(9)):
            pytest.fail("the input was applied although it is not on disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == before
    journal.close()
    assert replayed(folder) == INPUTS


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StateError, match="cannot write"):
        opened(blocker / "state")


def test_files_are_private(folder: Path) -> None:
    assert (folder / "journal").stat().st_mode & 0o077 == 0
