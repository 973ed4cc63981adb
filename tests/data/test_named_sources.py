"""Every named source against the stand-ins: what it gives, where it goes on, how workers share it."""

import itertools
import json
import logging
import sys
from pathlib import Path

import pytest
from data_hosts import EXPIRED_TOKEN, GOOD_TOKEN, NEW_TOKEN, ArchiveStandIn, HubStandIn, OpenSource, Repository
from data_samples import text

from quickstart.data.sources import is_of_this_machine, open_source, open_sources
from quickstart.data.window import Provenance, Source, SourcePlan, Window
from quickstart.errors import SourceAccessError, SourceError
from quickstart.settings import Settings

NAMES = ("stack-v2:Python", "stack-v2:Python,Rust", "starcoder:python", "fineweb-edu", "swe-bench", "hf:me/lines")
LINES = "".join(json.dumps({"text": text(("line", row), 1200 + 200 * (row % 20))}) + "\n" for row in range(30))


@pytest.fixture(autouse=True)
def lines_on_the_hub(hub: HubStandIn) -> None:
    few = "".join(LINES.splitlines(keepends=True)[:5])
    hub.repositories["me/lines"] = Repository({"train.jsonl": LINES.encode(), "more/train-2.jsonl": few.encode()})


def read(source: Source, seed: int = 3, **share: int) -> list[Window]:
    return list(source.windows(SourcePlan(seed, **share)))


