"""A bank on this machine kept up to one on a volume: complete segments are copied, nothing else.

A volume cannot be brought up to date while its files are open or mapped, and a bank maps its embeddings. So the
process that reads the bank keeps a copy of its own; segments never change, so copying one once is enough.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from quickstart.bank.segments import MARKER, disk_errors, list_folders, open_root, read_marker, write_file


def mirror(source: Path, target: Path) -> int:
    """Copies every complete segment of the bank `source` that `target` lacks, its marker last; how many.

    Raises:
        StateError: `target` cannot be written.
    """
    open_root(target)
    copied = 0
    for relative in _segments(source):
        folder = target / relative
        if (folder / MARKER).exists():
            continue
        marker = read_marker(source / relative)
        if marker is None:
            continue
        with disk_errors(target):
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*marker["files"], MARKER):
                write_file(target, folder / name, [(source / relative / name).read_bytes()])
        copied += 1
    return copied


def _segments(root: Path) -> Iterator[PurePosixPath]:
    """Folders of segments, windows before the scores of them."""
    for name in list_folders(root / "windows"):
        yield PurePosixPath("windows", name)
    for weights in list_folders(root / "scores"):
        for name in list_folders(root / "scores" / weights):
            yield PurePosixPath("scores", weights, name)
