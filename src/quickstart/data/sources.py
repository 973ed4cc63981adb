"""Names of sources, and the sources behind them. What reads the hub or parquet is loaded only when it is named."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from quickstart.data.folder import FolderSource, TextFileSource, python_library
from quickstart.data.mixture import Mixture, Part
from quickstart.data.window import Source
from quickstart.errors import SourceError
from quickstart.settings import Settings

if TYPE_CHECKING:
    from quickstart.data.contents import Contents
    from quickstart.data.hub import Hub
    from quickstart.data.parquet import FileSet

STACK_LANGUAGES = (
    *("Python", "JavaScript", "TypeScript", "Java", "C", "C++", "Go", "Rust", "Ruby", "PHP", "Shell", "Haskell", "Lua"),
    *("R", "Julia", "Perl", "Scala", "Kotlin", "Swift", "Assembly", "SQL", "Makefile", "Dockerfile", "CMake"),
    *("HTML", "CSS", "XML", "SVG", "Markdown", "reStructuredText", "TeX"),
    *("JSON", "YAML", "TOML", "INI", "CSV", "Text", "Diff"),
)
"""Folders of bigcode/the-stack-v2-dedup: languages, markup, data. One that is not there is left out."""

STARCODER_FOLDERS = (
    "github-issues-filtered-structured",
    "git-commits-cleaned",
    "jupyter-scripts-dedup-filtered",
    "jupyter-structured-clean-dedup",
    *("python", "java", "c", "fortran", "verilog", "common-lisp", "prolog"),
)

DEFAULT_MIXTURE = "stack-v2=8;starcoder=3;fineweb-edu=2;swe-bench=1;python-library=1"
"""By weight: one kind of data fills a third of what a mixture does."""

DEFAULT_SOURCE = "python-library"

LOCAL = ("dir:", "parquet:", "text-lines:")

OF_TABLES = frozenset({"stack-v2", "starcoder", "fineweb-edu", "swe-bench", "hf", "parquet"})
"""Read with what only the extra `data` brings."""


HUB_SETS = {
    "stack-v2": "bigcode/the-stack-v2-dedup",
    "starcoder": "bigcode/starcoderdata",
    "fineweb-edu": "HuggingFaceFW/fineweb-edu",
    "swe-bench": "princeton-nlp/SWE-bench",
}
"""The data set of the hub behind a name."""


def open_source(text: str, settings: Settings) -> Source:
    """The source of that name; a name without one of the known beginnings is a folder.

    Raises:
        SourceError: the name does not say enough.
    """
    return _Opener(settings).open(text.strip())


def open_sources(names: Sequence[str], settings: Settings) -> tuple[Source, ...]:
    """The sources of these names, else the one that the settings name, else Python's library. They share one hub and
    one archive.

    Raises:
        SourceError: a name does not say enough.
    """
    opener = _Opener(settings)
    return tuple(opener.open(name.strip()) for name in names or [settings.source or DEFAULT_SOURCE])


def is_of_this_machine(text: str) -> bool:
    """Whether a name means files here, which another machine does not have."""
    text = text.strip()
    head = text.partition(":")[0]
    if text.startswith("mixture:"):
        return any(is_of_this_machine(name) for name, _ in _weights(text.removeprefix("mixture:")))
    return not text.startswith("parquet:s3://") and (text.startswith(LOCAL) or head not in _OPENERS)


def hub_sets(text: str) -> tuple[str, ...]:
    """The data sets of the hub that a source reads, each once; asks nobody.

    Raises:
        SourceError: a mixture that is none.
    """
    head, _, rest = text.strip().partition(":")
    if head == "mixture":
        return tuple(dict.fromkeys(found for name, _ in _weights(rest) for found in hub_sets(name)))
    if head == "hf":
        return (rest.partition(":")[0],) if rest else ()
    return (HUB_SETS[head],) if head in HUB_SETS else ()


class _Opener:
    """Opens sources that share one hub and one archive, and so their patience."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def open(self, text: str) -> Source:
        head, _, rest = text.partition(":")
        opener = _OPENERS.get(head)
        if opener is None:
            return FolderSource(Path(text).expanduser())
        if head in OF_TABLES and find_spec("pyarrow") is None:
            raise SourceError(f"the source {head} needs the extra `data`: `uv sync --extra data` installs it")
        return opener(self, rest)

    @cached_property
    def _hub(self) -> "Hub":
        from quickstart.data.hub import Hub

        token = self._settings.hf_token
        return Hub(self._settings.hf_endpoint, token.get_secret_value() if token else None)

    @cached_property
    def _contents(self) -> "Contents":
        from quickstart.data.contents import Contents

        return Contents(self._settings.swh_endpoint)

    def directory(self, rest: str) -> Source:
        return FolderSource(_path("dir", rest))

    def text_lines(self, rest: str) -> Source:
        return TextFileSource(_path("text-lines", rest))

    def python(self, rest: str) -> Source:
        return python_library()

    def mixture(self, rest: str) -> Source:
        parts = [Part(self.open(name), weight) for name, weight in _weights(rest)]
        return Mixture(f"mixture:{rest}", parts)

    def stack(self, rest: str) -> Source:
        from quickstart.data.contents import CONCURRENCY
        from quickstart.data.stack import StackSource

        languages = rest.split(",") if rest else STACK_LANGUAGES
        ahead = max(2, CONCURRENCY // len(languages))
        return _one_or_mixture(
            f"stack-v2:{rest}" if rest else "stack-v2",
            [
                StackSource(language, self._folder(HUB_SETS["stack-v2"], f"data/{language}"), self._contents, ahead)
                for language in languages
            ],
        )

    def starcoder(self, rest: str) -> Source:
        from quickstart.data.tables import TableSource, starcoder_layout

        folders = rest.split(",") if rest else STARCODER_FOLDERS
        return _one_or_mixture(
            f"starcoder:{rest}" if rest else "starcoder",
            [
                TableSource(
                    f"starcoder:{folder}",
                    starcoder_layout(folder),
                    self._folder(HUB_SETS["starcoder"], folder),
                )
                for folder in folders
            ],
        )

    def fineweb(self, rest: str) -> Source:
        from quickstart.data.tables import TableSource, text_layout

        folder = rest or "sample/10BT"
        layout = text_layout("text", "prose", "ODC-By-1.0", ("text", "url"))
        return TableSource(f"fineweb-edu:{folder}", layout, self._folder(HUB_SETS["fineweb-edu"], folder))

    def swe_bench(self, rest: str) -> Source:
        from quickstart.data.tables import TableSource, swe_bench_layout

        columns = {"patch": "patch", "problem_statement": "issue", "hints_text": "discussion"}
        files = self._folder(HUB_SETS["swe-bench"], "data", "data/test-")
        return _one_or_mixture(
            "swe-bench",
            [
                TableSource(f"swe-bench:{column}", swe_bench_layout(column, kind), files)
                for column, kind in columns.items()
            ],
        )

    def hugging_face(self, rest: str) -> Source:
        from quickstart.data.hub_sets import open_hub_set

        return open_hub_set(self._hub, rest)

    def parquet(self, rest: str) -> Source:
        from quickstart.data.parquet_files import list_parquet
        from quickstart.data.tables import TableSource, found_layout

        pattern, column = rest, None
        head, _, tail = rest.rpartition(":")
        if head and "/" not in tail and head != "s3":
            pattern, column = head, tail
        if not pattern:
            raise SourceError("name a file or a pattern: parquet:PATH/*.parquet or parquet:s3://BUCKET/PATH/*.parquet")
        return TableSource(
            f"parquet:{rest}",
            lambda files: found_layout(files, column, "table", None),
            lambda _: list_parquet(pattern),
        )

    def _folder(self, repository: str, folder: str, prefix: str = "") -> "Callable[[str | None], FileSet]":
        """Lists the parquet files of a folder of a data set."""

        def files(revision: str | None) -> "FileSet":
            hub = self._hub
            at = hub.facts(repository, revision).revision
            sizes = {
                path: size
                for path, size in hub.paths(repository, folder, at).items()
                if path.endswith(".parquet") and path.startswith(prefix)
            }
            return hub.file_set(repository, sizes, at)

        return files


_OPENERS: dict[str, Callable[[_Opener, str], Source]] = {
    "stack-v2": _Opener.stack,
    "starcoder": _Opener.starcoder,
    "fineweb-edu": _Opener.fineweb,
    "swe-bench": _Opener.swe_bench,
    "hf": _Opener.hugging_face,
    "dir": _Opener.directory,
    "parquet": _Opener.parquet,
    "text-lines": _Opener.text_lines,
    "python-library": _Opener.python,
    "mixture": _Opener.mixture,
}


def _weights(text: str) -> list[tuple[str, float]]:
    """Names and weights of a mixture's parts: `NAME=WEIGHT;NAME;...`, a weight being 1 unless it is given.

    Raises:
        SourceError: a weight is no positive number.
    """
    found = []
    for item in (DEFAULT_MIXTURE if text == "default" else text).split(";"):
        name, _, weight = item.strip().rpartition("=")  # a path may hold one too
        if not name:
            name, weight = weight, ""
        try:
            value = float(weight or 1)
        except ValueError:
            value = 0.0
        if not name or not 0 < value < float("inf"):
            raise SourceError(f"{item.strip()!r} is no part of a mixture: write mixture:SOURCE=WEIGHT;SOURCE=WEIGHT")
        found.append((name, value))
    return found


def _path(kind: str, text: str) -> Path:
    if not text:
        raise SourceError(f"name a path: {kind}:PATH")
    return Path(text).expanduser()


def _one_or_mixture(name: str, sources: Sequence[Source]) -> Source:
    return sources[0] if len(sources) == 1 else Mixture(name, [Part(source) for source in sources])
