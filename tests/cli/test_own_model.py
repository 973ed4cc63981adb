"""A model of one's own by commands: trained, committed, revealed, assigned, paid; and what publishing says before."""

import json
from pathlib import Path

import pytest
from cli_processes import Finished, Shell, ledger_rows, transactions_on_chain

from quickstart.chain.transactions import CommitModel, CreateModel, RevealModel

pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

pytestmark = pytest.mark.torch

RUN = ("--steps", 8, "--batch", 4, "--warmup", 2, "--held-out", 8, "--seed", 3)
QUICK = (*RUN, "--windows", 12, "--max-hits", 12, "--workers", 1)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("home"), {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own-model") / "state"


@pytest.fixture(scope="module")
def life(shell: Shell, home: Path) -> Finished:
    return shell.run("train", "--network", "devnet", "--state", home, "--json", *QUICK)


def test_a_model_is_trained_revealed_assigned_and_paid(life: Finished, home: Path) -> None:
    assert (life.code, life.err) == (0, "")
    document = life.document()
    assert document["active"]
    assert document["assigned"]["targets"] > 0
    assert document["wins"] > 0
    books = document["run"]["books"]
    assert books["items"]["reward_model"] >= document["wins"] * 6_000_000
    assert books["items"]["stake"] == -1_000 * 10**9
    assert books["difference_shannons"] == 0
    assert document["run"]["false_claims"] == 0
    kinds = [type(given.transaction.kind) for given in transactions_on_chain(home)]
    assert [kinds.count(kind) for kind in (CreateModel, CommitModel, RevealModel)] == [1, 1, 1]


def test_what_training_leaves(life: Finished, home: Path) -> None:
    folder = home / "training"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "embedding.npy", "evaluation.json", "metrics.jsonl", "loss.svg", "kinds.svg"),
        *("checkpoints", "architecture.json"),
    }
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert sum(kind["windows"] for kind in evaluation["kinds"]) == 8
    stakes = [one["assigned"] for one in evaluation["outlook"].values()]
    assert stakes == sorted(stakes)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 8


def test_niches_of_what_was_scored(life: Finished, shell: Shell, home: Path, tmp_path: Path) -> None:
    plot = tmp_path / "niches.svg"
    done = shell.run("niches", "--network", "devnet", "--state", home, "--json", "--plot", plot)
    assert (done.code, done.err) == (0, "")
    document = done.document()
    assert document["windows"] == sum(niche["windows"] for niche in document["niches"]) == 12
    weakness = [niche["weakness"] for niche in document["niches"]]
    assert weakness == sorted(weakness, reverse=True)
    assert len(document["models"]) == 5
    assert sum(model["won"] for model in document["models"]) == pytest.approx(1)
    assert plot.read_text().startswith("<svg")
    table = shell.run("niches", "--network", "devnet", "--state", home)
    assert (table.code, table.err) == (0, "")
    assert "weakness" in table.out


def test_publishing_again_needs_update_and_a_dry_run_signs_nothing(life: Finished, shell: Shell, home: Path) -> None:
    line = ("publish", home / "training", "--network", "devnet", "--state", home)
    refused = shell.run(*line)
    assert (refused.code, refused.out) == (2, "")
    assert "give --update" in refused.err
    before = len(transactions_on_chain(home))
    dry = shell.run(*line, "--update", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert "can be lost: the fees" in dry.out
    assert len(transactions_on_chain(home)) == before
    updated = shell.run(*line, "--update", "--compound", 50, "--json")
    assert (updated.code, updated.err) == (0, "")
    committed = updated.document()["committed"]
    assert updated.document()["added_stake_shannons"] == life.document()["run"]["books"]["items"]["reward_model"] // 2
    before = len(transactions_on_chain(home))
    for dry_run in (("reveal",), ("train", *QUICK)):
        would = shell.run(*dry_run, "--network", "devnet", "--state", home, "--dry-run", "--json")
        assert (would.code, would.document()["dry_run"]) == (0, True) if dry_run == ("reveal",) else would.code == 2
    assert "is revealed in the next" in would.err
    assert len(transactions_on_chain(home)) == before
    shown = shell.run("reveal", "--network", "devnet", "--state", home, "--json")
    assert (shown.code, shown.err) == (0, "")
    (one,) = shown.document()["commitments"]
    assert (one["phase"], one["commit_epoch"], one["model"]) == ("committed", committed["epoch"], committed["model"])
    assert ledger_rows(home, "SELECT COUNT(*) FROM intents WHERE kind = 'commit' AND status = 'landed'") == [(2,)]


def test_a_first_stake_is_asked_for(life: Finished, shell: Shell, home: Path, tmp_path: Path) -> None:
    line = ("publish", home / "training", "--network", "devnet", "--state", tmp_path / "state")
    asked = shell.run(*line)
    assert asked.code == 2
    assert "can be lost: 0.5 SOMA" in asked.out
    assert "give --yes" in asked.err
    assert ledger_rows(tmp_path / "state", "SELECT COUNT(*) FROM intents") == [(0,)]
    done = shell.run(*line, "--yes", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document()["stake_shannons"] == 10**9


def test_training_without_a_network(shell: Shell, tmp_path: Path) -> None:
    line = ("train", "--out", tmp_path / "run", "--width", 16, "--layers", 1, "--feed-forward", 16, "--batch", 1)
    short = ("--held-out", 8, "--warmup", 1, "--state", tmp_path / "state")
    done = shell.run(*line, *short, "--steps", 3)
    assert (done.code, done.err) == (0, "")
    assert "step 3/3" in done.out
    again = shell.run(*line, *short, "--steps", 4, "--json")
    assert (again.code, again.err) == (0, "")
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [
        *range(1, 5)
    ]
    would = shell.run(*line, *short, "--steps", 9, "--dry-run")
    assert (would.code, would.err) == (0, "") and "would train 9 steps, 9 windows" in would.out
    refused = shell.run(*line, *short, "--steps", 9, "--rpc-url", "nonsense")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1), refused.err
    with shell.started(*line, *short, "--steps", 5000, "--json") as endless:
        metrics = tmp_path / "run" / "metrics.jsonl"
        endless.until(lambda: len(metrics.read_text().splitlines()) > 4)
        stopped = endless.interrupt()
    assert (stopped.code, stopped.document()["interrupted"], stopped.document()["steps"]) == (1, True, 5000)
    assert stopped.document()["step"] > 4 and stopped.document()["training_loss"] > 0
    other = shell.run(*line, *short, "--steps", 4, "--seed", 9)
    assert other.code == 2
    assert "another seed" in other.err
