"""How a devnet is set up. Light to import: the CLI reads it without loading gRPC."""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from quickstart.chain.protocol import NETWORK_WIDTH, PARAMETERS, Parameters, scaled_threshold
from quickstart.devnet.rivalry import MOST_RIVALS, WRONG_SEED, add_rivalry, rivalry_of
from quickstart.errors import SettingsError
from quickstart.units import SECONDS, SHANNONS_PER_SOMA

MODEL_NAMES = ("python64", "c64", "prose64", "markup64")
"""The small trained models of the package, in the order `--models N` takes them."""

MODEL_WIDTH = 64
MODEL_STAKE = 1_000 * SHANNONS_PER_SOMA
PROTOCOL_VERSION = 5
NETWORK_SIGMA = 0.022
NETWORK_HITS = 86_400
SCALED_HITS = 100
EMISSION_PER_EPOCH = 1_370 * SHANNONS_PER_SOMA
GENESIS_POOL = 10_000_000 * SHANNONS_PER_SOMA
VALIDATOR_FUNDS = 1_000 * SHANNONS_PER_SOMA
NETWORK_EPOCH_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What the state machine needs besides the transactions.

    `sigma`: standard deviation the difficulty rule counts in. `reward_hits`: fills the reward budget of an
    epoch is divided by. On the network it is `parameters.target_hits_per_epoch`; a scaled devnet aims its
    difficulty at 100 fills but pays what the network pays for one, 12,685,185 shannons, and its budget still
    holds 86,400 targets. `wrong_seed`: a fault, fills spawn targets from another seed than the network's rule."""

    parameters: Parameters
    sigma: float = NETWORK_SIGMA
    reward_hits: int = NETWORK_HITS
    emission_per_epoch: int = EMISSION_PER_EPOCH
    genesis_pool: int = GENESIS_POOL
    protocol_version: int = PROTOCOL_VERSION
    minimum_z_step: float = 2.0
    wrong_seed: bool = False


@dataclass(frozen=True, slots=True)
class DevnetConfig:
    """Everything `uv run devnet` can be told. Ports: 0 is any free one.

    `width`: of embeddings; None is 64, or the network's 2048 for an unscaled devnet without models.
    `epoch_seconds`: 0 changes epochs on demand only. `index_lag_seconds`: listings and `get_transaction` show
    what was executed that long ago. `checkpoint_seconds`: from execution to the checkpoint that names it.
    `unknown_object_seconds`: how long a transaction hangs that names an object nobody has seen. `rivals`: simulated
    submitters, each of which reads the listing every `rival_poll_seconds`. `wrong_seed`: see `ChainRules`."""

    width: int | None = None
    models: int = len(MODEL_NAMES)
    targets: int = 100
    hits_per_epoch: int | None = None
    epoch_seconds: float = 0.0
    scaled: bool = True
    audit: bool = True
    seed: int | None = None
    faucet_shannons: int = 2 * SHANNONS_PER_SOMA
    faucet_coins: int = 1
    latency_seconds: float = 0.05
    index_lag_seconds: float = 0.3
    checkpoint_seconds: float = 0.1
    heartbeat_seconds: float = 0.25
    unknown_object_seconds: float = 90.0
    rivals: int = 0
    rival_poll_seconds: float = 1.0
    wrong_seed: bool = False
    state: Path | None = None
    rpc_port: int = 9000
    faucet_port: int = 9123
    scoring_port: int = 9124
    admin_port: int = 9125

    def __post_init__(self) -> None:
        if not 0 <= self.models <= len(MODEL_NAMES):
            raise SettingsError(f"--models must be 0 to {len(MODEL_NAMES)}, not {self.models}")
        if self.models and self.dim != MODEL_WIDTH:
            raise SettingsError(f"the devnet's models have width {MODEL_WIDTH}: use --dim {MODEL_WIDTH} or --models 0")
        if self.dim < 1:
            raise SettingsError(f"--dim must be at least 1, not {self.dim}")
        if self.targets < 0 or self.epoch_seconds < 0 or self.latency_seconds < 0:
            raise SettingsError("--targets, --epoch-seconds and --latency cannot be negative")
        if not 0 <= self.rivals <= MOST_RIVALS:
            raise SettingsError(f"--rivals must be 0 to {MOST_RIVALS}, not {self.rivals}")
        if self.rivals and self.models != len(MODEL_NAMES):
            raise SettingsError(f"rivals know all {len(MODEL_NAMES)} models: leave out --models or --rivals")
        if not 0 < self.rival_poll_seconds < inf:
            raise SettingsError(f"--rival-poll must be a number of seconds above 0, not {self.rival_poll_seconds}")

    @property
    def dim(self) -> int:
        """Width of embeddings."""
        if self.width is not None:
            return self.width
        return MODEL_WIDTH if self.models or self.scaled else NETWORK_WIDTH

    def rules(self) -> ChainRules:
        """Protocol version 5, with thresholds that mean as many sigmas at this width as the network's do at
        2048."""
        network = PARAMETERS[PROTOCOL_VERSION]
        parameters = replace(
            network,
            epoch_duration_ms=int(self.epoch_seconds * 1000) or NETWORK_EPOCH_MS,
            target_embedding_dim=self.dim,
            target_initial_targets_per_epoch=self.targets,
            target_hits_per_epoch=self.hits_per_epoch or (SCALED_HITS if self.scaled else NETWORK_HITS),
        )
        if not self.scaled:
            return ChainRules(parameters, reward_hits=parameters.target_hits_per_epoch, wrong_seed=self.wrong_seed)
        parameters = replace(
            parameters,
            target_initial_distance_threshold=_scaled(network.target_initial_distance_threshold, self.dim),
            target_min_distance_threshold=_scaled(network.target_min_distance_threshold, self.dim),
        )
        sigma = NETWORK_SIGMA * float(np.sqrt(NETWORK_WIDTH / self.dim))
        return ChainRules(parameters, sigma=sigma, wrong_seed=self.wrong_seed)

    def chain_settings(self) -> dict[str, object]:
        """What the chain itself depends on: a state folder can only be continued with the same."""
        return {
            "dim": self.dim,
            "models": self.models,
            "targets": self.targets,
            "hits_per_epoch": self.rules().parameters.target_hits_per_epoch,
            "epoch_seconds": self.epoch_seconds,
            "scaled": self.scaled,
            **({"wrong_seed": True} if self.wrong_seed else {}),
        }

    def arguments(self) -> list[str]:
        """The command line that gives this configuration (`state` excepted: the process adds its own
        folder)."""
        given = [f"--{name}={value}" for name, value in self._options().items() if value is not None]
        given += [] if self.scaled else ["--unscaled"]
        return given + ([f"--fault={WRONG_SEED}"] if self.wrong_seed else [])

    def _options(self) -> dict[str, object]:
        return {
            "dim": self.width,
            "models": self.models,
            "targets": self.targets,
            "hits-per-epoch": self.hits_per_epoch,
            "epoch-seconds": self.epoch_seconds,
            "audit": "on" if self.audit else "off",
            "seed": self.seed,
            "faucet-soma": self.faucet_shannons / SHANNONS_PER_SOMA,
            "faucet-coins": self.faucet_coins,
            "latency": self.latency_seconds,
            "index-lag": self.index_lag_seconds,
            "checkpoint": self.checkpoint_seconds,
            "unknown-object-seconds": self.unknown_object_seconds,
            "rivals": self.rivals,
            "rival-poll": self.rival_poll_seconds,
            "rpc-port": self.rpc_port,
            "faucet-port": self.faucet_port,
            "scoring-port": self.scoring_port,
            "admin-port": self.admin_port,
        }


