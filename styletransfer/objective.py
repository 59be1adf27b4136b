"""L_total of the paper (eq. 7) and its gradient: of a picture as a whole, and of a print in tiles."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
import torch.nn.functional as nnf
from torch import Tensor

from . import losses, neighbours, targets, tiles
from .backbones import Backbone
from .losses import Losses, Sums
from .schedule import PRINT_LAYERS
from .settings import Settings
from .tiles import Tile

REFERENCE_SIZE = 512
"""The long side, in pixels, at which α is the paper's with Gram matrices: see Objective."""
COARSER_CONTENT_FACTOR = 2.0
"""With Gram matrices, content weighs this many times as much in a stage as in the next finer one.

Finer stages do not find again what a coarse one has lost. docs/method.md has the figures.
"""
CONTENT_SCALE = 1.2e6
"""α times this is the weight of the whole content, relative to the photo's own variation: see Objective."""
MIN_CONTENT_VARIATION = 50.0
"""The least variation per position. A photo of one colour has none to be relative to; usual values are 80 to 2100."""
NEIGHBOURS_CONTENT_FACTOR = 2.0
"""Content weighs this many times as much beside neighbours, which otherwise move eyes and roofs."""
KEEP_WEIGHT = 3.0
"""What is added to α where the mask is white."""
KEPT_STYLE_SHARE = 0.4
"""How much a position counts in the statistics of the style where the mask is white.

At 1, dark lines are scratched into skin, however large α is there. At 0.1 a face looks like a photo.
"""
MIN_CONTENT_WEIGHT = 0.1
"""The least α that KEEP_WEIGHT is relative to. At α = 0 there is no content, and nothing is kept."""
CONTENT_STRIDE = 2
"""How many pixels wide and high the squares are whose mean L_content of a print compares."""
MIN_PIXEL_VARIATION = 1e-3
"""The least variation per square of the picture that a print starts from; usual values are 0.05 to 0.2."""


