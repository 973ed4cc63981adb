"""The reveal autopilot as a pure state machine (`soma-protocol` §11.5).

    COMMITTED ──epoch + 1──> REVEAL_DUE ──landed──> REVEALED
                                  │
                                  └──epoch + 2──> MISSED ──> a new model, or the update again

A commit of epoch E is revealed in E + 1, in no other epoch. Missed, a first commit costs half the stake and the model;
an update is dropped without loss. Nothing stays pending for ever: the chain's epoch alone moves the state on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quickstart.chain.ids import Id32, format_id
from quickstart.chain.own_models import ModelState, OwnModel
from quickstart.units import HOURS, MINUTES

ALARM_SECONDS = 6 * HOURS
"""What is left of the epoch when a reveal that is still due becomes an alarm."""

RETRY_SECONDS = 1 * MINUTES
"""From one attempt to the next. A reveal costs 1,600 shannons, half a stake is at least 500,000,000."""


class Phase(StrEnum):
    COMMITTED = "committed"
    REVEAL_DUE = "reveal due"
    REVEALED = "revealed"
    MISSED = "missed"


class Next(StrEnum):
    """What a phase leads to."""

    WAIT = "the next epoch"
    REVEAL = "its reveal, now"
    UPDATE = "the next update"
    NEW_MODEL = "a new model"


@dataclass(frozen=True, slots=True)
class Reveal:
    """One commitment of a model of ours. `key`: H(decryption key); `first`: the stake depends on it."""

    model_id: Id32
    key: Id32
    commit_epoch: int
    first: bool


@dataclass(frozen=True, slots=True)
class Status:
    """Where a commitment stands in `epoch`, and what comes next."""

    reveal: Reveal
    phase: Phase
    leads_to: Next


def status(reveal: Reveal, models: Mapping[Id32, OwnModel], epoch: int) -> Status:
    """Where a commitment stands, by what the chain shows in `epoch`; the chain decides, not our memory."""
    model = models.get(reveal.model_id)
    waits = model is not None and model.pending is not None and model.pending.key == reveal.key
    if model is not None and model.revealed_key == reveal.key and not waits:
        return Status(reveal, Phase.REVEALED, Next.UPDATE)
    if epoch <= reveal.commit_epoch:
        return Status(reveal, Phase.COMMITTED, Next.WAIT)
    if epoch == reveal.commit_epoch + 1 and model is not None and model.state is not ModelState.INACTIVE:
        return Status(reveal, Phase.REVEAL_DUE, Next.REVEAL)
    lives = model is not None and model.state is ModelState.ACTIVE
    return Status(reveal, Phase.MISSED, Next.UPDATE if lives else Next.NEW_MODEL)


def pending_reveals(models: Iterable[OwnModel]) -> tuple[Reveal, ...]:
    """The commitments that the chain shows as not revealed."""
    return tuple(
        Reveal(model.model_id, model.pending.key, model.pending.epoch, model.state is ModelState.PENDING)
        for model in models
        if model.pending is not None
    )


def pending(models: Sequence[OwnModel], epoch: int) -> tuple[Status, ...]:
    """Where those stand in `epoch`."""
    by_id = {model.model_id: model for model in models}
    return tuple(status(reveal, by_id, epoch) for reveal in pending_reveals(models))


def commitments(statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """What to tell of commitments, ready for JSON. `lost`: missed, or due still; a later commit makes up for it."""
    newest = max((one.reveal.commit_epoch for one in statuses), default=0)
    return [
        {
            "model": format_id(one.reveal.model_id),
            "commit_epoch": one.reveal.commit_epoch,
            "phase": one.phase.value,
            "next": one.leads_to.value,
            "lost": one.phase in (Phase.MISSED, Phase.REVEAL_DUE) and one.reveal.commit_epoch == newest,
        }
        for one in statuses
    ]


@dataclass(frozen=True, slots=True)
class Attempts:
    """What was tried for one reveal. Times in seconds on any clock; `alarmed`: the alarm was given."""

    last: float | None = None
    under_way: bool = False
    alarmed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one reveal now."""

    attempt: bool
    alarm: bool


def decide(phase: Phase, attempts: Attempts, now: float, epoch_ends: float) -> Decision:
    """Tries again every minute for as long as the reveal is due; alarms once, with six hours left."""
    if phase is not Phase.REVEAL_DUE:
        return Decision(False, False)
    rested = attempts.last is None or now - attempts.last >= RETRY_SECONDS
    late = epoch_ends - now <= ALARM_SECONDS
    return Decision(rested and not attempts.under_way, late and not attempts.alarmed)
