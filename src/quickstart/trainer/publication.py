"""From a trained model to a commitment on the chain: encrypted, uploaded, checked, kept, and only then signed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias

import numpy as np

from quickstart.chain.board import Epoch
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32, derive_id, format_id
from quickstart.chain.own_models import ModelState, OwnModel
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import AddStakeToModel, CommitModel, CreateModel, Kind
from quickstart.errors import FundsError, NetworkError, StateError, UsageError, WeightsError
from quickstart.ledger.ledger import ConflictError
from quickstart.ledger.records import IntentKind
from quickstart.scoring.tensor_file import FileAt
from quickstart.scoring.weights import encrypt_file, open_weights
from quickstart.submission.outbox import Outbox, Settled
from quickstart.submission.storage import Publisher
from quickstart.trainer.products import Product
from quickstart.trainer.vault import Release, Vault, new_key
from quickstart.units import BPS, basis_points, format_soma


@dataclass(frozen=True, slots=True)
class Create:
    """Stake, and make a model, before the commit."""


@dataclass(frozen=True, slots=True)
class Commit:
    model_id: Id32


Step: TypeAlias = Create | Commit


def next_step(models: Sequence[OwnModel], epoch: int, *, update: bool) -> Step:
    """What a publication has to do first. Pure; a run that was interrupted finds the model it had created.

    Raises:
        UsageError: the models do not allow what was asked; says what would.
    """
    living = [model for model in models if model.state is not ModelState.INACTIVE]
    for model in living:
        if model.pending is not None and model.pending.epoch >= epoch - 1:
            raise UsageError(
                f"model {format_id(model.model_id)} was committed in epoch {model.pending.epoch} and is revealed in "
                f"the next: publish again after that"
            )
    active = [model for model in living if model.state is ModelState.ACTIVE]
    if update:
        if not active:
            raise UsageError("this wallet has no active model to update: leave --update out to publish the first")
        return Commit(max(active, key=lambda model: model.stake).model_id)
    if active:
        raise UsageError(
            f"model {format_id(active[0].model_id)} is active: give --update to commit these weights for it"
        )
    created = [model for model in living if model.state is ModelState.CREATED]
    return Commit(created[0].model_id) if created else Create()


@dataclass(frozen=True, slots=True)
class Costs:
    """What a publication costs, in shannons. `at_risk`: lost if a first reveal is missed; 0 for an update."""

    stake: int
    fees: int
    at_risk: int

    @property
    def total(self) -> int:
        return self.stake + self.fees


def costs(step: Step, stake: int, parameters: Parameters, *, update: bool) -> Costs:
    """Fees of create, commit and reveal (§11.1), and what §11.5 takes when the reveal is missed."""
    commit_and_reveal = 2 * commit_fee(parameters)
    slash = basis_points(stake, parameters.model_reveal_slash_rate_bps)
    if isinstance(step, Commit):
        return Costs(0, commit_and_reveal, 0 if update else slash)
    return Costs(stake, commit_and_reveal + create_fee(stake, parameters), slash)


def create_fee(stake: int, parameters: Parameters) -> int:
    """Base fee, three objects, and half the value fee on the stake."""
    value_fee = basis_points(stake, parameters.value_fee_bps // 2)
    return parameters.base_fee + 3 * parameters.write_object_fee + value_fee


def to_compound(
    earned: int, compounded: int, share_percent: int, balance: int, keep: int, parameters: Parameters
) -> int:
    """Shannons to add to the stake: `share_percent` of all that models `earned`, less what was added before, and no
    more than leaves `keep` of `balance` once its own fee and that of a reveal are paid.
    """
    spare = balance - keep - commit_fee(parameters) - create_fee(0, parameters)
    # An amount a has a value fee of a x bps / 10,000, rounded down.
    affordable = spare * BPS // (BPS + parameters.value_fee_bps // 2)
    return max(0, min(earned * share_percent // 100 - compounded, affordable))


def prepare(
    product: Product,
    width: int,
    vault: Vault,
    publisher: Publisher,
    scratch: Path,
    models: Sequence[OwnModel] = (),
) -> Release:
    """Encrypts, uploads, checks the public copy, and keeps key and embedding. Nothing is signed before this is done.

    A release of the same weights and embedding that an earlier run kept is taken up again, unless one of `models` has
    revealed its key. `scratch`: a folder with room for the encrypted file; it is never in memory as a whole.

    Raises:
        UsageError: these weights or this embedding cannot be a model of this network.
        StateError: `scratch` has no room.
        DataUnreadableError: the public copy, or the backup, cannot be read back.
        QuickstartError: the storage refused; see the storage.
    """
    embedding = product.embedding
    try:
        weights = open_weights(FileAt(product.weights))
    except (WeightsError, OSError) as error:
        raise UsageError(f"the weights cannot be published: {error}") from error
    if weights.architecture.width != width:
        raise UsageError(f"the model has width {weights.architecture.width}, the network's targets {width}")
    if embedding.shape != (width,) or not np.isfinite(embedding).all() or not embedding.any():
        raise UsageError(f"the embedding must be {width} finite numbers, not all zero: train or evaluate again")
    revealed = {model.revealed_key for model in models}
    kept = (r for r in vault.releases() if r.weights == weights.checksum and np.array_equal(r.embedding, embedding))
    key = next((release.key for release in kept if release.key_commitment not in revealed), None) or new_key()
    with _encrypted(product.weights, key, scratch) as (encrypted, checksum):
        manifest = publisher.publish_file(encrypted, checksum)
    release = Release(key, embedding, manifest, weights.checksum)
    vault.keep(release)
    return release


@contextmanager
def _encrypted(plain: Path, key: bytes, scratch: Path) -> Iterator[tuple[Path, Id32]]:
    """The encrypted file and its checksum; it goes with the block."""
    with ExitStack() as stack:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(NamedTemporaryFile(dir=scratch, prefix=".encrypted-"))
            with plain.open("rb") as content:
                checksum = encrypt_file(content, file, key)
        except OSError as error:
            raise StateError(
                f"{plain} cannot be encrypted into {scratch} ({error.strerror or error}); free as much disk as it needs"
            ) from error
        yield Path(file.name), checksum


class PublicationDesk:
    """Signs what a publication needs, through the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def create(self, stake: int, commission_bps: int, epoch: Epoch, release: Release) -> Id32:
        """Stakes and makes a model; its id.

        Raises:
            FundsError: the coins do not cover it.
            NetworkError: it was refused or failed; nothing is staked.
        """
        parameters = epoch.parameters
        coins = self._coins(stake + create_fee(stake, parameters))
        kind = CreateModel(stake, commission_bps, parameters.model_architecture_version)
        subject = commitment_subject(release.key_commitment, epoch.number)
        settled = await self._send(kind, coins, IntentKind.CREATE_MODEL, subject, epoch.number, {"stake": stake})
        return derive_id(settled.effects.digest, 0)

    async def commit(self, model_id: Id32, release: Release, epoch: Epoch) -> int:
        """Commits a release that is kept and public; the epoch it was executed in. Revealed in the next.

        Raises:
            ConflictError: this model has a live commit of this epoch.
            NetworkError: it was refused or failed.
        """
        kind = CommitModel(
            model_id=model_id,
            manifest=release.manifest,
            weights_commitment=release.manifest.checksum,
            embedding_commitment=release.embedding_commitment,
            key_commitment=release.key_commitment,
        )
        details = {"model": model_id.hex(), "key_commitment": release.key_commitment.hex()}
        subject = commitment_subject(model_id, epoch.number)
        coins = self._coins(commit_fee(epoch.parameters))
        settled = await self._send(kind, coins, IntentKind.COMMIT, subject, epoch.number, details)
        return settled.effects.epoch

    async def stake(self, model_id: Id32, amount: int, epoch: Epoch) -> None:
        """Adds to a model's stake; on an active model it counts from the next epoch."""
        parameters = epoch.parameters
        coins = self._coins(amount + create_fee(amount, parameters))
        kind = AddStakeToModel(model_id, coins[0].ref, amount)
        await self._send(kind, coins, IntentKind.ADD_STAKE, None, epoch.number, {"stake": amount})

    def _coins(self, needed: int) -> tuple[Coin, ...]:
        """Idle coins, the richest first, that hold `needed` together; the chain merges them into the first."""
        chosen: list[Coin] = []
        total = 0
        for coin in self._outbox.pool.idle:
            chosen.append(coin)
            total += coin.balance
            if total >= needed and self._outbox.pool.hold(chosen):
                return tuple(chosen)
        raise FundsError(f"the wallet's coins hold {format_soma(total)}, {format_soma(needed)} are needed: send SOMA")

    async def _send(
        self,
        kind: Kind,
        coins: tuple[Coin, ...],
        purpose: IntentKind,
        subject: Id32 | None,
        epoch: int,
        details: Mapping[str, Any],
    ) -> Settled:
        try:
            outcome = await self._outbox.send(
                kind, coins, len(coins), purpose=purpose, subject=subject, epoch=epoch, details=details
            )
        except ConflictError:
            self._outbox.pool.release(coins)
            raise
        if not isinstance(outcome, Settled):
            raise NetworkError(f"the {purpose.value} transaction was refused: {outcome.refusal}; run this again")
        if outcome.effects.failure is not None:
            raise NetworkError(f"the {purpose.value} transaction failed: {outcome.effects.failure}; run this again")
        return outcome


def commit_fee(parameters: Parameters) -> int:
    """Of a commit or a reveal: base fee and two objects."""
    return parameters.base_fee + 2 * parameters.write_object_fee


def commitment_subject(model_id: Id32, commit_epoch: int) -> Id32:
    """What a commit and its reveal are about: at most one live intent of each per model and commit epoch."""
    return derive_id(model_id, commit_epoch)
