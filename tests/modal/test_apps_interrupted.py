"""The same day with a node that is away when it begins, one scorer killed on its first shard and one on its second, the
submitter preempted, a redeployment in the middle, and the submitter killed without notice while it submits.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from cloud_world import BONDS, CAP, MODELS, SCORER, SHARDS, WINDOWS, Day, work_the_day, world

from quickstart.modal_app import names


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    # Two threads each, as the image has them: scoring is still under way when the submitter is killed.
    with world(tmp_path_factory.mktemp("interrupted"), CAP, threads={"OMP_NUM_THREADS": "1"}) as it:
        it.standin.kill_container(names.SCORER, nth=1, after=0.05)
        it.standin.kill_container(names.SCORER, nth=2, after=0.05)
        it.chain.take_away()
        (call_id,) = it.standin.fire(names.SUBMITTER)
        it.until(lambda: "the next try is in" in it.standin.log_of(names.SUBMITTER), "the node was not missed")
        it.chain.bring_back()
        it.until(lambda: it.calls(SCORER)["ok"] >= 3, "three shards were not scored")
        assert it.standin.preempt(names.SUBMITTER) == 1
        # It ends in order, which takes a while: what it sent is settled first.
        it.until(lambda: len(it.containers(names.SUBMITTER)) == 2, "no successor began")
        before = len(it.chain.filled())
        it.until(lambda: it.calls(SCORER)["ok"] >= 8, "eight shards were not scored")
        it.deploy()
        it.until(lambda: len(it.chain.filled()) >= min(before + 3, BONDS), "nothing was filled")
        assert it.standin.kill(names.SUBMITTER) == 1
        work_the_day(it)
        outcome = it.standin.wait_for_call(call_id)
        assert outcome.status == "success", outcome.exception
        yield Day(it, outcome.value, call_id)


def ends(day: Day, function: str) -> list[str]:
    return [container["ended_by"] for container in day.world.containers(function)]


def test_it_was_interrupted_as_meant(day: Day) -> None:
    assert ends(day, SCORER).count("killed") == 2
    assert ends(day, names.SUBMITTER)[:2] == ["preempted", "killed"]
    assert len(ends(day, names.SUBMITTER)) == 3


def test_the_end_is_the_same(day: Day) -> None:
    result = day.result
    assert result["filled"] >= BONDS
    assert result["claimed"] == BONDS
    assert result["false_claims"] == result["pending"] == 0
    assert result["books"]["difference_shannons"] == 0
    assert result["windows"]["in_bank"] == WINDOWS


def test_containers_that_were_killed_are_paid_for_too(day: Day) -> None:
    code = "(spent,) = [value for key, value in state.items() if key.startswith('spent/')]; answer = spent['alive']"
    assert len(day.world.client(code)) == len(day.world.containers(SCORER)) >= 4


def test_at_most_one_shard_was_asked_for_twice_by_each_ended_submitter_and_scored_again_by_each_killed_scorer(
    day: Day,
) -> None:
    """Modal names a call only when it is made: a submitter that ends right then does not know of it."""
    calls = day.world.calls(SCORER)
    once, ended_submitters, killed_scorers = SHARDS * MODELS, 2, 2
    assert calls["failed"] == 0
    assert once <= calls["inputs"] == calls["ok"] <= once + ended_submitters
    assert once <= day.world.scored_segments() <= calls["inputs"] + killed_scorers


def test_no_target_was_submitted_to_twice(day: Day) -> None:
    (ledger,) = day.world.folder(names.LEDGER_VOLUME).rglob("ledger.sqlite")
    with closing(sqlite3.connect(ledger)) as database:
        submitted, targets = database.execute(
            "SELECT COUNT(*), COUNT(DISTINCT subject) FROM intents WHERE kind = 'submit'"
        ).fetchone()
    assert submitted == targets >= BONDS
    assert day.world.chain.failures() <= {"TargetExpired"}
