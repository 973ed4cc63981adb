"""What one transaction reads and writes before it is known whether it succeeds. Dropped whole on failure."""

from dataclasses import dataclass, field, replace
from typing import Any

from quickstart.chain.ids import SYSTEM_STATE_ID, Id32, derive_id, target_seed
from quickstart.chain.objects import AddressOwner, ObjectType, Owner, SharedOwner, TargetContents
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    DeactivateModel,
    Kind,
    ReportModel,
    ReportSubmission,
    RevealModel,
    SetModelCommissionRate,
    SubmitData,
    TransactionData,
    UndoReportModel,
    UndoReportSubmission,
)
from quickstart.devnet.effects import ChangedObject, ErrorKind, ExecutionFailed
from quickstart.devnet.state import ChainState, Coin, Contents, Model, StoredObject

TargetKind = SubmitData | ClaimRewards | ReportSubmission | UndoReportSubmission
SystemKind = (
    SubmitData
    | ClaimRewards
    | CreateModel
    | CommitModel
    | RevealModel
    | AddStakeToModel
    | SetModelCommissionRate
    | DeactivateModel
    | ReportModel
    | UndoReportModel
)


def target_of(kind: Kind) -> Id32 | None:
    """The target a kind takes as shared input."""
    return kind.target_id if isinstance(kind, TargetKind) else None


def uses_system_state(kind: Kind) -> bool:
    """Whether the SystemState object is an input that is written: it counts as a written object and for
    versions."""
    return isinstance(kind, SystemKind)


