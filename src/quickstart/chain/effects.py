"""What a transaction did, as a value, read from the SDK's effects (`soma-protocol` §5, §16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quickstart.chain.ids import Id32, parse_digest, parse_id
from quickstart.chain.outcomes import Failure, failure_of


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """One object a transaction touched. `digest` is None when it was deleted; `owner` is None when it is shared."""

    object_id: Id32
    digest: Id32 | None
    owner: Id32 | None
    created: bool


@dataclass(frozen=True, slots=True)
class Effects:
    """Outcome of one executed transaction. `version` is the new version of every object it wrote; fees in shannons."""

    digest: Id32
    epoch: int
    version: int
    failure: Failure | None
    base_fee: int
    operation_fee: int
    value_fee: int
    changed: tuple[ChangedObject, ...]

    @property
    def total_fee(self) -> int:
        return self.base_fee + self.operation_fee + self.value_fee

    def owned_by(self, owner: Id32) -> tuple[ChangedObject, ...]:
        return tuple(change for change in self.changed if change.owner == owner)

    def deleted(self) -> frozenset[Id32]:
        return frozenset(change.object_id for change in self.changed if change.digest is None)


def effects_from_sdk(response: Any) -> Effects:
    """Reads what `execute_transaction` and `get_transaction` return.

    Raises:
        UnmappedFailure: the failure is of a kind no rule knows.
    """
    effects = response.V1
    fee = effects.transaction_fee
    return Effects(
        digest=parse_digest(effects.transaction_digest),
        epoch=int(effects.executed_epoch),
        version=int(effects.version),
        failure=failure_of(effects.status),
        base_fee=int(fee.base_fee),
        operation_fee=int(fee.operation_fee),
        value_fee=int(fee.value_fee),
        changed=tuple(_changed(object_id, change) for object_id, change in effects.changed_objects),
    )


def _changed(object_id: str, change: Mapping[str, Any]) -> ChangedObject:
    output = change["output_state"]
    digest: Id32 | None = None
    owner: Id32 | None = None
    if isinstance(output, Mapping) and "ObjectWrite" in output:
        digest_text, owner_view = output["ObjectWrite"]
        digest = parse_digest(digest_text)
        if isinstance(owner_view, Mapping) and "AddressOwner" in owner_view:
            owner = parse_id(owner_view["AddressOwner"])
    return ChangedObject(parse_id(object_id), digest, owner, change["id_operation"] == "Created")
