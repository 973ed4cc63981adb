"""The models of one owner in all their states, as the registry has them (`soma-protocol` §11.5)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quickstart.chain.ids import Id32, parse_digest, parse_id
from quickstart.chain.transactions import Manifest


class ModelState(StrEnum):
    """`CREATED` has a stake and no weights; `PENDING` is committed and not revealed; `INACTIVE` is lost for good."""

    CREATED = "Created"
    PENDING = "Pending"
    ACTIVE = "Active"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a reveal must open, in the epoch after `epoch`. `key`: H(decryption key); `embedding`: H(bcs tensor)."""

    key: Id32
    embedding: Id32
    manifest: Manifest
    epoch: int


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of ours. `stake` in shannons; `pending`: a first commit or an update that waits for its reveal;
    `revealed_key`: H(decryption key) of the weights in play, and `manifest` where they are; None before the first
    reveal.
    """

    model_id: Id32
    state: ModelState
    stake: int
    create_epoch: int | None = None
    pending: Commitment | None = None
    revealed_key: Id32 | None = None
    manifest: Manifest | None = None


def own_models(state: Any, owner: Id32) -> tuple[OwnModel, ...]:
    """Reads them from the SDK's system state, ascending by id."""
    registry = getattr(state, "model_registry", None)
    found = []
    for text, versioned in vars(registry.models).items() if registry else ():
        ((name, view),) = vars(versioned.V1).items()
        if parse_id(view.owner) == owner:
            found.append(_own_model(parse_id(text), ModelState(name), view))
    return tuple(sorted(found, key=lambda model: model.model_id))


def _own_model(model_id: Id32, state: ModelState, view: Any) -> OwnModel:
    pending = None
    if state is ModelState.PENDING:
        pending = _commitment(view)
    elif state is ModelState.ACTIVE and view.pending_update is not None:
        pending = _commitment(view.pending_update)
    return OwnModel(
        model_id=model_id,
        state=state,
        stake=int(view.staking_pool.soma_balance),
        create_epoch=int(view.create_epoch) if state is ModelState.CREATED else None,
        pending=pending,
        revealed_key=parse_digest(view.decryption_key_commitment) if state is ModelState.ACTIVE else None,
        manifest=_manifest(view) if state is ModelState.ACTIVE else None,
    )


def _manifest(view: Any) -> Manifest:
    manifest = view.manifest.V1
    metadata = manifest.metadata.V1
    return Manifest(manifest.url, parse_digest(metadata.checksum), int(metadata.size))


def _commitment(view: Any) -> Commitment:
    return Commitment(
        key=parse_digest(view.decryption_key_commitment),
        embedding=parse_digest(view.embedding_commitment),
        manifest=_manifest(view),
        epoch=int(view.commit_epoch),
    )
