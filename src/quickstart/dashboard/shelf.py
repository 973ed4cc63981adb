"""A volume's ledgers, copied to where pages can open them: a volume takes over nothing while a file of it is open."""

import shutil
from collections.abc import Callable
from pathlib import Path

from quickstart.dashboard.aside import Aside
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.snapshots import take_snapshot
from quickstart.ledger.wallet_files import WalletFile, wallet_files
from quickstart.units import MINUTES

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
            found = wallet.path.stat()
            version = (found.st_mtime_ns, found.st_size)
            if self._versions.get(wallet.path) != version:
                self._copy(wallet.path)
                self._versions[wallet.path] = version

    def _copy(self, source: Path) -> None:
        """A snapshot of the file; one that an older program wrote is brought up to date."""
        copy = self._copies / source.relative_to(self._volume)
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_name("draft.sqlite")
        shutil.copyfile(source, draft)
        Ledger(draft).close()
        take_snapshot(draft, copy)
