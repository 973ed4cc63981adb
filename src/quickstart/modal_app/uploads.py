"""What windows are cut from on Modal: folders that people uploaded, and the source that the settings name."""

from collections.abc import Iterable
from pathlib import Path

from quickstart.data.folder import FolderSource
from quickstart.data.sources import DEFAULT_SOURCE, open_source
from quickstart.data.window import Source
from quickstart.settings import Settings


def names_of(sources: Path) -> list[str]:
    """Names of the folders that were put there with `modal volume put soma-bank FOLDER /sources/NAME`."""
    return sorted(path.name for path in sources.glob("*") if path.is_dir())


def open_uploaded(sources: Path, folders: Iterable[str], name: str | None, settings: Settings) -> tuple[Source, ...]:
    """These folders and the named source; without either, Python's own library.

    Raises:
        SourceError: one cannot be read.
    """
    opened: list[Source] = [FolderSource(sources / folder) for folder in folders]
    name = name or (None if opened else DEFAULT_SOURCE)
    return (*opened, *([open_source(name, settings)] if name else []))
