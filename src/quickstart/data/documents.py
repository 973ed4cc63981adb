"""Documents: files that a source holds whole in memory, and the windows cut from them."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from quickstart.data.cutting import SlotOrder, count_slots, cut_slot, slot_span
from quickstart.data.window import Cursor, Provenance, SourcePlan, Window, WindowStream

WINDOWS_PER_DOCUMENT = 4
"""At most, and far apart: windows of one document resemble each other more than those of two."""

TOO_SHORT = "shorter than a window"


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text in UTF-8, and what is known of it."""

    path: str
    data: bytes | memoryview
    licence: str | None
    revision: str | None
    kind: str


def document_windows(
    source: str, documents: Iterator[tuple[Cursor, Document]], seed: int, resume_from: Cursor | None
) -> Iterator[tuple[Window, Cursor]]:
    """Some windows of each document; its cursor with `window` in it goes on behind the last one given.

    `documents` begins with the document that `resume_from` points into.
    """
    into = dict(resume_from or {})
    given = into.pop("window", 0)
    for cursor, document in documents:
        size = len(document.data)
        order = SlotOrder.of(document.path, max(1, count_slots(size)), seed)
        for turn in range(given if cursor == into else 0, min(count_slots(size), WINDOWS_PER_DOCUMENT)):
            slot = order.slot(turn)
            begin, end = slot_span(slot, size)
            offset, data = cut_slot(document.data[begin:end], slot)
            place = Provenance(source, document.path, offset, document.licence, document.revision, document.kind)
            yield Window.cut(data, place), cursor | {"window": turn + 1}


class DocumentSource(ABC):
    """A source of documents that are read one after the other. `origin`: what provenance calls it, by default `name`;
    `skipped`: documents without a window, by reason.
    """

    def __init__(self, name: str, origin: str | None = None) -> None:
        self.name = name
        self.skipped: Counter[str] = Counter()
        self._origin = origin or name

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream:
        """Some windows of every document once.

        Raises:
            SourceError: the documents cannot be listed or read.
        """
        documents = self._documents(plan, resume_from)
        return WindowStream(document_windows(self._origin, documents, plan.seed, resume_from), resume_from)

    @abstractmethod
    def _documents(self, plan: SourcePlan, resume_from: Cursor | None) -> Iterator[tuple[Cursor, Document]]:
        """Documents in their order, each with the cursor that it begins at."""
