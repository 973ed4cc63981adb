"""The whole cycle: the schedule fires, GPUs score, targets are filled and claimed, the books balance."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_world import BONDS, CAP, MODELS, SCORER, SECRET_KEY, SHARDS, WINDOWS, Day, work_the_day, world
from command_runs import run
from loopback import Answer, Seen, serving

from quickstart.modal_app import names


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Everything scored, the bond cap reached, two epochs later all claimed and filled again; then stopped."""
    with world(tmp_path_factory.mktemp("cycle"), CAP) as it:
        (call_id,) = it.standin.fire(names.SUBMITTER)
        work_the_day(it)
        outcome = it.standin.wait_for_call(call_id)
        assert outcome.status == "success", outcome.exception
        yield Day(it, outcome.value, call_id)


def test_hits_are_filled_claimed_and_the_books_balance(day: Day) -> None:
    result = day.result
    assert result["filled"] >= BONDS
    assert result["claimed"] == BONDS
    assert result["false_claims"] == result["pending"] == 0
    assert result["books"]["difference_shannons"] == 0
    assert result["money"]["earned_shannons"] > result["money"]["fees_shannons"]


def test_two_scorers_scored_every_shard_with_every_model_once(day: Day) -> None:
    assert day.result["windows"] == {"new": 0, "rejected": {}, "in_bank": WINDOWS, "scored": WINDOWS * MODELS}
    assert day.world.calls(SCORER) | {"calls": None} == {
        "calls": None,
        "inputs": SHARDS * MODELS,
        "ok": SHARDS * MODELS,
        "failed": 0,
        "unfinished": 0,
    }
    assert len(day.world.containers(SCORER)) == 2
    assert day.world.scored_segments() == SHARDS * MODELS


def test_the_ledger_on_the_volume_is_one_whole_file(day: Day) -> None:
    (ledger,) = day.world.files(names.LEDGER_VOLUME)
    assert ledger.endswith("/ledger.sqlite")


def test_what_the_cycle_logged_is_kept_and_shown_without_secrets(day: Day, tmp_path: Path) -> None:
    done = run(day.world.standin, "logs", "--json", folder=tmp_path)
    events = json.loads(done.out)["events"]
    assert any(event["logger"].startswith("quickstart.") for event in events), done
    assert SECRET_KEY not in done.out and all(event["place"] for event in events)


def test_nothing_is_left_in_flight_and_the_day_costs_what_containers_reported(day: Day) -> None:
    code = """
keys = [key for key in state.keys() if key.startswith(("gpu-call/", "running", "request/"))]
(spent,) = [value for key, value in state.items() if key.startswith("spent/")]
answer = [keys, len(spent["alive"]), spent["seconds"]]
"""
    keys, containers, seconds = day.world.client(code)
    assert keys == []
    assert containers == 2
    assert seconds > 2 * 120  # each container's start and idling are counted too
    assert 0 < day.result["gpu"]["dollars_today"] < day.result["gpu"]["cap"] == 5.0


def test_a_stopped_schedule_does_nothing_until_it_is_started_again(day: Day) -> None:
    before = day.world.chain.executed()
    (call_id,) = day.world.standin.fire(names.SUBMITTER)
    outcome = day.world.standin.wait_for_call(call_id)
    assert "uv run submit" in outcome.value["skipped"]
    assert day.world.chain.executed() == before


def test_status_from_a_laptop_tells_the_deployments_money_and_health(day: Day, tmp_path: Path) -> None:
    chain = day.world.chain
    here = {
        "SOMA_SECRET_KEY": SECRET_KEY,
        "QUICKSTART_RPC_URL": chain.server.urls.rpc,
        "QUICKSTART_STATE": str(tmp_path / "state"),
    }
    done = run(day.world.standin, "status", "--json", folder=tmp_path, extra=here)
    assert (done.code, done.err) == (0, ""), done
    (wallet,) = json.loads(done.out)["wallets"]
    assert (wallet["place"], wallet["address"]) == ("Modal", "0x" + chain.wallet.address.hex())
    assert wallet["money"] == day.result["money"]
    money, health = wallet["accounts"], wallet["health"]
    balance = chain.call(lambda: chain.server.node.state.balance(chain.wallet.address))
    assert (money["balance"], money["chain_balance"], money["difference"]) == (balance, balance, 0)
    assert money["open_fills"] == money["chain_open_fills"] == len(chain.filled())
    assert money["gpu_dollars"] == pytest.approx(day.result["gpu"]["dollars_today"], abs=1e-3)
    modal = health["modal"]
    assert modal["known"] and modal["value"]["last_ms"] is not None
    assert (modal["value"]["at_work"], modal["value"]["stopped"], modal["value"]["gpu_calls"]) == (
        None,
        "by the test",
        0,
    )
    assert wallet["running"] is None

    text = run(day.world.standin, "status", folder=tmp_path, extra=here)
    assert (text.code, text.err) == (0, "")
    assert "the schedule is stopped by the test" in text.out
    alone = run(day.world.standin, "status", "--local", folder=tmp_path, extra=here)
    assert (alone.code, alone.out) == (2, "")


def test_the_watch_tells_what_stands_once_and_leaves_a_sign_of_life(day: Day) -> None:
    told: list[str] = []

    def take(_: Seen, body: bytes) -> Answer:
        told.append(json.loads(body)["kind"])
        return Answer(204)

    with serving(take) as host:
        day.world.change_secret(QUICKSTART_ALERT_WEBHOOK=f"{host.url}/SECRET")
        for _ in range(2):
            (call_id,) = day.world.standin.fire(names.WATCH)
            outcome = day.world.standin.wait_for_call(call_id)
            assert outcome.status == "success", outcome.exception
            (alert,) = outcome.value["standing"]
            assert (alert["kind"], outcome.value["untold"]) == ("cap reached", 0)
            assert "are locked in bonds" in alert["text"]
        assert told == ["cap reached"]
    assert "SECRET" not in day.world.standin.log_of(names.WATCH)
    watched_ms, tells = day.world.client(f"answer = state[{names.WATCHED!r}]")
    assert tells and watched_ms > 0
    assert {Path(name).name for name in day.world.files(names.LEDGER_VOLUME)} == {"ledger.sqlite", "alerts.json"}
