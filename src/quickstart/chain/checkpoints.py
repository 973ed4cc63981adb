"""What a checkpoint says about a board: targets filled and spawned, or that something else has changed (§4, §16)."""

from collections.abc import Container
from dataclasses import dataclass

from quickstart.chain.board import Board, Event, OpenTarget, TargetFilled, TargetOpened
from quickstart.chain.ids import SYSTEM_STATE_ID, Id32, derive_id, parse_digest, parse_id
from quickstart.chain.spawning import ID_CREATION, Spawned, SpawnRule, is_proven
from quickstart.wire import soma_pb2 as pb

MASK = (
    "sequence_number",
    "summary.epoch",
    "summary.timestamp",
    "transactions.digest",
    "transactions.effects.status",
    "transactions.effects.changed_objects",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One checkpoint's meaning for a board.

    `spawned`: ids of targets that fills of known targets have made, computed or not. `unread`: models, the epoch or a
    target have changed in a way that only the node can tell. `contradicted`: the first computed target that is not
    what the chain has.
    """

    events: tuple[Event, ...]
    spawned: tuple[Id32, ...]
    unread: bool
    contradicted: OpenTarget | None


def read_checkpoint(
    message: pb.Checkpoint, board: Board, filled_before: Container[Id32], rule: SpawnRule | None
) -> Reading:
    """Reads a checkpoint in the order of its transactions; a pure function.

    A successful transaction that changes an open target has filled it: claims come an epoch later. What it made under
    its creation number 2 is the new target. `filled_before`: targets that left the board lately, our own fills among
    them. `rule`: None computes nothing.

    Raises:
        ValueError: an id or digest is malformed.
    """
    events: list[Event] = []
    spawned: list[Id32] = []
    opened: set[Id32] = set()
    contradicted: OpenTarget | None = None
    unread = message.HasField("summary") and message.summary.epoch > board.epoch.number
    for transaction in message.transactions:
        if not transaction.effects.status.success:
            continue
        made: dict[Id32, pb.ChangedObject] = {}
        changed: list[Id32] = []
        deletes = False
        for change in transaction.effects.changed_objects:
            object_id = parse_id(change.object_id)
            if change.id_operation == pb.ChangedObject.OP_CREATED:
                made[object_id] = change
            elif change.id_operation == pb.ChangedObject.OP_DELETED:
                deletes = True
            else:
                changed.append(object_id)
        filled = [i for i in changed if i in board.targets or i in opened]
        events.extend(map(TargetFilled, filled))
        if not filled and SYSTEM_STATE_ID not in changed:
            continue
        digest = parse_digest(transaction.digest)
        target_id = derive_id(digest, ID_CREATION)
        known = target_id in made and (target_id in board.targets or target_id in filled_before)
        if not filled and not known and not any(i in filled_before for i in changed):
            # A claim deletes its target; what else touches the state stakes, reveals, deactivates or ends the epoch.
            unread |= not deletes
            continue
        if target_id in made:
            spawned.append(target_id)
        if known or target_id not in made:
            continue
        change = made[target_id]
        target = rule.target(digest) if rule is not None else None
        if target is None:
            unread = True
        elif is_proven(target, Spawned(digest, change.output_version, parse_digest(change.output_digest))):
            events.append(TargetOpened(target))
            opened.add(target_id)
        else:
            contradicted = contradicted or target
    return Reading(tuple(events), tuple(spawned), unread, contradicted)


def time_ms(message: pb.Checkpoint) -> int | None:
    """The chain's time of a checkpoint, ms since 1970; None where the node does not tell."""
    if not message.summary.HasField("timestamp"):
        return None
    return message.summary.timestamp.seconds * 1000 + message.summary.timestamp.nanos // 1_000_000
