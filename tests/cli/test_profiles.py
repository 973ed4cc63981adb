"""Profiles, `--version` and completion: what every command has."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quickstart
from quickstart.cli.completion import commands, script
from quickstart.errors import SettingsError
from quickstart.ledger.ledger import Ledger
from quickstart.profiles import MODAL_ENVIRONMENT, PLAIN, profile_named, profiles, using
from quickstart.settings import load_settings, raw_value

SOURCE = Path(quickstart.__file__).parents[1]
KEYS = {"": "11" * 32, "second": "22" * 32}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SOMA_SECRET_KEY", "QUICKSTART_STATE", "QUICKSTART_LANES", MODAL_ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    for name, key in KEYS.items():
        file = tmp_path / (f".env.{name}" if name else ".env")
        file.write_text(f"SOMA_SECRET_KEY={key}\nQUICKSTART_LANES={2 + len(name)}\n")
        file.chmod(0o600)
    (tmp_path / ".env.example").write_text("SOMA_SECRET_KEY=\n")
    return tmp_path


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a process, in the present folder."""
    code = f"import sys; sys.argv[0] = {command!r}; from quickstart.cli.main import {command} as run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def key() -> str:
    secret = load_settings().secret_key
    return secret.get_secret_value() if secret else ""


def test_each_has_its_own_file_state_and_place_on_modal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTART_STATE", str(folder / "state"))
    monkeypatch.setenv("soma_secret_key", "33" * 32)  # another name: nothing signs with it
    assert [profile.name for profile in profiles()] == ["", "second"]
    assert (key(), load_settings().state) == (KEYS[""], folder / "state")
    with using(profile_named("second")):
        assert (key(), load_settings().lanes) == (KEYS["second"], 8)
        assert load_settings().state == folder / "state" / "profiles" / "second"
        assert raw_value("QUICKSTART_LANES") == "8"
        assert os.environ[MODAL_ENVIRONMENT] == "second"
    assert key() == KEYS[""] and MODAL_ENVIRONMENT not in os.environ


def test_a_folder_that_the_profile_names_is_its_own(folder: Path) -> None:
    with (folder / ".env.second").open("a") as file:
        file.write(f"QUICKSTART_STATE={folder / 'mine'}\n")
    with using(profile_named("second")):
        assert load_settings().state == folder / "mine"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"SOMA_SECRET_KEY=\xff\n", ".env.second is not a text in UTF-8"),
        (b"soma_secret_key=1\n", "line 1: write SOMA_SECRET_KEY"),
    ],
)
def test_a_file_that_cannot_be_read_as_meant_is_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    (folder / ".env.second").write_bytes(content)
    with pytest.raises(SettingsError, match=told), using(profile_named("second")):
        load_settings()
    monkeypatch.setenv("SOMA_SECRET_KEY", KEYS[""])
    with pytest.raises(SettingsError, match="unset it"), using(profile_named("second")):
        load_settings()


def test_status_of_all_profiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTART_STATE", str(folder / "state"))
    (folder / ".env.third").write_text("QUICKSTART_LANES=0\n")
    for name in KEYS:
        with using(profile_named(name) if name else PLAIN):
            wallet = load_settings().state / "networks" / "chain" / f"{len(name):064x}"
            wallet.mkdir(parents=True)
            Ledger(wallet / "ledger.sqlite").close()
            shutil.copytree(wallet, wallet.with_name(wallet.name + ".bak"))  # put aside by a person
    done = run("status", "--all-profiles", "--local", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(wallet["profile"], int(wallet["address"], 16)) for wallet in told["wallets"]] == [("", 0), ("second", 6)]
    assert list(told["troubles"]) == ["third"] and "QUICKSTART_LANES" in told["troubles"]["third"]
    shown = run("status", "--all-profiles", "--local").stdout
    assert "second" in shown and "third" in shown and "QUICKSTART_LANES" in shown
    table = run("status", "--all-profiles", "--local", "--csv")
    assert (table.returncode, table.stdout.splitlines()[0].split(",")[0]) == (1, "profile")
    assert table.stderr.startswith("error: profile third: ") and len(table.stderr.splitlines()) == 1
    assert "leave --profile" in run("status", "--all-profiles", "--profile", "second").stderr


@pytest.mark.parametrize(
    ("name", "variables", "told"),
    [
        ("second", {"SOMA_SECRET_KEY": "33" * 32}, ("SOMA_SECRET_KEY", "unset it")),
        ("second", {MODAL_ENVIRONMENT: "other"}, (MODAL_ENVIRONMENT, "unset it")),
        ("third", {}, (".env.third", "wallet new --profile third")),
        ("example", {}, ("'example'", "no name of a profile")),
        ("../x", {}, ("no name of a profile",)),
    ],
)
def test_what_could_sign_for_another_wallet_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, variables: dict[str, str], told: tuple[str, ...]
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused, using(profile_named(name)):
        load_settings()
    assert all(part in str(refused.value) for part in told) and "33" * 32 not in str(refused.value)


def test_the_option_reaches_a_command_and_the_version_is_told(folder: Path) -> None:
    absent = run("plan", "--profile", "third")
    assert (absent.returncode, absent.stdout) == (2, "") and ".env.third" in absent.stderr
    assert "profiles/second" in run("status", "--profile", "second").stderr.replace("\n", "")
    told = run("plan", "--version")
    assert told.returncode == 0
    assert told.stdout == "quickstart 0.1.0, soma-sdk 0.1.15, protocol 1 to 5\n"


def test_completion_knows_every_command_and_its_options() -> None:
    known = {command.name: command for command in commands()}
    assert {"submit", "create-secrets", "train", "completion"} <= set(known)
    for name in ("--network", "--source", "--profile", "--version"):
        assert any(name in option.names for option in known["submit"].options)
    for shell in ("bash", "zsh", "fish"):
        text = script(commands(), shell)
        assert all(name in text for name in known) and "devnet localnet" in text
    if (bash := shutil.which("bash")) is None:
        pytest.skip("no bash here to run the script in")
    asked = """
COMP_WORDS=(submit --network dev); COMP_CWORD=2; _quickstart submit; echo "${COMPREPLY[@]}"
COMP_WORDS=(uv run create-secrets --dr); COMP_CWORD=3; _quickstart_uv uv; echo "${COMPREPLY[@]}"
COMP_WORDS=(uv run completion z); COMP_CWORD=3; _quickstart_uv uv; echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        [bash, "--norc"], input=script(commands(), "bash") + asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["devnet", "--dry-run", "zsh", ""]
