"""SIGReg (§13) in torch: powers of e^{iθ} one after the other, so that no array has a 17 as an axis."""

import torch

from quickstart.scoring.contract import (
    SIGREG_POINTS,
    SIGREG_SLICES,
    sigreg_projection,
    sigreg_step,
    sigreg_window,
)

BLOCK_POSITIONS = {"cpu": 256, "cuda": 8192}
"""Positions at a time: 256 x 256 complex numbers and their powers stay in a core's second-level cache, and those of
8,192 positions in that of an L4 (2 x 16 MiB of 48).
"""


def sigreg_angles(width: int, seed: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(width, 256): turns a representation into the angles θ = 3/16 R·A."""
    return torch.from_numpy(sigreg_projection(width, seed) * sigreg_step()).to(device, dtype)


def sigreg(representation: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """The regulariser of each position: (positions, width) x `sigreg_angles` -> (positions,), both of one type.

    cos(kθ) + i sin(kθ) is the k-th power of e^{iθ}. At k = 0 the mean is 1 = φ(0), so that point is never off.
    """
    block = BLOCK_POSITIONS[representation.device.type]
    return torch.cat([_integrals(part @ angles) for part in torch.split(representation, block)])


def _integrals(angles: torch.Tensor) -> torch.Tensor:
    turn = torch.complex(angles.cos(), angles.sin())
    characteristic, window = sigreg_window()
    integral = angles.new_zeros(len(angles))
    power = turn.clone()
    for k in range(1, SIGREG_POINTS):
        mean = power.mean(dim=-1)
        error = (mean.real - characteristic[k]).square_().add_(mean.imag.square())
        integral.add_(error, alpha=SIGREG_SLICES * window[k])
        power.mul_(turn)
    return integral
