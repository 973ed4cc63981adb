"""New windows on the volume: what runs where data is read. It holds no secret but the hub's token."""

import logging
import time
from pathlib import Path

from quickstart.bank.filling import WindowShelf, add_new_windows
from quickstart.data.window import SourcePlan
from quickstart.errors import QuickstartError
from quickstart.modal_app.account import described
from quickstart.modal_app.messages import Message
from quickstart.modal_app.uploads import names_of, open_uploaded
from quickstart.modal_app.workplace import Shared
from quickstart.settings import load_settings

log = logging.getLogger(__name__)


def cut(message: Message, bank: Shared, uploaded: Path) -> Message:
    """Cuts `wanted` new windows from the folders in `uploaded` and the named source, else from the default one, for as
    many `seconds` as the message says (without limit if it does not).

    Returns the number of `windows`, or why there are no more (`failed`); never raises. What was cut is kept either way.
    """
    try:
        bank.reload()
        try:
            return {"windows": _cut(message, bank.folder, uploaded)}
        except QuickstartError as error:
            return {"failed": str(error)}
        finally:
            bank.commit()
    except Exception as error:  # whatever a volume or a library of data sets raises: it is told as an answer
        log.exception("windows were not cut")
        return {"failed": described(error)}


def _cut(message: Message, root: Path, uploaded: Path) -> int:
    sources = open_uploaded(uploaded, names_of(uploaded), message.get("source"), load_settings(env_file=None))
    ends = time.monotonic() + message.get("seconds", float("inf"))
    counts = add_new_windows(
        WindowShelf(root),
        sources,
        message["wanted"],
        SourcePlan(message["seed"]),
        message["shard_windows"],
        message["filters"],
        stopped=lambda: time.monotonic() >= ends,
    )
    return counts.passed
