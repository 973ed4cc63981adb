"""What the tests need to know of a page: its fenced blocks, its inline code, its links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*) *(.*)$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
HEADING = re.compile(r"^#+ +(.*)$")


@dataclass(frozen=True, slots=True)
class Step:
    """A command as a person types it, and the lines shown below it."""

    command: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A `console` block. `needs`: what it cannot run without, of the fence's `needs=`; empty if it runs anywhere."""

    line: int
    needs: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page in parts. `prose`: the lines outside of fences, with their numbers."""

    path: Path
    blocks: tuple[Block, ...]
    prose: tuple[tuple[int, str], ...]

    @property
    def links(self) -> Iterator[str]:
        return (link for _, line in self.prose for link in LINK.findall(INLINE.sub("", line)))

    @property
    def codes(self) -> Iterator[str]:
        return (code for _, line in self.prose for code in INLINE.findall(line))

    @property
    def anchors(self) -> set[str]:
        """Names under which headings are linked to, as GitHub makes them."""
        titles = (found[1] for _, line in self.prose if (found := HEADING.match(line)))
        return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def read_page(path: Path) -> Page:
    """Reads a page."""
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    inside: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if inside is None and fence is not None:
            inside = (number, fence[1], fence[2], [])
        elif inside is not None and line == "```":
            start, language, told, lines = inside
            if language == "console":
                blocks.append(Block(start, told.removeprefix("needs="), _steps(lines)))
            inside = None
        elif inside is not None:
            inside[3].append(line)
        else:
            prose.append((number, line))
    assert inside is None, f"{path}: the fence of line {inside[0]} has no end"
    return Page(path, tuple(blocks), tuple(prose))


def _steps(lines: list[str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for line in lines:
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ ").partition("  #")[0].rstrip(), ()))
        else:
            steps[-1] = Step(steps[-1].command, (*steps[-1].shown, line))
    return tuple(steps)
