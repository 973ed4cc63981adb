"""Which network a command runs on, with which key, and where its windows are published."""

import argparse
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from quickstart.chain.addresses import is_loopback
from quickstart.chain.client import Endpoints, advance_epoch, connect, request_faucet
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import refuse_if_held
from quickstart.cli.arguments import NETWORKS
from quickstart.cli.state import throw_away_wallet
from quickstart.devnet.rivalry import rivalry_of
from quickstart.errors import UnreachableError, UsageError
from quickstart.settings import Settings, Url, load_settings, publishing_names
from quickstart.submission.premises import Network, Places
from quickstart.submission.storage import Storage

LOCALNET_PORTS = {"rpc": 9000, "faucet": 9123, "scoring": 9124, "admin": 9125}

KEY_NAME = "SOMA_SECRET_KEY"
RPC_NAME = "QUICKSTART_RPC_URL"

Service = Literal["faucet", "admin"]


def settings_for(arguments: argparse.Namespace, *, publishes: bool) -> Settings:
    """The settings, with everything the chosen network needs; what is missing is named at once.

    Raises:
        UsageError: an address is none.
        SettingsError: variables are missing or malformed.
    """
    if arguments.detach:
        raise UsageError("--detach is for what runs on Modal: leave it out, or leave out --local, --network, --rpc-url")
    check_urls(arguments)
    if arguments.network == "devnet":
        return load_settings()
    if rivalry_of(arguments):
        raise UsageError("--rivals, --rival-poll and --fault make an embedded network less kind: add --network devnet")
    needed = [] if arguments.network in NETWORKS else [KEY_NAME]
    if arguments.rpc_url is None and arguments.network is None:
        needed.append(RPC_NAME)
    if publishes and arguments.rpc_url is not None and not is_loopback(arguments.rpc_url):
        needed += publishing_names()
    settings = load_settings(*needed)
    if publishes and not is_loopback(_rpc_url(arguments, settings)):
        settings.require(*publishing_names())
    return settings


def check_urls(arguments: argparse.Namespace) -> None:
    """Brings the addresses that were given into their form.

    Raises:
        UsageError: one is none.
    """
    for option in ("rpc_url", "faucet_url", "admin_url"):
        if getattr(arguments, option) is not None:
            setattr(arguments, option, checked_url(option, getattr(arguments, option)))


def checked_url(option: str, text: str) -> str:
    """An address as it is used; `option`: where it was given.

    Raises:
        UsageError: it is none.
    """
    try:
        return TypeAdapter(Url).validate_python(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"argument --{option.replace('_', '-')}: {reason}") from None


def _rpc_url(arguments: argparse.Namespace, settings: Settings) -> str:
    return arguments.rpc_url or settings.rpc_url or f"http://127.0.0.1:{LOCALNET_PORTS['rpc']}"


@asynccontextmanager
async def network(
    arguments: argparse.Namespace, settings: Settings, state: Path, wallet: Wallet
) -> AsyncIterator[Network]:
    """The network the arguments name, ready to use.

    Raises:
        StateError: the embedded one cannot be started.
    """
    if arguments.network == "devnet":
        from quickstart.cli.shared_devnet import devnet_of
        from quickstart.devnet.config import DevnetConfig

        config = replace(
            DevnetConfig(rpc_port=0, faucet_port=0, scoring_port=0, admin_port=0, seed=arguments.seed or 0),
            **rivalry_of(arguments),
            **getattr(arguments, "devnet", {}),
        )
        async with devnet_of(state, config) as urls:
            yield _with_services("devnet", Endpoints(urls.rpc, urls.faucet, urls.scoring, urls.admin), wallet)
        return
    rpc_url = _rpc_url(arguments, settings)
    await connect(Endpoints(rpc_url))
    services: dict[str, str | None] = {}
    for role, given in (("faucet", arguments.faucet_url), ("admin", arguments.admin_url)):
        usual = f"http://127.0.0.1:{LOCALNET_PORTS[role]}" if arguments.network == "localnet" else None
        services[role] = await _service(role, given, usual, rpc_url)
    yield _with_services(arguments.network or "rpc", Endpoints(rpc_url, **services), wallet)


async def _service(role: str, given: str | None, usual: str | None, rpc_url: str) -> str | None:
    """Where a service is: `given` must answer; at `usual` there may be nothing, a localnet can run without it."""
    url = given or usual
    if url is None:
        return None
    try:
        await connect(Endpoints(rpc_url, **{role: url}), with_services=True)
    except UnreachableError as error:
        if given is None:
            return None
        raise UnreachableError(f"no answer from {url}; mend --{role}-url, or leave it out") from error
    return url


def _with_services(name: str, endpoints: Endpoints, wallet: Wallet) -> Network:
    """Adds the calls of the faucet and of the admin service, where there are such services."""

    async def client_of(role: Service) -> Any:
        return await connect(Endpoints(endpoints.rpc, **{role: getattr(endpoints, role)}), with_services=True)

    async def ask_faucet() -> int:
        return await request_faucet(await client_of("faucet"), wallet.address, cast(str, endpoints.faucet))

    async def end_epoch() -> int:
        return await advance_epoch(await client_of("admin"), cast(str, endpoints.admin))

    return Network(name, endpoints, end_epoch if endpoints.admin else None, ask_faucet if endpoints.faucet else None)


def wallet_for(arguments: argparse.Namespace, settings: Settings, state: Path) -> Wallet:
    """The key of `SOMA_SECRET_KEY`, or on networks of our own a throw-away made in the state folder.

    Raises:
        StateError: the throw-away cannot be written.
    """
    if arguments.network == "devnet" or (arguments.network in NETWORKS and settings.secret_key is None):
        return throw_away_wallet(state / f"{arguments.network}-wallet.key")
    settings.require(KEY_NAME)
    assert settings.secret_key is not None
    return Wallet.parse(settings.secret_key.get_secret_value())


@contextmanager
def storage(rpc_url: str, settings: Settings, *, publishes: bool) -> Iterator[Callable[[Places], Storage]]:
    """Where windows are published: a local folder served over HTTP for a node on this machine, else the bucket.

    A command that publishes nothing needs no bucket. What is given back refuses a wallet that another command
    signs for: that one's file server must keep its port.
    """
    with ExitStack() as stack:

        def in_folder(places: Places) -> Storage:
            from quickstart.submission.file_server import FileServer
            from quickstart.submission.folder_storage import FolderStorage

            root = places.root / "published"
            if not publishes:
                return FolderStorage(root, "")
            refuse_if_held(places.lease)
            return FolderStorage(root, stack.enter_context(FileServer(root)).base_url)

        def in_bucket(places: Places) -> Storage:
            from quickstart.submission.s3_storage import S3Storage

            assert settings.s3 is not None
            bucket = S3Storage(settings.s3)
            stack.callback(bucket.close)
            return bucket

        yield in_folder if is_loopback(rpc_url) or not publishes else in_bucket
