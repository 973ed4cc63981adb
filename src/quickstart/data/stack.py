"""The Stack v2: rows that name blobs, and the blobs themselves from the Software Heritage archive."""

from collections.abc import Callable, Iterator

from quickstart.data.contents import CONCURRENCY, Contents
from quickstart.data.documents import TOO_SHORT, Document, DocumentSource
from quickstart.data.licences import NOT_PERMISSIVE
from quickstart.data.parquet import FileSet, Row, read_rows
from quickstart.data.window import WINDOW_BYTES, Cursor, SourcePlan

COLUMNS = (
    "blob_id",
    "path",
    "detected_licenses",
    "license_type",
    "repo_name",
    "revision_id",
    "src_encoding",
    "language",
    "is_vendor",
    "is_generated",
    "length_bytes",
)


class StackSource(DocumentSource):
    """One language of bigcode/the-stack-v2-dedup. Only files under permissive licences, written by people.

    `files`: lists a version, or the newest for None. `ahead`: contents fetched before they are asked for.
    """

    def __init__(
        self, language: str, files: Callable[[str | None], FileSet], contents: Contents, ahead: int = CONCURRENCY
    ) -> None:
        super().__init__(f"stack-v2:{language}", origin="stack-v2")
        self._language = language
        self._files = files
        self._contents = contents
        self._ahead = ahead

    def _documents(self, plan: SourcePlan, resume_from: Cursor | None) -> Iterator[tuple[Cursor, Document]]:
        files = self._files(resume_from["revision"] if resume_from else None)
        wanted = self._wanted(files, plan, resume_from)
        for (cursor, facts), content in self._contents.fetch_all(wanted, self._ahead, self.skipped):
            path, licence, revision, kind = facts
            yield cursor, Document(path, content, licence, revision, kind)

    def _wanted(
        self, files: FileSet, plan: SourcePlan, resume_from: Cursor | None
    ) -> Iterator[tuple[tuple[Cursor, tuple[str, str, str, str]], str, str]]:
        needed = ("blob_id", "license_type", "length_bytes")
        for cursor, row in read_rows(files, COLUMNS, needed, plan, resume_from, self.skipped):
            reason = _unwanted(row)
            if reason is not None:
                self.skipped[reason] += 1
                continue
            facts = (
                f"{row.value('repo_name')}/{str(row.value('path')).lstrip('/')}",
                " AND ".join(row.value("detected_licenses") or ()) or "LicenseRef-permissive",
                str(row.value("revision_id")),
                str(row.value("language") or self._language).lower(),
            )
            yield (cursor, facts), row.value("blob_id"), row.value("src_encoding") or "UTF-8"


def _unwanted(row: Row) -> str | None:
    """Why a file is not fetched, if it is not."""
    if row.value("license_type") != "permissive":
        return NOT_PERMISSIVE
    if row.value("is_vendor"):
        return "vendored"
    if row.value("is_generated"):
        return "generated"
    if (row.value("length_bytes") or 0) < WINDOW_BYTES:
        return TOO_SHORT
    return None
