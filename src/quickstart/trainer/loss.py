"""The network's own loss (`soma-protocol` §13), so that what is trained is what decides who wins a target."""

from typing import Any

import torch
from torch import Tensor

from quickstart.scoring.contract import (
    PAD,
    SIGREG_POINTS,
    SIGREG_SLICES,
    SIGREG_WEIGHT,
    sigreg_projection,
    sigreg_step,
    sigreg_window,
)
from quickstart.trainer.model import TrainableModel


def network_loss(model: TrainableModel, ids: Tensor, positions: Tensor, targets: Tensor, projection: Tensor) -> Tensor:
    """Loss of each sequence, float (n,): cross entropy + 0.02 x SIGReg. int64 (n, 1024) of ids and targets.

    Cross entropy is divided by all positions, also those whose target is PAD. `projection`: see `noise_projection`.
    """
    representation = model.represent(ids, positions)
    entropy = cross_entropy(model.logits(representation), targets)
    return entropy + SIGREG_WEIGHT * sigreg(representation, projection)


def noise_projection(width: int, seed: int, device: torch.device) -> Tensor:
    """SIGReg's projection of a seed times the step between its points, so that its products are the angles; float32
    (width, 256).
    """
    return torch.from_numpy(sigreg_projection(width, seed) * sigreg_step()).to(device, torch.float32)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(n,): mean over all positions; those whose target is PAD count as zero."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    surprise = wide.logsumexp(dim=-1) - wide.gather(-1, targets[..., None])[..., 0]
    return surprise.masked_fill(targets == PAD, 0).mean(dim=1)


def sigreg(representation: Tensor, projection: Tensor) -> Tensor:
    """(n,): how far 256 random projections of each position are from a standard normal sample."""
    with torch.autocast(representation.device.type, enabled=False):
        value: Tensor = _Deviation.apply(representation.to(projection.dtype) @ projection)
        return SIGREG_SLICES * value.mean(dim=1)


class _Deviation(torch.autograd.Function):
    """Σ_k w_k |m_k − φ_k|² per position, m_k the mean over the slices of z^k, z = e^{iθ}; angles (n, 1024, 256).

    Left to autograd this keeps 17 complex arrays of the input's size. Its gradient is
    −(2/256) Im Σ_k k w_k conj(m_k − φ_k) z^k, a polynomial in z that needs one.
    """

    @staticmethod
    def forward(context: Any, angles: Tensor) -> Tensor:
        turn = torch.complex(angles.cos(), angles.sin())
        characteristic, window = (torch.from_numpy(a).to(angles) for a in sigreg_window())
        power = torch.ones_like(turn)
        powers = (power if k == 0 else power.mul_(turn) for k in range(SIGREG_POINTS))
        deviation = torch.stack([power.mean(dim=-1) for power in powers], dim=-1) - characteristic
        context.save_for_backward(turn, deviation, window)
        total: Tensor = (window * (deviation.real**2 + deviation.imag**2)).sum(dim=-1)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        turn, deviation, window = context.saved_tensors
        order = torch.arange(SIGREG_POINTS, dtype=window.dtype, device=window.device)
        coefficients = (-2 / SIGREG_SLICES) * order * window * deviation.conj()
        polynomial = coefficients[..., -1:] * turn
        for k in range(SIGREG_POINTS - 2, 0, -1):
            polynomial.add_(coefficients[..., k : k + 1]).mul_(turn)
        gradient: Tensor = gradients[0][..., None] * polynomial.imag
        return gradient
