"""The autopilot's decisions on a virtual clock: 1,000 runs with outages of up to 20 hours an epoch (promise 7)."""

import random
from dataclasses import dataclass, field, replace

from quickstart.chain.own_models import Commitment, ModelState, OwnModel
from quickstart.chain.transactions import Manifest
from quickstart.trainer.reveals import (
    ALARM_SECONDS,
    RETRY_SECONDS,
    Attempts,
    Next,
    Phase,
    Reveal,
    decide,
    pending_reveals,
    status,
)
from quickstart.units import HOURS

EPOCH_SECONDS = 24 * HOURS
TICK_SECONDS = 150.0
MODEL, KEY, OTHER_KEY = b"m" * 32, b"k" * 32, b"o" * 32
MANIFEST = Manifest("http://127.0.0.1:9/w", b"w" * 32, 10)
RUNS = 1000
EPOCHS = 3


def model(state: ModelState, pending_epoch: int | None = None, revealed: bytes | None = None) -> OwnModel:
    pending = None if pending_epoch is None else Commitment(KEY, b"e" * 32, MANIFEST, pending_epoch)
    return OwnModel(MODEL, state, 10**9, pending=pending, revealed_key=revealed)


@dataclass
class Chain:
    """The rules of §11.5 that a reveal meets, on a clock of seconds."""

    model: OwnModel
    missed: int = 0
    revealed_in: list[int] = field(default_factory=list)
    epoch: int = 0

    def boundary(self, epoch: int) -> None:
        self.epoch = epoch
        pending = self.model.pending
        if pending is not None and pending.epoch < epoch - 1:
            self.missed += 1
            first = self.model.state is ModelState.PENDING
            self.model = replace(self.model, pending=None, state=ModelState.INACTIVE if first else self.model.state)

    def commit(self) -> None:
        state = ModelState.PENDING if self.model.state is ModelState.CREATED else self.model.state
        self.model = replace(self.model, state=state, pending=Commitment(KEY, b"e" * 32, MANIFEST, self.epoch))

    def reveal(self) -> bool:
        pending = self.model.pending
        if pending is None or self.epoch != pending.epoch + 1:
            return False
        self.revealed_in.append(self.epoch - pending.epoch)
        self.model = replace(self.model, state=ModelState.ACTIVE, pending=None, revealed_key=pending.key)
        return True


@dataclass
class Outages:
    """Hours of an epoch in which nothing gets through: some stretches of it, or one at its beginning."""

    windows: list[tuple[float, float]]

    @classmethod
    def draw(cls, dice: random.Random, epoch: int, hours: float) -> "Outages":
        cuts = sorted(dice.random() for _ in range(dice.randrange(0, 4)))
        parts = [b - a for a, b in zip([0.0, *cuts], [*cuts, 1.0], strict=True)]
        gaps = [dice.random() for _ in range(len(parts) + 1)]
        if dice.random() < 0.5:
            parts, gaps = [1.0], [0.0, 1.0]
        spare = EPOCH_SECONDS - hours * HOURS
        windows, at = [], epoch * EPOCH_SECONDS
        for part, gap in zip(parts, gaps, strict=False):
            at += spare * gap / sum(gaps)
            windows.append((at, at + part * hours * HOURS))
            at += part * hours * HOURS
        return cls(windows)

    def down(self, now: float) -> bool:
        return any(start <= now < end for start, end in self.windows)


