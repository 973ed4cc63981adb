"""Writes from the code what documentation must not get wrong: docs/reference, and marked tables of other pages.

uv run python scripts/reference.py           writes them
uv run python scripts/reference.py --check   says which are stale, exit code 1
"""

import argparse
import inspect
import re
import sqlite3
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from quickstart import errors, submitter, training
from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS
from quickstart.cli.completion import parsers
from quickstart.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, QuickstartError
from quickstart.ledger import records
from quickstart.ledger.accounts import ClaimShares, claim_fee
from quickstart.ledger.schema import MIGRATIONS, connect
from quickstart.modal_app.prices import (
    CPU_CORE_DOLLARS_PER_SECOND,
    GPU_DOLLARS_PER_SECOND,
    MEMORY_GIB_DOLLARS_PER_SECOND,
    PRICES_OF,
    SCORER_CORES,
    SCORER_MEMORY_GIB,
    container_dollars_per_second,
)
from quickstart.settings import markdown_table
from quickstart.units import DAYS, HOURS, SHANNONS_PER_SOMA

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = Path("docs/reference")
MADE = "<!-- Made by scripts/reference.py; edit the code it is made from. -->"

TABLES = {
    "intents": "Every transaction that was signed, written before it was sent. The bytes are kept, so that the same "
    "ones can be sent again.",
    "intent_coins": "The coin versions each of them names. A version is named once: two would lock the coin.",
    "coins": "The wallet's coins as the last effects have them.",
    "movements": "The books: signed amounts of shannons by transaction and heading.",
    "movement_sums": "Sums of them by epoch and heading, kept by triggers.",
    "fills": "Targets we filled, with their reward, the bond, and the window and address the bond rests on.",
    "fill_sums": "How many of them are alike, kept by triggers.",
    "epochs": "One line for each epoch of submitting: what was open, what the bank could fill, what was filled.",
    "model_weights": "Which weights belong to which encrypted file.",
    "alarms": "What a person should see to; an alarm without `cleared_ms` is open.",
    "published": "Public copies of windows, and when each was last read back.",
    "timings": "The way of each landed submission, from the target's birth.",
    "scoring": "How long scoring takes, by weights.",
    "outlooks": "What the planner saw at the end of an epoch, as JSON.",
    "unfilled": "Targets of an epoch that we did not fill, 256 of them at most, and why.",
}
"""What each table holds; a table without a line here fails the script."""

SERVES = {
    EXIT_DONE: "Done; or what it asked for was shown.",
    EXIT_FAILED: "It failed on the network's side, was interrupted, or was told no.",
    EXIT_USAGE: "Wrong usage or configuration. One line says what and how to mend it; nothing was sent.",
}


def documents() -> dict[Path, str]:
    """Text of each file, by its path in the repository."""
    pages = {
        "settings.md": _page("Settings", _settings()),
        "commands.md": _page("Commands", _commands()),
        "exit-codes.md": _page("Exit codes", _exit_codes()),
        "ledger.md": _page("The ledger", _ledger()),
    }
    tables = {
        Path("README.md"): {"settings": markdown_table().splitlines()},
        Path("docs/costs.md"): {"prices": _prices(), "rules": _rules()},
    }
    return {
        **{REFERENCE / name: text for name, text in pages.items()},
        **{path: _filled(path, parts) for path, parts in tables.items()},
    }


