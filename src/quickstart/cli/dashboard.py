"""`dashboard`: serves the page on this machine, for browsers of this machine."""

import argparse
import asyncio
import errno
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quickstart.cli.networks import checked_url
from quickstart.cli.shared_devnet import served_by_other
from quickstart.cli.state import ledgers_of
from quickstart.desk.asking import ask_wallets, workplace_here
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.wallet_files import wallet_files
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.settings import load_settings
from quickstart.submission.alarms import now_ms
from quickstart.submission.premises import Places

if TYPE_CHECKING:
    from quickstart.dashboard.asked import Said

LOOPBACK = "127.0.0.1"
NAMES = frozenset({LOOPBACK, "localhost"})


def run_dashboard(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C.

    Raises:
        UsageError: no wallet has run yet, the port is taken, or the extra is not installed.
    """
    try:
        import uvicorn

        from quickstart.dashboard.asked import Asker
        from quickstart.dashboard.guard import Guard
        from quickstart.dashboard.pages import Sources, create_app
    except ModuleNotFoundError as error:
        raise UsageError(f"the dashboard needs {error.name}: run `uv run --extra dashboard dashboard`") from error
    given = None if arguments.rpc_url is None else checked_url("rpc_url", arguments.rpc_url)
    settings = load_settings()
    state: Path = arguments.state or settings.state
    for one in ledgers_of(state):
        Ledger(one.path).close()  # brought up to date: the pages open them to read only
    asker = Asker(_Round(state, given or settings.rpc_url or (TESTNET_RPC if settings.secret_key else None)), now_ms)
    app = create_app(
        Sources(lambda: wallet_files(state), lambda one: workplace_here(Places(one.path.parent).lease), asker, now_ms)
    )
    password = settings.dashboard_password.get_secret_value() if settings.dashboard_password else None
    with closing(_listening(arguments.port)) as listener:
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        asked_for = "" if password is None else ", with the password QUICKSTART_DASHBOARD_PASSWORD"
        print(f"dashboard {address}{asked_for}; read only, for this machine; Ctrl-C ends it", flush=True)
        config = uvicorn.Config(
            Guard(app, password, NAMES), log_config=None, access_log=False, server_header=False, ws="none"
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has ended in order, and hands the signal on
            return EXIT_DONE
    return EXIT_DONE


@dataclass(frozen=True, slots=True)
class _Round:
    """Asks each wallet's chain: a devnet that is served from the state folder, and the node that was named."""

    state: Path
    node: str | None

    def __call__(self) -> "Said":
        from quickstart.dashboard.asked import Said

        devnet = served_by_other(self.state / "devnet")
        urls = [url for url in (devnet.rpc if devnet is not None else None, self.node) if url is not None]
        wallets = {one: (one.chain, one.owner) for one in wallet_files(self.state)}
        return Said(asyncio.run(ask_wallets(urls, wallets)))


def _listening(port: int) -> socket.socket:
    """Raises UsageError: the port is taken, or not ours to take."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise UsageError(f"port {port} {reason}: name another with --port, 0 for any") from error
    return listener
