"""The style loss of Kolkin et al., "Neural Neighbor Style Transfer", 2022, arXiv 2203.13215.

Every position of the result is to look like one position of the painting: the one that is most like the photo there.
Positions are compared by *hypercolumns*, the activations of many layers at one place. As in the authors' program
(github.com/nkolkin13/NeuralNeighborStyleTransfer), neighbours are found once in a stage. docs/method.md has the
departures from it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .backbones import Backbone
from .torch_state import own_state

LAYERS = ("conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3")
"""The layers of a hypercolumn, of 2624 channels in all."""
STRIDE = 4  # pixels between positions: the resolution of conv3_x
CHUNK = 1 << 21
"""Pairs of positions that are compared at once: about 0.1 s on two cores, after which a run can be stopped."""
SHARE_BIAS = 0.05
"""How strongly the share of a painting moves the choice between several: see find_neighbours."""


def collect(F: Tensor, height: int, width: int) -> Tensor:
    """One layer's part of the hypercolumns: F (1, N, H, W) to (1, N, height, width), divided by √N."""
    factor = min(STRIDE, F.shape[2] // height)  # not 5 at a height of 10, 11 or 15 pixels
    if factor > 1:
        F = nnf.avg_pool2d(F, factor)
    elif F.shape[2:] != (height, width):
        F = nnf.interpolate(F.float(), (height, width), mode="bilinear")
    return F.float() / math.sqrt(F.shape[1])


def grid(image: Tensor) -> tuple[int, int]:
    """Return the (height, width) of the hypercolumns of an image (1, 3, H, W)."""
    return max(1, image.shape[2] // STRIDE), max(1, image.shape[3] // STRIDE)


@own_state()
def hypercolumns(backbone: Backbone, image: Tensor) -> Tensor:
    """H of an image (1, 3, H, W) in [0, 1]: a column of 2624 numbers for each position of its grid, (2624, M)."""
    parts = [collect(F, *grid(image)) for _, F in backbone.activations(image, LAYERS)]
    return torch.cat(parts, dim=1)[0].flatten(1)


def find_neighbours(query: Tensor, paintings: Sequence[Tensor], shares: Tensor) -> Generator[None, None, Tensor]:
    """For each column of `query` (D, M), return the most similar column of the paintings, each (D, M_k): (D, M).

    Similarity is the cosine of columns that are centred on the mean of their image, plus SHARE_BIAS · log(share), with
    the share of each painting at each position, (K, M). Where two have half of it each, they compete as equals, and
    where one has nothing it is not searched. Yields between the chunks.
    """
    nearest = torch.empty_like(query)
    best = query.new_full((query.shape[1],), -math.inf)
    is_first = True
    for H, share in zip(paintings, shares, strict=True):
        q, S = _centre(query, share), _centre(H)
        for part in torch.split(share.nonzero()[:, 0], max(1, CHUNK // H.shape[1])):
            if not is_first:
                yield
            is_first = False
            cosine, found = (S.T @ q[:, part]).max(dim=0)
            similarity = cosine + SHARE_BIAS * share[part].log()
            is_better = similarity > best[part]
            better = part[is_better]
            best[better] = similarity[is_better]
            nearest[:, better] = H[:, found[is_better]]
    return nearest


def neighbours_loss(H: Tensor, T: Tensor) -> Tensor:
    """L_style = 1/M Σ_i (1 − cos(H_i, T_i)), where T_i is the neighbour of position i; H and T are (D, M)."""
    return 1 - nnf.cosine_similarity(H, T, dim=0).mean()


def _centre(H: Tensor, share: Tensor | None = None) -> Tensor:
    """Subtract the mean column, of positions weighted by `share` (M,), and scale each column to length 1."""
    mean = H.mean(dim=1) if share is None else H @ share / share.sum()
    return nnf.normalize(H - mean[:, None], dim=0)
