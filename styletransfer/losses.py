"""The losses of Gatys, Ecker & Bethge (CVPR 2016), in the paper's notation, and a second style loss, on moments.

F and P are feature maps of shape (1, N, H, W): N channels, M = H·W positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_SLAB_BYTES = 36 << 20
"""Larger features are multiplied slab by slab in the backward passes of Gram matrices and moments."""
PARTIAL_SUM = 4096
"""Positions whose products are summed before they are rounded to bfloat16: see _Gram."""

Term = TypeVar("Term", Tensor, float)


class Losses(NamedTuple):
    """L_content, L_style and L_tv, not yet weighted, and L_total = α L_content + β L_style + γ L_tv.

    Each is scaled as objective.Objective says, or for a print as objective.TiledObjective does.
    """

    content: float
    style: float
    tv: float
    total: float


def content_loss(F: Tensor, P: Tensor, k: Tensor | None = None) -> Tensor:
    """L_content = ½ Σ k (F − P)² (eq. 1), with a weight k for each position, (1, 1, H, W), or 1 everywhere."""
    change = (F - P).square()
    return 0.5 * (change if k is None else k * change).sum()


def content_variation(P: Tensor) -> Tensor:
    """½ Σ (P − P̄)², where P̄ is the mean over positions: the least L_content of an F that is alike at all positions."""
    return 0.5 * (P - P.mean((2, 3), keepdim=True)).square().sum()


def gram_matrix(F: Tensor) -> Tensor:
    """G = F Fᵀ (eq. 3), of shape (N, N), with F unrolled to N × M."""
    return _Gram.apply(F)


class _Gram(torch.autograd.Function):
    """The Gram matrix in float32, of features in float32 or bfloat16.

    A product of bfloat16 matrices is rounded to bfloat16 at its end. The sum of many such products, in float32, is
    within 0.1 % of the exact one at 512 px, and takes half the time of a product of copies in float32.
    """

    @staticmethod
    def forward(ctx: Any, F: Tensor) -> Tensor:
        ctx.save_for_backward(F)
        F = F.flatten(2).squeeze(0)
        if F.dtype == torch.bfloat16:
            return torch.stack([part @ part.T for part in torch.split(F, PARTIAL_SUM, 1)]).sum(0, dtype=torch.float32)
        return F @ F.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """(g + gᵀ) F: one product where autograd takes two, and as a 1×1 convolution twice as fast (64 × 512²)."""
        (F,) = ctx.saved_tensors
        return _convolve_slabs(F, (g + g.T).to(F.dtype))


def _convolve_slabs(F: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return weight F + bias, in slabs of rows, since the convolution copies F and its result."""
    weight = weight[:, :, None, None]
    if F.nbytes <= MAX_SLAB_BYTES:
        return nnf.conv2d(F, weight, bias)
    rows = max(1, MAX_SLAB_BYTES * F.shape[2] // F.nbytes)
    product = torch.empty_like(F)
    for slab, out in zip(torch.split(F, rows, 2), torch.split(product, rows, 2), strict=True):
        out.copy_(nnf.conv2d(slab, weight, bias))
    return product


def style_loss(F: Tensor, A: Tensor, k: Tensor | None = None) -> Tensor:
    """E_l = 1/(4 N²) Σ (G/M − A/M_A)² (eq. 4), where `A` is given as A/M_A: the painting's Gram matrix per position.

    In the paper both images have one size, and E_l = 1/(4 N² M²) Σ (G − A)². Here they differ in shape, and a Gram
    matrix grows with the number of positions, so each is divided by its own number. For M_A = M both are the same.
    """
    return gram_distance(gram_matrix_per_position(F, k), A)


def gram_matrix_per_position(F: Tensor, k: Tensor | None = None) -> Tensor:
    """G / M, of shape (N, N); with a weight k for each position, (1, 1, H, W), it is Σ k F Fᵀ / Σ k: see moments."""
    return gram_matrix(F) / F[0, 0].numel() if k is None else sum_positions(F, k).means()[0]


def gram_distance(G: Tensor, A: Tensor) -> Tensor:
    """1/(4 N²) Σ (G − A)² of two Gram matrices per position, G/M and A/M_A, each (N, N)."""
    return (G - A).square().sum() / (4 * len(A) ** 2)


def moments(F: Tensor, k: Tensor | None = None) -> Tensor:
    """The mean μ = (1/M) F 1 and the centred covariance C = F Fᵀ / M − μ μᵀ, side by side: [μ C] of shape (N, 1 + N).

    With a weight k for each position, (1, 1, H, W), they are μ = Σ k F / Σ k and C = Σ k F Fᵀ / Σ k − μ μᵀ, the guided
    statistics of Gatys et al. 2017, arXiv 1611.07865, eq. 4 to 6.
    """
    return moments_of_sums(sum_positions(F, k))


class Sums(NamedTuple):
    """Σ k F Fᵀ, (N, N), Σ k F, (N,), and Σ k, over some of the positions of a layer."""

    S_FF: Tensor
    S_F: Tensor
    S_k: Tensor | float

    def plus(self, other: Sums) -> Sums:
        """The sums over these positions and others."""
        return Sums(self.S_FF + other.S_FF, self.S_F + other.S_F, self.S_k + other.S_k)

    def dot(self, other: Sums) -> Tensor:
        """⟨∂L/∂S, S⟩, where one holds sums S and the other the derivatives of a loss L by them."""
        return (self.S_FF * other.S_FF).sum() + (self.S_F * other.S_F).sum()

    def means(self) -> tuple[Tensor, Tensor]:
        """The means of F Fᵀ and of F over these positions."""
        return self.S_FF / self.S_k, self.S_F / self.S_k


def sum_positions(F: Tensor, k: Tensor | None) -> Sums:
    """The sums over all positions of F (1, N, H, W), with a weight k for each, (1, 1, H, W), or 1 everywhere."""
    k = k if k is None else k.to(F.dtype)
    total = F[0, 0].numel() if k is None else k.sum(dtype=torch.promote_types(F.dtype, torch.float32))
    S_FF, S_F = _WeightedSums.apply(F, k)
    return Sums(S_FF, S_F, total)


def moments_of_sums(sums: Sums) -> Tensor:
    """[μ C], (N, 1 + N), of the positions that were summed."""
    G, μ = sums.means()
    return torch.cat([μ[:, None], G - torch.outer(μ, μ)], dim=1)


class _WeightedSums(torch.autograd.Function):
    """Σ k F Fᵀ and Σ k F over positions, with k (1, 1, H, W) or None for 1 everywhere; in float32 at least.

    One pass over F serves both, also backwards. In bfloat16, for 64 channels at 512×344, a Gram matrix and a mean that
    autograd differentiates took 90 ms, and this takes 15.
    """

    @staticmethod
    def forward(ctx: Any, F: Tensor, k: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(F, k)
        parts = torch.split(F.flatten(2).squeeze(0), PARTIAL_SUM, 1)
        weights = [None] * len(parts) if k is None else torch.split(k.flatten(), PARTIAL_SUM)
        precision = torch.promote_types(F.dtype, torch.float32)
        G, s = [], []
        for part, weight in zip(parts, weights, strict=True):
            weighted = part if weight is None else part * weight
            G.append(weighted @ part.T)
            s.append(weighted.sum(1, dtype=precision))
        return torch.stack(G).sum(0, dtype=precision), torch.stack(s).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_FF: Tensor, g_F: Tensor) -> tuple[Tensor, None]:
        """k ((g_FF + g_FFᵀ) F + g_F), as a 1×1 convolution: see _Gram.backward."""
        F, k = ctx.saved_tensors
        g = _convolve_slabs(F, (g_FF + g_FF.T).to(F.dtype), g_F.to(F.dtype))
        return (g if k is None else g.mul_(k)), None


def moments_loss(F: Tensor, painting: Tensor, k: Tensor | None = None) -> Tensor:
    """1/(2 N) Σ (μ − μ_A)² + 1/(4 N²) Σ (C − C_A)², where `painting` holds its moments, (N, 1 + N).

    A Gram matrix mixes the mean with the variation around it, so that a bright, flat sky can match it. Only texture can
    match the centred covariance. (Yeh et al. 2019, arXiv 1910.09447, compare the two.)
    """
    return moments_distance(moments(F, k), painting)


def moments_distance(a: Tensor, b: Tensor) -> Tensor:
    """1/(2 N) Σ (μ_a − μ_b)² + 1/(4 N²) Σ (C_a − C_b)² of two sets of moments, each (N, 1 + N)."""
    N, change = len(a), a - b
    return change[:, 0].square().sum() / (2 * N) + change[:, 1:].square().sum() / (4 * N**2)


class StyleLoss(NamedTuple):
    """A style loss of one layer, and what it compares."""

    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]  # of F (1, N, H, W), the painting's statistic, and k
    statistic: Callable[[Tensor, Tensor | None], Tensor]  # of F and k
    distance: Callable[[Tensor, Tensor], Tensor]  # between two statistics


STYLE_LOSSES = {
    "gram": StyleLoss(style_loss, gram_matrix_per_position, gram_distance),
    "moments": StyleLoss(moments_loss, moments, moments_distance),
}
"""The style losses by the name that Settings.objective gives them."""


def tv_loss(x: Tensor, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
    """L_tv = Σ ((x_{i,j+1} − x_ij)² + (x_{i+1,j} − x_ij)²), for pixels x (1, 3, H, W) in [0, 1].

    The sum is over all positions i, j, or over those in `rows` and `columns`.
    """
    right, down = x.diff(dim=-1), x.diff(dim=-2)
    return right[:, :, rows, columns].square().sum() + down[:, :, rows, columns].square().sum()


def resize_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """The mean of a mask (K, 1, H, W) over what each position of feature maps of a `shape` (h, w) stands for."""
    return nnf.interpolate(mask, tuple(shape), mode="area")


def total_loss(content: Term, style: Term, tv: Term, α: float, β: float, γ: float) -> Term:
    """L_total = α L_content + β L_style + γ L_tv (eq. 7, with total variation)."""
    return α * content + β * style + γ * tv
