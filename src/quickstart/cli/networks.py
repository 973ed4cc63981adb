"""Which network a command runs on, with which key, and where its windows are published."""

import argparse
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quickstart.errors import SettingsError, StateError, UnreachableError, UsageError

if TYPE_CHECKING:
    from quickstart.chain.client import Endpoints
    from quickstart.chain.keys import Wallet
    from quickstart.devnet.config import DevnetConfig
    from quickstart.settings import Settings
    from quickstart.submission.session import Network, Places
    from quickstart.submission.storage import Storage

STATE_VERSION = 1

LOCAL_NETWORKS = ("devnet", "localnet")
LOCALNET_PORTS = {"rpc": 9000, "faucet": 9123, "scoring": 9124, "admin": 9125}


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """`--network`, `--rpc-url` and what goes with them."""
    parser.add_argument(
        "--network",
        choices=LOCAL_NETWORKS,
        help="devnet: an embedded network, started and stopped by the command; localnet: a node on this machine",
    )
    parser.add_argument("--rpc-url", metavar="URL", help="any full node (also QUICKSTART_RPC_URL)")
    parser.add_argument("--faucet-url", metavar="URL", help="its faucet, if it has one")
    parser.add_argument("--admin-url", metavar="URL", help="its admin service, if we may end its epochs")
    parser.add_argument("--local", action="store_true", help="run the loop on this machine")
    parser.add_argument("--state", metavar="DIR", type=Path, help="state folder (also QUICKSTART_STATE)")


def open_state(folder: Path) -> Path:
    """The state folder, made if needed.

    Raises:
        StateError: it is of a newer version, or cannot be written.
    """
    marker = folder / "version"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if marker.exists():
            version = int(marker.read_text())
            if version > STATE_VERSION:
                raise StateError(
                    f"the state folder {folder} is of version {version}, this program knows {STATE_VERSION}; "
                    "update the program, or name another folder with --state"
                )
        else:
            marker.write_text(f"{STATE_VERSION}\n")
    except ValueError as error:
        raise StateError(f"{marker} does not hold a version; name another folder with --state") from error
    except OSError as error:
        raise StateError(
            f"the state folder {folder} cannot be used ({error.strerror}); free disk space, mend its permissions, "
            "or name another folder with --state"
        ) from error
    return folder


@asynccontextmanager
async def network(arguments: argparse.Namespace, settings: "Settings", state: Path) -> "AsyncIterator[Network]":
    """The network the arguments name, ready to use.

    Raises:
        UsageError: none is named, or it does not answer.
    """
    from quickstart.chain.client import Endpoints

    if arguments.network == "devnet":
        from quickstart.devnet.process import DevnetProcess

        async with DevnetProcess(_devnet_config(arguments), state / "devnet") as urls:
            endpoints = Endpoints(urls.rpc, urls.faucet, urls.scoring, urls.admin)
            yield await _with_services("devnet", endpoints, _wallet_of(arguments, settings, state))
        return
    if arguments.network == "localnet":
        base = {name: f"http://127.0.0.1:{port}" for name, port in LOCALNET_PORTS.items()}
        if arguments.rpc_url:
            base["rpc"] = arguments.rpc_url
        endpoints = Endpoints(**{**base, **_given_urls(arguments)})
        yield await _with_services("localnet", endpoints, _wallet_of(arguments, settings, state))
        return
    rpc_url = arguments.rpc_url or settings.rpc_url
    if not rpc_url:
        raise UsageError("no network is named: add --network devnet, --network localnet, or --rpc-url URL")
    endpoints = Endpoints(rpc_url, **_given_urls(arguments))
    yield await _with_services("rpc", endpoints, _wallet_of(arguments, settings, state))


def _given_urls(arguments: argparse.Namespace) -> dict[str, str]:
    given = {"faucet": arguments.faucet_url, "admin": arguments.admin_url}
    return {name: url for name, url in given.items() if url}


async def _with_services(name: str, endpoints: "Endpoints", wallet: "Wallet") -> "Network":
    """Adds faucet and admin calls where those services answer; a localnet may run without them."""
    from quickstart.chain.client import Endpoints, advance_epoch, connect, request_faucet
    from quickstart.submission.session import Network

    async def service(role: str) -> Any:
        url = getattr(endpoints, role)
        if url is None:
            return None
        try:
            return await connect(Endpoints(endpoints.rpc, **{role: url}), with_services=True)
        except UnreachableError:
            return None

    faucet, admin = await service("faucet"), await service("admin")

    async def ask_faucet() -> int:
        return await request_faucet(faucet, wallet.address, str(endpoints.faucet))

    async def end_epoch() -> int:
        return await advance_epoch(admin, str(endpoints.admin))

    return Network(name, endpoints, end_epoch if admin else None, ask_faucet if faucet else None)


def _devnet_config(arguments: argparse.Namespace) -> "DevnetConfig":
    from quickstart.devnet.config import DevnetConfig

    return DevnetConfig(rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0, seed=arguments.devnet_seed)


def wallet_for(arguments: argparse.Namespace, settings: "Settings", state: Path) -> "Wallet":
    """The key of `SOMA_SECRET_KEY`, or on networks of our own a throw-away made in the state folder.

    Raises:
        SettingsError: a key is needed and missing.
    """
    return _wallet_of(arguments, settings, state)


def _wallet_of(arguments: argparse.Namespace, settings: "Settings", state: Path) -> "Wallet":
    from quickstart.chain.keys import Wallet

    if arguments.network != "devnet" and settings.secret_key is not None:
        return Wallet.parse(settings.secret_key.get_secret_value())
    if arguments.network not in LOCAL_NETWORKS:
        settings.require("SOMA_SECRET_KEY")
    return _throw_away_wallet(state / f"{arguments.network}-wallet.key")


def _throw_away_wallet(path: Path) -> "Wallet":
    """A key for a network whose coins are worth nothing; readable by its owner only, durable before it is used."""
    from quickstart.chain.keys import Wallet

    if path.exists():
        return Wallet.parse(path.read_text())
    wallet = Wallet.generate()
    draft = path.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(wallet.secret.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return wallet


@contextmanager
def storage(rpc_url: str, settings: "Settings", state: Path) -> "Iterator[Callable[[Places], Storage]]":
    """Where windows are published: a local folder served over HTTP for a node on this machine, else the bucket.

    Raises:
        SettingsError: a bucket is needed and not configured.
    """
    if settings.s3 is not None and not is_loopback(rpc_url):
        from quickstart.submission.s3_storage import S3Storage

        bucket = S3Storage(settings.s3)
        try:
            yield lambda _: bucket
        finally:
            bucket.close()
        return
    if not is_loopback(rpc_url):
        settings.require("S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
        raise SettingsError("missing: S3_BUCKET; validators must be able to read what is submitted")
    from quickstart.submission.file_server import FileServer
    from quickstart.submission.folder_storage import FolderStorage

    root = state / "published"
    root.mkdir(parents=True, exist_ok=True)
    with FileServer(root) as server:
        yield lambda _: FolderStorage(root, server.base_url)


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
