"""What chain and Modal last said. Asking takes seconds, so pages never wait for it: they show the last answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from quickstart.dashboard.aside import Aside
from quickstart.desk.accounts import ChainAnswer, Costs
from quickstart.desk.asking import Answer
from quickstart.desk.health import Workplace
from quickstart.ledger.wallet_files import WalletFile

ASK_EVERY_SECONDS = 30.0


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
    """Keeps the last answers, and asks anew when somebody looks and they are old.

    `ask`: one round; `clock`: ms since 1970; `first`: what is shown until the first round has ended.
    """

    def __init__(self, ask: Callable[[], Said], clock: Callable[[], int], first: Said | None = None) -> None:
        self._ask = ask
        self._clock = clock
        self._heard = Heard(first or Said())
        self._aside = Aside(self._round, ASK_EVERY_SECONDS, lambda: clock() / 1000)

    def heard(self) -> Heard:
        """The last answers; never waits."""
        self._aside.nudge()
        return self._heard

    def wait(self, seconds: float) -> None:
        """Until the round under way has ended, or `seconds` have passed."""
        self._aside.wait(seconds)

    def _round(self) -> None:
        said = self._ask()
        self._heard = self._heard.after(said, self._clock())
