"""Starting a command is cheap, and its options are listed."""

import json
import subprocess
import sys

import pytest
from cli_processes import Shell

HEAVY = ("torch", "modal", "soma_sdk", "grpc", "boto3", "datasets", "fastapi", "uvicorn")


@pytest.mark.parametrize("module", ["quickstart.cli", "quickstart.cli.main", "quickstart.settings"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert module.partition(".")[0] in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "submit",
            "--network --rpc-url --faucet-url --admin-url --local --state --source --windows --epochs --max-hits "
            "--seconds --lanes --workers --engine --seed --dry-run --detach --json --verbose",
        ),
        ("claim", "--network --rpc-url --local --state --detach --json --verbose"),
        (
            "train",
            "--network --rpc-url --source --steps --out --start --width --layers --batch --accumulate --learning-rate "
            "--bf16 --checkpointing --keep --device --stake --seed --json --verbose",
        ),
        ("publish", "--network --update --stake --commission --keep --compound --yes --dry-run --json --verbose"),
        ("reveal", "--network --wait --json --verbose"),
        ("niches", "--network --plot --stake --json --verbose"),
        ("create-secrets", "--json --verbose"),
        ("deploy", "--json --verbose"),
        ("stop", "--now --json --verbose"),
        ("status", "--epoch --csv --local --rpc-url --state --json --verbose"),
        ("review", "--state --json --verbose"),
        ("board", "--network --rpc-url --plots --state --json --verbose"),
        ("alerts", "--local --rpc-url --dry-run --state --json --verbose"),
        ("validators", "--network --rpc-url --state --json --verbose"),
        ("plan", "--gpu-seconds --state --json --verbose"),
        ("dashboard", "--port --rpc-url --state --verbose"),
        (
            "devnet",
            "--dim --models --targets --epoch-seconds --unscaled --audit --state --rpc-port --faucet-port "
            "--scoring-port --admin-port --json",
        ),
    ],
)
def test_help_lists_the_options(shell: Shell, command: str, options: str) -> None:
    done = shell.run(command, "--help")
    assert (done.code, done.err) == (0, "")
    for option in options.split():
        assert f"{option} " in done.out or f"{option}\n" in done.out or f"[{option}]" in done.out
