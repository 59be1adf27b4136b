"""How good a finished picture is, judged by the plain network alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

from .plain import Loss, Network, pixels, resized

OCTAVES = 3
SLICED_LAYERS = ("conv2_2", "conv3_3", "conv4_3")
STRUCTURE_LAYER = "conv4_3"
PROJECTIONS, QUANTILES, SEED = 64, 512, 0


class Quality(NamedTuple):
    """Three figures of one picture. Only the first is what the loops minimise."""

    score: float  # L_total summed over octaves, lower is better
    style: float  # distance to the painting, 1 is the photo's own, lower is nearer
    kept: float  # structure of the photo that is left, 1 is all


class Judge:
    """Judges 8-bit pictures of `photo` painted like `painting`, at long side `size` and by one α and β for all."""

    def __init__(
        self, network: Network, photo: Image.Image, painting: Image.Image, size: int, α: float, β: float
    ) -> None:
        self.network = network
        self.photo = resized(photo, size)
        self.octaves = [size >> k for k in range(OCTAVES)]
        self.losses = [
            Loss(network, pixels(resized(self.photo, s)), pixels(resized(painting, s)), α, β) for s in self.octaves
        ]
        self.structure = self._features(self.photo)[STRUCTURE_LAYER]
        self.goal = _quantiles(self._features(resized(painting, size)))
        self.start = _distances(_quantiles(self._features(self.photo)), self.goal)

    @torch.no_grad()
    def score(self, picture: Image.Image) -> float:
        """L_total of the picture summed over `size`, its half and its quarter, so that strokes of every size count."""
        picture = self._shaped(picture)
        scales = zip(self.octaves, self.losses, strict=True)
        return sum(loss(pixels(resized(picture, s))).item() for s, loss in scales)

    @torch.no_grad()
    def judge(self, picture: Image.Image) -> Quality:
        """All three figures.

        Style distance is sliced Wasserstein: the distributions of the features along fixed random directions are
        compared quantile by quantile (root mean square), relative to the photo's own, averaged over three layers.
        Kept structure is the cosine similarity to the photo's features, averaged over positions.
        """
        features = self._features(self._shaped(picture))
        ratios = [d / own for d, own in zip(_distances(_quantiles(features), self.goal), self.start, strict=True)]
        kept = nnf.cosine_similarity(features[STRUCTURE_LAYER], self.structure, dim=1).mean().item()
        return Quality(self.score(picture), sum(ratios) / len(ratios), kept)

    def _shaped(self, picture: Image.Image) -> Image.Image:
        same = picture.size == self.photo.size
        return picture if same else picture.resize(self.photo.size, Image.Resampling.LANCZOS)

    @torch.no_grad()
    def _features(self, picture: Image.Image) -> dict[str, Tensor]:
        return self.network.features(pixels(picture), SLICED_LAYERS)


def _quantiles(features: dict[str, Tensor]) -> list[Tensor]:
    """For each layer (QUANTILES, PROJECTIONS): the same grid for pictures of any number of positions."""
    grid = (torch.arange(QUANTILES) + 0.5) / QUANTILES
    found = []
    for F in features.values():
        directions = torch.randn(F.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(SEED))
        projected = F.flatten(2)[0].T @ nnf.normalize(directions, dim=0)
        along = projected.sort(dim=0).values
        found.append(along[(grid * len(along)).long()])
    return found


def _distances(a: list[Tensor], b: list[Tensor]) -> list[float]:
    return [(p - q).pow(2).mean().sqrt().item() for p, q in zip(a, b, strict=True)]
