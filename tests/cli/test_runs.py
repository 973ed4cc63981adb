"""`submit`, `claim` and `status` on the embedded network: what they do, print and leave behind."""

import json
import shutil
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli_processes import SMALL, Finished, Shell, ledger_rows, transactions_on_chain

from quickstart.bank import Bank
from quickstart.chain.ids import Id32
from quickstart.chain.transactions import ClaimRewards, SubmitData
from quickstart.units import SHANNONS_PER_SOMA
from tests.support.banks import checksums_in

FIRST_RUN = ("--workers", 1, "--windows", 12, "--epochs", 1, "--max-hits", 6, "--seed", 3)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "state"


@pytest.fixture(scope="module")
def first(shell: Shell, state: Path) -> Finished:
    return shell.run("submit", "--network", "devnet", "--state", state, "--json", *FIRST_RUN)


@pytest.fixture(scope="module")
def second(shell: Shell, state: Path, first: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same state again, with sources of our own and no cap but the clock."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("one", "two"):
        (folder / name).mkdir()
        words = " ".join(f"{name} {number} {number * number:b}" for number in range(600))
        (folder / name / "text").write_text(words)
    sources = ("--source", folder / "one", "--source", folder / "two")
    run = ("--workers", 1, "--windows", 6, "--epochs", 1, "--seconds", 1, "--json", *sources)
    return shell.run("submit", "--network", "devnet", "--state", state, *run)


def checksums(state: Path) -> set[Id32]:
    (bank,) = state.glob("networks/*/*/bank")
    return checksums_in(Bank(bank))


def test_a_run_fills_claims_and_balances(first: Finished) -> None:
    assert (first.code, first.err) == (0, "")
    result = first.document()
    assert result["network"] == "devnet"
    assert result["filled"] == 6
    assert result["claimed"] == result["filled"]
    for nothing in ("missed", "false_claims", "lost", "in_audit", "claimable", "pending"):
        assert result[nothing] == 0
    assert result["excluded_models"] == {}
    assert result["books"]["difference_shannons"] == 0
    assert result["books"]["chain_shannons"] > 0
    assert result["money"]["earned_shannons"] > result["money"]["fees_shannons"] > 0
    assert result["money"]["bond_locked_shannons"] == 0
    assert result["windows"] == {"new": 12, "in_bank": 12, "scored": 48, "rejected": result["windows"]["rejected"]}
    assert [epoch["ended_by"] for epoch in result["epochs"]] == ["max_hits"]
    assert sum(epoch["filled"] for epoch in result["epochs"]) == result["filled"]


def test_the_ledger_has_what_the_chain_has(first: Finished, second: Finished, state: Path) -> None:
    on_chain = Counter(type(given.transaction.kind) for given in transactions_on_chain(state))
    landed = dict(ledger_rows(state, "SELECT kind, COUNT(*) FROM intents WHERE status = 'landed' GROUP BY kind"))
    assert on_chain[SubmitData] == landed["submit"] == first.document()["filled"] + second.document()["filled"]
    assert on_chain[ClaimRewards] == landed["claim"]


def test_the_next_run_with_that_state_goes_on(first: Finished, second: Finished) -> None:
    assert (second.code, second.err) == (0, "")
    before, after = first.document(), second.document()
    assert (after["chain_id"], after["address"]) == (before["chain_id"], before["address"])
    assert after["epoch"] == before["epoch"] + 2
    assert after["windows"]["scored"] <= 6 * 4
    assert (after["windows"]["new"], after["windows"]["in_bank"]) == (6, 18)
    assert after["filled"] > 0
    assert after["books"]["difference_shannons"] == 0
    assert [epoch["ended_by"] for epoch in after["epochs"]] == ["seconds"]


def test_windows_come_from_every_source(second: Finished, state: Path) -> None:
    assert second.code == 0
    (bank,) = state.glob("networks/*/*/bank")
    windows = [window for shard in Bank(bank).shards() for window in Bank(bank).windows(shard.id)]
    names = Counter(Path(window.provenance.source.removeprefix("dir:")).name for window in windows)
    assert (names["one"], names["two"]) == (3, 3)


def test_status_tells_the_same(shell: Shell, state: Path, first: Finished, second: Finished) -> None:
    (wallet,) = shell.run("status", "--state", state, "--json").document()["wallets"]
    both = first.document(), second.document()
    assert wallet["address"] == both[0]["address"]
    assert wallet["filled"] == wallet["claimed"] == sum(result["filled"] for result in both)
    assert wallet["money"] == both[1]["money"]
    assert wallet["epoch"] == both[1]["epoch"]
    assert wallet["running"] is None

    text = shell.run("status", "--state", state)
    assert (text.code, text.err) == (0, "")
    assert max(map(len, text.out.splitlines())) <= 100
    for word in ("filled", "in audit", "claimable", "claimed", "lost", "bond locked", "fees", "net", "p50", "p95"):
        assert word in text.out
    assert f"filled    {wallet['filled']} targets" in text.out


def test_a_claim_with_nothing_left_to_claim_changes_nothing(shell: Shell, state: Path, second: Finished) -> None:
    result = second.document()
    done = shell.run("claim", "--network", "devnet", "--state", state)
    assert (done.code, done.err) == (0, "")
    assert f"claims    {result['claims_landed']} landed so far\n" in done.out
    assert f"net           {result['money']['net_shannons'] / SHANNONS_PER_SOMA:.9f} SOMA" in done.out


@pytest.mark.parametrize(("command", "told"), [("rebuild", "0 fills restored"), ("cleanup", "would be removed")])
def test_upkeep_on_the_devnet(shell: Shell, state: Path, second: Finished, command: str, told: str) -> None:
    assert second.code == 0
    done = shell.run(command, "--network", "devnet", "--state", state, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert told in done.out and "dry run" in done.out


def test_a_dry_run_scores_but_sends_nothing(shell: Shell, tmp_path: Path, first: Finished, state: Path) -> None:
    rehearsed = tmp_path / "state"
    done = shell.run("submit", "--network", "devnet", "--state", rehearsed, "--dry-run", "--seed", 4, *SMALL)
    assert (done.code, done.err) == (0, "")
    assert "nothing was published, signed or sent" in done.out
    assert "8 new, 32 scores, 8 in the bank" in done.out
    assert transactions_on_chain(rehearsed) == []
    assert ledger_rows(rehearsed, "SELECT COUNT(*) FROM intents") == [(0,)]
    assert list(rehearsed.glob("networks/*/*/published/windows/*")) == []
    # Another seed cuts other windows of the same files.
    assert len(checksums(rehearsed) & checksums(state)) < 8


def ledger_of_tomorrow(state: Path) -> str:
    (ledger,) = state.glob("networks/*/*/ledger.sqlite")
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA user_version = 99")
    return "99"


def bank_of_tomorrow(state: Path) -> str:
    (bank,) = state.glob("networks/*/*/bank")
    (bank / "format.json").write_text('{"format": 98}')
    return "98"


def devnet_of_tomorrow(state: Path) -> str:
    """The journal's first record, its header, in another format; the records behind it stay."""
    journal = state / "devnet" / "journal"
    frame, data = struct.Struct("<II"), journal.read_bytes()
    length, _ = frame.unpack_from(data)
    header = json.loads(data[frame.size : frame.size + length]) | {"format": 97}
    payload = json.dumps(header).encode()
    journal.write_bytes(frame.pack(len(payload), zlib.crc32(payload)) + payload + data[frame.size + length :])
    return "97"


@pytest.mark.parametrize("spoil", [ledger_of_tomorrow, bank_of_tomorrow, devnet_of_tomorrow])
def test_parts_of_the_state_folder_that_are_of_a_newer_version(
    shell: Shell, state: Path, second: Finished, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    assert second.code == 0
    newer = shutil.copytree(state, tmp_path / "newer")
    version = spoil(newer)
    done = shell.run("submit", "--network", "devnet", "--state", newer, "--json", *SMALL)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert str(newer) in done.err
    assert version in done.err


def test_rivals_and_a_chain_whose_rule_is_another(shell: Shell, tmp_path: Path) -> None:
    """Races are real, and what cannot be computed is read: nothing false, nothing missed, the books balance."""
    run = ("--workers", 1, "--windows", 6, "--epochs", 1, "--max-hits", 8, "--seed", 5)
    against = ("--rivals", 2, "--rival-poll", 0.5, "--fault", "wrong-seed")
    done = shell.run("submit", "--network", "devnet", "--state", tmp_path / "state", "--json", *run, *against)
    assert done.code == 0
    assert "new targets are read from listings for the rest of this run" in done.err
    result = done.document()
    assert result["filled"] == result["claimed"] == 8
    assert (result["false_claims"], result["missed"], result["books"]["difference_shannons"]) == (0, 0, 0)
    assert result["lost"] > 0
    assert (result["feed"]["computing"], result["feed"]["computed"]) == (False, 0)
    assert sum(result["latency_ms"][origin]["count"] for origin in ("own", "others", "listed")) == 8


@pytest.mark.parametrize("option", [("--rivals", 2), ("--rival-poll", 2), ("--fault", "wrong-seed")])
def test_rivals_are_the_embedded_networks(shell: Shell, option: tuple[object, ...]) -> None:
    done = shell.run("submit", "--network", "localnet", *option)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "add --network devnet" in done.err
