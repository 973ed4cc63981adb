"""What a hub and an archive in trouble do to a source: it waits as told, skips what is broken, gives up in order."""

import gzip
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from data_hosts import ArchiveStandIn, Fault, HubStandIn, OpenSource, Repository, git_name
from data_samples import STACK_SCHEMA, stack_row, table, text

from quickstart.data.contents import CONCURRENCY, Contents
from quickstart.data.hub import Hub
from quickstart.data.parquet import FileSet, MissingFileError, read_rows
from quickstart.data.patience import GivenUpError, Patience, TransientError, retry_after
from quickstart.data.stack import StackSource
from quickstart.data.window import SourcePlan, Window
from quickstart.errors import SourceError

REPOSITORY = "bigcode/the-stack-v2-dedup"


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, host: str = "host", limit: float = 600.0) -> Patience:
        return Patience(host, limit, sleep=self.sleep, clock=lambda: self.now, jitter=random.Random(1).random)


def python_source(hub: HubStandIn, archive: ArchiveStandIn, clock: Clock) -> StackSource:
    reader = Hub(hub.url, "hf_" + "good" * 9, clock.patience("the hub"))

    def files(revision: str | None) -> FileSet:
        at = reader.facts(REPOSITORY, revision).revision
        sizes = reader.paths(REPOSITORY, "data/Python", at)
        return reader.file_set(REPOSITORY, sizes, at)

    return StackSource("Python", files, Contents(archive.url, clock.patience("the archive")))


def read(source: StackSource) -> list[Window]:
    return list(source.windows(SourcePlan(3)))


@pytest.fixture
def whole(opened: OpenSource) -> list[Window]:
    return list(opened("stack-v2:Python").windows(SourcePlan(3)))


def test_busy_hosts_are_waited_for_and_nothing_is_lost(
    hub: HubStandIn, archive: ArchiveStandIn, whole: list[Window]
) -> None:
    clock = Clock()
    hub.host.faults = [Fault("resolve", 3, status=429, retry_after="7"), Fault("resolve", 2, status=503)]
    hub.content.faults = [Fault(".parquet", 2, cut=True), Fault(".parquet", 1, status=502)]
    archive.host.faults = [
        Fault("content", 20, status=503),
        Fault("content", 5, status=429, retry_after="11"),
        Fault("content", 10, cut=True),
    ]
    source = python_source(hub, archive, clock)
    assert read(source) == whole
    assert source.skipped == {}
    assert [wait for wait in clock.slept if 7.0 <= wait <= 7.7]
    assert sum(11.0 <= wait <= 12.1 for wait in clock.slept) >= 1
    assert hub.content.faults[0].times == archive.host.faults[2].times == 0


def test_a_dead_archive_ends_in_one_line_and_keeps_what_came(hub: HubStandIn, archive: ArchiveStandIn) -> None:
    clock = Clock()
    stream = python_source(hub, archive, clock).windows(SourcePlan(3))
    first = [next(stream) for _ in range(4)]
    archive.host.faults = [Fault("content", float("inf"), status=503)]
    with pytest.raises(SourceError, match="the archive has answered nothing useful for") as error:
        first.extend(stream)
    assert "what was fetched is kept" in str(error.value) and "\n" not in str(error.value)
    assert clock.now >= 560 or sum(clock.slept) >= 560
    archive.host.faults = []
    rest = python_source(hub, archive, Clock()).windows(SourcePlan(3), stream.cursor)
    assert first + list(rest) == read(python_source(hub, archive, Clock()))


def test_a_dead_hub_ends_in_one_line(hub: HubStandIn, archive: ArchiveStandIn) -> None:
    clock = Clock()
    hub.content.faults = [Fault(".parquet", float("inf"), status=503)]
    with pytest.raises(SourceError, match=r"the hub has answered nothing useful for \d+ s \(HTTP 503\)"):
        read(python_source(hub, archive, clock))
    assert 500 < clock.now <= 600


def test_a_hub_that_is_not_there_ends_in_one_line() -> None:
    with pytest.raises(SourceError, match="has answered nothing useful"):
        Hub("http://127.0.0.1:9", None, Clock().patience()).facts("some/set")


def test_bad_contents_are_counted_and_skipped(hub: HubStandIn, archive: ArchiveStandIn, whole: list[Window]) -> None:
    names = sorted(archive.objects)
    by_path = {window.provenance.path for window in whole}
    good = archive.objects
    archive.objects = dict(good)
    wanted = [path.removeprefix("/content/") for path in archive.host.paths("content")]
    broken = list(dict.fromkeys(wanted))[:5]
    assert set(broken) <= set(names)
    del archive.objects[broken[0]]
    archive.objects[broken[1]] = b"no gzip at all"
    archive.objects[broken[2]] = good[broken[2]][:-30]
    archive.objects[broken[3]] = gzip.compress(b"something else " * 200)
    archive.objects[broken[4]] = gzip.compress(b"\xff\xfe\x80" * 700)
    source = python_source(hub, archive, Clock())
    left = {window.provenance.path for window in read(source)}
    assert source.skipped == {"missing content": 1, "broken gzip": 1, "truncated gzip": 1, "wrong content": 2}
    assert left < by_path and len(left) == len(by_path) - 5


def test_one_blob_that_never_comes_is_given_up_while_others_come(
    hub: HubStandIn, archive: ArchiveStandIn, whole: list[Window]
) -> None:
    name = archive.host.paths("content")[3]
    archive.host.faults = [Fault(name, float("inf"), status=500)]
    source = python_source(hub, archive, Clock())
    assert len({w.provenance.path for w in read(source)}) == len({w.provenance.path for w in whole}) - 1
    assert source.skipped == {"unavailable content": 1}


