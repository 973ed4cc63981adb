"""Documentation says what the program does: commands run, options exist, links lead somewhere, references are fresh."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from quickstart.cli.completion import parsers
from quickstart.settings import settings_table
from tests.docs.markdown import Page, Step, read_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
"""Pages that people write and read; those of `decisions` and the change log tell of other times."""

EVERY = (*WRITTEN, ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*/*.md")))
TUTORIAL = DOCS / "tutorial.md"
AFTERWARDS = [path for path in WRITTEN if any(not block.needs for block in read_page(path).blocks) and path != TUTORIAL]
"""What they show is of the state that the tutorial leaves."""

NEEDS = {"", "account", "minutes", "modal", "network", "torch"}
LIMIT_SECONDS = 120.0

UV = f"""#!/bin/bash
# `uv run COMMAND ...` with the interpreter and the code of these tests.
shift; name=$1; shift
exec {shlex.quote(sys.executable)} -c "
import sys; from quickstart.cli import main; sys.argv[0] = '$name'; getattr(main, '${{name//-/_}}')()" "$@"
"""

PARSERS = parsers()
OPTIONS = {
    name: {option for action in parser._actions for option in action.option_strings} for name, parser in PARSERS.items()
}
FAR_OPTIONS = {"--all-extras", "--extra", "--check", "--only", "--short", "--mixed", "--thresholds"}
"""Of uv, of the scripts and of the benchmarks."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a person who has done the tutorial, with `uv`."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "bin").mkdir()
    uv = folder / "bin" / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    check_runs(TUTORIAL, folder, tmp_path_factory.mktemp("tutorial"))
    return folder


@pytest.mark.parametrize("path", AFTERWARDS, ids=named)
def test_what_can_run_here_runs_and_prints_what_is_shown(path: Path, home: Path, tmp_path: Path) -> None:
    check_runs(path, home, tmp_path)


def check_runs(path: Path, home: Path, folder: Path) -> None:
    for block in read_page(path).blocks:
        for step in block.steps if not block.needs else ():
            printed = ran(step, home, folder)
            missing = not_shown(step.shown, printed.splitlines())
            at = f"{named(path)}, line {block.line}"
            assert missing is None, f"{at}: {step.command} no longer prints\n{missing}\nbut\n{printed}"


def ran(step: Step, home: Path, folder: Path) -> str:
    environment = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        "HOME": str(home),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", step.command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, f"{step.command}: {done.stdout}"
    return done.stdout


def not_shown(shown: Iterable[str], printed: list[str]) -> str | None:
    """The first line shown in a page that was not printed after those before it; numbers and names aside."""
    rest = iter([words(line) for line in printed])
    return next((line for line in shown if line != "..." and words(line) not in rest), None)


def words(line: str) -> list[str]:
    return ["#" if word == "-" or re.search(r"\d", word) else word for word in line.split()]


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_commands_options_variables_and_files_exist(path: Path) -> None:
    page = read_page(path)
    for block in page.blocks:
        assert block.needs in NEEDS, f"line {block.line}: the fence needs {block.needs!r}"
        for step in block.steps:
            check_command(step.command, whole=True)
    variables = {row.name for row in settings_table()}
    for code in page.codes:
        if code.startswith("uv run "):
            check_command(code, whole=False)
        elif re.fullmatch(r"--[a-z-]+( .*)?", code):
            known = set().union(*OPTIONS.values()) | FAR_OPTIONS
            assert code.split()[0] in known, f"no command takes {code}"
        elif re.fullmatch(r"(QUICKSTART|S3|HF)_[A-Z0-9_]+", code.partition("=")[0]):
            assert code.partition("=")[0] in variables, f"{code} is no setting"
        elif re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.(py|md|svg|json)", code):
            assert any((at / code).exists() for at in (ROOT, ROOT / "src/quickstart")), f"{code} is not there"


def check_command(command: str, *, whole: bool) -> None:
    """Raises AssertionError where a command line names what is not there. `whole`: it must be one that is taken."""
    line = shlex.split(command.replace("…", ""))
    if line[:2] != ["uv", "run"]:
        return
    rest = line[2:]
    while rest and rest[0].startswith("--"):
        rest = rest[2:] if rest[0] == "--extra" else rest[1:]
    if not rest or rest[0] in ("NAME", "COMMAND"):
        return
    name, *given = rest
    if name == "python":
        assert given[0] == "-m" or (ROOT / given[0]).exists(), command
        return
    if name in ("modal", "pytest"):
        return
    assert name in PARSERS, f"{command}: there is no command {name}"
    for word in given:
        assert not word.startswith("--") or word.partition("=")[0] in OPTIONS[name], f"{command}: no {word}"
    if whole:
        try:
            PARSERS[name].parse_args(given)
        except (SystemExit, argparse.ArgumentError) as refused:
            raise AssertionError(f"{command} is refused") from refused


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    pages: dict[Path, Page] = {}
    for link in read_page(path).links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.is_relative_to(ROOT) and target.exists(), f"{link} leads nowhere"
        if anchor:
            page = pages.setdefault(target, read_page(target))
            assert anchor in page.anchors, f"{link}: no such heading"


def test_every_page_is_reached_from_the_index() -> None:
    index = DOCS / "index.md"
    reached = {(DOCS / link.partition("#")[0]).resolve() for link in read_page(index).links if "://" not in link}
    pages = {path for path in EVERY if path.is_relative_to(DOCS) and path.parent.name != "decisions"}
    assert pages - {index} <= reached


def test_what_is_made_from_the_code_is_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_command_is_documented_as_its_help_has_it() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = set(tomllib.load(file)["project"]["scripts"])
    assert scripts == PARSERS.keys()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    reference = " ".join((DOCS / "reference" / "commands.md").read_text(encoding="utf-8").split())
    for name, parser in PARSERS.items():
        assert f"`uv run {name}" in readme or name == "completion"
        assert " ".join(str(parser.description).split()) in reference
        for action in parser._actions:
            told = " ".join((str(action.help) % vars(action)).replace("|", "\\|").split())
            assert told in reference, f"{name} {action.dest}: {told}"


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        (("epoch 1", "...", "net 5.1 SOMA"), ["epoch 7", "other", "net -3 SOMA"], None),
        (("net 5.1 SOMA", "epoch 1"), ["epoch 7", "net 1 SOMA"], "epoch 1"),
        (("epoch 1 of",), ["epoch 1"], "epoch 1 of"),
    ],
)
def test_output_is_compared_but_for_numbers(shown: tuple[str, ...], printed: list[str], missing: str | None) -> None:
    assert not_shown(shown, printed) == missing


def test_wrong_commands_are_found() -> None:
    for wrong in ("uv run nothing", "uv run submit --nothing", "uv run python nothing.py"):
        with pytest.raises(AssertionError):
            check_command(wrong, whole=False)
    for refused in ("uv run submit --epochs 0", "uv run completion csh"):
        check_command(refused, whole=False)
        with pytest.raises(AssertionError):
            check_command(refused, whole=True)
