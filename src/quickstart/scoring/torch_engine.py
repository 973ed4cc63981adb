"""The torch engine: the contract on a GPU or a CPU, in float32 or bfloat16. The only module of `scoring` that
imports torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from quickstart.scoring.certification import Certificates, Run, Scores
from quickstart.scoring.contract import (
    AUDIT_SEED,
    LAYER_NORM_EPSILON,
    PAD,
    ROTARY_BASE,
    SIGREG_POINTS,
    SIGREG_SLICES,
    SIGREG_WEIGHT,
    sigreg_projection,
    sigreg_step,
    sigreg_window,
)
from quickstart.scoring.engine import ScoredShard, Weights
from quickstart.scoring.numpy_engine import run_reference
from quickstart.scoring.shards import score_shard
from quickstart.scoring.tokens import tokenize

_MORE_EXACT = {torch.bfloat16: torch.float32, torch.float32: torch.float64}


class TorchEngine:
    """Scores on `device` ("cpu", "cuda") in `dtype` (float32 or bfloat16), `batch_sequences` sequences at a
    time.

    In bfloat16 only weights, matrix products and activations are narrow; norms, softmax, log-sum-exp, means
    and SIGReg are float32. `exact=True` is float32; neither ever uses TF32. Certified against the float64
    reference on a CPU, and on a GPU against the next wider type on the same card (float32 for bfloat16,
    float64 for float32), where the reference would take minutes per window.
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch_sequences: int = 8,
        calibration: Sequence[bytes] = (),
    ) -> None:
        if dtype not in _MORE_EXACT:
            raise ValueError(f"dtype is {dtype}, expected torch.float32 or torch.bfloat16")
        self._device = torch.device(device)
        self._dtype = dtype
        self._batch_sequences = batch_sequences
        self._certificates = Certificates(calibration)
        self._loaded: tuple[bytes, TorchModel] | None = None

    @property
    def id(self) -> str:
        return self._id_of(self._dtype)

    def score(self, weights: Weights, windows: Sequence[bytes], exact: bool = False) -> ScoredShard:
        """See `Engine.score`."""
        dtype = torch.float32 if exact else self._dtype
        run = self._run(weights, dtype)
        error = self._certificates.error_of(weights.checksum, self._id_of(dtype), run, self._reference(weights, dtype))
        return score_shard(weights, self._id_of(dtype), windows, run, error)

    def _id_of(self, dtype: torch.dtype) -> str:
        return f"torch-{self._device.type}-{str(dtype).removeprefix('torch.')}"

    def _run(self, weights: Weights, dtype: torch.dtype) -> Run:
        return lambda windows: self._model(weights, dtype).score(windows, self._batch_sequences)

    def _reference(self, weights: Weights, dtype: torch.dtype) -> Run:
        if self._device.type == "cpu":
            return lambda windows: run_reference(weights, windows)
        return self._run(weights, _MORE_EXACT[dtype])

    def _model(self, weights: Weights, dtype: torch.dtype) -> "TorchModel":
        """The model on the device; only the last one is kept, since at full size one takes gigabytes."""
        if self._loaded is not None:
            checksum, model = self._loaded
            if checksum == weights.checksum and model.dtype == dtype:
                return model
            self._loaded = None
            del model
        model = TorchModel(weights, self._device, dtype)
        self._loaded = (weights.checksum, model)
        return model


