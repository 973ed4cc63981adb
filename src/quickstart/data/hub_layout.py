"""Which files make up a configuration and split of a data set: pure functions of its paths and its card."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from quickstart.errors import SourceError

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".arrow": "arrow",
}
PACKED = (".gz", ".zst", ".bz2", ".xz")

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in a path that name a split where the card does not, as on the hub's own pages."""


def format_of(path: str) -> str | None:
    """Name of the reader for a file; None if it is no table or text."""
    plain = path
    for suffix in PACKED:
        plain = plain.removesuffix(suffix)
    found = FORMATS.get(PurePosixPath(plain).suffix.lower())
    return None if found == "parquet" and plain != path else found


def choose_files(
    paths: Iterable[str], card: Mapping[str, Any], configuration: str | None, split: str | None
) -> tuple[str, list[str]]:
    """The format and the paths of a split; `train`, or the first there is, when none is named.

    Raises:
        SourceError: no such configuration or split, or nothing in a known format.
    """
    readable = sorted(path for path in paths if format_of(path) and not _is_hidden(path))
    splits = _declared_splits(readable, card.get("configs") or [], configuration)
    if splits is None:
        inside = [path for path in readable if configuration is None or path.startswith(f"{configuration}/")]
        if configuration is not None and not inside:
            raise SourceError(f"it has no configuration {configuration}: {_folders(readable)}")
        splits = _splits_by_name(inside)
    chosen = split or ("train" if "train" in splits else next(iter(splits), None))
    if chosen is None:
        raise SourceError("it has no file in a format that is read: parquet, JSON, CSV, text or Arrow")
    if chosen not in splits:
        raise SourceError(f"it has no split {chosen}; it has {', '.join(splits)}")
    formats = [format_of(path) for path in splits[chosen]]
    most = max(sorted({name for name in formats if name}), key=formats.count)
    return most, [path for path, name in zip(splits[chosen], formats, strict=True) if name == most]


def _declared_splits(
    paths: Sequence[str], configurations: Sequence[Mapping[str, Any]], wanted: str | None
) -> dict[str, list[str]] | None:
    """Splits as the card declares them; None if it declares no files."""
    declared = {str(entry.get("config_name", "default")): entry for entry in configurations}
    if not declared:
        return None
    defaults = [name for name, entry in declared.items() if entry.get("default")]
    name = wanted or (defaults[0] if defaults else "default" if "default" in declared else next(iter(declared)))
    if name not in declared:
        raise SourceError(f"it has no configuration {name}; it has {', '.join(declared)}")
    entry = declared[name]
    folder = str(entry.get("data_dir") or "").strip("/")
    if "data_files" not in entry:
        return _splits_by_name([path for path in paths if not folder or path.startswith(f"{folder}/")])
    splits: dict[str, list[str]] = {}
    for part in _as_list(entry["data_files"]):
        split, patterns = (part.get("split", "train"), part["path"]) if isinstance(part, Mapping) else ("train", part)
        found = [path for path in paths if any(_matches(path, str(pattern)) for pattern in _as_list(patterns))]
        splits.setdefault(str(split), []).extend(found)
    return {split: found for split, found in splits.items() if found}


def _splits_by_name(paths: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for path in paths:
        words = set("".join(letter if letter.isalpha() else " " for letter in path.lower()).split())
        name = next((split for split, signs in SPLIT_WORDS.items() if words & set(signs)), "train")
        splits.setdefault(name, []).append(path)
    return splits


def _matches(path: str, pattern: str) -> bool:
    """Shell patterns; `**` spans folders, and a folder stands for all in it."""
    plain = pattern.removeprefix("./")
    return fnmatchcase(path, plain.replace("**/", "*")) or path.startswith(plain.rstrip("/") + "/")


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _folders(paths: Iterable[str]) -> str:
    folders = sorted({path.split("/")[0] for path in paths if "/" in path})
    return f"its folders are {', '.join(folders[:12])}" if folders else "it has no folders"
