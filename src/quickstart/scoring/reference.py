"""The evaluation contract in float64 numpy: the definition that every engine is measured against.

Written to be read beside `soma-protocol` §13. One sequence at a time: all sequences have 1,024 positions, so
the mean over a batch is the mean of its sequences' means.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quickstart.scoring.contract import (
    LAYER_NORM_EPSILON,
    PAD,
    ROTARY_BASE,
    SEQUENCES_PER_BATCH,
    SIGREG_POINTS,
    SIGREG_SLICES,
    SIGREG_WEIGHT,
    sigreg_projection,
    sigreg_step,
    sigreg_window,
)
from quickstart.scoring.engine import Weights
from quickstart.scoring.erf import erf
from quickstart.scoring.tokens import tokenize

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a model says of some data: `loss`, and `embedding` float64 (width,), not normalised. Both may be
    NaN.
    """

    loss: float
    embedding: Array


def evaluate(weights: Weights, data: bytes, seed: int = 0) -> Evaluation:
    """Loss and embedding of data of any length >= 1: unweighted means over batches of 16 sequences (§13).

    The audit uses seed 0. Above one batch the network's loss depends on the order its threads finish; this
    takes them in order.

    Raises:
        ValueError: the data is empty.
    """
    tokens = tokenize(data)
    losses, embeddings = [], []
    with np.errstate(all="ignore"):
        for batch, start in enumerate(range(0, len(tokens), SEQUENCES_PER_BATCH)):
            batch_losses, batch_embeddings = [], []
            for i in range(start, min(start + SEQUENCES_PER_BATCH, len(tokens))):
                representation = represent(weights, tokens.ids[i], tokens.positions[i])
                entropy = cross_entropy(weights, representation, tokens.targets[i])
                batch_losses.append(entropy + SIGREG_WEIGHT * sigreg(representation, seed + batch))
                batch_embeddings.append(representation.mean(axis=0))
            losses.append(np.mean(batch_losses))
            embeddings.append(np.mean(batch_embeddings, axis=0))
        return Evaluation(float(np.mean(losses)), np.mean(embeddings, axis=0))


def represent(weights: Weights, ids: Indices, positions: Indices) -> Array:
    """Output of the final LayerNorm, float64 (1024, width), for one sequence: a pre-norm transformer."""
    x = _tensor(weights, "embedding.weight")[ids]
    for k in range(weights.architecture.layers):
        layer = f"encoder.layers.{k}"
        x = x + attention(weights, f"{layer}.attention", layer_norm(weights, f"{layer}.norm_1", x), positions)
        inner = linear(weights, f"{layer}.pwff.linear_inner", layer_norm(weights, f"{layer}.norm_2", x))
        x = x + linear(weights, f"{layer}.pwff.linear_outer", gelu(inner))
    return layer_norm(weights, "final_norm", x)


def layer_norm(weights: Weights, name: str, x: Array) -> Array:
    """γ (x - mean) / √(variance + 1e-5) + β over the width; the variance divides by the width."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    normal: Array = centred / np.sqrt(variance + LAYER_NORM_EPSILON)
    return normal * _tensor(weights, f"{name}.gamma") + _tensor(weights, f"{name}.beta")


def linear(weights: Weights, name: str, x: Array) -> Array:
    return x @ _tensor(weights, f"{name}.weight") + _tensor(weights, f"{name}.bias")


def gelu(x: Array) -> Array:
    """x Φ(x), with Φ the normal distribution function: the exact form, by erf."""
    return x * 0.5 * (1 + erf(x / np.sqrt(2.0)))


def attention(weights: Weights, name: str, x: Array, positions: Indices) -> Array:
    """Causal attention with rotary queries and keys; scores are divided by √(width / heads). PAD is not
    masked.
    """
    length, width = x.shape
    heads = weights.architecture.heads
    query, key, value = (
        linear(weights, f"{name}.{part}", x).reshape(length, heads, width // heads).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    query, key = rotate(query, positions) / np.sqrt(width / heads), rotate(key, positions)
    future = ~np.tri(length, dtype=bool)
    mixed = np.empty_like(query)
    for head in range(heads):
        scores = query[head] @ key[head].T
        scores[future] = -np.inf
        mixed[head] = softmax(scores) @ value[head]
    return linear(weights, f"{name}.output", mixed.transpose(1, 0, 2).reshape(length, width))


def rotate(x: Array, positions: Indices) -> Array:
    """Rotary positions on (heads, length, d): pair (i, i + d/2) is turned by position x 10,000^(-2i/d)."""
    half = x.shape[-1] // 2
    frequencies = ROTARY_BASE ** (-np.arange(half) / half)
    angles = positions[:, None] * frequencies
    cos, sin = np.cos(angles), np.sin(angles)
    x1, x2 = x[..., :half], x[..., half:]
    return np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


def softmax(scores: Array) -> Array:
    """Exponentials that sum to one along the last axis; overwrites its argument."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def cross_entropy(weights: Weights, representation: Array, targets: Indices) -> float:
    """Mean of -log softmax(logits)[target] over **all** positions; PAD targets count as zero."""
    logits = linear(weights, "predictor", representation)
    highest = logits.max(axis=-1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=-1))
    surprise = log_sum - np.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return float(np.where(targets == PAD, 0.0, surprise).mean())


def sigreg(representation: Array, seed: int) -> float:
    """The regulariser of §13: how far 256 random projections of each position are from a standard normal
    sample.

    With X = R·A, at each of the 17 points t: c, s = means over the slices of cos(tX), sin(tX); error = (c -
    φ(t))² + s²; the result is 256 Σ error w φ, averaged over positions. cos(kθ) + i sin(kθ) is taken as the
    k-th power of e^{iθ}, θ = 3/16 X.
    """
    turn = np.exp(1j * sigreg_step() * (representation @ sigreg_projection(representation.shape[1], seed)))
    characteristic, window = sigreg_window()
    power = np.ones_like(turn)
    integral = np.zeros(len(representation))
    for k in range(SIGREG_POINTS):
        mean = power.mean(axis=-1)
        integral += window[k] * ((mean.real - characteristic[k]) ** 2 + mean.imag**2)
        power *= turn
    return float(SIGREG_SLICES * integral.mean())


def _tensor(weights: Weights, name: str) -> Array:
    return weights.tensors[name].astype(np.float64)
