"""Any data set of the hub: `OWNER/NAME[:CONFIG][:SPLIT][:COLUMN]`."""

from collections.abc import Sequence

from quickstart.data.hub import Hub
from quickstart.data.hub_layout import choose_files
from quickstart.data.parquet import FileSet
from quickstart.data.streams import StreamedSource
from quickstart.data.tables import TableSource, found_layout
from quickstart.data.window import Source
from quickstart.errors import SourceError


def open_hub_set(hub: Hub, text: str) -> Source:
    """The set of that name; an empty part of the name is the usual one. Asks the hub what its files are.

    Raises:
        SourceError: no such set, configuration or split; or it may not be read.
    """
    repository, configuration, split, column = (part or None for part in (text + ":::").split(":")[:4])
    if repository is None or repository.count("/") != 1 or text.count(":") > 3:
        raise SourceError(f"hf:{text} names no data set: write hf:OWNER/NAME, with :CONFIG:SPLIT:COLUMN if needed")

    facts = hub.facts(repository)
    licence = facts.card.get("license")
    kind = repository.partition("/")[2].lower()

    def files(revision: str | None) -> tuple[str, str, dict[str, int]]:
        at = hub.facts(repository, revision or facts.revision)
        sizes = hub.paths(repository, "", at.revision)
        try:
            reader, paths = choose_files(sizes, at.card, configuration, split)
        except SourceError as error:
            raise SourceError(f"hf:{text}: {error}") from None
        return at.revision, reader, {path: sizes[path] for path in paths}

    def parquet(revision: str | None) -> FileSet:
        at, _, sizes = files(revision)
        return hub.file_set(repository, sizes, at)

    def listed(revision: str | None) -> tuple[str, Sequence[str]]:
        at, _, sizes = files(revision)
        return at, list(sizes)

    _, reader, _ = files(None)
    name = f"hf:{text}"
    told = licence if isinstance(licence, str) else " AND ".join(licence or ()) or None
    if reader == "parquet":
        return TableSource(name, lambda files: found_layout(files, column, kind, told), parquet)
    return StreamedSource(name, hub, repository, reader, listed, column, told)
