"""Segments: folders of files that count once their marker is there, and never change afterwards.

Several writers share a bank's folder, on a volume that knows neither locks nor appending. So a segment is
named by its content, each file appears by renaming a finished temporary one, and `complete.json` comes last
with every file's size and digest. A segment without a marker, or whose files do not match it, does not exist:
writing it again is the repair, and two writers of the same content write the same bytes.
"""

import contextlib
import errno
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from quickstart.chain.ids import blake2b_256
from quickstart.durable import put_in_place
from quickstart.errors import StateError
from quickstart.units import HOURS

log = logging.getLogger(__name__)

FORMAT = 2
MARKER = "complete.json"
_FORMAT_FILE = "format.json"
_TEMPORARY = "tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Document = dict[str, Any]


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turns a failure of the file system under `root` into one line for the person."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StateError(f"the disk of the bank {root} is full: free some space and run again") from error
        reason = error.strerror or str(error)
        raise StateError(f"the bank {root} cannot be used ({reason}): check the folder and its permissions") from error


def open_root(root: Path) -> None:
    """Creates the bank's folder, or checks that this program knows its format.

    Raises:
        StateError: the folder is of another version, damaged, not writable, or the disk is full.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            text = (root / _FORMAT_FILE).read_bytes()
        except FileNotFoundError:
            text = _encode({"format": FORMAT})
            write_file(root, root / _FORMAT_FILE, [text])
        _sweep(root / _TEMPORARY)
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{root / _FORMAT_FILE} is damaged: restore it or name another state folder") from error
    if found != FORMAT:
        mend = (
            "an older version made it: move that folder away, and its windows are cut and scored anew"
            if isinstance(found, int) and found < FORMAT
            else "update the program, or name another state folder"
        )
        raise StateError(f"{root} has format {found}, this program knows {FORMAT}: {mend}")


def write_file(root: Path, path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Writes a whole file aside, flushes it to the disk, then moves it to `path` in one step."""
    with written_aside(root) as file:
        for part in parts:
            file.write(part)
        put_in_place(file, path)


@contextlib.contextmanager
def written_aside(root: Path) -> Iterator[BinaryIO]:
    """A new file that goes away at the end unless it was moved into its place."""
    temporary = root / _TEMPORARY / uuid.uuid4().hex
    temporary.parent.mkdir(exist_ok=True)
    try:
        with temporary.open("x+b") as file:
            yield file
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_segment(root: Path, folder: Path, files: Mapping[str, bytes | memoryview], facts: Document) -> None:
    """Writes `files` and then the marker holding `facts`; does nothing if the segment is complete already.

    Raises:
        StateError: the disk is full or refuses; what was written so far does not count.
    """
    if read_marker(folder) is not None:
        return
    table = {name: [len(data), blake2b_256(data).hex()] for name, data in files.items()}
    with disk_errors(root):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_file(root, folder / name, [data])
        write_file(root, folder / MARKER, [_encode({"format": FORMAT, "files": table, **facts})])


def read_marker(folder: Path) -> Document | None:
    """The marker of a complete segment, or None: no marker yet, a damaged one, or files of other sizes."""
    try:
        marker: Document = json.loads((folder / MARKER).read_bytes())
        if marker["format"] != FORMAT:
            return None
        complete = all((folder / name).stat().st_size == size for name, (size, _) in marker["files"].items())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("segment ignored, its marker is damaged: %s", folder)
        return None
    if not complete:
        log.warning("segment ignored, a file was cut short: %s", folder)
        return None
    return marker


def read_verified(folder: Path, name: str, marker: Document) -> bytes | None:
    """A file's content if its digest is the marker's, else None."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        return None
    if blake2b_256(data).hex() != marker["files"][name][1]:
        log.warning("segment ignored, %s is damaged: %s", name, folder)
        return None
    return data


def list_folders(parent: Path) -> list[str]:
    """Names of the folders in `parent`, sorted; none if it does not exist."""
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []


def _sweep(temporary: Path) -> None:
    """Removes what killed writers left behind; a living one needs seconds for a file."""
    oldest = time.time() - 1 * HOURS
    for path in temporary.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps too, or has just moved it
            if path.stat().st_mtime < oldest:
                path.unlink()


def _encode(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
