"""Data sets on the hub that are not parquet: JSON, CSV, text and Arrow files, streamed by `datasets`."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from quickstart.data.documents import TOO_SHORT, Document, DocumentSource
from quickstart.data.hub import Hub
from quickstart.data.parquet import BROKEN_FILE
from quickstart.data.patience import GivenUpError, TransientError
from quickstart.data.tables import text_column
from quickstart.data.window import WINDOW_BYTES, Cursor, SourcePlan
from quickstart.errors import SourceError


class _BrokenFileError(Exception):
    """`datasets` cannot make rows of a file."""


class StreamedSource(DocumentSource):
    """Windows from the rows of files that `datasets` can read. Going on reads the file that the cursor points into from
    its beginning; those before it are not touched.

    `files`: lists a version, or the newest for None: its name and the paths. `reader`: `json`, `csv`, `text`, `arrow`.
    """

    def __init__(
        self,
        name: str,
        hub: Hub,
        repository: str,
        reader: str,
        files: Callable[[str | None], tuple[str, Sequence[str]]],
        column: str | None,
        licence: str | None,
    ) -> None:
        super().__init__(name)
        self._hub = hub
        self._repository = repository
        self._reader = reader
        self._files = files
        self._column = column
        self._licence = licence

    def _documents(self, plan: SourcePlan, resume_from: Cursor | None) -> Iterator[tuple[Cursor, Document]]:
        revision, listed = self._files(resume_from["revision"] if resume_from else None)
        start = resume_from if resume_from and resume_from["revision"] == revision else {}
        paths = sorted(listed)
        random.Random(plan.seed).shuffle(paths)
        column: str | None = None
        for place, path in enumerate(plan.share(paths)):
            if place < start.get("file", 0):
                continue
            first = start.get("row", 0) if place == start.get("file") else 0
            try:
                for number, row in self._rows(path, revision, first):
                    column = column or self._text_column(row)
                    text = row.get(column)
                    data = text.encode("utf-8", "replace") if isinstance(text, str) else b""
                    if len(data) < WINDOW_BYTES:
                        self.skipped[TOO_SHORT] += 1
                        continue
                    cursor = {"revision": revision, "file": place, "row": number}
                    yield cursor, Document(f"{path}#{number}", data, self._licence, revision, self._reader)
            except (GivenUpError, _BrokenFileError):
                self.skipped[BROKEN_FILE] += 1

    def _rows(self, path: str, revision: str, first: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Rows of a file from number `first` on; after trouble with the hub, from where it was."""
        number = first
        rows: Iterator[Mapping[str, Any]] | None = None

        def attempt() -> Mapping[str, Any] | None:
            nonlocal rows
            try:
                if rows is None:
                    rows = iter(self._open(path, revision, number))
                return next(rows, None)
            except httpx2.TransportError as error:
                rows = None
                raise TransientError(f"{type(error).__name__}: {error}") from error
            except HfHubHTTPError as error:
                rows = None
                raise self._hub.explain(self._repository, error) from error
            except (ValueError, OSError) as error:
                raise _BrokenFileError(path) from error

        while (row := self._hub.patience.call(attempt)) is not None:
            yield number, row
            number += 1

    def _open(self, path: str, revision: str, first: int) -> Any:
        """The file's rows from number `first` on, as `datasets` streams them."""
        from datasets import DownloadConfig, config, load_dataset

        config.HF_ENDPOINT = self._hub.endpoint  # some of its calls know no other way to be told
        token = self._hub.token or False
        access = {"hf": {"endpoint": self._hub.endpoint, "token": token}}
        rows = load_dataset(
            self._reader,
            data_files=[f"hf://datasets/{self._repository}@{revision}/{path}"],
            split="train",
            streaming=True,
            token=token,
            download_config=DownloadConfig(token=token, storage_options=access),
            storage_options=access["hf"],
        )
        return rows.skip(first)

    def _text_column(self, row: Mapping[str, Any]) -> str:
        """Where the text is, by the first row that is read; a cell without a value may be one of text."""
        texts = [name for name, value in row.items() if value is None or isinstance(value, str)]
        column = self._column or text_column(texts)
        if column not in row:
            raise SourceError(f"{self.name} has no column {column}; it has {', '.join(row)}")
        return column
