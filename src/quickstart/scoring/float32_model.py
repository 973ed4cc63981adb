"""One model ready to run in float32 numpy; the formulas are those of `reference`, which is where to read them
first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quickstart.scoring.certification import Scores
from quickstart.scoring.contract import (
    AUDIT_SEED,
    LAYER_NORM_EPSILON,
    PAD,
    ROTARY_BASE,
    SEQUENCE_TOKENS,
    SIGREG_POINTS,
    SIGREG_SLICES,
    SIGREG_WEIGHT,
    sigreg_projection,
    sigreg_step,
    sigreg_window,
)
from quickstart.scoring.engine import Weights
from quickstart.scoring.tokens import Tokens, tokenize

Array: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]

QUERY_BLOCK = 64
"""Queries per attention block, a divisor of 1,024: small enough that most of the masked half of the square is
skipped.
"""

SIGREG_BLOCK = 64
"""Positions per SIGReg block: 64 x 256 complex numbers and their product stay in a core's second-level cache.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True, slots=True, eq=False)
class _Norm:
    gamma: Array
    beta: Array

    def __call__(self, x: Array) -> Array:
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", centred, centred) / np.float32(x.shape[-1])
        centred *= (1 / np.sqrt(variance + np.float32(LAYER_NORM_EPSILON)))[:, None]
        centred *= self.gamma
        centred += self.beta
        return centred


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """`project`: query (divided by √(width / heads)), key and value side by side, (width, 3 width)."""

    norm_1: _Norm
    project: _Linear
    output: _Linear
    norm_2: _Norm
    inner: _Linear
    outer: _Linear


class Float32Model:
    """A model's weights as the float32 passes want them."""

    def __init__(self, weights: Weights, seed: int = AUDIT_SEED) -> None:
        """`seed`: of the regulariser's noise; the audit's unless an answer for another one is wanted."""
        tensors, shape = weights.tensors, weights.architecture

        def linear(name: str) -> _Linear:
            return _Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        def norm(name: str) -> _Norm:
            return _Norm(tensors[f"{name}.gamma"], tensors[f"{name}.beta"])

        def projections(name: str) -> _Linear:
            query, key, value = (linear(f"{name}.{part}") for part in ("query", "key", "value"))
            scale = np.float32((shape.width / shape.heads) ** -0.5)
            return _Linear(
                np.hstack([query.weight * scale, key.weight, value.weight]),
                np.hstack([query.bias * scale, key.bias, value.bias]),
            )

        self._heads = shape.heads
        self._embedding = tensors["embedding.weight"]
        with np.errstate(all="ignore"):
            self._layers = [
                _Layer(
                    norm(f"{layer}.norm_1"),
                    projections(f"{layer}.attention"),
                    linear(f"{layer}.attention.output"),
                    norm(f"{layer}.norm_2"),
                    linear(f"{layer}.pwff.linear_inner"),
                    linear(f"{layer}.pwff.linear_outer"),
                )
                for layer in (f"encoder.layers.{k}" for k in range(shape.layers))
            ]
        self._final_norm, self._predictor = norm("final_norm"), linear("predictor")
        self._projection = _projection32(shape.width, seed)

    def score(self, windows: Sequence[bytes]) -> Scores:
        """Embeddings and losses of windows of 1 to 16,384 bytes (one batch each), float32.

        Raises:
            ValueError: a window is empty.
        """
        # NaN and overflow are looked for in the results; a warning per operation would say nothing more.
        with np.errstate(all="ignore"):
            results = [self._score_data(tokenize(window)) for window in windows]
        return Scores(
            np.stack([embedding for embedding, _ in results]),
            np.array([loss for _, loss in results], np.float32),
        )

    def _score_data(self, tokens: Tokens) -> tuple[Array, float]:
        embeddings, losses = [], []
        for ids, positions, targets in zip(tokens.ids, tokens.positions, tokens.targets, strict=True):
            representation = self._represent(ids, positions)
            losses.append(self._cross_entropy(representation, targets) + SIGREG_WEIGHT * self._sigreg(representation))
            embeddings.append(representation.mean(axis=0, dtype=np.float64))
        return np.mean(embeddings, axis=0).astype(np.float32), float(np.mean(losses))

    def _represent(self, ids: Indices, positions: Indices) -> Array:
        x = self._embedding[ids]
        for layer in self._layers:
            x += layer.output(self._attend(layer.project(layer.norm_1(x)), positions))
            x += layer.outer(_gelu_in_place(layer.inner(layer.norm_2(x))))
        return self._final_norm(x)

    def _attend(self, projected: Array, positions: Indices) -> Array:
        """Causal attention; `projected` (length, 3 width) -> (length, width)."""
        length, head_width = len(projected), projected.shape[1] // (3 * self._heads)
        query, key, value = projected.reshape(length, 3, self._heads, head_width).transpose(1, 2, 0, 3)
        tables = _rotary_tables(positions[0].item(), positions[-1].item(), head_width)
        query, key = _rotate(query, *tables), _rotate(key, *tables)
        # A column of ones beside the values makes the softmax's denominators come out of the same product.
        extended = np.ones((self._heads, length, head_width + 1), np.float32)
        extended[..., :-1] = value
        mixed = np.empty((length, self._heads, head_width), np.float32)
        buffer = np.empty(QUERY_BLOCK * length, np.float32)
        for start in range(0, length, QUERY_BLOCK):
            end = start + QUERY_BLOCK
            scores = buffer[: QUERY_BLOCK * end].reshape(QUERY_BLOCK, end)
            for head in range(self._heads):
                np.matmul(query[head, start:end], key[head, :end].T, out=scores)
                scores[:, start:] += _future()
                scores -= scores.max(axis=-1, keepdims=True)
                np.exp(scores, out=scores)
                sums = scores @ extended[head, :end]
                np.divide(sums[:, :-1], sums[:, -1:], out=mixed[start:end, head])
        return mixed.reshape(length, -1)

    def _cross_entropy(self, representation: Array, targets: Indices) -> float:
        logits = self._predictor(representation)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        surprise = np.log(np.exp(logits, out=logits).sum(axis=-1)) - chosen
        return float(np.where(targets == PAD, np.float32(0), surprise).mean(dtype=np.float64))

    def _sigreg(self, representation: Array) -> float:
        angles = representation @ self._projection
        characteristic, window = sigreg_window()
        total = 0.0
        for start in range(0, len(angles), SIGREG_BLOCK):
            means = _power_means(angles[start : start + SIGREG_BLOCK])
            errors = (means.real - characteristic) ** 2 + means.imag**2
            total += float((errors @ window).sum())
        return SIGREG_SLICES * total / len(angles)


