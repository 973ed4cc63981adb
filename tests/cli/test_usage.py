"""What bad input gets: one line that names what is wrong and how to mend it, exit code 2, nothing else."""

import resource
import socket
from pathlib import Path

import pytest
from cli_processes import A_KEY, SMALL, Finished, Shell, ledger_rows, transactions_on_chain

from quickstart.cli import arguments, model_arguments
from quickstart.devnet.rivalry import rivalry_of

DEAD_URL = "http://127.0.0.1:1"
KIB = 1024


def refused(done: Finished, *names: str) -> None:
    assert done.code == 2, done.err
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1 and done.err.endswith("\n"), done.err
    for name in names:
        assert name in done.err


@pytest.mark.parametrize(
    ("command", "arguments", "names"),
    [
        ("submit", (), ("Modal does not know you", "uv run modal setup")),
        ("claim", (), ("Modal does not know you", "uv run modal setup")),
        ("deploy", (), ("Modal does not know you", "uv run modal setup")),
        ("stop", (), ("Modal does not know you", "uv run modal setup")),
        ("create-secrets", (), ("SOMA_SECRET_KEY", "S3_BUCKET", ".env.example")),
        ("submit", ("--windows", "5"), ("--windows", "--local")),
        ("submit", ("--detach", "--network", "devnet"), ("--detach",)),
        ("submit", ("--rpc-url", DEAD_URL), ("SOMA_SECRET_KEY", ".env")),
        ("submit", ("--local",), ("SOMA_SECRET_KEY", "QUICKSTART_RPC_URL")),
        (
            "submit",
            ("--rpc-url", "https://node.example:9000"),
            ("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"),
        ),
        ("claim", ("--rpc-url", "https://node.example:9000"), ("SOMA_SECRET_KEY", "S3_BUCKET")),
        ("submit", ("--network", "localnet", "--rpc-url", "nowhere"), ("--rpc-url", "http://")),
        ("submit", ("--network", "moon"), ("--network", "moon", "devnet", "--help")),
        ("submit", ("--network", "devnet", "--epochs", "0"), ("--epochs", "from 1")),
        ("submit", ("--network", "devnet", "--windows", "1.5"), ("--windows", "1.5")),
        ("submit", ("--network", "devnet", "--seconds", "nan"), ("--seconds", "nan")),
        ("submit", ("--network", "devnet", "--seed", "-1"), ("--seed",)),
        ("submit", ("--network", "devnet", "--lanes", "65"), ("--lanes", "64")),
        ("submit", ("--netwerk", "devnet"), ("--netwerk",)),
        ("train", ("--steps", "5"), ("--out DIR",)),
        ("train", ("--out", "run"), ("--steps N",)),
        ("train", ("--out", "run", "--steps", "1", "--learning-rate", "nan"), ("--learning-rate", "nan")),
        ("publish", ("nowhere", "--network", "devnet"), ("nowhere", "uv run train --out nowhere")),
        ("publish", ("nowhere", "--stake", "1.0000000001"), ("--stake", "nine decimals")),
        ("devnet", ("--models", "9"), ("--models", "0 to 4")),
    ],
)
def test_wrong_usage(
    shell: Shell, state: Path, command: str, arguments: tuple[str, ...], names: tuple[str, ...]
) -> None:
    refused(shell.run(command, *arguments, env={"QUICKSTART_STATE": str(state)}), *names)
    assert not state.exists()


def test_every_command_with_a_network_says_all_that_opening_one_asks_for() -> None:
    every = {name: made for module in (arguments, model_arguments) for name, made in vars(module).items()}
    with_network = []
    for name in (name for name in every if name.endswith("_parser")):
        parser = every[name]()
        if "--faucet-url" in parser.format_help():
            words = {"publish_parser": ["run"], "wallet_parser": ["sweep"]}.get(name, [])
            given = parser.parse_args([*words, "--network", "devnet"])
            assert rivalry_of(given) == {}, name
            assert {"seed", "state", "detach", "rpc_url", "admin_url"} <= vars(given).keys(), name
            with_network.append(name)
    assert len(with_network) >= 8


