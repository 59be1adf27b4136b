"""How good a finished picture is, measured with the plain loop's network alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

from examples.plain import Loss, Network, resize, to_tensor

OCTAVES = 3
SLICED_LAYERS = ("conv2_2", "conv3_3", "conv4_3")
CONTENT_LAYER = "conv4_3"
PROJECTIONS, QUANTILES, SEED = 64, 512, 0


class Quality(NamedTuple):
    """Three figures of one picture. The loops minimise only the first."""

    score: float  # L_total summed over octaves; lower is better
    style: float  # distance to the painting, relative to the photo's own; lower is nearer
    content_similarity: float  # to the photo; 1 is the photo itself


class Evaluator:
    """Evaluates 8-bit pictures of `photo` painted like `painting`, at long side `size`, with one α and β for all."""

    def __init__(
        self, network: Network, photo: Image.Image, painting: Image.Image, size: int, α: float, β: float
    ) -> None:
        self.network = network
        self.photo = resize(photo, size)
        self.octaves = [size >> k for k in range(OCTAVES)]
        self.losses = [
            Loss(network, to_tensor(resize(self.photo, s)), to_tensor(resize(painting, s)), α, β) for s in self.octaves
        ]
        self.content = self._activations(self.photo)[CONTENT_LAYER]
        self.goal = _quantiles(self._activations(resize(painting, size)))
        self.start = _distances(_quantiles(self._activations(self.photo)), self.goal)

    @torch.no_grad()
    def score(self, picture: Image.Image) -> float:
        """L_total of the picture summed over `size`, its half and its quarter, so that strokes of every size count."""
        picture = self._fit(picture)
        scales = zip(self.octaves, self.losses, strict=True)
        return sum(loss(to_tensor(resize(picture, s))).item() for s, loss in scales)

    @torch.no_grad()
    def evaluate(self, picture: Image.Image) -> Quality:
        """All three figures.

        Style distance is sliced Wasserstein: the distributions of the features along fixed random directions are
        compared quantile by quantile (root mean square), relative to the photo's own, averaged over three layers.
        Content similarity is the cosine similarity to the photo's features, averaged over positions.
        """
        features = self._activations(self._fit(picture))
        ratios = [d / own for d, own in zip(_distances(_quantiles(features), self.goal), self.start, strict=True)]
        similarity = nnf.cosine_similarity(features[CONTENT_LAYER], self.content, dim=1).mean().item()
        return Quality(self.score(picture), sum(ratios) / len(ratios), similarity)

    def _fit(self, picture: Image.Image) -> Image.Image:
        same = picture.size == self.photo.size
        return picture if same else picture.resize(self.photo.size, Image.Resampling.LANCZOS)

    @torch.no_grad()
    def _activations(self, picture: Image.Image) -> dict[str, Tensor]:
        return self.network.activations(to_tensor(picture), SLICED_LAYERS)


def _quantiles(features: dict[str, Tensor]) -> list[Tensor]:
    """For each layer (QUANTILES, PROJECTIONS): as many quantiles for a picture of any size."""
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