def places(windows: list[Window]) -> list[Provenance]:
    return [window.provenance for window in windows]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_plan_gives_the_same_windows_from_any_cursor_on(opened: OpenSource, name: str) -> None:
    whole = read(opened(name))
    assert len(set(places(whole))) == len(whole) >= 10
    assert read(opened(name)) == whole
    for stop in (1, 7, len(whole) // 2, len(whole)):
        stream = opened(name).windows(SourcePlan(3))
        first = list(itertools.islice(stream, stop))
        cursor = json.loads(json.dumps(stream.cursor))
        assert first + list(opened(name).windows(SourcePlan(3), cursor)) == whole


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_reads_in_another_order(opened: OpenSource, name: str) -> None:
    assert places(read(opened(name), seed=1)) != places(read(opened(name), seed=2))


@pytest.mark.parametrize("name", NAMES)
def test_workers_take_disjoint_files(opened: OpenSource, name: str) -> None:
    shares = [set(places(read(opened(name), worker=worker, workers=3))) for worker in range(3)]
    assert set.union(*shares) == set(places(read(opened(name))))
    assert sum(map(len, shares)) == len(set.union(*shares))


def test_going_on_fetches_nothing_that_lies_before(
    opened: OpenSource, hub: HubStandIn, archive: ArchiveStandIn
) -> None:
    stream = opened("stack-v2:Python").windows(SourcePlan(3))
    first = list(itertools.islice(stream, 150))
    assert stream.cursor is not None and stream.cursor["file"] > 0
    hub.content.requests.clear()
    archive.host.requests.clear()
    list(opened("stack-v2:Python").windows(SourcePlan(3), stream.cursor))
    assert len(set(hub.content.paths(".parquet"))) == 4 - stream.cursor["file"]
    documents = len({window.provenance.path for window in first})
    assert len(set(archive.host.paths())) == 80 - documents + 1  # the last one may have more windows


def test_a_cursor_keeps_to_the_version_it_was_made_in(opened: OpenSource, hub: HubStandIn) -> None:
    whole = read(opened("fineweb-edu"))
    stream = opened("fineweb-edu").windows(SourcePlan(3))
    first = list(itertools.islice(stream, 9))
    files = dict(hub.repositories["HuggingFaceFW/fineweb-edu"].files)
    files["sample/10BT/009_00000.parquet"] = files["sample/10BT/000_00000.parquet"]
    hub.repositories["HuggingFaceFW/fineweb-edu"] = Repository(files)
    assert first + list(opened("fineweb-edu").windows(SourcePlan(3), stream.cursor)) == whole
    assert len(read(opened("fineweb-edu"))) > len(whole)


def test_the_stack_keeps_where_a_file_is_from(opened: OpenSource) -> None:
    window = read(opened("stack-v2:Rust"))[0]
    place = window.provenance
    assert place.source == "stack-v2"
    assert place.path.startswith("somebody/Rust-") and place.path.endswith(".py")
    assert (place.licence, place.kind) == ("MIT", "rust")
    assert len(place.revision or "") == 40


def test_prose_and_code_keep_their_licences(opened: OpenSource, hub: HubStandIn) -> None:
    prose = read(opened("fineweb-edu"))[0].provenance
    assert prose.path.startswith("https://pages.example/") and prose.licence == "ODC-By-1.0"
    assert prose.revision == hub.repositories["HuggingFaceFW/fineweb-edu"].revision
    code = read(opened("starcoder:python"))[0].provenance
    assert code.path.startswith("somebody/project") and code.licence == "LicenseRef-the-stack-v1-permissive"


def test_swe_bench_leaves_out_what_is_not_permissive(opened: OpenSource) -> None:
    source = opened("swe-bench")
    found = places(read(source))
    assert {place.path.split("/django__")[0] for place in found} == {"django/django"}
    assert {place.kind for place in found} == {"patch", "issue", "discussion"}
    assert {place.licence for place in found} == {"BSD-3-Clause"}
    assert source.skipped["licence"] == 6 * 3


def test_the_default_mixture_spans_many_kinds(opened: OpenSource) -> None:
    found = list(itertools.islice(opened("mixture:default").windows(SourcePlan(1)), 150))
    sources = {place.source.split(":")[0] for place in places(found)}
    assert sources == {"stack-v2", "starcoder", "fineweb-edu", "swe-bench", "dir"}
    stack = sum(place.source == "stack-v2" for place in places(found))
    assert stack == pytest.approx(150 * 8 / 15, abs=2)


def test_weights_are_kept_until_a_part_ends(opened: OpenSource) -> None:
    found = places(read(opened("mixture:fineweb-edu=1;stack-v2:Rust=3")))
    first = [place.source for place in found[:40]]
    assert first.count("stack-v2") == 30
    assert len(found) == len(read(opened("fineweb-edu"))) + len(read(opened("stack-v2:Rust")))


def test_without_a_token_a_mixture_goes_on_with_what_is_public(
    opened: OpenSource, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        found = list(itertools.islice(opened("mixture:default", token=None).windows(SourcePlan(1)), 60))
    assert {place.source.split(":")[0] for place in places(found)} == {"fineweb-edu", "swe-bench", "dir"}
    (note,) = {record.getMessage() for record in caplog.records}
    assert "goes on without 2 of its 5 parts" in note
    assert "bigcode/the-stack-v2-dedup asks for a token" in note and "set HF_TOKEN" in note


@pytest.mark.parametrize(
    ("name", "token", "told"),
    [
        ("stack-v2:Python", None, "asks for a token: log in, accept its terms at {hub}/datasets/bigcode/the-stack-v2"),
        ("stack-v2:Python", NEW_TOKEN, "has not been granted bigcode/the-stack-v2-dedup: open {hub}/datasets/bigcode"),
        (
            "stack-v2:Python",
            EXPIRED_TOKEN,
            "HF_TOKEN is expired, revoked or mistyped: make a new one at {hub}",
        ),
        ("fineweb-edu", EXPIRED_TOKEN, "HF_TOKEN is expired, revoked or mistyped"),
        ("hf:no/such", GOOD_TOKEN, "there is no data set no/such: compare the name with {hub}/datasets/no/such"),
        ("hf:no/such", None, "there is no data set no/such: compare the name with {hub}/datasets/no/such (a private"),
        (
            "stack-v2:Pyhton",
            GOOD_TOKEN,
            "has no folder data/Pyhton: {hub}/datasets/bigcode/the-stack-v2-dedup/tree",
        ),
        ("stack-v2", None, "bigcode/the-stack-v2-dedup asks for a token"),
    ],
)
def test_refusals_are_told_apart(opened: OpenSource, hub: HubStandIn, name: str, token: str | None, told: str) -> None:
    with pytest.raises(SourceAccessError) as refusal:
        next(opened(name, token=token).windows(SourcePlan()))
    message = str(refusal.value)
    assert told.format(hub=hub.url) in message
    assert "\n" not in message and (token is None or token not in message)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:nothing", "write hf:OWNER/NAME"),
        ("hf:me/lines::test", "it has no split test; it has train"),
        ("hf:me/lines:other", "it has no configuration other: its folders are more"),
        ("hf:me/lines:::body", "has no column body; it has text"),
        ("hf:HuggingFaceFW/fineweb-edu:::body", "has no column of text named body; it has text, id, dump"),
        ("dir:", "name a path"),
        ("parquet:", "name a file or a pattern"),
        ("mixture:fineweb-edu=0", "is no part of a mixture"),
        ("mixture:fineweb-edu=much", "is no part of a mixture"),
        ("hf:me/nothing", "{hub}/datasets/me/nothing has no commit"),
    ],
)
def test_names_that_say_too_little(opened: OpenSource, hub: HubStandIn, name: str, told: str) -> None:
    hub.without_commits.add("me/nothing")
    with pytest.raises(SourceError) as problem:
        next(opened(name).windows(SourcePlan()))
    assert told.format(hub=hub.url) in str(problem.value)