def test_broken_and_missing_files_are_counted_and_skipped(
    hub: HubStandIn, archive: ArchiveStandIn, whole: list[Window]
) -> None:
    repository = hub.repositories[REPOSITORY]
    files = dict(repository.files)
    first, second, third = sorted(path for path in files if path.startswith("data/Python/"))[:3]
    files[first] = files[first][:2000]
    files[third] = table([{"something": "else"}])
    hub.repositories[REPOSITORY] = Repository(files, gated=True)
    hub.host.faults = [Fault(f"resolve/{hub.repositories[REPOSITORY].revision}/{second}", float("inf"), status=404)]
    source = python_source(hub, archive, Clock())
    left = read(source)
    assert {window.provenance.path.split("-")[1] for window in left} == {"3"}
    assert source.skipped["broken file"] == 1 and source.skipped["file without the column"] == 1
    assert source.skipped.total() == 3


def test_encodings_and_what_is_not_wanted(hub: HubStandIn, archive: ArchiveStandIn) -> None:
    latin = ("déjà vu, naïve café; " * 90).encode("latin-1")
    wide = text("wide", 2000).encode("utf-16")
    contents = {"latin": latin, "wide": wide, "bad": b"\xc3(" * 900, "odd": text("odd", 1500).encode()}
    rows = [
        stack_row(latin, "latin", src_encoding="ISO-8859-1"),
        stack_row(wide, "wide", src_encoding="UTF-16"),
        stack_row(contents["bad"], "bad"),
        stack_row(contents["odd"], "odd", src_encoding="no-such-encoding"),
        stack_row(b"x", "no", license_type="no_license", length_bytes=5000),
        stack_row(b"y", "vendored", is_vendor=True, length_bytes=5000),
        stack_row(b"z", "made", is_generated=True, length_bytes=5000),
        stack_row(b"w", "short"),
    ]
    hub.repositories[REPOSITORY] = Repository({"data/Python/train-0.parquet": table(rows, STACK_SCHEMA)})
    archive.objects = {git_name(data): gzip.compress(data) for data in contents.values()}
    source = python_source(hub, archive, Clock())
    found = {window.provenance.path.split("/")[1]: window.data for window in read(source)}
    assert found.keys() == {"latin", "wide"}
    assert found["latin"].decode() in latin.decode("latin-1") and found["wide"].decode() in wide.decode("utf-16")
    assert source.skipped == {
        "wrong encoding": 2,
        "licence": 1,
        "vendored": 1,
        "generated": 1,
        "shorter than a window": 1,
    }


def test_many_requests_are_in_flight_but_not_more(archive: ArchiveStandIn) -> None:
    archive.host.latency = 0.03
    wanted = ((name, name, "UTF-8") for name in archive.objects)
    got = [name for name, _ in Contents(archive.url, concurrency=16).fetch_all(wanted, 16, Counter())]
    assert got == list(archive.objects)
    assert 8 <= archive.host.in_flight["most"] <= 16 < CONCURRENCY


def test_a_long_file_is_read_in_part(archive: ArchiveStandIn) -> None:
    content = "".join(f"line {number} of a long file é\n" for number in range(400_000)).encode()
    archive.objects = {"long": gzip.compress(content, 1)}
    got = Contents(archive.url).fetch("long", "UTF-8")
    assert len(got) <= 1 << 20 and content.startswith(got) and len(got) > 1_000_000


# -- patience itself


def test_waits_grow_with_jitter_and_what_is_told_counts() -> None:
    clock, attempts = Clock(), iter([None, None, 5.0, None, "done"])

    def attempt() -> str:
        told = next(attempts)
        if told == "done":
            return "done"
        raise TransientError("busy", told)  # type: ignore[arg-type]

    assert clock.patience().call(attempt) == "done"
    bounds = [(0.25, 0.75), (0.5, 1.5), (5.0, 5.5), (2.0, 6.0)]
    assert all(low <= wait <= high for wait, (low, high) in zip(clock.slept, bounds, strict=True))


def test_a_host_that_asks_for_more_than_our_patience_is_not_waited_for() -> None:
    clock = Clock()

    def attempt() -> None:
        raise TransientError("HTTP 429", 7200.0)

    patience = clock.patience()
    for _ in range(2):  # other threads do not wait for it either
        with pytest.raises(SourceError, match="HTTP 429"):
            patience.call(attempt)
    assert clock.slept == []


def test_a_refusal_ends_a_silence() -> None:
    clock = Clock()
    patience = clock.patience()
    answers = iter([TransientError("HTTP 503", None), LookupError("HTTP 404")])

    def attempt() -> None:
        raise next(answers)

    with pytest.raises(LookupError):
        patience.call(attempt)
    clock.now += 3600.0
    answers = iter([TransientError("HTTP 503", None), LookupError("HTTP 404")])
    with pytest.raises(LookupError):
        patience.call(attempt)


def test_one_request_is_given_up_only_while_others_succeed() -> None:
    patience = Clock().patience()

    def attempt() -> None:
        patience.call(lambda: None)
        raise TransientError("HTTP 500")

    with pytest.raises(GivenUpError):
        patience.call(attempt)


@pytest.mark.parametrize(("value", "seconds"), [("12", 12.0), ("", None), ("soon", None), ("-3", None)])
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_a_file_that_cannot_be_had_is_counted() -> None:
    def missing(path: str) -> None:
        raise MissingFileError(path)

    skipped: Counter[str] = Counter()
    assert list(read_rows(FileSet("1", ["a", "b"], missing), ("x",), ("x",), SourcePlan(), None, skipped)) == []
    assert skipped == {"missing file": 2}
