"""What listings show: the chain as it was a moment ago, as on the real node (`soma-protocol` §16: 0.3 s)."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from quickstart.chain.ids import Id32
from quickstart.chain.objects import AddressOwner, TargetContents, TargetStatus
from quickstart.devnet.inputs import Applied
from quickstart.devnet.state import ChainState, Coin, StoredObject

TargetKey = tuple[str, int, Id32]


@dataclass(frozen=True, slots=True)
class _Change:
    visible_at: float
    epoch: int
    checkpoint: int
    applied: Applied
    objects: tuple[tuple[Id32, StoredObject | None], ...]


@dataclass(slots=True)
class Index:
    """Objects by owner, targets, and transactions, as of `lag_seconds` ago. Times are of one monotonic
    clock."""

    lag_seconds: float
    epoch: int = 0
    _pending: deque[_Change] = field(default_factory=deque)
    _owner_of: dict[Id32, Id32] = field(default_factory=dict)
    _owned: dict[Id32, dict[Id32, StoredObject]] = field(default_factory=dict)
    _targets: dict[Id32, TargetContents] = field(default_factory=dict)
    _transactions: dict[Id32, tuple[Applied, int]] = field(default_factory=dict)

    def record(self, now: float, state: ChainState, checkpoint: int, applied: Applied) -> None:
        """Notes what an input changed at `now`; it shows once `lag_seconds` have passed."""
        objects = tuple((object_id, state.objects.get(object_id)) for object_id in applied.object_ids)
        self._pending.append(_Change(now + self.lag_seconds, state.epoch, checkpoint, applied, objects))

    def load(self, state: ChainState, applied: Iterable[tuple[int, Applied]]) -> None:
        """Shows all of `state` at once: after a start."""
        self.epoch = state.epoch
        for object_id, stored in state.objects.items():
            self._put(object_id, stored)
        for checkpoint, one in applied:
            self._transactions[one.digest] = (one, checkpoint)

    def transaction(self, now: float, digest: Id32) -> tuple[Applied, int] | None:
        """A transaction and the number of its checkpoint."""
        self._advance(now)
        return self._transactions.get(digest)

    def owned(self, now: float, owner: Id32) -> list[StoredObject]:
        """By type, coins ascending in balance."""
        self._advance(now)
        return sorted(self._owned.get(owner, {}).values(), key=owned_key)

    def balance(self, now: float, owner: Id32) -> int:
        """Shannons in the owner's coins."""
        return sum(s.contents.balance for s in self.owned(now, owner) if isinstance(s.contents, Coin))

    def targets(self, now: float) -> list[tuple[TargetKey, TargetContents]]:
        """By (status text, generation epoch, id): filled ones come before open ones."""
        self._advance(now)
        keyed = [((t.status.value, t.generation_epoch, i), t) for i, t in self._targets.items()]
        return sorted(keyed, key=lambda item: item[0])

    def is_claimable(self, target: TargetContents) -> bool:
        """Expired, or filled before the last epoch."""
        if target.status is TargetStatus.OPEN:
            return target.generation_epoch < self.epoch
        return self.epoch > target.fill_epoch + 1

    def _advance(self, now: float) -> None:
        while self._pending and self._pending[0].visible_at <= now:
            change = self._pending.popleft()
            self.epoch = change.epoch
            self._transactions[change.applied.digest] = (change.applied, change.checkpoint)
            for object_id, stored in change.objects:
                self._put(object_id, stored)

    def _put(self, object_id: Id32, stored: StoredObject | None) -> None:
        if stored is None or not isinstance(stored.contents, TargetContents):
            self._put_owned(object_id, stored)
        if stored is None:
            self._targets.pop(object_id, None)
        elif isinstance(stored.contents, TargetContents):
            self._targets[object_id] = stored.contents

    def _put_owned(self, object_id: Id32, stored: StoredObject | None) -> None:
        previous = self._owner_of.pop(object_id, None)
        if previous is not None:
            self._owned[previous].pop(object_id, None)
        if stored is not None and isinstance(stored.owner, AddressOwner):
            self._owner_of[object_id] = stored.owner.address
            self._owned.setdefault(stored.owner.address, {})[object_id] = stored


def owned_key(stored: StoredObject) -> tuple[int, int, Id32]:
    """Order of an owner's listing."""
    balance = stored.contents.balance if isinstance(stored.contents, Coin) else 0
    return (stored.object_type, balance, stored.object_id)