@dataclass(slots=True)
class Staged:
    """A transaction being executed on `state`, which it never changes.

    `version` is what every output gets: 1 + the largest version of all inputs, owned and shared (§11.1).
    `value_fee` is computed on the balances before the base fee.
    """

    state: ChainState
    transaction: TransactionData
    digest: Id32
    version: int
    pool: int
    generated: int
    hits: int
    writes: dict[Id32, tuple[Owner, Contents]] = field(default_factory=dict)
    deleted: set[Id32] = field(default_factory=set)
    models: dict[Id32, Model] = field(default_factory=dict)
    model_reports: dict[Id32, frozenset[Id32]] = field(default_factory=dict)
    creations: int = 0
    minted: int = 0
    value_fee: int = 0

    @classmethod
    def begin(cls, state: ChainState, transaction: TransactionData, digest: Id32) -> "Staged":
        versions = [state.objects[ref.object_id].version for ref in transaction.coins()]
        shared = state.objects.get(target_of(transaction.kind) or b"")
        if shared is not None:
            versions.append(shared.version)
        if uses_system_state(transaction.kind):
            versions.append(state.system_version)
        return cls(state, transaction, digest, 1 + max(versions), state.pool, state.generated, state.hits)

    @property
    def parameters(self) -> Parameters:
        return self.state.parameters

    @property
    def sender(self) -> Id32:
        return self.transaction.sender

    @property
    def gas_id(self) -> Id32:
        return self.transaction.gas[0].object_id

    def writing_fee(self, objects: int) -> int:
        return objects * self.parameters.write_object_fee

    def contents(self, object_id: Id32) -> Contents:
        """An owned input's or an output's contents as they are now."""
        if object_id in self.deleted:
            raise ExecutionFailed(ErrorKind.OBJECT_NOT_FOUND, object_id=object_id)
        written = self.writes.get(object_id)
        return written[1] if written else self.state.objects[object_id].contents

    def balance(self, coin_id: Id32) -> int:
        contents = self.contents(coin_id)
        if not isinstance(contents, Coin):
            raise ExecutionFailed(ErrorKind.INVALID_OBJECT_TYPE)
        return contents.balance

    def write(self, object_id: Id32, contents: Contents, owner: Owner | None = None) -> None:
        """Stages new contents; the owner stays unless one is given."""
        if owner is None:
            written = self.writes.get(object_id)
            owner = written[0] if written else self.state.objects[object_id].owner
        self.writes[object_id] = (owner, contents)

    def set_balance(self, coin_id: Id32, balance: int) -> None:
        self.write(coin_id, Coin(balance))

    def delete(self, object_id: Id32) -> None:
        self.writes.pop(object_id, None)
        self.deleted.add(object_id)

    def spend_gas(self, amount: int) -> None:
        """Takes `amount` from the gas coin, which is deleted when it is empty."""
        balance = 0 if self.gas_id in self.deleted else self.balance(self.gas_id)
        if balance < amount:
            raise ExecutionFailed(ErrorKind.INSUFFICIENT_GAS)
        if balance == amount:
            self.delete(self.gas_id)
        else:
            self.set_balance(self.gas_id, balance - amount)

    def next_creation(self) -> int:
        number = self.creations
        self.creations += 1
        return number

    def next_id(self) -> Id32:
        return derive_id(self.digest, self.next_creation())

    def create(self, contents: Contents, owner: Owner) -> Id32:
        """Stages a new object with the transaction's next derived id."""
        object_id = self.next_id()
        self.writes[object_id] = (owner, contents)
        return object_id

    def create_coin(self, balance: int, owner: Id32) -> None:
        self.create(Coin(balance), AddressOwner(owner))

    def next_target_seed(self) -> int:
        return target_seed(self.digest, self.next_creation())

    def target(self, target_id: Id32) -> TargetContents:
        contents = self.state.target(target_id)
        if contents is None:
            raise ExecutionFailed(ErrorKind.INPUT_OBJECT_DELETED)
        return contents

    def model(self, model_id: Id32) -> Model:
        model = self.models.get(model_id) or self.state.models.get(model_id)
        if model is None:
            raise ExecutionFailed(ErrorKind.MODEL_NOT_FOUND)
        return model

    def change_model(self, model_id: Id32, **changes: Any) -> None:
        self.models[model_id] = replace(self.model(model_id), **changes)

    def written_objects(self) -> int:
        """Objects the operation fee counts: written and created ones, and the SystemState; deletions are
        free."""
        return len(self.writes) + uses_system_state(self.transaction.kind)

    def touch_inputs(self) -> None:
        """Every input gets a new version, also untouched ones and those of a failed transaction."""
        inputs = [ref.object_id for ref in self.transaction.coins()]
        target_id = target_of(self.transaction.kind)
        if target_id in self.state.objects and target_id is not None:
            inputs.append(target_id)
        for object_id in inputs:
            if object_id not in self.writes and object_id not in self.deleted:
                stored = self.state.objects[object_id]
                self.writes[object_id] = (stored.owner, stored.contents)

    def outputs(self) -> tuple[list[ChangedObject], list[StoredObject]]:
        """What changed (without the SystemState), ascending by id, and the new versions of what was
        written."""
        changed, stored_objects = [], []
        for object_id in sorted(self.writes.keys() | self.deleted):
            old = self.state.objects.get(object_id)
            before = old.state if old else None
            if object_id in self.deleted:
                if old is not None:
                    changed.append(ChangedObject(object_id, old.object_type, before, None))
                continue
            owner, contents = self.writes[object_id]
            new = StoredObject.of(object_id, self.version, owner, contents, self.digest)
            stored_objects.append(new)
            changed.append(ChangedObject(object_id, new.object_type, before, new.state))
        return changed, stored_objects

    def apply(self, stored_objects: list[StoredObject]) -> ChangedObject | None:
        """Writes everything into the state; gives the SystemState's change if the kind uses it."""
        state = self.state
        before = state.system_object()
        for stored in stored_objects:
            state.objects[stored.object_id] = stored
        for object_id in self.deleted:
            if state.objects.pop(object_id, None) is not None:
                state.deleted[object_id] = self.version
        state.models.update(self.models)
        state.model_reports.update(self.model_reports)
        state.pool, state.generated, state.hits = self.pool, self.generated, self.hits
        state.minted += self.minted
        if not uses_system_state(self.transaction.kind):
            return None
        state.system_version, state.system_transaction = self.version, self.digest
        return ChangedObject(SYSTEM_STATE_ID, ObjectType.SYSTEM_STATE, before, state.system_object())


SHARED = SharedOwner(1)
"""Owner of targets."""
