"""Files that a crash leaves whole or not at all: written aside, flushed to the disk, renamed. Loads nothing heavy."""

import os
import shutil
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO


def put_in_place(file: BinaryIO, path: Path) -> None:
    """Flushes a finished, open file to the disk and makes it `path`, in one step.

    A crash right after that may undo the renaming, unless the folder is synced too (`sync_folder`).

    Raises:
        OSError: as it came.
    """
    _flush(file)
    Path(file.name).replace(path)


def sync_folder(folder: Path) -> None:
    """Makes what was renamed in `folder` durable.

    Raises:
        OSError: as it came.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Makes `data` the content of `path`, in a folder that exists: readable by its owner only, on the disk when this
    returns.

    Raises:
        OSError: as it came; what was at `path` before is there still.
    """
    copy_durably(path, BytesIO(data))


def copy_durably(path: Path, content: BinaryIO) -> None:
    """The same with the rest of an open file, which is never in memory as a whole."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(content, file)
            _flush(file)
        Path(name).replace(path)
    except BaseException:  # Ctrl-C too leaves nothing behind
        with suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
