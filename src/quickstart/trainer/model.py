"""The network's transformer as a torch module that can be trained (`soma-protocol` §13).

Its parameters have the names and shapes of the published safetensors, so nothing is renamed or turned on the way in
or out. The formulas are those of `scoring.reference`, which is where to read them first.
"""

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from quickstart.scoring.contract import LAYER_NORM_EPSILON, ROTARY_BASE, VOCABULARY
from quickstart.scoring.engine import Architecture, Weights

INITIAL_DEVIATION = 0.02


class Linear(nn.Module):
    """x W + b; the weight is (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Norm(nn.Module):
    """LayerNorm, in float32 also under autocast."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(self.gamma.dtype)
        return F.layer_norm(wide, self.gamma.shape, self.gamma, self.beta, LAYER_NORM_EPSILON)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = Linear(width, width), Linear(width, width)
        self.value, self.output = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        query, key = (_rotate(part, cos, sin).to(value.dtype) for part in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear_inner, self.linear_outer = Linear(width, inner), Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear_outer(F.gelu(self.linear_inner(x)))
        return output


class Layer(nn.Module):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.width
        self.norm_1, self.attention = Norm(width), Attention(width, architecture.heads)
        self.norm_2, self.pwff = Norm(width), FeedForward(width, architecture.feed_forward)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x), cos, sin)
        output: Tensor = x + self.pwff(self.norm_2(x))
        return output


class Encoder(nn.Module):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(architecture) for _ in range(architecture.layers))


class TrainableModel(nn.Module):
    """A model to train. `checkpointing`: layers are computed again in the backward pass instead of being kept."""

    def __init__(self, architecture: Architecture, *, seed: int = 0, checkpointing: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        self.checkpointing = checkpointing
        self.embedding = nn.Embedding(VOCABULARY, architecture.width)
        self.encoder = Encoder(architecture)
        self.final_norm = Norm(architecture.width)
        self.predictor = Linear(architecture.width, VOCABULARY)
        self._initialise(seed)

    @classmethod
    def of(cls, weights: Weights, *, checkpointing: bool = False) -> "TrainableModel":
        """A model that goes on from published weights."""
        model = cls(weights.architecture, checkpointing=checkpointing)
        # A copy, because torch warns about the read-only arrays that a parsed file consists of.
        model.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in weights.tensors.items()})
        return model

    def represent(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Output of the final LayerNorm, (n, 1024, width), of int64 `ids` (n, 1024) at `positions` (n or 1, 1024)."""
        cos, sin = self._turns(positions)
        x: Tensor = self.embedding(ids)
        for layer in self.encoder.layers:
            if self.checkpointing and self.training:
                x = checkpoint(layer, x, cos, sin, use_reentrant=False)
            else:
                x = layer(x, cos, sin)
        representation: Tensor = self.final_norm(x)
        return representation

    def logits(self, representation: Tensor) -> Tensor:
        """(n, 1024, 264)."""
        logits: Tensor = self.predictor(representation)
        return logits

    def export(self) -> bytes:
        """The safetensors file that is published once it is encrypted: float32, in the network's names and shapes."""
        tensors = {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in self.state_dict().items()}
        return bytes(save(dict(sorted(tensors.items()))))

    def _turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine (n or 1, 1, 1024, d/2) of the rotary angles, which are made in float64 and then narrowed."""
        half = self.architecture.width // self.architecture.heads // 2
        frequencies = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64, device=positions.device) / half)
        angles = positions[:, None, :, None] * frequencies
        return angles.cos().to(self.final_norm.gamma.dtype), angles.sin().to(self.final_norm.gamma.dtype)

    def _initialise(self, seed: int) -> None:
        """Normal weights; what is added to the residual stream is smaller, the more layers add to it."""
        generator = torch.Generator().manual_seed(seed)
        residual = INITIAL_DEVIATION / max(1, 2 * self.architecture.layers) ** 0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    adds = name.endswith(("output.weight", "linear_outer.weight"))
                    deviation = residual if adds else INITIAL_DEVIATION
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x1, x2 = x.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)
