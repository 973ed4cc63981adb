"""What chain and Modal last said. Asking takes seconds, so pages never wait for it: they show the last answers."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from quickstart.desk.accounts import ChainAnswer, Costs
from quickstart.desk.asking import Answer
from quickstart.desk.health import Workplace
from quickstart.ledger.wallet_files import WalletFile

log = logging.getLogger(__name__)

ASK_EVERY_MS = 30_000


@dataclass(frozen=True, slots=True)
class Said:
    """Answers of one round. `chains`: by wallet; `modal`: None where nothing runs there; `costs`: of GPUs."""

    chains: Mapping[WalletFile, Answer[ChainAnswer]] = field(default_factory=dict)
    modal: Answer[Workplace] | None = None
    costs: Costs | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The last round, and when each source last answered; times in ms since 1970."""

    said: Said = Said()
    chains_ms: Mapping[WalletFile, int] = field(default_factory=dict)
    modal_ms: int | None = None

    def after(self, said: Said, at_ms: int) -> "Heard":
        answered = {wallet: at_ms for wallet, answer in said.chains.items() if answer.value is not None}
        modal = at_ms if said.modal is not None and said.modal.value is not None else self.modal_ms
        return replace(self, said=said, chains_ms={**self.chains_ms, **answered}, modal_ms=modal)


class Asker:
    """Asks anew, in a thread of its own, when somebody looks and the last answers are old; nobody looking, nobody asked.

    `ask`: one round; `clock`: ms since 1970.
    """

    def __init__(self, ask: Callable[[], Said], clock: Callable[[], int]) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._began_ms: int | None = None
        self._thread: threading.Thread | None = None
        self._heard = Heard()

    def heard(self) -> Heard:
        """The last answers. Begins another round if it is time."""
        with self._lock:
            now = self._clock()
            old = self._began_ms is None or now - self._began_ms >= ASK_EVERY_MS
            if old and (self._thread is None or not self._thread.is_alive()):
                self._began_ms = now
                self._thread = threading.Thread(target=self._round, name="asking", daemon=True)
                self._thread.start()
            return self._heard

    def wait(self, seconds: float) -> None:
        """Until the round under way has ended, or `seconds` have passed."""
        if (thread := self._thread) is not None:
            thread.join(seconds)

    def _round(self) -> None:
        try:
            said = self._ask()
        except Exception:
            # The thread's outermost boundary: pages go on with the answers they have, and show their age.
            log.exception("asking chain and Modal failed")
            return
        with self._lock:
            self._heard = self._heard.after(said, self._clock())