def _filled(path: Path, parts: dict[str, Iterable[str]]) -> str:
    """A page whose tables between `<!-- NAME -->` and `<!-- /NAME -->` are these."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, lines in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        table = "".join(f"{line}\n" for line in lines)
        text, found = mark.subn(lambda match, table=table: match[1] + table, text)
        if found != 1:
            raise SystemExit(f"{path} needs one table between <!-- {name} --> and <!-- /{name} -->")
    return text


def _prices() -> Iterator[str]:
    cycle_cores, cycle_gib = submitter.SUBMITTER_CORES, submitter.SUBMITTER_MEMORY_MIB[0] / 1024
    yield f"| at the list prices of {PRICES_OF} | a second | |"
    yield "| --- | --- | --- |"
    cycle = container_dollars_per_second((), cycle_cores, cycle_gib)
    more, day = MEMORY_GIB_DOLLARS_PER_SECOND, 23 * HOURS
    what = f"the cycle: {cycle_cores:g} core, {cycle_gib:g} GiB"
    yield f"| {what} | ${cycle:.7f} | ${cycle * day:.2f} a day of 23 hours |"
    yield f"| each GiB more that a larger bank needs | ${more:.8f} | ${more * day:.2f} a day |"
    sizes = {
        "a scorer": (SCORER_CORES, SCORER_MEMORY_GIB),
        "training": (training.TRAINER_CORES, training.TRAINER_MEMORY_GIB),
    }
    for name, (cores, gib) in sizes.items():
        for gpu in GPU_DOLLARS_PER_SECOND:
            dollars = container_dollars_per_second((gpu,), cores, gib)
            what = f"{name}: {gpu}, {cores:g} cores, {gib:g} GiB"
            yield f"| {what} | ${dollars:.6f} | ${dollars * HOURS:.2f} an hour of work |"
    yield f"| a core of a CPU function | ${CPU_CORE_DOLLARS_PER_SECOND:.7f} | for minutes |"


def _rules() -> Iterator[str]:
    rules = PARAMETERS[NEWEST_PROTOCOL]
    reward = SHANNONS_PER_SOMA
    shares = ClaimShares.of(reward, 0, rules)
    yield f"| by the rules of protocol {NEWEST_PROTOCOL} | |"
    yield "| --- | --- |"
    yield f"| bond of a window of 1,024 bytes | {rules.bond(1024):,} shannons; comes back with the claim |"
    yield f"| fee of a submission | {rules.submission_fee:,} shannons |"
    yield f"| fee of a claim of 1 SOMA, at the first value fee | {claim_fee(reward, rules, expired=False):,} shannons |"
    yield f"| of a target's reward: who filled it | {shares.submitter / reward:.2%} |"
    yield f"| of a target's reward: the winning model's owner | {shares.model_owner / reward:.2%} |"
    yield f"| of a target's reward: whoever claims it | {shares.claimer / reward:.2%} |"
    yield f"| an epoch | {rules.epoch_duration_ms / 1000 / DAYS * 24:g} hours |"
    yield f"| least stake of a model | {rules.model_min_stake / SHANNONS_PER_SOMA:g} SOMA |"
    yield f"| a reveal that is missed | {rules.model_reveal_slash_rate_bps / 100:g} % of the model's stake |"


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join((f"# {title}", "", MADE, "", *lines)).rstrip() + "\n"


def _settings() -> Iterator[str]:
    yield "Each may be set in the environment, or in `.env` (a copy of `.env.example`); the environment wins. With"
    yield "`--profile NAME` the file is `.env.NAME`. Empty means: not set. The embedded network needs none of them."
    yield ""
    yield markdown_table()


def _commands() -> Iterator[str]:
    yield "Each is run as `uv run NAME`. An option that is not listed is refused with exit code 2. Every command takes:"
    yield ""
    every = set.intersection(*({action.dest for action in parser._actions} for parser in parsers().values()))
    first = next(iter(parsers().values()))
    yield from _options(action for action in first._actions if action.dest in every)
    for name, parser in parsers().items():
        yield ""
        yield f"## {name}"
        yield ""
        yield textwrap.fill(str(parser.description), 120, break_long_words=False, break_on_hyphens=False)
        yield ""
        yield from _options(action for action in parser._actions if action.dest not in every)


def _options(actions: Iterator[argparse.Action]) -> Iterator[str]:
    rows = [f"| {_names(action)} | {_meaning(action)} |" for action in actions if action.help != argparse.SUPPRESS]
    if rows:
        yield "| option | meaning |"
        yield "| --- | --- |"
        yield from rows


def _names(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        choices = "\\|".join(map(str, action.choices or ()))
        value = str(action.metavar or choices or action.dest.upper())
    if not action.option_strings:
        return f"`{f'[{value}]' if action.nargs == '?' else value}`"
    return ", ".join(f"`{f'{name} {value}'.strip()}`" for name in action.option_strings)


def _meaning(action: argparse.Action) -> str:
    text = str(action.help or "") % {**vars(action), "prog": ""}
    return text.replace("|", "\\|")


def _exit_codes() -> Iterator[str]:
    yield "| code | meaning |"
    yield "| --- | --- |"
    for code, meaning in SERVES.items():
        yield f"| {code} | {meaning} |"
    yield ""
    yield "Failures that were foreseen are one line on standard error, which begins with `error: `. What nobody foresaw"
    yield "is told in full, with code 1. `doctor` ends with 2 for errors, and with `--strict` with 1 for warnings."
    yield ""
    yield "| failure | code | what it means |"
    yield "| --- | --- | --- |"
    for kind, depth in _tree(QuickstartError, 0):
        meaning = str(inspect.getdoc(kind)).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        yield f"| {'&nbsp;&nbsp;' * depth}`{kind.__name__}` | {kind.exit_code} | {meaning} |"


def _tree(kind: type[QuickstartError], depth: int) -> Iterator[tuple[type[QuickstartError], int]]:
    yield kind, depth
    for child in (value for value in vars(errors).values() if inspect.isclass(value) and kind in value.__bases__):
        yield from _tree(child, depth + 1)


def _ledger() -> Iterator[str]:
    yield "An SQLite file, `ledger.sqlite`, one for each chain and wallet, in `networks/CHAIN/ADDRESS/` of the state"
    yield "folder; on Modal on the volume `soma-ledger`. It is yours to read; only the holder of the wallet's lease"
    yield "writes. Amounts are whole shannons (1 SOMA = 10⁹); names that end in `_ms` are milliseconds, since 1970 or"
    yield "of a span; ids, digests, checksums and addresses are 32 raw bytes."
    yield ""
    yield f"Version {len(MIGRATIONS)} (`PRAGMA user_version`). Migrations are only appended; a newer file is refused."
    with TemporaryDirectory() as folder, closing(connect(Path(folder) / "ledger.sqlite")) as database:
        yield from _tables(database)
    yield ""
    yield "## Values"
    for kind in vars(records).values():
        if inspect.isclass(kind) and issubclass(kind, StrEnum) and kind is not StrEnum:
            yield ""
            yield f"**{kind.__name__}**: {', '.join(f'`{value}`' for value in kind)}."
            if own := kind.__dict__.get("__doc__"):
                yield " ".join(own.split())


def _tables(database: sqlite3.Connection) -> Iterator[str]:
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    if set(names) != set(TABLES):
        raise SystemExit(
            f"TABLES in {Path(__file__).name} must describe: {', '.join(sorted(set(names) ^ set(TABLES)))}"
        )
    for name in TABLES:
        yield ""
        yield f"## {name}"
        yield ""
        yield TABLES[name]
        yield ""
        yield "| column | type | |"
        yield "| --- | --- | --- |"
        for _, column, kind, required, default, key in database.execute(f"PRAGMA table_info({name})"):
            marks = (
                *(("key",) if key else ()),
                *(() if required or key else ("may be empty",)),
                *((f"default `{default}`",) if default is not None else ()),
            )
            yield f"| `{column}` | {kind} | {', '.join(marks)} |"


def stale() -> list[Path]:
    """Files that are not what the code makes now, and pages of docs/reference that nothing makes any more."""
    made = documents()
    there = {path.relative_to(ROOT) for path in (ROOT / REFERENCE).glob("*.md")} | made.keys()
    return sorted(path for path in there if made.get(path) != _text(ROOT / path))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Write from the code what documentation must not get wrong.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is stale")
    found = stale()
    if parser.parse_args().check:
        for path in found:
            print(f"{path} is stale: run `uv run python scripts/reference.py`", file=sys.stderr)
        return 1 if found else 0
    (ROOT / REFERENCE).mkdir(parents=True, exist_ok=True)
    for path, text in documents().items():
        (ROOT / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
