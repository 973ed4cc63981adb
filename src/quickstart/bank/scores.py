"""Score segments: what one model made of a shard's windows, or of some of them.

`embeddings.f16`: float16 (n, width), raw; `losses.f32` and `inverse_norms.f32`: float32 (n,); `rows.u32`:
uint32 (n,), positions in the shard. That is 2 x width + 12 bytes a window. Failed windows have a NaN loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.segments import read_marker, read_verified, write_segment
from quickstart.bank.shards import ShardId
from quickstart.chain.ids import Id32
from quickstart.scoring.engine import CertifiedError, ScoredShard

_EMBEDDINGS, _LOSSES, _NORMS, _ROWS = "embeddings.f16", "losses.f32", "inverse_norms.f32", "rows.u32"


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSegment:
    """A complete score segment. Later (`created_at`, `name`) supersedes earlier for one window and model.

    `embeddings`: float16 (n, width), memory-mapped; `losses`, `inverse_norms`: float32 (n,); `rows`: uint32
    (n,), positions in the shard.
    """

    name: str
    created_at: int
    shard: ShardId
    weights_checksum: Id32
    engine_id: str
    error: CertifiedError
    rows: NDArray[np.uint32]
    losses: NDArray[np.float32]
    inverse_norms: NDArray[np.float32]
    embeddings: NDArray[np.float16]


def write_scores(root: Path, shard: ShardId, rows: Sequence[int], scored: ScoredShard, created_at: int) -> str:
    """Writes a segment and returns its name, which sorts by `created_at`.

    A row fails, and gets a NaN loss, when its loss or a component (in float16) is not finite, or its
    embedding is zero.

    Raises:
        ValueError: shapes that do not fit together, rows named twice, or a certified error that is no bound.
        StateError: the disk is full or refuses.
    """
    count = len(rows)
    if scored.embeddings.ndim != 2 or len(scored.embeddings) != count or scored.losses.shape != (count,):
        raise ValueError(
            f"{count} rows need embeddings ({count}, width) and losses ({count},), "
            f"not {scored.embeddings.shape} and {scored.losses.shape}"
        )
    if count == 0 or len(set(rows)) != count or scored.embeddings.shape[1] == 0:
        raise ValueError("a score segment needs at least one row, each named once, and embeddings")
    if not (0 <= scored.error.distance < np.inf and 0 <= scored.error.loss < np.inf):
        raise ValueError(f"not a bound on errors: {scored.error}")
    with np.errstate(over="ignore", invalid="ignore"):
        embeddings = scored.embeddings.astype("<f2")
        norms = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings, dtype=np.float64))
        good = np.isfinite(norms) & (norms > 0) & np.isfinite(scored.losses)
        inverse_norms = np.where(good, 1.0 / np.where(good, norms, 1.0), 0.0).astype("<f4")
    losses = np.where(good, scored.losses, np.nan).astype("<f4")
    files = {
        _EMBEDDINGS: embeddings.tobytes(),
        _LOSSES: losses.tobytes(),
        _NORMS: inverse_norms.tobytes(),
        _ROWS: np.asarray(rows, "<u4").tobytes(),
    }
    facts = {
        "shard": shard,
        "weights": scored.weights_checksum.hex(),
        "engine": scored.engine_id,
        "distance_error": float(scored.error.distance),
        "loss_error": float(scored.error.loss),
        "created_at": created_at,
        "width": embeddings.shape[1],
        "failures": {str(failure.index): failure.reason for failure in scored.failures},
    }
    content = blake2b(repr(sorted(facts.items())).encode(), digest_size=16)
    for data in files.values():
        content.update(data)
    name = f"{created_at:020d}-{content.hexdigest()}"
    write_segment(root, scores_folder(root, scored.weights_checksum) / name, files, facts)
    return name


def read_scores(root: Path, weights_checksum: Id32, name: str) -> ScoreSegment | None:
    """A complete segment, or None if it is torn or damaged. Embeddings are mapped, not read."""
    folder = scores_folder(root, weights_checksum) / name
    marker = read_marker(folder)
    if marker is None:
        return None
    tables = [read_verified(folder, file, marker) for file in (_ROWS, _LOSSES, _NORMS)]
    if None in tables:
        return None
    rows, losses, norms = (table or b"" for table in tables)
    mapped = np.memmap(folder / _EMBEDDINGS, "<f2", "r").reshape(-1, marker["width"])
    return ScoreSegment(
        name=name,
        created_at=marker["created_at"],
        shard=marker["shard"],
        weights_checksum=weights_checksum,
        engine_id=marker["engine"],
        error=CertifiedError(marker["distance_error"], marker["loss_error"]),
        rows=np.frombuffer(rows, "<u4"),
        losses=np.frombuffer(losses, "<f4"),
        inverse_norms=np.frombuffer(norms, "<f4"),
        embeddings=np.asarray(mapped),
    )


def scores_folder(root: Path, weights_checksum: Id32) -> Path:
    return root / "scores" / weights_checksum.hex()