def test_a_malformed_key_and_missing_variables_are_named_together_and_the_key_is_not_shown(shell: Shell) -> None:
    secret = "zz" * 32
    done = shell.run("submit", "--rpc-url", "https://node.example", env={"SOMA_SECRET_KEY": secret})
    refused(done, "SOMA_SECRET_KEY is malformed", "S3_BUCKET", "S3_SECRET_ACCESS_KEY")
    assert secret not in done.err


def test_a_claim_needs_no_bucket(shell: Shell, state: Path) -> None:
    done = shell.run("claim", "--rpc-url", "http://localhost:1", "--state", state, "--json", env=A_KEY)
    refused(done, "http://localhost:1", "uv run devnet")


def test_a_node_that_does_not_answer(shell: Shell, state: Path) -> None:
    refused(
        shell.run("submit", "--rpc-url", DEAD_URL, "--state", state, "--json", env=A_KEY), DEAD_URL, "uv run devnet"
    )
    refused(shell.run("submit", "--network", "localnet", "--rpc-url", DEAD_URL, "--state", state), DEAD_URL)


def test_sources_without_a_usable_window(shell: Shell, state: Path, tmp_path: Path) -> None:
    empty, binary, file = tmp_path / "empty", tmp_path / "binary", tmp_path / "file"
    empty.mkdir()
    binary.mkdir()
    (binary / "noise").write_bytes(bytes(range(256)) * 40)
    file.write_text("one line\n")
    for source, names in (
        (tmp_path / "missing", ("missing", "name an existing folder")),
        (file, (str(file), "Not a directory")),
        (empty, (str(empty), "1024 bytes")),
        (binary, (str(binary), "no usable window", "binary")),
    ):
        refused(shell.run("submit", "--network", "devnet", "--source", source, "--state", state, *SMALL), *names)
    assert transactions_on_chain(state) == []


def test_a_state_folder_that_is_none(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(shell.run("submit", "--network", "devnet", "--state", file), str(file), "--state")
    refused(shell.run("submit", "--network", "devnet", "--state", "/proc/quickstart"), "/proc/quickstart", "--state")


def test_a_state_folder_of_a_newer_version(shell: Shell, state: Path) -> None:
    state.mkdir()
    (state / "version").write_text("2\n")
    refused(shell.run("submit", "--network", "devnet", "--state", state), "version 2", "update the program")
    (state / "version").write_text("two\n")
    refused(shell.run("claim", "--network", "devnet", "--state", state), "version", "--state")


def test_a_throw_away_key_that_is_none(shell: Shell, state: Path) -> None:
    state.mkdir()
    (state / "devnet-wallet.key").write_text("not a key\n")
    refused(shell.run("submit", "--network", "devnet", "--state", state), "devnet-wallet.key", "no key")


def test_status_without_a_ledger(shell: Shell, state: Path) -> None:
    refused(shell.run("status", "--state", state), str(state), "submit --network devnet")
    refused(shell.run("status", "--state", state, "--json"))
    assert not state.exists()


def test_a_port_in_use(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell.run("devnet", "--rpc-port", port, "--faucet-port", 0, "--scoring-port", 0, "--admin-port", 0)
    refused(done, str(port), "in use", "--rpc-port")


def test_a_full_disk_ends_a_run_in_one_line_and_the_next_command_settles_it(shell: Shell, state: Path) -> None:
    """A limit on the size of files stands for the full disk: writes fail in the middle of a file there too."""

    def files_at_most(kib: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib * KIB, kib * KIB))

    line = ("submit", "--network", "devnet", "--state", state, "--json", *SMALL)
    refused(shell.run(*line, before=lambda: files_at_most(8)), str(state), "disk")
    assert transactions_on_chain(state) == []
    refused(shell.run(*line, before=lambda: files_at_most(300)), str(state), "disk")
    refused(shell.run(*line, before=lambda: files_at_most(600)), str(state), "disk")
    assert ledger_rows(state, "SELECT COUNT(*) FROM intents")[0][0] > 0
    result = shell.run("claim", "--network", "devnet", "--state", state, "--json").document()
    assert result["books"]["difference_shannons"] == 0
    assert ledger_rows(state, "SELECT COUNT(*) FROM intents WHERE status = 'pending'") == [(0,)]
