"""What the desk says of a life with wins, losses and a false claim is what the chain says."""

import asyncio
import csv
import io
import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from operated import FUNDS, HITS, STOLEN, Life

from quickstart.chain.board import Board
from quickstart.chain.client import FilledTarget, NetworkReader, connect
from quickstart.chain.ids import format_id
from quickstart.chain.objects import TargetStatus
from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS
from quickstart.chain.validators import ValidatorSet
from quickstart.cli import main
from quickstart.desk.review import Records, Review, review, shortfall
from quickstart.desk.standing import standing
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.keys import devnet_key
from quickstart.ledger.accounts import ClaimShares
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fate, FillState


def share(life: Life, reward: int) -> int:
    return ClaimShares.of(reward, 0, life.live.node.state.parameters).submitter


def review_of(life: Life, epoch: int) -> Review:
    with closing(Ledger(life.ledger_path)) as ledger:
        return review(Records.of(ledger, epoch), PARAMETERS[NEWEST_PROTOCOL], None)


def test_at_every_epochs_end_the_accounts_are_the_chains(life: Life) -> None:
    assert [moment.epoch for moment in life.moments] == [1, 2, 3, 4]
    for moment in life.moments:
        said, fills = moment.said, moment.fills.values()
        assert said.epoch == moment.epoch
        assert (said.balance, said.chain_balance, said.difference) == (moment.balance, moment.balance, 0)
        assert said.bond_out == sum(fill.bond for fill in fills)
        assert said.open_fills == said.chain_open_fills == len(fills)
        young = [fill for fill in fills if fill.fill_epoch + 2 > moment.epoch]
        assert said.in_audit == sum(share(life, fill.reward) for fill in young)
        assert said.in_audit + said.claimable == sum(share(life, fill.reward) for fill in fills)
        for one in said.epochs:
            assert one.fills == sum(fill.fill_epoch == one.epoch for fill in life.filled.values())
        assert said.net == sum(one.net for one in said.epochs)
        assert FUNDS + said.net - said.bond_out == moment.balance
    first, second, *_, last = life.moments
    assert first.said.in_audit > 0 == first.said.claimable
    assert (last.said.in_audit, last.said.claimable, last.said.bond_out) == (0, 0, 0)
    assert len(second.fills) == 2 * HITS


def test_fees_and_rewards_are_those_of_the_executed_transactions(life: Life) -> None:
    """Fees out of the chain's own effects; rewards out of what was filled, less what was judged false."""
    effects = life.live.node.state.effects
    with closing(Ledger(life.ledger_path)) as ledger:
        rows = ledger._rows("SELECT digest FROM intents WHERE status IN ('landed', 'failed')")
    fees = sum(effects[row["digest"]].total_fee for row in rows)
    said = life.moments[-1].said
    assert said.fees == fees > 0
    assert life.false_claim is not None
    false = life.filled[life.false_claim]
    assert said.bond_lost == false.bond > 0
    honest = [fill for target_id, fill in life.filled.items() if target_id != life.false_claim]
    assert said.claimed == sum(share(life, fill.reward) for fill in honest)
    by_epoch = {one.epoch: one for one in said.epochs}
    assert by_epoch[false.fill_epoch].bond_lost == false.bond
    assert by_epoch[1].fills_slashed == 1
    assert [by_epoch[epoch].fills_claimed for epoch in (1, 2)] == [HITS - 1, HITS]


def test_a_review_tells_what_won_and_what_it_paid(life: Life) -> None:
    for epoch in (1, 2):
        said = review_of(life, epoch)
        ours = {i: fill for i, fill in life.filled.items() if fill.fill_epoch == epoch}
        assert {win.target_id for win in said.wins} == ours.keys()
        for win in said.wins:
            fill = ours[win.target_id]
            assert (win.model, win.reward, win.bond) == (fill.winning_model, fill.reward, fill.bond)
            assert fill.manifest is not None
            assert (win.distance, win.window) == (fill.winning_distance, fill.manifest.checksum)
            assert win.margin is not None and win.margin > 0
            false = win.target_id == life.false_claim
            assert win.state is (FillState.SLASHED if false else FillState.CLAIMED)
            assert win.pays == (0 if false else share(life, fill.reward))
            assert win.latency_ms is not None and win.latency_ms >= 0
        assert sum(source.paid for source in said.sources) == sum(win.pays for win in said.wins)
        assert sum(source.fills for source in said.sources) == sum(model.won for model in said.models) == HITS
        assert sum(source.bond_lost for source in said.sources) == (life.filled[min(ours)].bond if epoch == 1 else 0)


