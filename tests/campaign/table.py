"""The campaign's table in docs/reliability.md: a row per measurement, between two marks; other rows stay."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- campaign -->", "<!-- /campaign -->"
HEAD = "| # | promise | what was done | times | lost | seed | run time |\n| --- | --- | --- | --- | --- | --- | --- |"


def write_table(document: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Puts `rows` into the document's table; rows of measurements that were not run now are kept."""
    text = document.read_text()
    before, rest = text.split(BEGIN, 1)
    old, after = rest.split(END, 1)
    lines = {_key(line): line for line in old.splitlines() if re.match(r"\| \d", line)}
    lines |= {_key(line): line for line in map(_line, rows)}
    ordered = [lines[key] for key in sorted(lines)]
    document.write_text("\n".join([before + BEGIN, HEAD, *ordered, END + after]))


def _line(row: Mapping[str, Any]) -> str:
    figures = "; ".join(f"{name} {_number(value)}" for name, value in row["figures"].items())
    done = f"{row['done']} ({figures})" if figures else row["done"]
    cells = (
        row["promise"],
        row["text"],
        done,
        f"{row['times']:,}",
        row["lost"],
        row["seed"],
        f"{row['seconds']:.0f} s",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _key(line: str) -> tuple[int, str]:
    """A row is told from others by its number and the promise's words."""
    _, number, text, *_ = (cell.strip() for cell in line.split("|"))
    return int(number), text