class TorchModel:
    """One model's weights on a device, as `dtype`."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._wide = torch.float64 if dtype == torch.float64 else torch.float32
        self._device = device
        self._architecture = weights.architecture
        # A copy, because torch warns about the read-only arrays that a parsed file consists of.
        self._tensors = {
            name: torch.from_numpy(tensor.copy()).to(device, dtype if name.endswith(("weight", "bias")) else self._wide)
            for name, tensor in weights.tensors.items()
        }
        projection = sigreg_projection(weights.architecture.width, AUDIT_SEED) * sigreg_step()
        self._angles = torch.from_numpy(projection).to(device, self._wide)

    @torch.inference_mode()
    def score(self, windows: Sequence[bytes], batch_sequences: int) -> Scores:
        """Embeddings and losses of windows of 1 to 16,384 bytes, with the audit's seed; float32, or float64
        for a float64 model.

        Raises:
            ValueError: a window is empty.
        """
        tokens = [tokenize(window) for window in windows]
        ids, positions, targets = (
            np.concatenate([getattr(t, field) for t in tokens]) for field in ("ids", "positions", "targets")
        )
        embeddings, losses = [], []
        with _without_tf32():
            for start in range(0, len(ids), batch_sequences):
                part = slice(start, start + batch_sequences)
                batch = (torch.from_numpy(a[part]).to(self._device) for a in (ids, positions, targets))
                embedding, loss = self._score_sequences(*batch)
                embeddings.append(embedding.double().cpu().numpy())
                losses.append(loss.double().cpu().numpy())
        starts = np.cumsum([0, *(len(t) for t in tokens[:-1])])
        lengths = np.array([len(t) for t in tokens])
        result = np.float64 if self.dtype == torch.float64 else np.float32
        mean_embeddings = np.add.reduceat(np.concatenate(embeddings), starts) / lengths[:, None]
        mean_losses = np.add.reduceat(np.concatenate(losses), starts) / lengths
        with np.errstate(over="ignore"):
            return Scores(mean_embeddings.astype(result), mean_losses.astype(result))

    def _score_sequences(
        self, ids: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 1024) of each -> mean representations (n, width) and losses (n,)."""
        representation = self._represent(ids, positions)
        loss = self._cross_entropy(representation, targets) + SIGREG_WEIGHT * self._sigreg(representation)
        return representation.mean(dim=1), loss

    def _represent(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        turns = self._rotary(positions)
        x = self._tensors["embedding.weight"][ids]
        for k in range(self._architecture.layers):
            layer = f"encoder.layers.{k}"
            x = x + self._attention(f"{layer}.attention", self._norm(f"{layer}.norm_1", x).to(self.dtype), *turns)
            inner = self._linear(f"{layer}.pwff.linear_inner", self._norm(f"{layer}.norm_2", x).to(self.dtype))
            x = x + self._linear(f"{layer}.pwff.linear_outer", F.gelu(inner))
        return self._norm("final_norm", x)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        gamma, beta = self._tensors[f"{name}.gamma"], self._tensors[f"{name}.beta"]
        return F.layer_norm(x.to(self._wide), gamma.shape, gamma, beta, LAYER_NORM_EPSILON)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]

    def _attention(self, name: str, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        heads = self._architecture.heads
        query, key, value = (
            self._linear(f"{name}.{part}", x).view(*x.shape[:2], heads, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        query, key = (_rotate(part.to(self._wide), cos, sin).to(self.dtype) for part in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._linear(f"{name}.output", mixed.transpose(1, 2).flatten(2))

    def _rotary(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine (n, 1, 1024, d/2) of the angles, which are made in float64 and then narrowed."""
        half = self._architecture.width // self._architecture.heads // 2
        frequencies = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64, device=self._device) / half)
        angles = positions[:, None, :, None] * frequencies
        return angles.cos().to(self._wide), angles.sin().to(self._wide)

    def _cross_entropy(self, representation: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self._linear("predictor", representation.to(self.dtype)).to(self._wide)
        surprise = logits.logsumexp(dim=-1) - logits.gather(-1, targets[..., None])[..., 0]
        return surprise.masked_fill(targets == PAD, 0).mean(dim=1)

    def _sigreg(self, representation: torch.Tensor) -> torch.Tensor:
        """One value per sequence; cos(kθ) + i sin(kθ) by powers of e^{iθ}, as in `reference.sigreg`."""
        angles = representation @ self._angles
        turn = torch.complex(angles.cos(), angles.sin())
        characteristic, window = sigreg_window()
        power = torch.ones_like(turn)
        integral = torch.zeros(representation.shape[:2], dtype=self._wide, device=self._device)
        for k in range(SIGREG_POINTS):
            mean = power.mean(dim=-1)
            integral += window[k] * ((mean.real - characteristic[k]) ** 2 + mean.imag**2)
            power = power * turn
        return SIGREG_SLICES * integral.mean(dim=1)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Full float32 products on the card, whatever the process set; its setting is put back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
