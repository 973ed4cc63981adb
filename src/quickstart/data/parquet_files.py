"""Parquet files in local folders and S3 buckets, by pattern."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import glob
from hashlib import blake2b
from os import environ
from pathlib import Path

from pyarrow import fs

from quickstart.data.parquet import FileSet
from quickstart.errors import SourceError

S3 = "s3://"


def list_parquet(pattern: str) -> FileSet:
    """The files that match. Their names and sizes stand for a version.

    Raises:
        SourceError: no file matches, or the bucket cannot be listed.
    """
    system, found = _in_bucket(pattern.removeprefix(S3)) if pattern.startswith(S3) else _in_folders(pattern)
    if not found:
        raise SourceError(f"no file matches {pattern}: name files or a pattern such as {pattern.rstrip('/')}/*.parquet")
    facts = "\0".join(f"{info.path}\0{info.size}" for info in sorted(found, key=lambda info: info.path))
    revision = blake2b(facts.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return FileSet(revision, [info.path for info in found], system.open_input_file)


def _in_folders(pattern: str) -> tuple[fs.FileSystem, Sequence[fs.FileInfo]]:
    system = fs.LocalFileSystem()
    names = sorted(glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute one
    return system, [info for info in system.get_file_info(names) if info.type is fs.FileType.File] if names else []


def _in_bucket(pattern: str) -> tuple[fs.FileSystem, Sequence[fs.FileInfo]]:
    """Amazon's own variables say who we are and where (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...); without a key the
    bucket is read as anybody may."""
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    system = fs.S3FileSystem(anonymous="AWS_ACCESS_KEY_ID" not in environ, endpoint_override=endpoint)
    fixed = pattern[: min(pattern.find(sign) for sign in "*?[" if sign in pattern)] if _is_glob(pattern) else pattern
    folder = fixed.rpartition("/")[0] if _is_glob(pattern) else fixed
    try:
        if not _is_glob(pattern):
            return system, [info for info in [system.get_file_info(pattern)] if info.type is fs.FileType.File]
        listed = system.get_file_info(fs.FileSelector(folder, recursive=True))
    except OSError as error:
        raise SourceError(
            f"{S3}{folder} cannot be listed ({' '.join(str(error).split())[:200]}): check the name, AWS_ENDPOINT_URL, "
            "and AWS_ACCESS_KEY_ID if it is not public"
        ) from error
    return system, [info for info in listed if info.type is fs.FileType.File and fnmatchcase(info.path, pattern)]


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")