@dataclass
class Run:
    """One wallet's life of a few epochs: it commits in each at a random hour, and the autopilot reveals."""

    dice: random.Random
    machine_too: bool
    chain: Chain = field(default_factory=lambda: Chain(model(ModelState.CREATED)))
    alarms: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    tries: int = 0

    def play(self) -> None:
        attempts: dict[Reveal, Attempts] = {}
        for epoch in range(EPOCHS):
            self.chain.boundary(epoch)
            outages = Outages.draw(self.dice, epoch, self.dice.uniform(0, 20))
            commits_at = (epoch + self.dice.random()) * EPOCH_SECONDS
            ends, committed = (epoch + 1) * EPOCH_SECONDS, epoch == EPOCHS - 1
            now = epoch * EPOCH_SECONDS + self.dice.uniform(0, TICK_SECONDS)
            late_noted = False
            while now < ends:
                down = outages.down(now)
                pending = self._pending()
                due = any(status(reveal, self._seen(), epoch).phase is Phase.REVEAL_DUE for reveal in pending)
                if due and ends - now <= ALARM_SECONDS and not late_noted and not (down and self.machine_too):
                    late_noted = True
                    self.late.append(now)
                if due and not (down and self.machine_too):
                    self._autopilot(attempts, pending, epoch, now, ends, down)
                if not down and not committed and now >= commits_at and not self._pending():
                    self.chain.commit()
                    committed = True
                now += TICK_SECONDS if due else 4 * TICK_SECONDS

    def _seen(self) -> dict[bytes, OwnModel]:
        return {MODEL: self.chain.model}

    def _pending(self) -> tuple[Reveal, ...]:
        return pending_reveals([self.chain.model])

    def _autopilot(
        self,
        attempts: dict[Reveal, Attempts],
        pending: tuple[Reveal, ...],
        epoch: int,
        now: float,
        ends: float,
        down: bool,
    ) -> None:
        for reveal in pending:
            tried = attempts.get(reveal, Attempts())
            decision = decide(status(reveal, self._seen(), epoch).phase, tried, now, ends)
            if decision.alarm:
                self.alarms.append(now)
                attempts[reveal] = tried = replace(tried, alarmed=True)
            if decision.attempt:
                self.tries += 1
                attempts[reveal] = replace(tried, last=now)
                if not down and self.dice.random() < 0.8:  # one in five gets lost on the way
                    assert self.chain.reveal()


def test_every_reveal_is_in_its_epoch_through_outages_of_up_to_twenty_hours() -> None:
    commits = tries = alarms = 0
    for number in range(RUNS):
        run = Run(random.Random(number), machine_too=number % 2 == 0)
        run.play()
        assert run.chain.missed == 0
        assert set(run.chain.revealed_in) <= {1}
        assert run.alarms == run.late
        commits += len(run.chain.revealed_in)
        tries += run.tries
        alarms += len(run.alarms)
    assert commits > 1.9 * RUNS
    assert tries > commits
    assert alarms > RUNS / 50


def test_the_same_seed_is_the_same_run() -> None:
    runs = []
    for _ in range(2):
        run = Run(random.Random(5), machine_too=False)
        run.play()
        runs.append((run.tries, run.alarms, run.chain.revealed_in))
    assert runs[0] == runs[1]


def test_the_phases_in_their_order() -> None:
    first = Reveal(MODEL, KEY, commit_epoch=7, first=True)
    pending = {MODEL: model(ModelState.PENDING, 7)}
    assert status(first, pending, 7).phase is Phase.COMMITTED
    due = status(first, pending, 8)
    assert (due.phase, due.leads_to) == (Phase.REVEAL_DUE, Next.REVEAL)
    revealed = status(first, {MODEL: model(ModelState.ACTIVE, revealed=KEY)}, 8)
    assert (revealed.phase, revealed.leads_to) == (Phase.REVEALED, Next.UPDATE)


def test_missed_leads_on() -> None:
    first = Reveal(MODEL, KEY, commit_epoch=7, first=True)
    lost = status(first, {MODEL: model(ModelState.INACTIVE)}, 9)
    assert (lost.phase, lost.leads_to) == (Phase.MISSED, Next.NEW_MODEL)
    update = status(replace(first, first=False), {MODEL: model(ModelState.ACTIVE, revealed=OTHER_KEY)}, 9)
    assert (update.phase, update.leads_to) == (Phase.MISSED, Next.UPDATE)
    gone = status(first, {}, 9)
    assert (gone.phase, gone.leads_to) == (Phase.MISSED, Next.NEW_MODEL)
    # Also while the chain still shows it as pending: nothing stays pending for ever.
    assert status(first, {MODEL: model(ModelState.PENDING, 7)}, 9).phase is Phase.MISSED


def test_attempts_rest_a_minute_and_wait_for_each_other() -> None:
    def attempt(attempts: Attempts, now: float) -> bool:
        return decide(Phase.REVEAL_DUE, attempts, now, 1e6).attempt

    assert attempt(Attempts(), 0)
    assert not attempt(Attempts(last=0.0), RETRY_SECONDS - 1)
    assert attempt(Attempts(last=0.0), RETRY_SECONDS)
    assert not attempt(Attempts(last=0.0, under_way=True), 10 * RETRY_SECONDS)
    for phase in (Phase.COMMITTED, Phase.REVEALED, Phase.MISSED):
        assert not decide(phase, Attempts(), 1e6, 0.0).attempt
        assert not decide(phase, Attempts(), 1e6, 0.0).alarm