def test_the_column_of_text_is_found_by_the_first_row_also_where_cells_are_null(
    opened: OpenSource, hub: HubStandIn
) -> None:
    """A row without a text is left out, and no other column is taken for it."""
    rows = [{"text": text(("cell", number), 1500), "title": "a title", "link": None} for number in range(4)]
    for empty in (0, 2):
        lines = [json.dumps(row | ({"text": None} if number == empty else {})) for number, row in enumerate(rows)]
        hub.repositories["me/nulls"] = Repository({"train.jsonl": "\n".join(lines).encode()})
        source = opened("hf:me/nulls")
        found = {int(place.path.split("#")[1]) for place in places(read(source))}
        assert found == {0, 1, 2, 3} - {empty}
        assert source.skipped == {"shorter than a window": 1}


def test_a_path_in_a_mixture_may_hold_an_equals_sign(opened: OpenSource, tmp_path: Path) -> None:
    for name in ("lang=py", "lang=c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(text(name, 40_000))
    mixed = opened(f"mixture:dir:{tmp_path}/lang=py=3;dir:{tmp_path}/lang=c=1")
    first = places(list(itertools.islice(mixed.windows(SourcePlan(1)), 12)))
    assert sum(place.source.endswith("lang=py") for place in first) == 9
    assert is_of_this_machine(f" mixture:dir:{tmp_path}/lang=py=3") and not is_of_this_machine(" stack-v2 ")


def test_sources_of_one_command_share_a_hub(
    opened: OpenSource, hub: HubStandIn, archive: ArchiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(_env_file=None, HF_TOKEN=GOOD_TOKEN, HF_ENDPOINT=hub.url, QUICKSTART_SOURCE="python-library")
    for source in open_sources(["fineweb-edu", "hf:HuggingFaceFW/fineweb-edu"], settings):
        next(source.windows(SourcePlan(1)))
    assert len([path for path in hub.host.paths() if path.endswith("HuggingFaceFW/fineweb-edu")]) == 1
    (default,) = open_sources([], settings)
    assert default.name == open_source("python-library", settings).name


def test_any_set_of_the_hub(opened: OpenSource, hub: HubStandIn) -> None:
    found = places(read(opened("hf:HuggingFaceFW/fineweb-edu")))
    assert sorted(place.path for place in found) == sorted(place.path for place in places(read(opened("fineweb-edu"))))
    assert {(place.kind, place.licence) for place in found} == {("fineweb-edu", "odc-by")}
    card = {"configs": [{"config_name": "small", "data_files": [{"split": "dev", "path": "more/*.jsonl"}]}]}
    hub.repositories["me/lines"].card.update(card)
    found = places(read(opened("hf:me/lines:small:dev:text")))
    assert {place.path.split("#")[0] for place in found} == {"more/train-2.jsonl"}


@pytest.mark.parametrize("name", ["stack-v2", "fineweb-edu", "hf:someone/some-set", "parquet:x.parquet"])
def test_without_the_extra_a_source_of_tables_says_what_to_install(
    opened: OpenSource, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what `find_spec` sees where it is not installed
    with pytest.raises(SourceError, match=r"needs the extra `data`: `uv sync --extra data`"):
        opened(name)
    opened("python-library")
