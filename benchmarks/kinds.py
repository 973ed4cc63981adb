"""Windows of as many kinds of real files as this machine has, each kind by the endings of its files' names.

    uv run python benchmarks/kinds.py [--windows 300]

What a Linux machine has differs; whoever uses this says which kinds it found.
"""

import argparse
import gzip
import os
import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from quickstart.chain.ids import Id32
from quickstart.data.filters import reject_reason
from quickstart.data.window import WINDOW_BYTES, Provenance, Window

ROOTS = ("/usr/include", "/usr/lib", "/usr/share", "/usr/local", "/usr/src", "/etc", "/opt", "/var/log")

ENDINGS = {
    "c": (".c", ".cc", ".cpp"),
    "cmake": (".cmake",),
    "css": (".css",),
    "csv": (".csv", ".tsv"),
    "go": (".go",),
    "header": (".h", ".hpp"),
    "html": (".html", ".htm"),
    "java": (".java",),
    "javascript": (".js", ".mjs"),
    "json": (".json",),
    "log": (".log", ".log.gz", "changelog.gz", "changelog.Debian.gz"),
    "lua": (".lua",),
    "man": tuple(f".{section}.gz" for section in range(1, 9)),
    "markdown": (".md", ".markdown"),
    "perl": (".pl", ".pm"),
    "php": (".php",),
    "po": (".po", ".pot"),
    "python": (".py",),
    "rst": (".rst",),
    "ruby": (".rb",),
    "rust": (".rs",),
    "shell": (".sh", ".bash"),
    "sql": (".sql",),
    "svg": (".svg",),
    "tcl": (".tcl",),
    "text": (".txt", "README", "copyright"),
    "vim": (".vim",),
    "xml": (".xml", ".xsd", ".xsl"),
    "yaml": (".yaml", ".yml"),
}
KIND_OF = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
_LARGEST_FILE = 1 << 22
_WINDOWS_PER_FILE = 8


def windows_by_kind(wanted: int, seed: int, least: int) -> dict[str, list[Window]]:
    """Up to `wanted` usable windows of every kind that has at least `least`, none twice; many files before many
    windows of one file.
    """
    seen: set[Id32] = set()
    found: dict[str, list[Window]] = {}
    for kind, paths in sorted(_files().items()):
        random.Random(f"{seed} {kind}").shuffle(paths)
        windows: list[Window] = []
        for turn in range(_WINDOWS_PER_FILE):
            for path in paths:
                if len(windows) == wanted:
                    break
                window = _window(path, kind, turn, seed)
                if window is not None and window.checksum not in seen:
                    seen.add(window.checksum)
                    windows.append(window)
        if len(windows) >= least:
            found[kind] = windows
    return found


def _files() -> dict[str, list[Path]]:
    """Regular files by kind, each once, in an order that does not depend on the disk."""
    found: dict[str, set[Path]] = {}
    for path in _walk({Path(root).resolve() for root in (*ROOTS, sys.base_prefix)}):
        kind = KIND_OF.get(path.suffix) or next(
            (k for ending, k in KIND_OF.items() if path.name.endswith(ending)), None
        )
        if kind is not None:
            found.setdefault(kind, set()).add(path)
    return {kind: sorted(paths) for kind, paths in found.items()}


def _walk(roots: set[Path]) -> Iterator[Path]:
    pending = [str(root) for root in roots if root.is_dir()]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and _fits(entry.stat(follow_symlinks=False).st_size):
                        yield Path(entry.path)
        except OSError:
            continue  # a folder that only root may read


def _fits(size: int) -> bool:
    """Whether a file, which may be compressed, is worth opening."""
    return 400 <= size <= _LARGEST_FILE


def _window(path: Path, kind: str, turn: int, seed: int) -> Window | None:
    """A window of the file, another one each turn, or None."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None
    slots = len(data) // WINDOW_BYTES
    if turn >= slots:
        return None
    order = random.Random(f"{seed} {path}").sample(range(slots), min(slots, _WINDOWS_PER_FILE))
    offset = order[turn] * WINDOW_BYTES
    content = data[offset : offset + WINDOW_BYTES]
    if reject_reason(content) is not None:
        return None
    return Window.cut(content, Provenance("machine", str(path), offset, kind=kind))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=300, metavar="N", help="windows of each kind at most (300)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for kind, windows in windows_by_kind(arguments.windows, arguments.seed, 1).items():
        files = len({window.provenance.path for window in windows})
        print(f"{kind:12} {len(windows):5} windows of {files} files")


if __name__ == "__main__":
    main()