@dataclass(frozen=True, slots=True)
class DevnetUrls:
    """Where a running devnet is reached, and what it is: `chain_id` as GetServiceInfo shows it."""

    rpc: str
    faucet: str
    scoring: str
    admin: str
    chain_id: str
    pid: int

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def settings_text(settings: dict[str, object]) -> str:
    """`chain_settings` as one canonical line."""
    return json.dumps(settings, sort_keys=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every devnet option to `parser`; `config_from` reads them."""
    default = DevnetConfig()
    add = parser.add_argument
    add("--dim", type=int, metavar="N", help="width of embeddings (64; 2048 with --models 0 --unscaled)")
    add("--models", type=int, default=default.models, metavar="0..4", help="trained models in genesis (4)")
    add(
        "--targets",
        type=int,
        default=default.targets,
        metavar="N",
        help="targets made at each epoch change (100)",
    )
    add("--hits-per-epoch", type=int, metavar="N", help="fills the difficulty aims at (100; 86400 unscaled)")
    add(
        "--epoch-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="length of an epoch; 0: only on demand (0)",
    )
    add("--unscaled", action="store_true", help="the network's thresholds and hits per epoch as they are")
    add("--audit", choices=("on", "off"), default="on", help="validators re-score every fill (on)")
    add(
        "--seed",
        type=int,
        metavar="N",
        help="the same chain id and targets every time; without it they are random",
    )
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep the chain there and go on with it; without it, memory only",
    )
    add("--faucet-soma", type=float, default=2.0, metavar="SOMA", help="size of a faucet coin (2)")
    add("--faucet-coins", type=int, default=1, metavar="N", help="coins per faucet request (1)")
    add("--latency", type=float, default=default.latency_seconds, metavar="S", help="per transaction (0.05)")
    add(
        "--index-lag",
        type=float,
        default=default.index_lag_seconds,
        metavar="S",
        help="listings lag by it (0.3)",
    )
    add(
        "--checkpoint",
        type=float,
        default=default.checkpoint_seconds,
        metavar="S",
        help="checkpoint delay (0.1)",
    )
    add("--unknown-object-seconds", type=float, default=default.unknown_object_seconds, metavar="S",
        help="how long a transaction that names an unknown object hangs (90)")  # fmt: skip
    add_rivalry(parser)
    for name in ("rpc", "faucet", "scoring", "admin"):
        port = getattr(default, f"{name}_port")
        add(f"--{name}-port", type=int, default=port, metavar="PORT", help=f"{name} port, 0: any ({port})")


def config_from(args: argparse.Namespace) -> DevnetConfig:
    """The configuration that parsed arguments describe.

    Raises:
        SettingsError: values that do not go together.
    """
    return DevnetConfig(
        width=args.dim,
        models=args.models,
        targets=args.targets,
        hits_per_epoch=args.hits_per_epoch,
        epoch_seconds=args.epoch_seconds,
        scaled=not args.unscaled,
        audit=args.audit == "on",
        seed=args.seed,
        faucet_shannons=round(args.faucet_soma * SHANNONS_PER_SOMA),
        faucet_coins=args.faucet_coins,
        latency_seconds=args.latency,
        index_lag_seconds=args.index_lag,
        checkpoint_seconds=args.checkpoint,
        unknown_object_seconds=args.unknown_object_seconds * SECONDS,
        state=args.state,
        **rivalry_of(args),
        rpc_port=args.rpc_port,
        faucet_port=args.faucet_port,
        scoring_port=args.scoring_port,
        admin_port=args.admin_port,
    )


def _scaled(threshold: float, width: int) -> float:
    return float(np.float32(scaled_threshold(threshold, width)))
