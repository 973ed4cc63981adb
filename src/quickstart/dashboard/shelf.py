"""A volume's ledgers, copied to where pages can open them: a volume takes over nothing while a file of it is open."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from quickstart.dashboard.aside import Aside
from quickstart.errors import StateError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.snapshots import take_snapshot
from quickstart.ledger.wallet_files import WalletFile, wallet_files
from quickstart.units import MINUTES

log = logging.getLogger(__name__)

COPY_EVERY_SECONDS = 5.0
FIRST_COPY_SECONDS = 1 * MINUTES


class Shelf:
    """`volume`: laid out as a state folder; `copies`: likewise. `reload`: makes the volume show what others committed.

    `clock`: seconds.
    """

    def __init__(self, volume: Path, copies: Path, reload: Callable[[], None], clock: Callable[[], float]) -> None:
        self._volume = volume
        self._copies = copies
        self._reload = reload
        self._versions: dict[Path, tuple[int, int]] = {}
        self._aside = Aside(self._copy_all, COPY_EVERY_SECONDS, clock)

    def wallets(self) -> tuple[WalletFile, ...]:
        """The copies there are. Waits for the first only."""
        self._aside.nudge()
        if not self._versions:
            self._aside.wait(FIRST_COPY_SECONDS)
        return wallet_files(self._copies)

    def wait(self, seconds: float) -> None:
        """Until the copying under way has ended, or `seconds` have passed."""
        self._aside.wait(seconds)

    def _copy_all(self) -> None:
        self._reload()
        for wallet in wallet_files(self._volume):
            try:
                self._take_over(wallet.path)
            except (OSError, StateError) as error:  # one that is damaged hides no other
                log.error("the ledger %s is shown as it was, or not at all: %s", wallet.path, error)

    def _take_over(self, source: Path) -> None:
        """Copies a ledger that has changed. Raises OSError, StateError: it cannot be copied, or read."""
        found = source.stat()
        version = (found.st_mtime_ns, found.st_size)
        if self._versions.get(source) != version:
            self._copy(source)
            self._versions[source] = version

    def _copy(self, source: Path) -> None:
        """A snapshot of the file; one that an older program wrote is brought up to date."""
        copy = self._copies / source.relative_to(self._volume)
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_name("draft.sqlite")
        shutil.copyfile(source, draft)
        Ledger(draft).close()
        take_snapshot(draft, copy)
