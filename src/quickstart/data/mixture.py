"""Several sources as one, by weight: diversity beats volume."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quickstart.data.window import Cursor, Source, SourcePlan, Window, WindowStream
from quickstart.errors import SourceAccessError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """`weight`: windows of this source for one of a source of weight 1."""

    source: Source
    weight: float = 1.0


class Mixture:
    """Gives windows of its parts in proportion to their weights, each time from the part that is furthest behind.

    A part that has ended, or that we may not read, is left out; the others go on in their proportions. A cursor holds
    every part's own cursor and how many windows it has given.
    """

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self._name = name
        self._parts = parts

    @property
    def name(self) -> str:
        return self._name

    @property
    def skipped(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for part in self._parts:
            total += part.source.skipped
        return total

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream:
        """Windows of all parts.

        Raises:
            SourceError: no part can be read, or one is in trouble that time may mend.
        """
        return WindowStream(self._steps(plan, resume_from or {}), resume_from)

    def _steps(self, plan: SourcePlan, resume_from: Cursor) -> Iterator[tuple[Window, Cursor]]:
        sources = {part.source.name: part for part in self._parts}
        cursors: dict[str, Cursor] = dict(resume_from.get("parts", {}))
        given: dict[str, int] = {name: resume_from.get("given", {}).get(name, 0) for name in sources}
        streams = {name: part.source.windows(plan, cursors.get(name)) for name, part in sources.items()}
        refusals: list[SourceAccessError] = []
        told = 0
        while streams:
            # Ties go to the first: the order of parts is part of the plan.
            name = min(streams, key=lambda name: (given[name] + 1) / sources[name].weight)
            try:
                window = next(streams[name], None)
            except SourceAccessError as error:
                refusals.append(error)
                window = None
            if window is None:
                del streams[name]
                continue
            if len(refusals) > told:
                told = len(refusals)
                reasons = "; ".join(list(dict.fromkeys(map(str, refusals)))[:2])
                log.error("%s goes on without %d of its %d parts: %s", self._name, told, len(sources), reasons)
            given[name] += 1
            cursors = cursors | {name: streams[name].cursor or {}}
            yield window, {"parts": cursors, "given": dict(given)}
        if len(refusals) == len(sources):
            raise refusals[0]
