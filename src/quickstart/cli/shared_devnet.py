"""The embedded network of a state folder: one process serves it, and every command of that folder may use it.

The command that starts it leaves its addresses beside the chain; a second command finds them there, meets the first
one's lease on the wallet, and hands its request over.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from quickstart.chain.lease import is_alive
from quickstart.devnet.config import DevnetConfig, DevnetUrls
from quickstart.devnet.process import DevnetProcess
from quickstart.errors import StateError

ADDRESSES = "serving.json"


@asynccontextmanager
async def devnet_of(state: Path, config: DevnetConfig) -> AsyncIterator[DevnetUrls]:
    """The folder's devnet: that of another command while one runs, else one of our own, which ends with the block.

    Raises:
        StateError: it cannot be started.
    """
    folder = state / "devnet"
    running = served_by_other(folder)
    if running is not None:
        yield running
        return
    process = DevnetProcess(config, folder)
    try:
        urls = await process.start()
    except StateError:
        # Two commands may start at once: the folder is the first one's, and by now it says where it serves.
        running = served_by_other(folder)
        if running is None:
            raise
        yield running
        return
    try:
        _announce(folder, urls)
        yield urls
    finally:
        (folder / ADDRESSES).unlink(missing_ok=True)
        await process.stop()


def _announce(folder: Path, urls: DevnetUrls) -> None:
    draft = folder / f".{ADDRESSES}.{os.getpid()}"
    try:
        draft.write_text(json.dumps({"parent": os.getpid(), "urls": asdict(urls)}))
        draft.replace(folder / ADDRESSES)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StateError(
            f"cannot write {folder} ({error.strerror}); free disk space, or name another folder with --state"
        ) from error


def served_by_other(folder: Path) -> DevnetUrls | None:
    """Addresses that a command which still runs has left; a killed one's are worth nothing, its devnet ends too."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        left = json.loads((folder / ADDRESSES).read_text())
        urls = DevnetUrls(**left["urls"])
        if is_alive(int(left["parent"])) and is_alive(urls.pid):
            return urls
    return None
