"""Protocol parameters by version, and the rules both sides of the wire compute (`soma-protocol` §10-§12)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.ids import Id32
from quickstart.chain.transactions import FloatVector

NETWORK_WIDTH = 2048
"""Width of the public network's embeddings; its thresholds mean multiples of sigma = 1/sqrt(width)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The system parameters of one epoch. Money in shannons, rates in basis points, times in milliseconds."""

    epoch_duration_ms: int = 86_400_000
    validator_reward_allocation_bps: int = 7000
    model_min_stake: int = 1_000_000_000
    model_architecture_version: int = 1
    model_reveal_slash_rate_bps: int = 5000
    model_tally_slash_rate_bps: int = 9500
    target_epoch_fee_collection: int = 1_000_000_000
    base_fee: int = 1000
    write_object_fee: int = 300
    value_fee_bps: int = 10
    min_value_fee_bps: int = 1
    max_value_fee_bps: int = 50
    fee_adjustment_rate_bps: int = 1250
    target_models_per_target: int = 3
    target_embedding_dim: int = NETWORK_WIDTH
    target_initial_distance_threshold: float = 2.0
    target_reward_allocation_bps: int = 8000
    target_hits_per_epoch: int = 16
    target_hits_ema_decay_bps: int = 7000
    target_difficulty_adjustment_rate_bps: int = 1000
    target_max_distance_threshold: float = 2.0
    target_min_distance_threshold: float = 0.1
    target_initial_targets_per_epoch: int = 20
    target_submitter_reward_share_bps: int = 4975
    target_model_reward_share_bps: int = 4975
    target_claimer_incentive_bps: int = 50
    submission_bond_per_byte: int = 10
    max_submission_data_size: int = 1_048_576

    def bond(self, size: int) -> int:
        """Shannons locked by a submission of `size` bytes."""
        return size * self.submission_bond_per_byte

    @property
    def submission_fee(self) -> int:
        """Shannons a submission costs, besides the bond: base fee, four written objects (§11.1)."""
        return self.base_fee + 4 * self.write_object_fee

    def submission_cost(self, size: int) -> int:
        """Least balance of one coin that is bond and gas of a submission."""
        return self.bond(size) + self.submission_fee


_V1 = Parameters()
_V3 = replace(
    _V1,
    target_hits_per_epoch=86_400,
    target_hits_ema_decay_bps=9000,
    target_difficulty_adjustment_rate_bps=200,
    target_initial_distance_threshold=0.978,
    target_min_distance_threshold=0.95,
    submission_bond_per_byte=65,
)
_V4 = replace(_V3, target_difficulty_adjustment_rate_bps=10_000)
_V5 = replace(_V4, target_initial_distance_threshold=1.05, target_initial_targets_per_epoch=100)

PARAMETERS: dict[int, Parameters] = {1: _V1, 2: _V1, 3: _V3, 4: _V4, 5: _V5}
"""Parameters by protocol version; testnet and localnet share the table."""

NEWEST_PROTOCOL = max(PARAMETERS)


def assign_models(
    target: FloatVector,
    model_ids: Sequence[Id32],
    stakes: Sequence[int],
    embeddings: NDArray[np.float32],
    count: int,
) -> tuple[Id32, ...]:
    """The models of a target: the `count` lowest of distance / voting power, in that order (§11.6).

    `model_ids` ascend; `stakes` are the pools' balances in shannons; `embeddings` is float32 (models, width).
    Voting power is sqrt(stake) / sum, computed in float64 and rounded to float32; scores are float32.
    """
    roots = np.sqrt(np.asarray(stakes, dtype=np.float64))
    total = roots.sum()
    power = (roots / total).astype(np.float32) if total > 0 else np.full(len(roots), 1 / len(roots), np.float32)
    norms = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(target)
    cosine = (embeddings @ target) / norms
    score = (np.float32(1) - cosine) / (power + np.float32(1e-10))
    return tuple(model_ids[i] for i in np.argsort(score, kind="stable")[:count])


def scaled_threshold(network_threshold: float, width: int) -> float:
    """The threshold at `width` that is as many sigmas from 1 as `network_threshold` is at the network's width.

    Random directions have a cosine of sigma 1/sqrt(width), so 1.05 at 2048 is 1.283 at 64. Never above 2, the
    largest distance there is.
    """
    return min(2.0, 1 - (1 - network_threshold) * float(np.sqrt(NETWORK_WIDTH / width)))