def test_a_review_tells_what_was_not_got_and_who_took_it(life: Life) -> None:
    said = review_of(life, 1)
    assert said.report is not None
    lost = said.of_fate(Fate.LOST)
    assert {target.target_id for target in lost} <= life.stolen.keys()
    assert len(lost) == said.report.lost > 0
    assert len(life.stolen) == STOLEN
    for target in lost:
        contents = life.stolen[target.target_id]
        assert (target.taker, target.taker_model) == (contents.submitter, contents.winning_model)
        assert target.taker == devnet_key("a stranger").address
        assert target.distance_threshold == contents.distance_threshold
        assert target.open_ms is not None and target.open_ms >= 0
        gap = shortfall(target)
        assert gap is not None and gap < 0
    assert [taker.address for taker in said.takers] == [devnet_key("a stranger").address]
    assert said.takers[0].targets == len(lost)
    assert len(said.of_fate(Fate.MISSED)) == said.report.missed
    for target in said.of_fate(Fate.FAR):
        gap = shortfall(target)
        assert gap is None or gap >= 0


def test_who_wins_and_what_is_open_is_the_chains(life: Life) -> None:
    for target_id in life.live.open_targets()[:STOLEN]:
        life.live.fill_by_stranger(target_id)

    async def look() -> tuple[Board, tuple[FilledTarget, ...], ValidatorSet]:
        reader = NetworkReader(await connect(life.live.endpoints), life.live.endpoints.rpc)
        return await reader.board(), await reader.filled(), await reader.validators()

    board, filled, validators = life.live.run(look())
    said = standing(board, filled, (), None, life.wallet.address)
    state = life.live.node.state
    on_chain = [target for _, target in state.targets() if target.status is TargetStatus.FILLED]
    assert len(on_chain) == STOLEN
    assert [(one.address, one.fills) for one in said.submitters] == [(devnet_key("a stranger").address, STOLEN)]
    assert sum(one.reward for one in said.submitters) == sum(target.reward for target in on_chain)
    for model in said.models:
        mine = [target for target in on_chain if target.winning_model == model.model_id]
        assert (model.wins, model.earned) == (len(mine), sum(target.reward for target in mine))
        assert model.stake == state.models[model.model_id].stake
    assert {target.target_id for target in said.targets} == set(life.live.open_targets())
    assert (said.curve, said.fillable) == ((), 0)

    assert {one.address: one.voting_power for one in validators.validators} == state.validators
    assert list(state.validators) == [devnet_key(VALIDATOR).address]
    assert validators.epoch == state.epoch


