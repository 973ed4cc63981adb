"""The first state of a devnet, and its faucet."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256, derive_id
from quickstart.chain.objects import AddressOwner
from quickstart.chain.transactions import Manifest
from quickstart.devnet.config import MODEL_NAMES, MODEL_STAKE, VALIDATOR_FUNDS, DevnetConfig
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.state import ChainState, Coin, Commitment, Model, ModelStatus, StoredObject
from quickstart.devnet.targets import direction
from quickstart.errors import StateError
from quickstart.scoring.weights import encrypt

VALIDATOR = "validator 0"
RIVAL = "rival"
FULL_VOTING_POWER = 10_000


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """One of the small trained models: its encrypted weights as published, and the key that opens them."""

    name: str
    encrypted: bytes
    key: bytes

    @property
    def manifest(self) -> Manifest:
        """The URL is relative to the node: its port differs from start to start."""
        return Manifest(f"/weights/{self.name}", blake2b_256(self.encrypted), len(self.encrypted))


@cache
def packaged_model(name: str) -> PackagedModel:
    """Reads and encrypts a model of the package.

    Raises:
        StateError: the file is missing from the installation.
    """
    key = blake2b_256(f"quickstart devnet weights {name}".encode())
    return PackagedModel(name, encrypt(packaged_weights(name), key), key)


def packaged_weights(name: str) -> bytes:
    """The safetensors file of one of the small models.

    Raises:
        StateError: it is missing from the installation.
    """
    file = resources.files("quickstart.devnet") / "weights" / f"{name}.safetensors"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise StateError(
            f"the devnet's model {name} is missing from the installation: install quickstart again"
        ) from None


def genesis(config: DevnetConfig, chain_id: Id32, now_ms: int) -> ChainState:
    """Epoch 0: a pool, one validator, and the packaged models, active, with equal stakes. No targets yet.

    A model's embedding, which only decides which targets it is assigned, is a standard normal vector seeded
    by its name."""
    rules = config.rules()
    state = ChainState(
        rules=rules,
        chain_id=chain_id,
        parameters=rules.parameters,
        pool=rules.genesis_pool,
        threshold=rules.parameters.target_initial_distance_threshold,
        epoch_start_ms=now_ms,
        minted=rules.genesis_pool,
    )
    initial = rules.parameters.target_initial_targets_per_epoch
    state.reward_per_target = state.target_budget() // max(1, 2 * initial)
    validator = devnet_key(VALIDATOR).address
    state.validators[validator] = FULL_VOTING_POWER
    _mint(state, validator, VALIDATOR_FUNDS, blake2b_256(b"genesis validator" + chain_id), 0)
    for name in MODEL_NAMES[: config.models]:
        model = _genesis_model(name, config.dim)
        state.models[model.model_id] = model
        state.minted += model.stake
    return state


def faucet(state: ChainState, address: Id32, amount: int, coins: int = 1) -> tuple[Id32, list[StoredObject]]:
    """Gives `address` new coins of `amount` shannons each: the digest that made them, and the coins."""
    digest = blake2b_256(b"Faucet::" + state.chain_id + bcs.u64(state.faucet_requests))
    state.faucet_requests += 1
    return digest, [_mint(state, address, amount, digest, number) for number in range(coins)]


def _mint(state: ChainState, address: Id32, amount: int, digest: Id32, number: int) -> StoredObject:
    coin_id = derive_id(digest, number)
    coin = StoredObject.of(coin_id, 1, AddressOwner(address), Coin(amount), digest)
    state.objects[coin_id] = coin
    state.minted += amount
    return coin


def _genesis_model(name: str, width: int) -> Model:
    packaged = packaged_model(name)
    digest = blake2b_256(f"quickstart devnet model {name}".encode())
    embedding = direction(int.from_bytes(digest[:8], "little"), width)
    manifest = packaged.manifest
    commitment = Commitment(
        manifest, manifest.checksum, blake2b_256(bcs.tensor(embedding)), blake2b_256(packaged.key), epoch=0
    )
    return Model(
        model_id=derive_id(digest, 0),
        owner=devnet_key(f"owner of {name}").address,
        pool_id=derive_id(digest, 1),
        stake=MODEL_STAKE,
        commission_bps=1_000,
        next_commission_bps=1_000,
        create_epoch=0,
        status=ModelStatus.ACTIVE,
        commitment=commitment,
        decryption_key=packaged.key,
        embedding=embedding,
        activation_epoch=0,
    )
