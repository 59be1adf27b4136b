"""What a run will do: the sizes it paints at, from coarse to fine, and the pictures at each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from . import backbones, colour, losses, memory, pictures, targets
from .backbones import Backbone
from .errors import PictureError, SettingsError
from .settings import STEERABLE, Settings, knobs

COARSEST_SIZE = 96
"""No coarse stage has a shorter long side: a face is down to a few positions of conv4_2 by then, and gets bent."""
ENOUGH = 24
"""Iterations after which a coarse stage changes little more: see stages."""
LOST_PATTERN = 0.5
"""A stage is left out where the painting's Gram matrices have less than this of their energy at the next finer size.

Such a painting is made of lines or dots that are gone when it is so small. A woodcut has a seventh of it at 128 px:
with that stage a cat kept 0.36 of its structure at a style distance of 0.38, without it 0.41 at 0.36 (512 px).
"""
UNIT_SIZE = 256
"""The long side at which the photo's own style loss is taken as the unit: see Settings.relative_style."""
SMALLEST_UNIT = 0.05
"""A photo nearly in the painting's own style would otherwise weigh endlessly; those seen were 0.3 to 10."""


class Stage(NamedTuple):
    """A part of the run that paints at one size."""

    size: int
    iterations: int


def stages(settings: Settings, smallest: int) -> list[Stage]:
    """The sizes of a run from coarse to fine, each twice the one before and none under `smallest`, with iterations.

    The coarser, the more, as 3 : 2 : 1, since an evaluation there costs a quarter of the next size's: of 18 in equal
    parts a portrait had a score of 0.40, of 31 in about the same time 0.30; a building 0.80 and 0.49. But no coarse
    stage has more than ENOUGH or, if that is more, an equal part: the finer ones then wait for little (512 px).
    """
    sizes = [settings.size >> k for k in range(settings.stages)]
    sizes = [size for size in sizes if size >= smallest or size == settings.size][: settings.iterations]
    shares = len(sizes) * (len(sizes) + 1) // 2
    most = max(ENOUGH, settings.iterations // len(sizes))
    coarser = [min(most, max(1, settings.iterations * (k + 1) // shares)) for k in range(1, len(sizes))]
    counts = [settings.iterations - sum(coarser), *coarser]
    return [Stage(size, count) for size, count in reversed(list(zip(sizes, counts, strict=True)))]


@dataclass(frozen=True)
class Scene:
    """The pictures of a run, at any size, and what follows from them for its plan."""

    photo: Image.Image
    paintings: tuple[Image.Image, ...]  # one, or two that are mixed
    settings: Settings
    backbone: Backbone
    begun: Image.Image | None = None  # a painted picture to go on from

    def steered(self, settings: Settings) -> Scene:
        """The same with new values of what is STEERABLE; everything else of `settings` changes nothing."""
        return replace(self, settings=replace(self.settings, **{name: getattr(settings, name) for name in STEERABLE}))

    @cached_property
    def coloured(self) -> tuple[Image.Image, tuple[Image.Image, ...]]:
        """The photo and the paintings in the colours to optimise with."""
        pairs = [colour.prepare(self.photo, painting, self.settings.colours) for painting in self.paintings]
        return pairs[0][0], tuple(painting for _, painting in pairs)

    def tensor(self, image: Image.Image, size: int) -> Tensor:
        """A picture at long side `size`, as (1, 3, H, W) in [0, 1] on the backbone's device."""
        shape = pictures.fit(image, size, square=self.settings.square)
        return pictures.to_tensor(image, shape).to(self.backbone.device)

    def P(self, size: int) -> Tensor:
        """The photo."""
        return self.tensor(self.coloured[0], size)

    def S(self, size: int) -> list[Tensor]:
        """The paintings. Taken at a larger size, their strokes are larger."""
        needed = backbones.smallest_side(self.settings.layers)
        found = []
        for painting in self.coloured[1]:
            least = 1 if self.settings.square else max(painting.size) / min(painting.size)
            found.append(self.tensor(painting, max(round(size * self.settings.stroke), math.ceil(needed * least))))
        return found

    def A(self, size: int) -> targets.Targets:
        """The Gram matrices to be reached, by style layer."""
        return targets.mixed_style(self.backbone, self.S(size), self.settings.style_layers, self.settings.mix)

    def plan(self) -> list[Stage]:
        """The stages, without those at which the painting's pattern is gone: the next does a little of their work."""
        smallest = _smallest_size(self.photo, self.paintings, self.settings)
        if self.begun:
            return [Stage(self.settings.size, self.settings.iterations)]
        plan = stages(self.settings, smallest)
        while len(plan) > 1 and _lost_pattern(*(self.A(stage.size) for stage in plan[:2])):
            (_, dropped), (size, iterations), *finer = plan
            plan = [Stage(size, max(iterations, min(ENOUGH, iterations + dropped // 4))), *finer]
        return plan

    def check_memory(self) -> None:
        """SettingsError, with a size that would fit, if this machine has too little memory left for the last stage."""
        size, there = self.settings.size, memory.available()
        if self.backbone.device.type != "cpu":
            return
        areas = [
            math.prod(pictures.fit(image, size, square=self.settings.square)) for image in (self.photo, *self.paintings)
        ]
        needed = memory.needed(areas[0], round(max(areas[1:]) * self.settings.stroke**2))
        if needed > there:
            fits = size * math.sqrt(max(0.0, there - memory.BASE) / (needed - memory.BASE)) // 16 * 16
            least = knobs()["size"].low
            hint = f"choose a size of at most {fits:.0f}" if fits >= least else "try again when less is going on here"
            raise SettingsError(
                f"Size {size} needs {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB are free: {hint}."
            )

    def unit(self, coarsest: int) -> float:
        """The unit of L_style."""
        if not self.settings.relative_style:
            return 1.0
        size = max(min(UNIT_SIZE, self.settings.size), coarsest)
        G = targets.style(self.backbone, self.P(size), self.settings.style_layers)
        return max(SMALLEST_UNIT, _style_distance(G, self.A(size), self.settings.w))

    def ground(self, size: int) -> Tensor:
        """What is painted on at `size`: the photo, or nothing where the run starts from noise."""
        photo = self.P(size)
        return photo if self.settings.init == "content" else torch.zeros_like(photo)

    def start(self, size: int) -> Tensor:
        """The picture to start from: one begun before, the photo itself, or white noise from the seed."""
        ground = self.ground(size)
        if self.begun:
            begun, _ = colour.prepare(self.begun, self.begun, self.settings.colours)
            return pictures.to_tensor(begun, (ground.shape[3], ground.shape[2])).to(ground.device)
        if self.settings.init == "content":
            return ground
        noise = torch.rand(ground.shape, generator=torch.Generator().manual_seed(self.settings.seed))
        return noise.to(ground.device)

    def picture(self, pixels: Tensor) -> Image.Image:
        """`pixels` in 8 bits and in the colours that were asked for."""
        return colour.finish(pictures.to_image(pixels), self._reduced, self.settings.colours)

    @cached_property
    def _reduced(self) -> Image.Image:
        """The photo at the size of the result."""
        shape = pictures.fit(self.photo, self.settings.size, square=self.settings.square)
        return self.photo.resize(shape, Image.Resampling.LANCZOS)


def _lost_pattern(coarse: targets.Targets, fine: targets.Targets) -> bool:
    """Whether a painting whose Gram matrices are these at two sizes is made of what only the finer one shows."""
    energies = [sum(A.square().mean().item() for A in grams.values()) for grams in (coarse, fine)]
    return energies[0] < LOST_PATTERN * energies[1]


def _style_distance(G: targets.Targets, A: targets.Targets, w: dict[str, float]) -> float:
    """Σ w_l E_l (eq. 4, 5) between two sets of Gram matrices per position."""
    return sum(w[layer] * losses.gram_distance(G[layer], A[layer]).item() for layer in A)


def _smallest_size(photo: Image.Image, paintings: tuple[Image.Image, ...], settings: Settings) -> int:
    """The long side below which no stage may go; PictureError if the size asked for is below what the layers need."""
    needed = backbones.smallest_side(settings.layers)
    longest = 1.0
    for what, image in (("photo", photo), *(("painting", image) for image in paintings)):
        width, height = pictures.fit(image, settings.size, square=settings.square)
        if min(width, height) < needed:
            raise PictureError(
                f"At size {settings.size} the {what} would have {width}×{height} pixels, too narrow for the chosen "
                f"layers, which need {needed}: crop it, or choose a larger size."
            )
        longest = max(longest, max(width, height) / min(width, height))
    return max(COARSEST_SIZE, math.ceil(needed * longest))