class Objective:
    """L_total (eq. 7) and its gradient at one size, with one of the three style losses.

    With Gram matrices, L_content is the paper's at the paper's 512 px. It is a sum over positions, but L_style hardly
    depends on size, so one α would weigh 16 times as much at 1024 px as at 256 px. L_content is therefore multiplied by
    (512/size)², and by COARSER_CONTENT_FACTOR for each of the `finer_stages` that follow.

    With moments or neighbours, L_content is relative to the photo's own variation: CONTENT_SCALE · L_content /
    ½ Σ (P − P̄)², and NEIGHBOURS_CONTENT_FACTOR times that beside neighbours. One α then means the same likeness for a
    busy photo and for a quiet one.

    L_style of Gram matrices and moments is divided by `style_scale`, the photo's own style loss. At one β in the
    paper's terms a painting of strong patterns weighs up to 20 times as much as a soft one, and dissolves the photo.
    That of neighbours is relative already: it lies between 0 and 1.

    Where a mask is white, a position counts more in L_content (KEEP_WEIGHT), and less in the statistics that L_style
    compares (KEPT_STYLE_SHARE).

    With regions, L_style of Gram matrices and moments is Σ_i a_i L_style,i over the regions i: the guided statistics of
    each, with its own painting (Gatys et al. 2017, arXiv 1611.07865, eq. 4 to 6), times its share a_i of the picture.
    The paper has no a_i. With it, every position feels its painting as strongly as in a picture without regions.
    Neighbours are searched in the painting of their region.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: Settings,
        content_image: Tensor,
        *style_images: Tensor,
        style_loss: str = "gram",
        style_scale: float = 1.0,
        finer_stages: int = 0,
        keep: Tensor | None = None,
        regions: Tensor | None = None,
        is_shallow: bool = False,
    ) -> None:
        """Compute the targets P and A of the images, each (1, 3, H, W) in [0, 1].

        `keep`, (1, 1, H, W) in [0, 1], is the mask of what to keep. `regions`, (K, 1, H, W), is how much each of K
        style images counts at each position; they sum to 1. `is_shallow` leaves out the deep layers: see
        schedule.Stage. For neighbours, `find_neighbours` follows.
        """
        self.backbone, self.settings, self.style_scale = backbone, settings, style_scale
        self.content_image, self.style_images = content_image, style_images
        self.w = settings.layer_weights(style_loss, is_shallow=is_shallow)
        v = settings.content_layer_weights(is_shallow=is_shallow)
        self.P = targets.content_targets(backbone, content_image, tuple(v))
        scales = {layer: self._scale_content(style_loss, P, finer_stages) for layer, P in self.P.items()}
        self.content_scale = {layer: v[layer] * scale for layer, scale in scales.items()}
        self.keep = keep if keep is not None and keep.any() else None
        self.k = {layer: self._weigh_positions(P) for layer, P in self.P.items()}
        self.style_k = guide_style(self.keep, regions)
        self.regions = regions
        self.a = [1.0] if regions is None else regions.mean((1, 2, 3)).tolist()
        self.A: list[targets.Targets] = []  # of each region, or of the whole picture
        self.T: Tensor | None = None  # for each position of x, the hypercolumn of its neighbour in the painting
        if style_loss != "neighbours":
            self.style_loss = losses.STYLE_LOSSES[style_loss].loss
            found = [targets.style_targets(backbone, image, tuple(self.w), style_loss) for image in style_images]
            self.A = [targets.mix_targets(found, settings.mix)] if regions is None else found

    def find_neighbours(self, x: Tensor, photo_share: float) -> Iterator[None]:
        """Find the neighbours of each position of photo and `x` mixed by `photo_share`; yields between its parts."""
        query = neighbours.hypercolumns(self.backbone, self.content_image)
        if photo_share < 1:
            query = torch.lerp(neighbours.hypercolumns(self.backbone, x), query, photo_share)
        paintings = [targets.hypercolumns(self.backbone, image) for image in self.style_images]
        if self.regions is not None:
            shares = losses.resize_mask(self.regions, neighbours.grid(x)).flatten(1)
        else:
            mix = self.settings.mix
            shares = query.new_tensor([1 - mix, mix] if len(paintings) == 2 else [1.0])[:, None].expand(
                -1, len(query[0])
            )
        self.T = yield from neighbours.find_neighbours(query, paintings, shares)

    def __call__(self, x: Tensor) -> tuple[Losses, Tensor]:
        """Return the losses at the image `x` (1, 3, H, W), and the gradient of L_total, of the same shape."""
        s = self.settings
        layers = {*self.P, *(self.w if self.T is None else neighbours.LAYERS)}
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            content = style = x.new_zeros(())
            columns = []
            for layer, F in self.backbone.activations(x, layers):
                if layer in self.P:
                    L_content = losses.content_loss(F, self.P[layer], self.k[layer])
                    content = content + self.content_scale[layer] * L_content
                if self.T is None and layer in self.w:
                    E = self._compare_style(F, layer)
                    style = style + self.w[layer] / self.style_scale * E
                if self.T is not None and layer in neighbours.LAYERS:
                    columns.append(neighbours.collect(F, *neighbours.grid(x)))
            if self.T is not None:
                style = neighbours.neighbours_loss(torch.cat(columns, dim=1)[0].flatten(1), self.T)
            tv = losses.tv_loss(x)
            total = losses.total_loss(content, style, tv, s.content_weight, s.style_weight, s.tv_weight)
        (gradient,) = torch.autograd.grad(total, x)
        return Losses(*torch.stack([content, style, tv, total]).tolist()), gradient

    def _compare_style(self, F: Tensor, layer: str) -> Tensor:
        """Σ_i a_i E of the regions i, each with its own painting; E, if there are none."""
        terms = [
            a * self.style_loss(F, A[layer], None if k is None else losses.resize_mask(k, F.shape[2:]))
            for a, A, k in zip(self.a, self.A, self.style_k, strict=True)
        ]
        return torch.stack(terms).sum()

    def _weigh_positions(self, P: Tensor) -> Tensor | None:
        """k of the content loss at each position of P, or None without a mask."""
        if self.keep is None:
            return None
        return weigh_kept(losses.resize_mask(self.keep, P.shape[2:]), self.settings.content_weight)

    def _scale_content(self, style_loss: str, P: Tensor, finer_stages: int) -> float:
        if style_loss == "gram":
            size = max(self.content_image.shape[2:])
            return (REFERENCE_SIZE / size) ** 2 * COARSER_CONTENT_FACTOR**finer_stages
        variation = max(losses.content_variation(P).item(), MIN_CONTENT_VARIATION * P[0, 0].numel())
        return CONTENT_SCALE / variation * (NEIGHBOURS_CONTENT_FACTOR if style_loss == "neighbours" else 1.0)


def weigh_kept(keep: Tensor, α: float) -> Tensor:
    """k of the content loss: 1, and 1 + KEEP_WEIGHT / max(α, MIN_CONTENT_WEIGHT) where the mask is white (1).

    So α k = α + KEEP_WEIGHT there, and a face stays at any α from MIN_CONTENT_WEIGHT up.
    """
    return 1 + KEEP_WEIGHT / max(α, MIN_CONTENT_WEIGHT) * keep


def guide_style(keep: Tensor | None, regions: Tensor | None) -> list[Tensor | None]:
    """k of the style loss, (1, 1, H, W), in each region, or in the whole picture; None for 1 everywhere.

    It is KEPT_STYLE_SHARE where the mask of what to keep is white (1), 1 where it is black (0), and 0 out of a region.
    """
    k = None if keep is None else 1 - (1 - KEPT_STYLE_SHARE) * keep
    if regions is None:
        return [k]
    return [region if k is None else k * region for region in regions[:, None]]


class TiledObjective:
    """L_total and its gradient in a stage of a print, with moments of shallow layers: exact, whatever the tiles.

    Two departures from Objective. L_content compares pixels, at half the size, with those that the stage starts from:
    the composition is finished, and what was painted stays, only larger. L_tv, a sum over positions, is multiplied by
    (512/size)².
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: Settings,
        start: Tensor,
        A: Sequence[targets.Targets],
        *,
        style_scale: float = 1.0,
        keep: Tensor | None = None,
        regions: Tensor | None = None,
    ) -> None:
        """Prepare for images of the shape of `start`, (1, 3, H, W) in [0, 1], which the stage starts from.

        `A` are the painting's moments at PRINT_LAYERS, of each region or of the whole picture. `keep`, (1, 1, H, W) in
        [0, 1], is the mask of what to keep, and `regions`, (K, 1, H, W), is how much each painting counts.
        """
        self.backbone, self.settings, self.A, self.style_scale = backbone, settings, A, style_scale
        self.P = nnf.avg_pool2d(start, CONTENT_STRIDE)
        variation = max(losses.content_variation(self.P).item(), MIN_PIXEL_VARIATION * self.P[0, 0].numel())
        self.content_scale = CONTENT_SCALE / variation
        self.tv_scale = (REFERENCE_SIZE / max(start.shape[2:])) ** 2
        self.tiles = tiles.cut_tiles(backbone, start.shape[2:], PRINT_LAYERS)
        keep = keep if keep is not None and keep.any() else None
        self.content_k = None
        if keep is not None:
            self.content_k = weigh_kept(nnf.avg_pool2d(keep, CONTENT_STRIDE), settings.content_weight)
        self.a = [1.0] if regions is None else regions.mean((1, 2, 3), dtype=torch.float32).tolist()
        # In half precision: each takes 0.1 GB at 8192×8192.
        self.style_k = [k if k is None else k.half() for k in guide_style(keep, regions)]

    def evaluate(self, x: Tensor) -> Generator[None, None, tuple[Losses, Tensor]]:
        """Return the losses at the image `x` (1, 3, H, W), and the gradient of L_total. Yields between tiles.

        L_style depends on the sums S over all positions alone. So its gradient is that of ⟨∂L_style/∂S, S⟩ with
        ∂L_style/∂S held fixed (the chain rule), and S is a sum over tiles: S = Σ S_tile.
        """
        s = self.settings
        S = yield from tiles.sum_tiles(self.backbone, x, PRINT_LAYERS, self.tiles, self.style_k)
        L_style, dL_dS = self.compare_style(S)
        L_content = L_tv = 0.0
        gradient = torch.zeros_like(x)
        for tile in self.tiles:
            seen = tile.see(x).detach().requires_grad_()
            with torch.enable_grad():
                S_tile = tiles.sum_tile(self.backbone, tile, seen, PRINT_LAYERS, self.style_k)
                linear_style = torch.stack([dL_dS[key].dot(S_tile[key]) for key in S_tile]).sum()
                content, tv = self.compare_pixels(tile, seen)
                with_same_gradient = losses.total_loss(
                    content, linear_style, tv, s.content_weight, s.style_weight, s.tv_weight
                )
            tile.see(gradient).add_(torch.autograd.grad(with_same_gradient, seen)[0])
            L_content, L_tv = L_content + content.item(), L_tv + tv.item()
            yield
        L_total = losses.total_loss(L_content, L_style, L_tv, s.content_weight, s.style_weight, s.tv_weight)
        return Losses(L_content, L_style, L_tv, L_total), gradient

    def compare_style(self, S: tiles.LayerSums) -> tuple[float, tiles.LayerSums]:
        """Return L_style, and its derivatives by the sums of each layer and region, Σ k F Fᵀ and Σ k F."""
        L_style, dL_dS = 0.0, tiles.LayerSums()
        for (layer, region), (S_FF, S_F, S_k) in S.items():
            with torch.enable_grad():
                μ_C = losses.moments_of_sums(Sums(S_FF.requires_grad_(), S_F.requires_grad_(), S_k))
                w = self.a[region] * PRINT_LAYERS[layer] / self.style_scale
                E = w * losses.moments_distance(μ_C, self.A[region][layer])
            dE_dFF, dE_dF = torch.autograd.grad(E, (S_FF, S_F))
            dL_dS[layer, region] = Sums(dE_dFF.float(), dE_dF.float(), 0.0)
            L_style += E.item()
        return L_style, dL_dS

    def compare_pixels(self, tile: Tile, seen: Tensor) -> tuple[Tensor, Tensor]:
        """L_content and L_tv over the positions that belong to a tile, given what is seen of the image."""
        k = self.content_k if self.content_k is None else tile.take(self.content_k, CONTENT_STRIDE)
        reduced = nnf.avg_pool2d(tile.own(seen), CONTENT_STRIDE)
        content = self.content_scale * losses.content_loss(reduced, tile.take(self.P, CONTENT_STRIDE), k)
        tv = self.tv_scale * losses.tv_loss(seen, tile.rows.own_positions(1), tile.columns.own_positions(1))
        return content, tv
