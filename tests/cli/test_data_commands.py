"""`submit` and `fetch` with sources of the hub, against its stand-ins: what is scored, kept, and told afterwards."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_processes import Finished, Shell

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from data_hosts import EXPIRED_TOKEN, GOOD_TOKEN, ArchiveStandIn, Fault, HubStandIn
from data_samples import fineweb_edu, stack

from quickstart.bank import Bank
from quickstart.data.window import address_seed
from tests.support.banks import checksums_in

RUN = ("submit", "--network", "devnet", "--workers", 1, "--windows", 8, "--epochs", 1, "--max-hits", 4, "--json")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[HubStandIn, ArchiveStandIn]]:
    code, blobs = stack(("Python", "Rust"), files=2, rows=10)
    sets = {"bigcode/the-stack-v2-dedup": code, "HuggingFaceFW/fineweb-edu": fineweb_edu()}
    with HubStandIn(sets) as hub, ArchiveStandIn(blobs) as archive:
        yield hub, archive


@pytest.fixture(scope="module")
def environment(hosts: tuple[HubStandIn, ArchiveStandIn], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    hub, archive = hosts
    home = str(tmp_path_factory.mktemp("hub-cache"))
    return {
        "HF_ENDPOINT": hub.url,
        "QUICKSTART_SWH_ENDPOINT": archive.url,
        "HF_TOKEN": GOOD_TOKEN,
        "HF_HOME": home,
    }


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data-run") / "state"


@pytest.fixture(scope="module")
def submitted(shell: Shell, state: Path, environment: dict[str, str]) -> Finished:
    line = (*RUN, "--state", state, "--source", "stack-v2:Python,Rust", "--source", "hf:HuggingFaceFW/fineweb-edu")
    return shell.run(*line, env=environment)


def test_the_stack_and_any_set_are_scored_and_submitted(submitted: Finished, state: Path) -> None:
    assert (submitted.code, submitted.err) == (0, "")
    result = submitted.document()
    assert result["filled"] == 4 and result["books"]["difference_shannons"] == 0
    (bank,) = state.glob("networks/*/*/bank")
    places = list(Bank(bank).provenance())
    assert sorted(place.source for place in places) == ["hf:HuggingFaceFW/fineweb-edu"] * 4 + ["stack-v2"] * 4
    assert sum(result["data"]["sources"].values()) == 4


def test_every_submission_says_which_file_revision_and_licence(shell: Shell, submitted: Finished, state: Path) -> None:
    assert submitted.code == 0
    (wallet,) = shell.run("status", "--state", state, "--json").document()["wallets"]
    (bank,) = state.glob("networks/*/*/bank")
    kept = Bank(bank)
    assert len(wallet["submissions"]) == wallet["filled"] == 4
    for submission in wallet["submissions"]:
        row = kept.row_of(bytes.fromhex(submission["window"]))
        assert row is not None
        place = kept.window(row).provenance
        assert submission["provenance"] == {
            "source": place.source,
            "path": place.path,
            "offset": place.offset,
            "licence": place.licence,
            "revision": place.revision,
            "kind": place.kind,
        }
        assert place.licence in ("MIT", "odc-by") and len(place.revision or "") == 40
    assert "from      " in shell.run("status", "--state", state).out


def test_the_next_run_goes_on_in_the_source(
    shell: Shell, submitted: Finished, state: Path, environment: dict[str, str]
) -> None:
    assert submitted.code == 0
    done = shell.run(
        *RUN[:3], "--dry-run", *RUN[3:], "--state", state, "--source", "stack-v2:Python,Rust", env=environment
    )
    assert (done.code, done.err) == (0, "")
    windows = done.document()["windows"]
    assert (windows["new"], windows["in_bank"]) == (8, 16)


def test_the_order_is_the_wallets_own(submitted: Finished, state: Path) -> None:
    seed = address_seed(bytes.fromhex(submitted.document()["address"].removeprefix("0x")))
    (bank,) = state.glob("networks/*/*/bank")
    markers = [json.loads(path.read_text()) for path in bank.glob("windows/*/complete.json")]
    assert {key.split()[1] for marker in markers for key in marker["marks"]} == {f"seed={seed}"}


@pytest.mark.parametrize(
    ("source", "changes", "told"),
    [
        ("stack-v2", {"HF_TOKEN": ""}, "asks for a token"),
        ("stack-v2", {"HF_TOKEN": EXPIRED_TOKEN}, "HF_TOKEN is expired"),
        ("hf:no/such", {}, "there is no data set no/such"),
        ("dir:/no/such/folder", {}, "No such file or directory"),
        ("fineweb-edu", {"QUICKSTART_FILTERS": "nonsense"}, "QUICKSTART_FILTERS is malformed"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_before_anything_starts(
    shell: Shell, tmp_path: Path, environment: dict[str, str], source: str, changes: dict[str, str], told: str
) -> None:
    done = shell.run(*RUN, "--state", tmp_path, "--source", source, env=environment | changes)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and told in done.err
    assert not (tmp_path / "devnet").exists()


def fetched(shell: Shell, environment: dict[str, str], out: Path, *more: Any) -> dict[str, Any]:
    done = shell.run("fetch", "--out", out, "--json", *more, env=environment)
    assert (done.code, done.err) == (0, "")
    return done.document()


def test_fetch_tells_rate_reasons_kinds_and_licences(shell: Shell, tmp_path: Path, environment: dict[str, str]) -> None:
    line = ("--source", "mixture:stack-v2:Python,Rust=2;fineweb-edu", "--seed", 5)
    first = fetched(shell, environment, tmp_path / "out", *line, "--windows", 20)
    assert first["windows"] == 20 == sum(first["kinds"].values()) == sum(first["licences"].values())
    assert first["licences"].keys() == {"MIT", "ODC-By-1.0"}
    assert first["kinds"].keys() == {"python", "rust", "prose"}
    assert first["windows_per_second"] > 0
    second = fetched(shell, environment, tmp_path / "out", *line, "--windows", 15)
    whole = fetched(shell, environment, tmp_path / "whole", *line, "--windows", 35)
    assert (second["windows"], whole["windows"]) == (15, 35)
    parts = checksums_in(Bank(tmp_path / "out"))
    assert parts == checksums_in(Bank(tmp_path / "whole")) and len(parts) == 35

    odd = tmp_path / "[bold]odd[/bold]"
    text = shell.run("fetch", "--out", odd, *line, "--windows", 5, "--verbose", env=environment)
    assert text.code == 0 and "[bold]odd[/bold]" in text.out
    assert "http://" not in text.err  # addresses of content may be signed
    for word in ("5 windows of mixture:stack-v2", "a second", "kinds", "licences", "prose", "MIT"):
        assert word in text.out


def test_fetch_keeps_and_tells_what_it_has_when_trouble_comes(
    shell: Shell, hosts: tuple[HubStandIn, ArchiveStandIn], tmp_path: Path, environment: dict[str, str]
) -> None:
    hub, _ = hosts
    hub.content.faults = [Fault("001_00000.parquet", float("inf"), status=429, retry_after="100000")]
    try:
        line = ("fetch", "--source", "fineweb-edu", "--out", tmp_path, "--json", "--windows", 100)
        done = shell.run(*line, env=environment)
    finally:
        hub.content.faults = []
    assert done.code == 2
    assert "what was fetched is kept" in done.err and done.err.count("\n") == 1
    told = json.loads(done.out)
    assert told["windows"] > 0
    assert told["windows"] == len(checksums_in(Bank(tmp_path)))
