"""What containers log is kept for thirty days, structured, without secrets; `logs` shows it again."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import refused, run
from fakemodal import FakeModal

from quickstart.cli.logs import chosen, moment
from quickstart.errors import UsageError
from quickstart.modal_app.events import (
    MOST_BYTES_A_DAY,
    Event,
    EventStore,
    Redactor,
    days_since,
    forget_old,
    parse_line,
    redactor_of,
)
from quickstart.modal_app.names import LOG_VOLUME

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC
DAY = 86_400.0
KEY = "5ec2e7" * 10 + "5ec2"


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    made = logging.Logger("quickstart.tests")
    made.addHandler(
        EventStore(tmp_path, "ta-1/x", redactor_of({"SOMA_SECRET_KEY": KEY, "S3_BUCKET": "b"}), lambda: NOON)
    )
    yield made


def lines(folder: Path) -> list[Event]:
    (path,) = folder.glob("*/*.jsonl")
    assert path.relative_to(folder) == Path("2026-11-22/ta-1-x.jsonl")
    events = [parse_line(line) for line in path.read_text().splitlines()]
    return [event for event in events if event is not None]


def test_a_record_is_kept_whole_and_without_secrets(logger: logging.Logger, tmp_path: Path) -> None:
    url = "https://b.example/w?X-Amz-Credential=AKIA1&X-Amz-Signature=abcdef&x=1"
    logger.debug("not this")
    logger.info("scored %d windows", 5, extra={"shard": 7, "url": url})
    logger.error("the key %s and hf_abcdefghijklmnopqrst and %s", KEY, "somaprivkey1qqg3zyg3zyg3zyg3zyg3zyg3")
    try:
        raise ValueError(f"with {KEY} inside")
    except ValueError:
        logger.exception("failed")
    logger.info("%d", "not a number")
    logger.info("%(name)s", {"other": 1})
    logger.info("said", extra={"what": Wordless()})
    info, error, failed = lines(tmp_path)
    assert (info.at_ms, info.level, info.logger, info.place) == (int(NOON * 1000), "info", "quickstart.tests", "ta-1-x")
    assert info.message == "scored 5 windows"
    assert info.fields == {
        "shard": 7,
        "url": "https://b.example/w?X-Amz-Credential=***&X-Amz-Signature=***&x=1",
    }
    assert error.message == "the key *** and *** and ***"
    assert "ValueError: with *** inside" in failed.message and failed.level == "error"
    assert KEY not in next(tmp_path.glob("*/*")).read_text()


def test_short_values_are_no_secrets_and_overlapping_ones_go_whole() -> None:
    assert Redactor(["", "b", "secret", "secret-and-more"])("b secret-and-more, secret") == "b ***, ***"


def test_a_flood_keeps_warnings_and_a_full_disk_ends_nothing(logger: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "2026-11-22" / "ta-1-x.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"x" * (MOST_BYTES_A_DAY - 1) + b"\n")
    logger.info("one more")
    logger.warning("this counts")
    assert [event.message for event in lines(tmp_path)] == ["this counts"]
    path.unlink()
    path.mkdir()
    logger.error("nowhere to go")


def test_what_is_older_than_thirty_days_goes(tmp_path: Path) -> None:
    for day in ("2026-10-22", "2026-10-23", "2026-11-22", "not-a-day"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.jsonl").write_text("{}\n")
    forget_old(tmp_path, NOON)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-10-23", "2026-11-22", "not-a-day"]
    forget_old(tmp_path / "missing", NOON)
    assert days_since(NOON - DAY, NOON) == ("2026-11-21", "2026-11-22")
    assert len(days_since(0.0, NOON)) == 31


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"at_ms": "x"}', '{"at_ms": 1, "level": "info"}'])
def test_a_line_that_was_cut_off_is_left_out(line: str) -> None:
    assert parse_line(line) is None


def test_events_are_chosen_by_time_level_and_words() -> None:
    events = [
        Event(3000, "error", "a", "node away", "p"),
        Event(1000, "info", "a", "begun", "p", {"epoch": 4}),
        Event(2000, "warning", "a", "slow", "p"),
    ]
    assert [event.at_ms for event in chosen(events, 0.0, "info", None)] == [1000, 2000, 3000]
    assert [event.at_ms for event in chosen(events, 2.0, "warning", None)] == [2000, 3000]
    assert [event.at_ms for event in chosen(events, 0.0, "info", "EPOCH")] == [1000]
    assert moment("90m", NOON) == NOON - 5400 and moment("2026-11-22", NOON) == NOON - DAY / 2
    assert moment("2026-11-22T13:00+01:00", NOON) == NOON
    assert moment("999999d", NOON) == moment("0001-01-01", NOON) == 0.0
    with pytest.raises(UsageError, match="--since 'yesterday'"):
        moment("yesterday", NOON)


def test_the_command_reads_the_volume(tmp_path: Path) -> None:
    with FakeModal(tmp_path / "standin", project=Path(__file__).parent) as standin:
        refused(run(standin, "logs", folder=tmp_path), "nothing is deployed")
        day = time.strftime("%Y-%m-%d", time.gmtime())
        folder = tmp_path / "events" / day
        folder.mkdir(parents=True)
        now = int(time.time() * 1000)
        said = [
            Event(now - 2000, "info", "q", "begun", "ta-1"),
            Event(now, "error", "q", "bad \x1b[31m", "ta-1", {"n": 1}),
        ]
        (folder / "ta-1.jsonl").write_text("".join(event.line() + "\n" for event in said) + '{"at_ms": 1')
        code = f"import modal; modal.Volume.from_name({LOG_VOLUME!r}, create_if_missing=True, version=2).hydrate()"
        standin.run_python(code)
        standin.modal("volume", "put", LOG_VOLUME, str(tmp_path / "events" / day), f"/{day}")
        shown = run(standin, "logs", folder=tmp_path)
        assert (shown.code, shown.err) == (0, "")
        assert [line[20:] for line in shown.out.splitlines()] == ["info     begun", "error    bad ?[31m n=1"]
        one = run(standin, "logs", "--level", "error", "--json", folder=tmp_path)
        (event,) = json.loads(one.out)["events"]
        assert (event["message"], event["fields"], event["place"]) == ("bad \x1b[31m", {"n": 1}, "ta-1")
        refused(run(standin, "logs", "--since", "soon", folder=tmp_path), "--since", "30m")
        assert standin.report()["server_errors"] == []
