"""`plan`: what it says of a state folder, without a network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_processes import Shell

from quickstart.bank import Bank
from quickstart.chain.board import ActiveModel, Board, Epoch
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest
from quickstart.cli.arguments import plan_parser
from quickstart.cli.planning import run_plan
from quickstart.data.window import Provenance, Window
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill
from quickstart.planning import expect
from quickstart.scoring.engine import CertifiedError, ScoredShard

N = 20
KINDS = {"python": 3, "log": 2, "new": 1}
SCORED = {"python": 1, "log": 1}


def active(number: int) -> ActiveModel:
    """One of two models; a target needs both."""
    manifest = Manifest(f"https://h/{number}", bytes([number]) * 32, 100)
    embedding = np.random.default_rng(number).standard_normal(64).astype(np.float32)
    return ActiveModel(bytes([number]) * 32, b"o" * 32, manifest, b"k" * 32, embedding, 10**9)


def weights(model: ActiveModel) -> Id32:
    return b"w" + model.model_id[1:]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wallet whose bank has six shards of three kinds, two of them scored by both models, and one fill."""
    folder = tmp_path_factory.mktemp("plan") / "state"
    wallet = folder / "networks" / "chain" / ("ab" * 32)
    bank, random = Bank(wallet / "bank"), np.random.default_rng(1)
    models = [active(1), active(2)]
    for kind, count in KINDS.items():
        for number in range(count):
            windows = [
                Window.cut(f"{kind} {number} {n} ".encode().ljust(1024), Provenance("dir:/x", kind, n, kind=kind))
                for n in range(N)
            ]
            shard = bank.add_windows(windows)
            if number < SCORED.get(kind, 0):
                for model in models:
                    embeddings = random.standard_normal((N, 64), np.float32) * np.float32(kind == "python") + 1
                    losses = random.normal(2, 0.1, N).astype(np.float32)
                    scored = ScoredShard(weights(model), "test", embeddings, losses, CertifiedError(1e-4, 1e-4))
                    bank.add_scores(shard, scored, created_at=1)
    ledger = Ledger(wallet / "ledger.sqlite")
    board = Board(Epoch(4, 0, PARAMETERS[5], 1.0, 1), {model.model_id: model for model in models}, {})
    ledger.keep_outlook(4, expect(board, samples=256).document())
    for model in models:
        ledger.name_weights(model.weights_id, weights(model))
    ledger.add_scoring((weights(model), 2 * N, 8.0) for model in models)
    ledger.add_fills([Fill(b"t" * 32, None, 4, 1, 1, bank.window(0).checksum)])
    ledger.close()
    return folder


def planned(state: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert run_plan(plan_parser().parse_args(["--state", str(state), "--json", *options])) == 0
    (wallet,) = json.loads(capsys.readouterr().out)["wallets"]
    return dict(wallet)


def test_the_document_has_every_kind_and_the_next_pieces(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(state, capsys)
    kinds = {kind["kind"]: kind for kind in found["kinds"]}
    assert (found["chain_id"], found["address"], found["epoch"]) == ("chain", "0x" + "ab" * 32, 4)
    assert {name: kind["windows"] for name, kind in kinds.items()} == {k: N * count for k, count in KINDS.items()}
    assert {name: kind["scored"] for name, kind in kinds.items()} == {"python": N, "log": N, "new": 0}
    assert {name: kind["next_windows"] for name, kind in kinds.items()} == {"python": 2 * N, "log": N, "new": N}
    assert {name: kind["filled"] for name, kind in kinds.items()} == {"python": 1, "log": 0, "new": 0}
    assert kinds["python"]["gain_per_100"] > kinds["log"]["gain_per_100"] == 0
    assert kinds["python"]["cut_share"] > kinds["new"]["cut_share"] > kinds["log"]["cut_share"]
    assert kinds["python"]["gpu_seconds"] == pytest.approx(2 * N * 0.2)
    assert (kinds["new"]["why"], kinds["python"]["why"]) == ("unexplored: 0 of 8 scored", "gain")
    assert len(found["pieces"]) == 2 * 4
    assert found["pieces"][0]["why"] == "unexplored"
    assert found["seconds"] == pytest.approx(8 * N * 0.2)
    assert 0 < found["coverage_tightest"] < found["coverage"] < 1


def test_the_budget_is_kept_and_what_does_not_fit_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(state, capsys, "--gpu-seconds", "17")
    assert 0 < found["seconds"] <= 17
    assert {kind["kind"]: kind["why"] for kind in found["kinds"]}["log"] == "beyond the budget"


def test_the_table(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_plan(plan_parser().parse_args(["--state", str(state)])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chain     chain, epoch 4 when last seen"
    (row,) = [line.split() for line in lines if "python" in line]
    assert row[:4] == ["dir:/x", "python", "60", "20"]
    assert lines[-1] == "next      8 pieces, 32.0 GPU seconds"


def test_without_a_ledger_or_before_a_run(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("plan", "--state", tmp_path / "none")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "uv run submit" in done.err and "--state" in done.err
    Ledger(tmp_path / "state" / "networks" / "chain" / ("ab" * 32) / "ledger.sqlite").close()
    done = shell.run("plan", "--state", tmp_path / "state")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "has scored anything yet" in done.err
