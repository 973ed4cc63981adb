"""The same commands against a node that runs by itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_processes import A_KEY, SMALL, Shell

PORTS = ("--rpc-port", 0, "--faucet-port", 0, "--scoring-port", 0, "--admin-port", 0)


@pytest.fixture(scope="module")
def node(shell: Shell) -> Iterator[dict[str, str]]:
    """`devnet` until Ctrl-C; its addresses."""
    with shell.started("devnet", *PORTS, "--json") as running:
        assert running.process.stdout is not None
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(running.process.stdout.readline())
        yield json.loads("".join(lines))
        done = running.interrupt()
        assert (done.code, done.out, done.err) == (0, "", "")
        assert done.seconds < 3.5


def test_a_wallet_without_coins_is_told_what_it_needs(shell: Shell, state: Path, node: dict[str, str]) -> None:
    done = shell.run("submit", "--rpc-url", node["rpc"], "--state", state, "--json", *SMALL, env=A_KEY)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "holds 0 SOMA, one submission needs" in done.err
    assert "send SOMA to that address" in done.err


def test_a_service_that_does_not_answer_is_named(shell: Shell, state: Path, node: dict[str, str]) -> None:
    dead = "http://127.0.0.1:1"
    done = shell.run("claim", "--rpc-url", node["rpc"], "--admin-url", dead, "--state", state, env=A_KEY)
    assert (done.code, done.out) == (2, "")
    assert dead in done.err
    assert "--admin-url" in done.err


def test_a_model_that_cannot_be_had_is_excluded_and_the_run_goes_on(
    shell: Shell, state: Path, node: dict[str, str]
) -> None:
    """Also with every service of the node named: epochs are ended, and all is claimed."""
    httpx.post(node["admin"] + "/fault", json={"http_status": 404, "http_failures": 1}).raise_for_status()
    urls = ("--rpc-url", node["rpc"], "--faucet-url", node["faucet"], "--admin-url", node["admin"])
    done = shell.run("submit", "--network", "localnet", *urls, "--state", state, "--json", *SMALL)
    assert done.code == 0, done.err
    assert done.err.count("\n") == 1 and "is excluded" in done.err
    result = done.document()
    assert list(result["excluded_models"].values()) == [f"model {url}: HTTP 404" for url in excluded_urls(result)]
    assert result["filled"] == result["claimed"] > 0
    assert result["false_claims"] == 0
    assert result["books"]["difference_shannons"] == 0


def excluded_urls(result: dict[str, dict[str, str]]) -> list[str]:
    """The one model's address, out of its reason."""
    (reason,) = result["excluded_models"].values()
    return [reason.removeprefix("model ").partition(": ")[0]]


def test_a_node_whose_epochs_are_not_ours_to_end(shell: Shell, state: Path, node: dict[str, str]) -> None:
    urls = ("--rpc-url", node["rpc"], "--faucet-url", node["faucet"])
    done = shell.run("submit", *urls, "--state", state, *SMALL, env=A_KEY)
    assert (done.code, done.err) == (0, "")
    assert "6 in audit, 0 claimable, 0 claimed, 0 false claims" in done.out
    assert "difference 0 shannons" in done.out
    assert max(map(len, done.out.splitlines())) <= 100
