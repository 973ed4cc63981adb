"""The float32 numpy engine: the contract at several times the reference's speed on one core, for machines
without a GPU.

Same formulas as `reference`, arranged for the cache: queries in blocks that see only the keys up to their
end, one matrix product for query, key and value, SIGReg with one cosine and one sine per angle in blocks of
positions.
"""

from collections.abc import Sequence

import numpy as np

from quickstart.scoring.certification import Certificates, Scores
from quickstart.scoring.contract import AUDIT_SEED
from quickstart.scoring.engine import ScoredShard, Weights
from quickstart.scoring.float32_model import Float32Model
from quickstart.scoring.reference import evaluate
from quickstart.scoring.shards import score_shard

ENGINE_ID = "numpy-float32"
REFERENCE_ID = "reference-float64"


class NumpyEngine:
    """Float32 numpy. `exact=True` is the float64 reference itself. Certifies each model once, before its
    first shard.
    """

    def __init__(self, calibration: Sequence[bytes] = ()) -> None:
        """`calibration`: windows to certify with, besides the fixed ones."""
        self._certificates = Certificates(calibration)

    @property
    def id(self) -> str:
        return ENGINE_ID

    def prepare(self, weights: Weights) -> None:
        """Nothing to do: what this engine scores is small, and read in no time."""

    def score(self, weights: Weights, windows: Sequence[bytes], exact: bool = False) -> ScoredShard:
        """See `Engine.score`."""

        def reference_run(data: Sequence[bytes]) -> Scores:
            return run_reference(weights, data)

        engine_id, run = (REFERENCE_ID, reference_run) if exact else (ENGINE_ID, Float32Model(weights).score)
        certificate = self._certificates.of(weights.checksum, engine_id, run, reference_run)
        return score_shard(weights, engine_id, windows, run, certificate.error)


def run_reference(weights: Weights, windows: Sequence[bytes]) -> Scores:
    """The float64 reference over windows, with the audit's seed."""
    results = [evaluate(weights, window, AUDIT_SEED) for window in windows]
    return Scores(np.stack([r.embedding for r in results]), np.array([r.loss for r in results]))
