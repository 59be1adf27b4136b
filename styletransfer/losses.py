"""The losses of Gatys, Ecker & Bethge (CVPR 2016), each in one place, with the paper's symbols.

F and P are feature maps of shape (1, N, H, W): N channels, M = H·W positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_SLAB_BYTES = 36 << 20
"""Larger features are multiplied slab by slab in the backward pass of the Gram matrix."""


class Losses(NamedTuple):
    """L_content, L_style and L_tv, not yet weighted, and L_total = α L_content + β L_style + γ L_tv.

    L_content is scaled to 512 px, and L_style may be divided by a style scale: see optimize.Objective.
    """

    content: float
    style: float
    tv: float
    total: float


def content_loss(F: Tensor, P: Tensor) -> Tensor:
    """L_content = ½ Σ (F − P)² (eq. 1)."""
    return 0.5 * (F - P).square().sum()


def gram_matrix(F: Tensor) -> Tensor:
    """G = F Fᵀ (eq. 3), of shape (N, N), with F unrolled to N × M."""
    return _Gram.apply(F)


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, F: Tensor) -> Tensor:
        ctx.save_for_backward(F)
        F = F.flatten(2).squeeze(0)
        return F @ F.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """Return (g + gᵀ) F: one product where autograd takes two, and as a 1×1 convolution twice as fast (64 × 512²).

        It goes in slabs of rows, since the convolution copies F and its result.
        """
        (F,) = ctx.saved_tensors
        g = (g + g.T)[:, :, None, None]
        if F.nbytes <= MAX_SLAB_BYTES:
            return nnf.conv2d(F, g)
        rows = max(1, MAX_SLAB_BYTES * F.shape[2] // F.nbytes)
        to_F = torch.empty_like(F)
        for slab, out in zip(torch.split(F, rows, 2), torch.split(to_F, rows, 2), strict=True):
            out.copy_(nnf.conv2d(slab, g))
        return to_F


def style_loss(F: Tensor, A: Tensor) -> Tensor:
    """E_l = 1/(4 N² M²) Σ (G − A)² (eq. 4), where `A` is the painting's Gram matrix *per position*, A_l / M_A.

    In the paper both images have one size. Here they differ in shape, and a Gram matrix grows with the number of
    positions, so each is divided by its own number. For M_A = M this is the paper's E_l.
    """
    return gram_distance(gram_matrix(F) / F[0, 0].numel(), A)


def gram_distance(G: Tensor, A: Tensor) -> Tensor:
    """1/(4 N²) Σ (G − A)² of two Gram matrices per position, each (N, N)."""
    return (G - A).square().sum() / (4 * len(A) ** 2)


def tv_loss(I: Tensor) -> Tensor:  # noqa: E741 - the symbol of the formula
    """L_tv = Σ ((I_{i,j+1} − I_{i,j})² + (I_{i+1,j} − I_{i,j})²), pixels in [0, 1]."""
    return I.diff(dim=-1).square().sum() + I.diff(dim=-2).square().sum()


def total_loss(content: Tensor, style: Tensor, tv: Tensor, α: float, β: float, γ: float) -> Tensor:
    """L_total = α L_content + β L_style + γ L_tv (eq. 7, with total variation)."""
    return α * content + β * style + γ * tv
