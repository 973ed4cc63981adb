"""Data sets in the column layouts of the public ones, filled with text that is made here."""

import hashlib
import io
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from data_hosts import Repository, git_name

WORDS = (
    *("window", "source", "bank", "shard", "target", "epoch", "model", "embedding", "distance", "loss", "reward"),
    *("bond", "wallet", "lease", "ledger", "board", "lane", "matcher", "cursor", "file", "folder", "licence"),
)

STACK_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("blob_id", "directory_id", "path", "content_id")),
        ("detected_licenses", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("license_type", "repo_name", "snapshot_id", "revision_id", "branch_name")),
        *((name, pa.timestamp("us")) for name in ("visit_date", "revision_date", "committer_date")),
        ("github_id", pa.int64()),
        ("star_events_count", pa.int64()),
        ("fork_events_count", pa.int64()),
        ("gha_license_id", pa.string()),
        *((name, pa.timestamp("us")) for name in ("gha_event_created_at", "gha_created_at")),
        *((name, pa.string()) for name in ("gha_language", "src_encoding", "language")),
        ("is_vendor", pa.bool_()),
        ("is_generated", pa.bool_()),
        ("length_bytes", pa.int64()),
        ("extension", pa.string()),
    ]
)


def text(seed: object, size: int) -> str:
    """Lines of code-like text, `size` characters, unlike those of another seed."""
    dice = random.Random(f"text {seed}")
    lines: list[str] = []
    length = 0
    while length < size:
        indent = " " * (4 * dice.randrange(3))
        words = [dice.choice(WORDS) + str(dice.randrange(1000)) for _ in range(dice.randrange(3, 7))]
        lines.append(f"{indent}{words[0]} = {words[1]}({', '.join(words[2:])})\n")
        length += len(lines[-1])
    return "".join(lines)[:size]


def table(rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None, group_rows: int = 8) -> bytes:
    """A parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file, row_group_size=group_rows)
    return file.getvalue()


def stack_row(content: bytes, place: str, **changes: Any) -> dict[str, Any]:
    """A row of bigcode/the-stack-v2-dedup for a blob."""
    digest = hashlib.sha1(place.encode()).hexdigest()
    when = datetime(2023, 9, 6, 12, 0)
    return {
        "blob_id": git_name(content),
        "directory_id": digest,
        "path": f"/src/{place}.py",
        "content_id": digest,
        "detected_licenses": ["MIT"],
        "license_type": "permissive",
        "repo_name": f"somebody/{place}",
        "snapshot_id": digest,
        "revision_id": hashlib.sha1(b"r" + place.encode()).hexdigest(),
        "branch_name": "refs/heads/main",
        "visit_date": when,
        "revision_date": when,
        "committer_date": when,
        "github_id": 1,
        "star_events_count": 0,
        "fork_events_count": 0,
        "gha_license_id": None,
        "gha_event_created_at": None,
        "gha_created_at": None,
        "gha_language": None,
        "src_encoding": "UTF-8",
        "language": "Python",
        "is_vendor": False,
        "is_generated": False,
        "length_bytes": len(content),
        "extension": "py",
        **changes,
    }


def stack(
    languages: Sequence[str] = ("Python",), files: int = 4, rows: int = 20
) -> tuple[Repository, dict[str, bytes]]:
    """bigcode/the-stack-v2-dedup, and the blobs that its rows name."""
    paths: dict[str, bytes] = {"README.md": b"# The Stack v2"}
    blobs: dict[str, bytes] = {}
    for language in languages:
        for file in range(files):
            given = []
            for row in range(rows):
                content = text((language, file, row), 1500 + 700 * (row % 9)).encode()
                blobs[git_name(content)] = content
                given.append(stack_row(content, f"{language}-{file}-{row}", language=language))
            paths[f"data/{language}/train-{file:05d}-of-{files:05d}.parquet"] = table(given, STACK_SCHEMA)
    return Repository(paths, gated=True), blobs


def starcoder(folder: str = "python", rows: int = 12) -> Repository:
    given = [
        {
            "max_stars_repo_path": f"lib/{row}.py",
            "max_stars_repo_name": f"somebody/project{row}",
            "max_stars_count": row,
            "id": str(row),
            "content": text(("starcoder", folder, row), 2000 + 300 * (row % 12)),
        }
        for row in range(rows)
    ]
    return Repository({f"{folder}/train-00000-of-00001.parquet": table(given)}, gated=True)


def fineweb_edu(rows: int = 24) -> Repository:
    given = [
        {
            "text": text(("fineweb", row), 1800 + 500 * (row % 5)),
            "id": f"<urn:uuid:{row}>",
            "dump": "CC-MAIN-2024-10",
            "url": f"https://pages.example/{row}",
            "file_path": "s3://commoncrawl/crawl-data/CC-MAIN-2024-10/segments/1.warc.gz",
            "language": "en",
            "language_score": 0.97,
            "token_count": 400,
            "score": 3.1,
            "int_score": 3,
        }
        for row in range(rows)
    ]
    half = rows // 2
    return Repository(
        {f"sample/10BT/{n:03d}_00000.parquet": table(part) for n, part in enumerate((given[:half], given[half:]))},
        {"license": "odc-by"},
    )


def swe_bench(rows: int = 9) -> Repository:
    projects = ("django/django", "pylint-dev/pylint", "somebody/unknown")
    given = [
        {
            "repo": projects[row % 3],
            "instance_id": f"{projects[row % 3].replace('/', '__')}-{row}",
            "base_commit": hashlib.sha1(str(row).encode()).hexdigest(),
            "patch": text(("patch", row), 2500),
            "test_patch": text(("test patch", row), 1500),
            "problem_statement": text(("problem", row), 1400),
            "hints_text": text(("hints", row), 900 + 200 * row),
            "created_at": "2023-01-01T00:00:00Z",
            "version": "4.2",
            "FAIL_TO_PASS": "[]",
            "PASS_TO_PASS": "[]",
            "environment_setup_commit": "0" * 40,
        }
        for row in range(rows)
    ]
    return Repository(
        {"data/test-00000-of-00001.parquet": table(given), "data/train-00000-of-00001.parquet": table(given[:1])}
    )
