"""Data sets kept as parquet files whose rows hold the text: those with a name here, and any other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from quickstart.data.documents import TOO_SHORT, Document, DocumentSource
from quickstart.data.licences import NOT_PERMISSIVE, REPOSITORY_LICENCES, is_copyleft
from quickstart.data.parquet import FileSet, Row, read_rows
from quickstart.data.window import WINDOW_BYTES, Cursor, SourcePlan
from quickstart.errors import SourceError

TEXT_COLUMNS = ("content", "text", "code", "body", "document")
"""Where the text is when nobody says so."""

PATH_COLUMNS = ("path", "url", "file_path", "id")
LICENCE_COLUMNS = ("license", "licence")


def text_column(strings: Sequence[str]) -> str:
    """Where the text is when nobody says so, among the columns of strings: a usual name, or the only one.

    Raises:
        SourceError: none, or several and none with a usual name.
    """
    for name in (*TEXT_COLUMNS, *strings[:1]) if len(strings) == 1 else TEXT_COLUMNS:
        if name in strings:
            return name
    found = ", ".join(strings) or "none, it seems"
    raise SourceError(
        f"which column holds the text? add its name to the source, as the last part after a colon: {found}"
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows become documents. `document` gets a row and the version of its data set, and returns the document or
    why there is none. `columns`: what it reads; `needed`: without which a file is left out."""

    columns: tuple[str, ...]
    needed: tuple[str, ...]
    document: Callable[[Row, str], Document | str]


class TableSource(DocumentSource):
    """Windows from rows. `files`: lists a version, or the newest for None; `layout`: how to read them."""

    def __init__(
        self, name: str, layout: Layout | Callable[[FileSet], Layout], files: Callable[[str | None], FileSet]
    ) -> None:
        super().__init__(name)
        self._layout = layout
        self._files = files

    def _documents(self, plan: SourcePlan, resume_from: Cursor | None) -> Iterator[tuple[Cursor, Document]]:
        files = self._files(resume_from["revision"] if resume_from else None)
        layout = self._layout if isinstance(self._layout, Layout) else self._layout(files)
        for cursor, row in read_rows(files, layout.columns, layout.needed, plan, resume_from, self.skipped):
            document = layout.document(row, files.revision)
            if isinstance(document, str):
                self.skipped[document] += 1
            else:
                yield cursor, document


def text_layout(column: str, kind: str, licence: str | None, strings: Sequence[str]) -> Layout:
    """Rows with a column of text. `strings`: the columns of strings, among which may be a path and a licence."""
    path_column = next((name for name in PATH_COLUMNS if name in strings and name != column), None)
    licence_column = next((name for name in LICENCE_COLUMNS if name in strings and name != column), None)

    def document(row: Row, revision: str) -> Document | str:
        text = row.text(column)
        if text is None or len(text) < WINDOW_BYTES:
            return TOO_SHORT
        path = row.value(path_column) if path_column else None
        own = row.value(licence_column) if licence_column else None
        return Document(str(path or f"{row.path}#{row.name}"), text, own or licence, revision, kind)

    columns = tuple(name for name in (column, path_column, licence_column) if name)
    return Layout(columns, (column,), document)


def found_layout(files: FileSet, column: str | None, kind: str, licence: str | None) -> Layout:
    """`text_layout` for files whose columns nobody told us.

    Raises:
        SourceError: there is no file, or it does not say which column holds the text.
    """
    if not files.paths:
        raise SourceError("there is no file to read: compare the name with what is there")
    first = min(files.paths)
    try:
        with pq.ParquetFile(files.open(first)) as parquet:
            schema = parquet.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{first} is not a parquet file that can be read ({error})") from error
    strings = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    if column is not None and column not in strings:
        raise SourceError(f"{first} has no column of text named {column}; it has {', '.join(strings)}")
    return text_layout(column or text_column(strings), kind, licence, strings)


def starcoder_layout(language: str) -> Layout:
    """bigcode/starcoderdata: files of The Stack v1, which has only permissive licences, but not per row."""

    def document(row: Row, revision: str) -> Document | str:
        text = row.text("content")
        if text is None or len(text) < WINDOW_BYTES:
            return TOO_SHORT
        name, path = row.value("max_stars_repo_name"), row.value("max_stars_repo_path")
        where = f"{name}/{path}" if name and path else f"{row.path}#{row.name}"
        return Document(where, text, "LicenseRef-the-stack-v1-permissive", revision, language)

    columns = ("content", "max_stars_repo_name", "max_stars_repo_path")
    return Layout(columns, ("content",), document)


def swe_bench_layout(column: str, kind: str) -> Layout:
    """princeton-nlp/SWE-bench: patches and texts, under the licence of the repository that they are about."""

    def document(row: Row, revision: str) -> Document | str:
        text = row.text(column)
        if text is None or len(text) < WINDOW_BYTES:
            return TOO_SHORT
        repository = str(row.value("repo"))
        licence = REPOSITORY_LICENCES.get(repository)
        if licence is None or is_copyleft(licence):
            return NOT_PERMISSIVE
        where = f"{repository}/{row.value('instance_id')}/{column}"
        return Document(where, text, licence, row.value("base_commit"), kind)

    columns = (column, "repo", "instance_id", "base_commit")
    return Layout(columns, columns, document)
