"""One model on a device, and its pass over a batch of sequences."""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F

from quickstart.scoring.contract import (
    AUDIT_SEED,
    LAYER_NORM_EPSILON,
    MAX_DATA_BYTES,
    PAD,
    ROTARY_BASE,
    SIGREG_WEIGHT,
)
from quickstart.scoring.engine import Architecture, Weights
from quickstart.scoring.torch_sigreg import sigreg, sigreg_angles

HEAD_SEQUENCES = {"cpu": 1, "cuda": 8}
"""Sequences whose last representations, logits and angles exist at a time: in float32 those take 9 MB each at the
network's width.
"""

QUERY_KEY_VALUE = ("query", "key", "value")


class TorchModel:
    """`dtype`: of the products between the first embedding and the last norm, and of what they multiply. The stream
    they add to, norms, means, logits and the regulariser are float32, and everything is float64 if `dtype` is.

    `tensors`: as in the file, but query, key and value of a layer are one `attention.project`, (width, 3 width).
    `seed`: of the regulariser's noise; the audit's unless an answer for another one is wanted.
    """

    def __init__(
        self,
        architecture: Architecture,
        dtype: torch.dtype,
        tensors: Mapping[str, torch.Tensor],
        seed: int = AUDIT_SEED,
    ) -> None:
        self.architecture = architecture
        self.dtype = dtype
        self._tensors = tensors
        self._seed = seed
        self._wide = torch.float64 if dtype == torch.float64 else torch.float32
        self._device = tensors["embedding.weight"].device
        self._angles = sigreg_angles(architecture.width, seed, self._device, self._wide)
        self._cos, self._sin = _rotary_tables(architecture, self._device, dtype)

    @classmethod
    def load(cls, weights: Weights, device: torch.device, dtype: torch.dtype, seed: int = AUDIT_SEED) -> "TorchModel":
        """Brings weights to the device tensor by tensor: on the way the host holds one of them, or the three that
        become one.
        """
        return cls(weights.architecture, dtype, dict(_load_tensors(weights, device, dtype)), seed)

    def narrowed(self, dtype: torch.dtype) -> "TorchModel":
        """The same model computing in a narrower type, without another look at the file."""
        tensors = {name: _as_stored(name, tensor, dtype) for name, tensor in self._tensors.items()}
        return TorchModel(self.architecture, dtype, tensors, self._seed)

    def widened(self, dtype: torch.dtype) -> "TorchModel":
        """The same tensors computing in a wider type: each is widened when it is used."""
        return TorchModel(self.architecture, dtype, self._tensors, self._seed)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    @torch.inference_mode()
    def score(
        self, ids: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """n sequences: int64 (n, 1024) of each on the device, `positions` (1, 1024) if they are the same for all ->
        mean representations (n, width) and losses (n,).
        """
        x = self._represent(ids, positions)
        parts = (torch.split(tensor, HEAD_SEQUENCES[x.device.type]) for tensor in (x, targets))
        embeddings, losses = zip(*(self._finish(*part) for part in zip(*parts, strict=True)), strict=True)
        return torch.cat(embeddings), torch.cat(losses)

    def _represent(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What enters the last norm, (n, 1024, width)."""
        turns = self._cos[positions], self._sin[positions]
        x = self._tensor("embedding.weight", self._wide)[ids]
        for k in range(self.architecture.layers):
            layer = f"encoder.layers.{k}"
            x += self._attend(f"{layer}.attention", self._norm(f"{layer}.norm_1", x).to(self.dtype), turns)
            inner = self._linear(f"{layer}.pwff.linear_inner", self._norm(f"{layer}.norm_2", x).to(self.dtype))
            x += self._linear(f"{layer}.pwff.linear_outer", F.gelu(inner))
        return x

    def _attend(self, name: str, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        projected = self._linear(f"{name}.project", x).view(*x.shape[:2], 3, self.architecture.heads, -1)
        turned = _turn(projected[:, :, :2], *turns).transpose(1, 3)
        value = projected[:, :, 2].transpose(1, 2)
        mixed = F.scaled_dot_product_attention(turned[:, :, 0], turned[:, :, 1], value, is_causal=True)
        return self._linear(f"{name}.output", mixed.transpose(1, 2).flatten(2))

    def _finish(self, x: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        representation = self._norm("final_norm", x)
        flat = representation.flatten(0, 1)
        logits = self._linear("predictor", flat)
        surprise = F.cross_entropy(logits, targets.flatten(), ignore_index=PAD, reduction="none")
        loss = surprise + SIGREG_WEIGHT * sigreg(flat, self._angles)
        return representation.mean(dim=1), loss.view_as(targets).mean(dim=1)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        gamma, beta = (self._tensor(f"{name}.{part}", x.dtype) for part in ("gamma", "beta"))
        return F.layer_norm(x, gamma.shape, gamma, beta, LAYER_NORM_EPSILON)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (self._tensor(f"{name}.{part}", x.dtype) for part in ("weight", "bias"))
        return torch.addmm(bias, x.flatten(0, -2), weight).view(*x.shape[:-1], -1)

    def _tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        return self._tensors[name].to(dtype)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (n, 1024, 2, heads, d)."""
    x1, x2 = x.chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    turned = torch.empty_like(x, memory_format=torch.contiguous_format)
    y1, y2 = turned.chunk(2, dim=-1)
    torch.sub(x1 * cos, x2 * sin, out=y1)
    torch.add(x2 * cos, x1 * sin, out=y2)
    return turned


def _rotary_tables(
    architecture: Architecture, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine (16385, d/2) of position x 10,000^(-2i/d), made in float64."""
    half = architecture.width // architecture.heads // 2
    frequencies = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(MAX_DATA_BYTES + 1)[:, None] * frequencies
    return angles.cos().to(device, dtype), angles.sin().to(device, dtype)


def _load_tensors(weights: Weights, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    def load(name: str) -> torch.Tensor:
        array = weights.tensors[name]
        # Read anew it is ours; an array that many share is read-only, and torch warns about that.
        host = torch.from_numpy(array if array.flags.writeable else array.copy())
        if device.type == "cuda":
            host = host.pin_memory()
        return _as_stored(name, host.to(device, non_blocking=True), dtype)

    for name in weights.tensors:
        if ".attention.query." in name:
            parts = [load(name.replace("query", part)) for part in QUERY_KEY_VALUE]
            yield name.replace("query", "project"), torch.cat(parts, dim=-1)
        elif ".attention.key." not in name and ".attention.value." not in name:
            yield name, load(name)


def _as_stored(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Only a layer's products are in the model's own type."""
    narrow = name.startswith("encoder.") and name.endswith(("weight", "bias"))
    return tensor.to(dtype if narrow else torch.float32)
