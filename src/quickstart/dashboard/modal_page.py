"""The page as a Modal app of its own: it holds its password and no key, and sees the ledgers read only.

Wiring only; `uv run deploy` deploys it where a password is set.
"""

import logging
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import modal

from quickstart.modal_app import images, names
from quickstart.units import GIB, MINUTES

if TYPE_CHECKING:
    from quickstart.dashboard.asked import Said
    from quickstart.ledger.wallet_files import WalletFile

VOLUME = Path("/soma-ledger")
IDLE_SECONDS = 5 * MINUTES

app = modal.App(names.DASHBOARD_APP)

ledger_volume = modal.Volume.from_name(names.LEDGER_VOLUME, create_if_missing=True, version=2)
state = modal.Dict.from_name(names.DICT, create_if_missing=True)
secret = modal.Secret.from_name(names.DASHBOARD_SECRET, required_keys=["QUICKSTART_DASHBOARD_PASSWORD"])


@app.function(
    name=names.DASHBOARD,
    image=images.page,
    secrets=[secret],
    cpu=0.25,
    memory=(512, int(2 * GIB / 2**20)),
    volumes={str(VOLUME): ledger_volume.with_mount_options(read_only=True)},
    max_containers=1,
    scaledown_window=int(IDLE_SECONDS),
    timeout=int(2 * MINUTES),
)
@modal.concurrent(max_inputs=50)
@modal.asgi_app(label=names.DASHBOARD_APP)
def page() -> Any:
    """The application, behind its password.

    Raises:
        SettingsError: there is no password; nothing is served without one.
    """
    from quickstart.dashboard.asked import Asker, Said
    from quickstart.dashboard.guard import Guard
    from quickstart.dashboard.pages import Sources, create_app
    from quickstart.dashboard.shelf import Shelf
    from quickstart.desk.asking import Answer
    from quickstart.desk.health import Workplace
    from quickstart.logs import hide_urls
    from quickstart.settings import load_settings
    from quickstart.submission.alarms import now_ms

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    hide_urls()
    settings = load_settings("QUICKSTART_DASHBOARD_PASSWORD", env_file=None)
    assert settings.dashboard_password is not None
    shelf = Shelf(VOLUME, Path(mkdtemp(prefix="soma-ledgers-")), ledger_volume.reload, time.monotonic)
    first = Said(modal=Answer(None, "not asked yet"))
    asker = Asker(lambda: _ask(shelf.wallets(), settings.rpc_url, settings.gpus), now_ms, first)
    inner = create_app(Sources(shelf.wallets, lambda _: Workplace(), asker, now_ms))
    return Guard(inner, settings.dashboard_password.get_secret_value(), None)


def _ask(wallets: "tuple[WalletFile, ...]", node: str | None, gpus: tuple[str, ...]) -> "Said":
    """What the chain and our own Dict say now."""
    import asyncio

    from quickstart.dashboard.asked import Said
    from quickstart.desk.asking import Answer, ask_wallets
    from quickstart.desk.modal_side import costs, workplace
    from quickstart.errors import QuickstartError
    from quickstart.modal_app.account import has_ended, modal_errors
    from quickstart.modal_app.prices import scorer_dollars_per_second
    from quickstart.modal_app.workplace import TESTNET_RPC
    from quickstart.submission.alarms import now_ms

    chains = asyncio.run(ask_wallets((node or TESTNET_RPC,), {one: (one.chain, one.owner) for one in wallets}))
    try:
        with modal_errors():
            running = state.get(names.RUNNING)
            at_work = running if running and not has_ended(modal.FunctionCall.from_id(running)) else None
            last_ms = max((one.path.stat().st_mtime_ns // 1_000_000 for one in wallets), default=None)
            place = workplace(state, at_work, last_ms, now_ms())
            spent = costs(state, scorer_dollars_per_second(gpus))
    except QuickstartError as error:
        return Said(chains, Answer(None, str(error)))
    return Said(chains, Answer(place), spent)