def _power_means(angles: Array) -> NDArray[np.complex64]:
    """Mean over the slices of e^{ikθ}, k = 0 … 16, for angles (n, 256) -> complex (n, 17).

    Powers by repeated multiplication, that is by angle addition: rounding grows with k, while the shorter
    Chebyshev recurrence would grow with k² for small angles.
    """
    turn = np.empty(angles.shape, np.complex64)
    np.cos(angles, out=turn.real)
    np.sin(angles, out=turn.imag)
    means = np.ones((len(angles), SIGREG_POINTS), np.complex64)
    power = turn.copy()
    for k in range(1, SIGREG_POINTS):
        if k > 1:
            power *= turn
        means[:, k] = (power.view(np.float32) @ _averaging()).view(np.complex64)[:, 0]
    return means


@lru_cache(maxsize=1)
def _averaging() -> Array:
    """Product with this is the mean of 256 complex numbers seen as 512 floats, several times faster than a
    sum; float32 (512, 2).
    """
    return np.tile(np.eye(2, dtype=np.float32) / SIGREG_SLICES, (SIGREG_SLICES, 1))


@lru_cache(maxsize=4)
def _projection32(width: int, seed: int) -> Array:
    """The SIGReg projection times the step between its points, so that its products are the angles; float32
    (width, 256).
    """
    projection: Array = (sigreg_projection(width, seed) * sigreg_step()).astype(np.float32)
    return projection


@lru_cache(maxsize=64)
def _rotary_tables(first: int, last: int, head_width: int) -> tuple[Array, Array]:
    """Cosine and sine, float32 (1024, head_width / 2), of positions `first`, `first` + 1, … that stop growing
    at `last`.
    """
    half = head_width // 2
    positions = np.minimum(np.arange(first, first + SEQUENCE_TOKENS), last)
    angles = positions[:, None] * ROTARY_BASE ** (-np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    rotated = np.empty(x.shape, np.float32)
    rotated[..., :half] = x1 * cos - x2 * sin
    rotated[..., half:] = x2 * cos + x1 * sin
    return rotated


@lru_cache(maxsize=1)
def _future() -> Array:
    """Added to a block's last keys: zero up to the diagonal, minus infinity after it; float32 (64, 64)."""
    mask: Array = np.where(np.tri(QUERY_BLOCK, dtype=bool), np.float32(0), np.float32(-np.inf))
    return mask


def _gelu_in_place(x: Array) -> Array:
    """x Φ(x) with erf by Abramowitz and Stegun 7.1.26, which is within 1.5e-7 of it; overwrites and returns
    its argument.
    """
    magnitude: Array = np.abs(x) * np.float32(0.5**0.5)
    t = np.reciprocal(1 + np.float32(0.3275911) * magnitude, dtype=np.float32)
    polynomial = _horner(t, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0))
    tail = polynomial * np.exp(-magnitude * magnitude)
    x *= (1 + np.copysign(1 - tail, x)) * np.float32(0.5)
    return x


def _horner(t: Array, coefficients: Sequence[float]) -> Array:
    """The polynomial in t, highest power first."""
    result: Any = np.full_like(t, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= t
        result += np.float32(coefficient)
    value: Array = result
    return value
