"""A durable file is whole or what it was before; no draft is left."""

import stat
from io import BytesIO
from pathlib import Path

import pytest

from quickstart.durable import copy_durably, put_in_place, write_durably


def test_a_file_is_replaced_as_a_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"first", b"second, and longer"):
        write_durably(path, content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with (tmp_path / "draft").open("x+b") as file:
        file.write(b"third")
        put_in_place(file, path)
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_put_in_place_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_durably(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


class Interrupted(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise KeyboardInterrupt


def test_ctrl_c_leaves_nothing_beside_what_was_there(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"before")
    with pytest.raises(KeyboardInterrupt):
        copy_durably(tmp_path / "file", Interrupted())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
