"""A chain for tests of the pure state machine: keys by name, coins picked for the sender."""

from dataclasses import dataclass, field, replace

import numpy as np

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import (
    ClaimRewards,
    CommitModel,
    CreateModel,
    Kind,
    Manifest,
    ObjectRef,
    RevealModel,
    SubmitData,
    TransactionData,
)
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.effects import Effects
from quickstart.devnet.epochs import advance_epoch
from quickstart.devnet.execution import execute
from quickstart.devnet.genesis import faucet, genesis
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.state import ChainState, Coin, Model

SOMA = 1_000_000_000
WIDTH = 8
KEY = b"k" * 32
MANIFEST = Manifest("http://127.0.0.1:9/weights", b"w" * 32, 100)


@dataclass
class PureChain:
    """A devnet's chain without a node. Time stands still: epochs end early and emit nothing, unless told."""

    config: DevnetConfig = field(default_factory=lambda: DevnetConfig(width=WIDTH, models=0, scaled=False))
    state: ChainState = field(init=False)

    def __post_init__(self) -> None:
        self.state = genesis(self.config, b"\x07" * 32, 0)

    def address(self, name: str) -> Id32:
        return devnet_key(name).address

    def balance(self, name: str) -> int:
        return self.state.balance(self.address(name))

    def fund(self, name: str, *amounts: int) -> list[ObjectRef]:
        """New coins for `name`, as refs."""
        return [faucet(self.state, self.address(name), amount)[1][0].ref for amount in amounts]

    def coin(self, name: str, position: int = -1) -> ObjectRef:
        """One of the key's coins, ascending in balance; the richest by default."""
        return self.state.coins(self.address(name))[position].ref

    def balance_of(self, ref: ObjectRef) -> int:
        contents = self.state.objects[ref.object_id].contents
        assert isinstance(contents, Coin)
        return contents.balance

    def send(self, name: str, kind: Kind, *gas: ObjectRef) -> Effects:
        """Executes `kind` for `name`; gas is the richest coin unless given."""
        return execute(self.state, TransactionData(kind, self.address(name), gas or (self.coin(name),)))

    def epoch(self, now_ms: int = 0) -> int:
        return advance_epoch(self.state, now_ms).epoch

    def open_targets(self) -> list[tuple[Id32, TargetContents]]:
        return sorted(
            (
                (target_id, target)
                for target_id, target in self.state.targets()
                if target.status is TargetStatus.OPEN and target.generation_epoch == self.state.epoch
            ),
            key=lambda item: item[0],
        )

    def submission(self, target_id: Id32, bond: ObjectRef, size: int = 1024, **changes: object) -> SubmitData:
        target = self.state.target(target_id)
        embedding = target.embedding if target else np.zeros(WIDTH, np.float32)
        model_id = target.model_ids[0] if target else b"m" * 32
        manifest = Manifest("http://127.0.0.1:9/data", b"d" * 32, size)
        claim = SubmitData(target_id, manifest, model_id, embedding, 0.5, (1.0,), bond)
        return replace(claim, **changes)  # type: ignore[arg-type]

    def fill(self, name: str, target_id: Id32, size: int = 1024) -> Effects:
        """Fills a target; bond and gas are one coin."""
        coin = self.coin(name)
        effects = self.send(name, self.submission(target_id, coin, size), coin)
        assert effects.failure is None, effects.failure
        return effects

    def create_model(self, name: str = "owner", stake: int = SOMA) -> Model:
        effects = self.send(name, CreateModel(stake, 1000, 1))
        assert effects.failure is None, effects.failure
        return next(m for m in self.state.models.values() if m.create_epoch == self.state.epoch and m.stake == stake)

    def commit(self, model: Model, name: str = "owner", seed: int = 0) -> Effects:
        key_commitment = blake2b_256(KEY)
        embedding_commitment = blake2b_256(bcs.tensor(model_embedding(seed)))
        kind = CommitModel(model.model_id, MANIFEST, MANIFEST.checksum, embedding_commitment, key_commitment)
        return self.send(name, kind)

    def reveal(self, model: Model, name: str = "owner", seed: int = 0) -> Effects:
        return self.send(name, RevealModel(model.model_id, KEY, model_embedding(seed)))

    def with_active_model(self) -> Model:
        """Creates, commits and reveals one model, then crosses a boundary: epoch 2 has targets."""
        self.fund("owner", 100 * SOMA)
        model = self.create_model()
        assert self.commit(model).failure is None
        self.epoch()
        assert self.reveal(model).failure is None
        self.epoch()
        return self.state.models[model.model_id]

    def claim(self, name: str, target_id: Id32) -> Effects:
        return self.send(name, ClaimRewards(target_id))


def model_embedding(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
