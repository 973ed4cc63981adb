"""Parquet files in folders and in a bucket, by pattern."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from data_samples import table, text
from moto.server import ThreadedMotoServer

from quickstart.data.sources import open_source
from quickstart.data.window import Provenance, Source, SourcePlan
from quickstart.errors import SourceError
from quickstart.settings import Settings

ROWS = [{"path": f"{n}.md", "license": "MIT", "body": text(n, 3000)} for n in range(20)]


def source(name: str) -> Source:
    return open_source(name, Settings(_env_file=None))


def read(name: str, seed: int = 1) -> list[Provenance]:
    return [window.provenance for window in source(name).windows(SourcePlan(seed))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        path = tmp_path / f"part{number % 2}" / f"{number}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(table(ROWS[number * 5 : number * 5 + 5], group_rows=2))
    return tmp_path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_pattern_in_folders(folder: Path) -> None:
    found = read(f"parquet:{folder}/**/*.parquet")
    assert {place.path for place in found} == {row["path"] for row in ROWS}
    assert {(place.licence, place.source) for place in found} == {("MIT", f"parquet:{folder}/**/*.parquet")}
    assert len(found) == 40
    assert {place.path for place in read(f"parquet:{folder}/part1/3.parquet")} == {row["path"] for row in ROWS[15:]}


def test_going_on_and_files_that_changed(folder: Path) -> None:
    name = f"parquet:{folder}/*/*.parquet:body"
    whole = list(source(name).windows(SourcePlan(1)))
    for stop in (1, 2, 13, 40):
        stream = source(name).windows(SourcePlan(1))
        first = list(itertools.islice(stream, stop))
        assert first + list(source(name).windows(SourcePlan(1), stream.cursor)) == whole
    (folder / "part0" / "9.parquet").write_bytes(table(ROWS[:2]))
    assert len(list(source(name).windows(SourcePlan(1), stream.cursor))) == 44


def test_objects_of_a_bucket(bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=bucket)
    client.create_bucket(Bucket="sets")
    for path in folder.rglob("*.parquet"):
        client.put_object(Bucket="sets", Key=f"mine/{path.relative_to(folder)}", Body=path.read_bytes())
    client.close()
    found = read("parquet:s3://sets/mine/part*/*.parquet:body")
    assert sorted(place.path for place in found) == sorted(
        place.path for place in read(f"parquet:{folder}/*/*.parquet")
    )
    with pytest.raises(SourceError, match="no file matches s3://sets/mine"):
        read("parquet:s3://sets/mine/*.json")
    for nowhere in ("sets/other", "nowhere"):
        with pytest.raises(SourceError, match=f"s3://{nowhere} cannot be listed"):
            read(f"parquet:s3://{nowhere}/*.parquet")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("*.json", "no file matches"),
        ("text.parquet", "is not a parquet file"),
        ("part0/0.parquet:content", "has no column of text named content; it has path, license, body"),
        ("two.parquet", "which column holds the text"),
    ],
)
def test_what_cannot_be_read_is_one_line(folder: Path, name: str, told: str) -> None:
    (folder / "text.parquet").write_text("no parquet" * 10)
    (folder / "two.parquet").write_bytes(table([{"left": "a", "right": "b"}]))
    with pytest.raises(SourceError, match=told) as problem:
        read(f"parquet:{folder}/{name}")
    assert "\n" not in str(problem.value)
