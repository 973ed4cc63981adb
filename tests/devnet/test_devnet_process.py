"""The devnet as a process: it starts, goes on with its state, and never outlives whoever started it."""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from soma_sdk import Keypair, SomaClient

from quickstart.chain.ids import parse_digest, parse_id
from quickstart.chain.transactions import ObjectRef, TransactionData, TransferCoin
from quickstart.devnet.config import DevnetConfig, DevnetUrls, add_arguments, config_from
from quickstart.devnet.process import DevnetProcess
from quickstart.devnet.server import DevnetServer
from quickstart.errors import SettingsError, StateError, UnreachableError

CONFIG = DevnetConfig(
    targets=5, audit=False, index_lag_seconds=0.0, rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0
)
ADDRESS = "ab" * 32


async def ask(urls: DevnetUrls) -> tuple[int, float]:
    client = await SomaClient(urls.rpc)
    state = await client.get_latest_system_state()
    return state.epoch, await client.get_balance(ADDRESS)


async def change(urls: DevnetUrls) -> None:
    client = await SomaClient(urls.rpc, faucet_url=urls.faucet, admin_url=urls.admin)
    await client.request_faucet(ADDRESS)
    await client.advance_epoch()


async def signed_transfer(urls: DevnetUrls) -> bytes:
    """A transfer of a fresh key's first coin."""
    keypair = Keypair.generate()
    client = await SomaClient(urls.rpc, faucet_url=urls.faucet)
    await client.request_faucet(keypair.address())
    coin = (await client.list_owned_objects(keypair.address()))[0]
    ref = ObjectRef(parse_id(coin.id), coin.version, parse_digest(coin.digest))
    transaction = TransactionData(TransferCoin(ref, 1, b"\x01" * 32), parse_id(keypair.address()), (ref,))
    return bytes(keypair.sign(transaction.encode()))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_a_devnet_killed_at_any_moment_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        process = DevnetProcess(CONFIG, tmp_path)
        urls = await process.start()
        await change(urls)
        signed = await signed_transfer(urls)
        effects = await (await SomaClient(urls.rpc)).execute_transaction(signed)
        os.kill(urls.pid, signal.SIGKILL)
        wait_until_gone(urls.pid, 5)
        await process.stop()
        async with DevnetProcess(CONFIG, tmp_path) as again:
            assert await ask(again) == (2, 2.0)
            assert again.chain_id == urls.chain_id
            resent = await (await SomaClient(again.rpc)).execute_transaction(signed)
            assert str(resent) == str(effects)
        wait_until_gone(again.pid, 1)

    asyncio.run(main())


STARTER = """
import asyncio, sys
from pathlib import Path
from quickstart.chain.ids import parse_digest, parse_id
from quickstart.chain.transactions import ObjectRef, TransactionData, TransferCoin
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.process import DevnetProcess

async def main():
    config = DevnetConfig(targets=5, rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0)
    async with DevnetProcess(config, Path(sys.argv[1])) as urls:
        print(urls.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_devnet_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        # The terminal's Ctrl-C reaches the child too, and must not end it.
        os.kill(child, signal.SIGINT)
        parent.kill()
        wait_until_gone(child, 3)


def served(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "quickstart.devnet", "--targets=5", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


PORTS = [f"--{name}-port=0" for name in ("rpc", "faucet", "scoring", "admin")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_within_a_second(number: signal.Signals) -> None:
    with served(*PORTS) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert set(urls) == {"rpc", "faucet", "scoring", "admin", "chain_id", "pid"}
        started = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=5)
        assert process.returncode == 0
        # Promised within one second; a busy machine gets two.
        assert time.monotonic() - started < 2.0
        assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["rpc", "admin"])
def test_a_port_in_use_is_named_with_its_option(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = [option for option in PORTS if name not in option]
        with served(*others, f"--{name}-port={port}") as process:
            out, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert out == ""
    assert errors.splitlines()[-1] == (
        f"error: port {port} is in use: choose another with --{name}-port (0 takes any free one)"
    )


def test_another_configuration_of_the_same_state_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with DevnetProcess(CONFIG, tmp_path):
            pass
        other = DevnetConfig(targets=6, rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0)
        with pytest.raises(StateError, match=r'belongs to a devnet with {"targets": 5}, not {"targets": 6}'):
            await DevnetProcess(other, tmp_path).start()

    asyncio.run(main())


def test_a_failed_start_closes_what_it_opened(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            busy = DevnetConfig(
                targets=5, state=tmp_path, rpc_port=0, faucet_port=0, scoring_port=0, admin_port=taken.getsockname()[1]
            )
            with pytest.raises(UnreachableError):
                await DevnetServer(busy).start()
        # The state folder's lock is free again.
        async with DevnetServer(
            DevnetConfig(targets=5, state=tmp_path, rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0)
        ):
            pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"models": 5}, "--models must be 0 to 4"),
        ({"width": 32}, "have width 64: use --dim 64 or --models 0"),
        ({"models": 0, "width": 0}, "--dim must be at least 1"),
        ({"targets": -1}, "cannot be negative"),
    ],
)
def test_options_that_do_not_go_together(values: dict[str, int], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        DevnetConfig(**values)  # type: ignore[arg-type]


def test_the_configuration_survives_its_own_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from(parser.parse_args([])) == DevnetConfig()
    config = replace(CONFIG, seed=5, scaled=False, width=64, hits_per_epoch=7, faucet_coins=3, heartbeat_seconds=0.25)
    assert config_from(parser.parse_args(config.arguments())) == config
