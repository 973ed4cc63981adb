"""Group commit: what is written together is durable together, and one failure is nobody else's."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_values import coin, intent, name

from quickstart.errors import StateError
from quickstart.ledger.ledger import ConflictError, Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def recorded(path: Path) -> list[bytes]:
    """Intents another connection sees: those whose commit is done."""
    database = sqlite3.connect(path)
    rows = database.execute("SELECT digest FROM intents ORDER BY digest").fetchall()
    database.close()
    return [digest for (digest,) in rows]


def test_a_conflict_in_the_middle_of_a_group_undoes_itself_alone(ledger: Ledger) -> None:
    ledger.record(intent("t0", None, coin("taken")))
    results = ledger.group(
        [
            lambda own: own.record(intent("t1", None, coin("a"))),
            lambda own: own.record(intent("t2", None, coin("b"), coin("taken"))),
            lambda own: own.record(intent("t3", None, coin("b"))),
            lambda own: "a result",
        ]
    )
    assert [type(result) for result in results] == [type(None), ConflictError, type(None), str]
    assert recorded(ledger.path) == [name("t0"), name("t1"), name("t3")]


def test_two_in_one_group_cannot_name_the_same_coin(ledger: Ledger) -> None:
    first, second = ledger.group(
        [lambda own, n=n: own.record(intent(f"t{n}", f"target {n}", coin("same"))) for n in range(2)]
    )
    assert first is None
    assert isinstance(second, ConflictError)


def test_writes_that_wait_share_a_commit_and_are_durable_when_they_return(ledger: Ledger) -> None:
    async def main() -> None:
        writer = LedgerWriter(ledger)

        async def write(number: int) -> None:
            await writer.write(lambda own: own.record(intent(f"t{number}", None, coin(f"c{number}"))))
            assert name(f"t{number}") in recorded(ledger.path)

        await asyncio.gather(*(write(number) for number in range(40)))

    commits: list[str] = []
    ledger._database.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    asyncio.run(main())
    ledger._database.set_trace_callback(None)
    assert len(ledger.pending()) == 40
    assert len(commits) <= 4  # the first alone, then whatever had queued


def test_one_writer_gets_its_conflict_and_the_others_their_commit(ledger: Ledger) -> None:
    async def main() -> list[object]:
        writer = LedgerWriter(ledger)
        writes = [
            writer.write(lambda own, n=n: own.record(intent(f"t{n}", "one target", coin(f"c{n}")))) for n in range(3)
        ]
        writes.append(writer.write(lambda own: own.record(intent("t9", "another", coin("c9")))))
        return await asyncio.gather(*writes, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result) for result in results] == [type(None), ConflictError, ConflictError, type(None)]
    assert ledger.live_subjects(IntentKind.SUBMIT) == {name("one target"), name("another")}


@pytest.mark.parametrize("error", [StateError("the disk is full"), KeyError("a bug of ours")])
def test_whoever_waits_hears_of_a_failure_and_the_writer_goes_on(ledger: Ledger, error: Exception) -> None:
    def fail(own: Ledger) -> None:
        own.record(intent("t1", None, coin("a")))
        raise error

    async def main() -> None:
        writer = LedgerWriter(ledger)
        waiting = [asyncio.create_task(writer.write(fail)), asyncio.create_task(writer.write(lambda own: None))]
        async with asyncio.timeout(5):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert results[0] is error
        await writer.write(lambda own: own.record(intent("t2", None, coin("b"))))

    asyncio.run(main())
    assert recorded(ledger.path) == [name("t2")]


def test_a_writer_that_no_longer_waits_is_written_all_the_same(ledger: Ledger) -> None:
    async def main() -> None:
        writer = LedgerWriter(ledger)
        task = asyncio.create_task(writer.write(lambda own: own.record(intent("t1", None, coin("a")))))
        await asyncio.sleep(0)
        task.cancel()
        await writer.write(lambda own: own.record(intent("t2", None, coin("b"))))

    asyncio.run(main())
    assert recorded(ledger.path) == [name("t1"), name("t2")]