@pytest.fixture
def desk(life: Life, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Desk":
    """Commands in this process, with an environment that holds nothing of ours but the wallet's key."""
    for name in list(os.environ):
        if name.startswith(("SOMA_", "HF_", "S3_", "QUICKSTART_", "MODAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SOMA_SECRET_KEY", life.wallet.secret.hex())
    monkeypatch.chdir(tmp_path)
    return Desk(life, capsys)


class Desk:
    def __init__(self, life: Life, capsys: pytest.CaptureFixture[str]) -> None:
        self._life = life
        self._capsys = capsys

    def say(self, command: str, *line: object, code: int = 0) -> str:
        arguments = getattr(main, f"{command}_parser")().parse_args([str(word) for word in line])

        async def run() -> int:
            return await asyncio.to_thread(main._run, command, f"run_{command}", arguments)

        assert self._life.live.run(run()) == code
        out, err = self._capsys.readouterr()
        assert not (code == 0 and err), err
        return out or err

    def document(self, command: str, *line: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say(command, *line, "--json"))
        return found

    def wallet(self, *line: object) -> dict[str, Any]:
        (wallet,) = self.document("status", *line)["wallets"]
        return dict(wallet)


def test_status_says_it_in_every_form(life: Life, desk: Desk) -> None:
    line = ("--state", life.state, "--rpc-url", life.live.endpoints.rpc)
    said, last = desk.wallet(*line), life.moments[-1]
    money = said["accounts"]
    assert (money["earned"], money["fees"], money["net"]) == (last.said.earned, last.said.fees, last.said.net)
    assert (money["balance"], money["chain_balance"], money["difference"]) == (last.balance, last.balance, 0)
    assert (said["filled"], said["claimed"], said["false_claims"]) == (2 * HITS, 2 * HITS - 1, 1)
    health = said["health"]
    assert health["chain"]["known"] and health["chain"]["value"]["epoch"] == life.live.node.state.epoch
    assert (health["queue"]["value"], health["here"]["value"]["at_work"]) == (
        {"pending": 0, "oldest_ms": None, "open_fills": 0},
        None,
    )
    text = desk.say("status", *line)
    assert f"chain {last.balance / 1e9:.9f}".rstrip("0") in text
    assert "difference 0 shannons" in text
    assert max(map(len, text.splitlines())) <= 100

    rows = list(csv.DictReader(io.StringIO(desk.say("status", *line, "--csv"))))
    assert [int(row["epoch"]) for row in rows] == [one.epoch for one in last.said.epochs]
    assert sum(int(row["net"]) for row in rows) == last.said.net

    only = desk.wallet(*line, "--epoch", 2)
    assert [one["epoch"] for one in only["accounts"]["epochs"]] == [2]
    assert {row["epoch"] for row in only["submissions"]} == {2}
    assert "exclude each other" in desk.say("status", *line, "--csv", "--json", code=2)


def test_status_is_true_when_services_are_dead(
    life: Life, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = "http://127.0.0.1:1"
    for name in ("S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "windows")
    monkeypatch.setenv("S3_ENDPOINT_URL", dead)
    state = tmp_path / "state"
    shutil.copytree(life.state, state)
    (state / "desk.json").unlink(missing_ok=True)
    said = desk.wallet("--state", state, "--rpc-url", dead)
    assert said["accounts"]["net"] == life.moments[-1].said.net
    assert (said["accounts"]["chain_balance"], said["accounts"]["difference"]) == (None, None)
    chain = said["health"]["chain"]
    assert (chain["known"], chain["at_ms"]) == (False, None)
    assert dead in chain["trouble"]
    bucket = said["health"]["bucket"]
    assert (bucket["known"], bucket["at_ms"], bucket["value"]) == (False, None, None)
    assert dead in bucket["trouble"]
    with monkeypatch.context() as half:
        half.delenv("S3_ACCESS_KEY_ID")
        said = desk.wallet("--state", state, "--rpc-url", dead)
        assert said["accounts"]["net"] == life.moments[-1].said.net
        assert "missing: S3_ACCESS_KEY_ID" in said["health"]["bucket"]["trouble"]
    assert desk.wallet("--state", state, "--rpc-url", life.live.endpoints.rpc)["health"]["chain"]["known"]
    since = desk.wallet("--state", state, "--rpc-url", dead)["health"]["chain"]
    assert not since["known"] and 0 <= since["age_ms"] < 600_000
    assert "unknown since" in desk.say("status", "--state", state, "--rpc-url", dead)
    assert "not asked" in desk.wallet("--state", state, "--local")["health"]["chain"]["trouble"]

    (ledger,) = state.glob("networks/*/*/ledger.sqlite")
    for leftover in ledger.parent.glob("ledger.sqlite-*"):
        leftover.unlink()
    ledger.write_bytes(b"this is no database, however long one looks at it" * 99)
    damaged = desk.wallet("--state", state, "--rpc-url", life.live.endpoints.rpc)
    assert "cannot be opened" in damaged["trouble"]
    assert damaged["health"]["chain"]["known"] and not damaged["health"]["queue"]["known"]
    assert "cannot be opened" in desk.say("status", "--state", state, "--rpc-url", dead)


def test_review_board_and_validators_as_commands(life: Life, desk: Desk, tmp_path: Path) -> None:
    (said,) = desk.document("review", 1, "--state", life.state)["wallets"]
    expected = review_of(life, 1)
    assert [win["target_id"] for win in said["wins"]] == [format_id(win.target_id) for win in expected.wins]
    assert [row["fate"] for row in said["unfilled"]] == [target.fate for target in expected.unfilled]
    assert said["next_dollar"]["coverage"] >= 0
    text = desk.say("review", 1, "--state", life.state)
    assert text.startswith("# Epoch 1\n")
    assert f"{HITS} fills" in text and "0.00006656 SOMA lost" in text
    assert "nothing was done in epoch 99" in desk.say("review", 99, "--state", life.state, code=2)

    place = ("--rpc-url", life.live.endpoints.rpc, "--state", life.state)
    board = desk.document("board", *place)
    state = life.live.node.state
    assert board["distance_threshold"] == pytest.approx(state.threshold)
    assert len(board["targets"]) == len(life.live.open_targets())
    assert board["fillable"] == sum(row["gap"] is not None and row["gap"] < 0 for row in board["targets"])
    shares = [share for _, share in board["curve"]]
    assert shares == sorted(shares) and 0 <= shares[0] <= shares[-1] <= 1
    assert [point["epoch"] for point in board["history"]] == [1, 2, state.epoch]
    assert {name: len(points) for name, points in board["map"]["points"].items()} == {
        "targets": len(board["targets"]),
        "bank": 8,
        "models": 2,
    }
    shown = desk.say("board", *place, "--plots", tmp_path / "plots")
    assert f"{len(board['targets'])} targets, {board['fillable']} of them within reach" in shown
    drawn = {path.name: path.read_text() for path in (tmp_path / "plots").iterdir()}
    assert drawn.keys() == {"map.svg", "coverage.svg", "thresholds.svg"}
    assert drawn["map.svg"].count("<circle") == len(board["targets"]) + 10

    (validator,) = desk.document("validators", *place)["validators"]
    assert validator["address"] == format_id(devnet_key(VALIDATOR).address)
    assert validator["voting_power"] == 10_000
    assert "100.00%" in desk.say("validators", *place)
