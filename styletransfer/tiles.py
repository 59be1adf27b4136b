"""A picture that is too large to pass through the network at once, cut into tiles; and its statistics, exactly.

Every position of every layer belongs to one tile. The network sees a tile with a margin as wide as its deepest layer
looks, so that each position has the activation that it has in the whole picture.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch.nn.functional as nnf
from torch import Tensor

from . import losses
from .backbones import Backbone, stride
from .losses import Sums

TILE_SIDE = 384
"""The longest side of a tile in pixels, up to a few more at the last edge. Forth and back through the layers of a print
it takes a third of a second on two cores, after which a run can be stopped, and 0.3 GB."""


LayerSums = dict[tuple[str, int], Sums]
"""Sums over positions by layer and region; the whole picture is region 0."""


class Span(NamedTuple):
    """The rows (or columns) of pixels that belong to a tile, and those that the network sees with them."""

    own: slice
    seen: slice

    def own_positions(self, stride: int) -> slice:
        """Where its own are among those that are seen, in a layer with a position every `stride` pixels."""
        start = self.seen.start
        return slice((self.own.start - start) // stride, (self.own.stop - start) // stride)


class Tile(NamedTuple):
    """A rectangle of a picture."""

    rows: Span
    columns: Span

    @property
    def seen_pixels(self) -> int:
        """How many pixels the network sees."""
        rows, columns = self.rows.seen, self.columns.seen
        return (rows.stop - rows.start) * (columns.stop - columns.start)

    def see(self, x: Tensor) -> Tensor:
        """What the network sees of x (1, C, H, W): a view."""
        return x[:, :, self.rows.seen, self.columns.seen]

    def own(self, F: Tensor, stride: int = 1) -> Tensor:
        """The positions that belong to the tile, of activations F (1, N, h, w) of what the network sees: a view."""
        return F[:, :, self.rows.own_positions(stride), self.columns.own_positions(stride)]

    def take(self, x: Tensor, stride: int = 1) -> Tensor:
        """The positions that belong to the tile, of x (1, C, h, w) with one every `stride` pixels: a view."""
        rows, columns = (slice(own.start // stride, own.stop // stride) for own in (self.rows.own, self.columns.own))
        return x[:, :, rows, columns]


def cut_tiles(backbone: Backbone, shape: Sequence[int], layers: Collection[str]) -> list[Tile]:
    """Cut a picture of the `shape` (H, W) into tiles of about the same shape, with sides of about TILE_SIDE at most.

    Their edges lie between positions of the deepest of `layers`, and so of all.
    """
    step, reach = (max(of_layer(layer) for layer in layers) for of_layer in (stride, backbone.reach))
    margin = -(-reach // step) * step
    return [Tile(*spans) for spans in product(*(_cut(length, step, margin) for length in shape))]


def _cut(length: int, step: int, margin: int) -> list[Span]:
    count = -(-length // TILE_SIDE)
    edges = [*(length * k // count // step * step for k in range(count)), length]
    return [Span(slice(a, b), slice(max(0, a - margin), min(length, b + margin))) for a, b in pairwise(edges)]


def sum_tiles(
    backbone: Backbone,
    x: Tensor,
    layers: Collection[str],
    tiles: Collection[Tile],
    guides: Sequence[Tensor | None] = (None,),
) -> Generator[None, None, LayerSums]:
    """Σ k F Fᵀ, Σ k F and Σ k over all positions of x (1, 3, H, W), in float64. Yields between tiles.

    Each of the `guides` is k of one region, (1, 1, H, W): the weight of each pixel, or None for 1 everywhere.
    """
    totals = LayerSums()
    for tile in tiles:
        for key, sums in sum_tile(backbone, tile, tile.see(x), layers, guides).items():
            exact = Sums(sums.S_FF.double(), sums.S_F.double(), float(sums.S_k))
            totals[key] = totals[key].plus(exact) if key in totals else exact
        yield
    return totals


def sum_tile(
    backbone: Backbone, tile: Tile, seen: Tensor, layers: Collection[str], guides: Sequence[Tensor | None]
) -> LayerSums:
    """Σ k F Fᵀ, Σ k F and Σ k over the positions of a tile, given the pixels that are seen and k of the whole picture.

    A region that has no positions in the tile is left out.
    """
    own = {region: k if k is None else tile.take(k).float() for region, k in enumerate(guides)}
    inside = {region: k for region, k in own.items() if k is None or k.any()}
    return {
        (layer, region): losses.sum_positions(F, weigh_own(tile, F, stride(layer), k))
        for layer, F in backbone.activations(seen, layers)
        for region, k in inside.items()
    }


def weigh_own(tile: Tile, F: Tensor, stride: int, k: Tensor | None) -> Tensor | None:
    """k at the positions of F, activations of what the network sees, given k of the tile's own pixels: 0 in the margin.

    None stands for 1 everywhere. Multiplying takes less time than cutting the margin off: that copies F, and its
    gradient back, which took a third of all time in bfloat16 (1024 px).
    """
    own = 1.0 if k is None else nnf.avg_pool2d(k, stride)
    if k is None and tile.own(F, stride).shape == F.shape:
        return None
    weights = F.new_zeros(1, 1, *F.shape[2:])
    tile.own(weights, stride)[:] = own
    return weights
