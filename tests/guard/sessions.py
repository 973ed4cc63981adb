"""Sessions on the live devnet, with few windows and one scoring process."""

from pathlib import Path
from typing import Any

from live_devnet import LiveDevnet

from quickstart.chain.keys import Wallet
from quickstart.data.folder import FolderSource
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.submission.actions import Policy
from quickstart.submission.file_server import FileServer
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.premises import Network, Places, Plan
from quickstart.submission.session import Session, open_session
from quickstart.submission.storage import Storage

servers: list[FileServer] = []
"""Those that sessions started; a fixture closes them after each test."""


def close_servers() -> None:
    while servers:
        servers.pop().close()


SOURCE = Path(__file__).parents[2] / "src" / "quickstart" / "chain"


async def session(
    live: LiveDevnet,
    wallet: Wallet,
    folder: Path,
    *,
    epochs: int = 1,
    windows: int = 6,
    policy: Policy | None = None,
    advance_epoch: Any = None,
    storage: Storage | None = None,
    **options: Any,
) -> Session:
    """An open session. Windows go to `storage`, else to a folder that is served."""

    def executor(places: Places) -> LocalExecutor:
        return LocalExecutor(
            WorkerSettings(places.bank, folder / "weights", 10**9, "numpy", private_hosts=True), workers=1
        )

    def published(places: Places) -> Storage:
        root = places.root / "published"
        if storage is not None:
            return storage
        servers.append(FileServer(root).start())
        return FolderStorage(root, servers[-1].base_url)

    plan = Plan(policy or Policy(max_hits_per_epoch=6), epochs, windows, (FolderSource(SOURCE),), **options)
    network = Network("devnet", live.endpoints, advance_epoch)
    return await open_session(network, wallet, folder, plan, published, executor, lambda progress: None)
