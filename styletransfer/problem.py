"""The inputs of a run (images, settings, network), and the images, targets and stages derived from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import backbones, colour, images, losses, masks, neighbours, targets, tiles
from .backbones import Backbone
from .cpu import memory
from .errors import PictureError, SettingsError
from .schedule import (
    MAX_COARSE_ITERATIONS,
    MIN_COARSE_SIZE,
    PRINT_LAYERS,
    Stage,
    halve_print,
    is_print,
    may_be_shallow,
    plan_print,
    plan_rest,
    plan_stages,
)
from .settings import STEERABLE, Settings

MIN_PATTERN_ENERGY = 0.5
"""A stage is left out if the style image's Gram matrices have less than this share of their energy at the next size.

Such an image is made of lines or dots that vanish when it is small: a woodcut has a seventh of its energy at 128 px.
docs/method.md has the figures.
"""
STYLE_SCALE_SIZE = 256
"""The long side, in pixels, at which the photo's own style loss is measured, unless the coarsest stage is larger: see
Settings.relative_style."""
MIN_STYLE_SCALE = 0.05
"""The least style scale. A photo almost in the painting's style would otherwise weigh without bound; usual values are
0.3 to 10."""

BAND_ROWS = 256
"""So many rows of a print are converted at once."""


class Resume(NamedTuple):
    """Where a run was when the machine that painted it was lost; another goes on from there."""

    picture: images.Source  # of its last frame
    size: int  # long side of the stage, in pixels
    iteration: int  # how many were done
    remaining: int  # how many were still to come, at least 1


@dataclass(frozen=True)
class Problem:
    """A content image and one or two style images to be mixed, with the settings and the backbone that compare them.

    `init_image` is a painted image to continue from, or None. `keep` is a mask, of mode L and of any size: what
    is white in it stays more like the content image. `regions` are those of masks.Regions. `resume` says how far an
    interrupted run of the same problem was, and `last_picture` is what it had painted.
    """

    content: Image.Image
    style: tuple[Image.Image, ...]
    settings: Settings
    backbone: Backbone
    init_image: Image.Image | None = None
    keep: Image.Image | None = None
    regions: tuple[Image.Image, ...] = ()
    resume: Resume | None = None
    last_picture: Image.Image | None = None

    def steer(self, settings: Settings) -> Problem:
        """Return the same problem with the STEERABLE values of `settings`; its other values change nothing."""
        return replace(self, settings=replace(self.settings, **{name: getattr(settings, name) for name in STEERABLE}))

    def content_image(self, size: int) -> Tensor:
        """The content image at long side `size`, as (1, 3, H, W) in [0, 1] on the backbone's device."""
        return self._to_tensor(self._colour_prepared[0], size)

    def style_images(self, size: int) -> list[Tensor]:
        """The style images, each (1, 3, H, W) in [0, 1], for a result of long side `size`.

        Settings.stroke scales them: a larger style image has larger strokes. None gets too small for the layers.
        """
        min_side = backbones.smallest_side(self.layers)
        found = []
        for image in self._colour_prepared[1]:
            aspect = 1 if self.settings.square else max(image.size) / min(image.size)
            found.append(self._to_tensor(image, max(round(size * self.settings.stroke), math.ceil(min_side * aspect))))
        return found

    def shape(self, size: int) -> tuple[int, int]:
        """The (height, width) of the result at long side `size`, in pixels."""
        width, height = self._fit_size(self.content, size)
        return height, width

    def keep_mask(self, size: int) -> Tensor:
        """How much of the content image to keep at each pixel, (1, 1, H, W) in [0, 1]: 0 without a mask."""
        width, height = self._fit_size(self.content, size)
        if not self.keep:
            return torch.zeros(1, 1, height, width, dtype=torch.float32, device=self.backbone.device)
        mask = np.array(self.keep.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
        return torch.from_numpy(mask)[None, None].to(self.backbone.device) / 255

    def region_weights(self, size: int) -> Tensor | None:
        """How much each style image counts at each pixel, (K, 1, H, W) with the sum 1; None without regions."""
        if not self.regions:
            return None
        shape = self._fit_size(self.content, size)
        weights = [np.array(region.resize(shape, Image.Resampling.BILINEAR)) for region in self.regions]
        return torch.from_numpy(np.stack(weights))[:, None].to(self.backbone.device)

    def style_targets(self, size: int, style_loss: str) -> list[targets.Targets]:
        """The statistics to be reached at long side `size`, of each region or of the whole picture."""
        layers = self.settings.style_layers
        images = self.style_images(size)
        return self._mix([targets.style_targets(self.backbone, image, layers, style_loss) for image in images])

    def print_targets(self, size: int) -> Generator[None, None, list[targets.Targets]]:
        """The moments for a stage of a print, by layer of PRINT_LAYERS, of each region or of the whole picture.

        Yields between tiles. A painting is as large as the print, also if it has to be enlarged: its lines are blurred
        then, but as wide as they are in the whole picture. In its own resolution they were a mesh of fine scratches.
        """
        found = []
        for image in self._colour_prepared[1]:
            S = self._to_tensor(image, self._print_style_size(size))
            parts = tiles.cut_tiles(self.backbone, S.shape[2:], PRINT_LAYERS)
            sums = yield from tiles.sum_tiles(self.backbone, S, PRINT_LAYERS, parts)
            found.append({layer: losses.moments_of_sums(total) for (layer, _), total in sums.items()})
        return self._mix(found)

    def print_style_shapes(self, size: int) -> list[tuple[int, int]]:
        """The (height, width) of each style image for a stage of a print, in pixels."""
        found = [self._fit_size(image, self._print_style_size(size)) for image in self.style]
        return [(height, width) for width, height in found]

    def base(self, size: int) -> Tensor:
        """The image that a stage's change is added to: the content image, or black where all of x is upsampled.

        Gram matrices leave the photo where it is smooth, and then the next stage needs its fine lines. The other losses
        paint everywhere, and lines laid back under their strokes look like a filtered photo, so only what the mask
        keeps gets its lines back.
        """
        content = self.content_image(size)
        if self.settings.init == "noise":
            return torch.zeros_like(content)
        return content if self.settings.objective == "gram" else self.keep_mask(size) * content

    def initial_image(self, stage: Stage) -> Tensor:
        """The image to start `stage` from, (1, 3, H, W): what was painted before, the photo, or noise from the seed.

        A print that goes on from `init_image` enlarges it: here it has its own size.
        """
        painted = self.last_picture or self.init_image
        own_size = max(painted.size) if painted else stage.size
        content = self.content_image(min(stage.size, own_size) if stage.in_tiles else stage.size)
        if painted:
            image, _ = colour.prepare(painted, painted, self.settings.colours)
            return images.to_tensor(image, (content.shape[3], content.shape[2])).to(content.device)
        if self.settings.init == "content":
            return content
        generator = torch.Generator("cpu").manual_seed(self.settings.seed)
        noise = torch.rand(content.shape, generator=generator, dtype=torch.float32, device="cpu")
        return noise.to(content.device)

    def plan_stages(self) -> list[Stage]:
        """Plan the stages, without what is done of an interrupted run. Raises as plan_all, or if nothing is left."""
        stages = self.plan_all()
        if self.resume:
            stages = plan_rest(stages, self.resume.size, self.resume.remaining)
        if not any(stage.iterations for stage in stages):
            raise SettingsError("Nothing is left to paint: resume needs at least one remaining iteration.")
        return stages

    def plan_all(self) -> list[Stage]:
        """Plan the stages, leaving out those at which the style image's pattern has vanished.

        The next stage then gets a quarter of their iterations, up to MAX_COARSE_ITERATIONS in all. A run that continues
        from `init_image` has one stage, at full size; a print has those sizes that are larger than it.
        Raises PictureError if an image would be too narrow for the layers, and SettingsError as plan_print does.
        """
        min_size = self._min_stage_size()
        if self.init_image and (prints := plan_print(self.settings)):
            return [stage for stage in prints[:-1] if stage.size > max(self.init_image.size)] + prints[-1:]
        if self.init_image:
            style_loss = "gram" if self.settings.objective == "gram" else "moments"
            return [Stage(self.settings.size, self.settings.iterations, style_loss, may_be_shallow(self.settings))]
        plan = plan_stages(self.settings, min_size)
        while len(plan) > 1 and not plan[1].in_tiles and self._pattern_vanishes(plan[0], plan[1]):
            coarsest, next_stage, *finer = plan
            more = min(MAX_COARSE_ITERATIONS, next_stage.iterations + coarsest.iterations // 4)
            # What starts from the photo has the composition still to find, so it compares the deep layers, too.
            plan = [next_stage._replace(iterations=max(next_stage.iterations, more), is_shallow=False), *finer]
        return plan

    def style_scale(self, coarsest_size: int, style_loss: str) -> float:
        """The number that L_style is divided by: the content image's own style loss, or 1 (Settings.relative_style).

        The neighbours' loss is relative already: it lies between 0 and 1, since activations after a ReLU are not
        negative.
        """
        if style_loss == "neighbours" or not self.settings.relative_style:
            return 1.0
        size = max(min(STYLE_SCALE_SIZE, self.settings.size), coarsest_size)
        s, w = self.settings, self.settings.layer_weights(style_loss)
        photo, regions = self.content_image(size), self.region_weights(size)
        if regions is None:
            G, a = [targets.style_targets(self.backbone, photo, s.style_layers, style_loss)], [1.0]
        else:
            G = targets.region_statistics(self.backbone, photo, regions, s.style_layers, style_loss)
            a = regions.mean((1, 2, 3)).tolist()
        distance = losses.STYLE_LOSSES[style_loss].distance
        scale = sum(
            share * w[layer] * distance(of_photo[layer], A[layer]).item()
            for share, of_photo, A in zip(a, G, self.style_targets(size, style_loss), strict=True)
            for layer in A
        )
        return max(MIN_STYLE_SCALE, scale)

    def check_memory(self) -> None:
        """Raise SettingsError, with a size that would fit, if too little memory is free for the last stage."""
        if self.backbone.device.type == "cpu":
            memory.check_memory(self.settings.size, self.estimate_bytes)

    def estimate_bytes(self, size: int) -> float:
        """Estimate the memory of a run on the processor to a long side of `size` pixels."""
        settings = replace(self.settings, size=size)
        composed_at = halve_print(settings)[-1]
        content, *style = (math.prod(self._fit_size(image, composed_at)) for image in (self.content, *self.style))
        composing = memory.estimate_bytes(content, round(max(style) * settings.stroke**2))
        if not is_print(settings):
            return composing
        return max(composing, memory.estimate_print_bytes(math.prod(self.shape(size))))

    def take_light(self, x: Tensor) -> Tensor:
        """Give an image (1, 3, H, W) the light and shade of the painting, or in each region those of its own painting.

        What the mask keeps stays as it is; so does all with Gram matrices, as in the paper.
        """
        if self.settings.objective == "gram":
            return x
        picture = self._change_colours(images.to_image(x), colour.match_light)
        lit = images.to_tensor(picture, picture.size).to(x.device)
        return torch.lerp(lit, x, self.keep_mask(max(picture.size)))

    def finish(self, pixels: Tensor) -> Image.Image:
        """Convert `pixels` (1, 3, H, W) to 8 bits, in the colours that Settings.colours asks for."""
        painted = images.to_image(pixels)
        if self.settings.objective != "gram":  # the paper limits no palette
            painted = self._change_colours(painted, colour.limit_palette)
        return colour.finish(painted, self._content_at_result_size, self.settings.colours)

    def finish_print(self, pixels: Tensor, whole: type[np.uint8 | np.uint16]) -> NDArray[Any]:
        """Convert `pixels` (1, 3, H, W) to whole numbers of 8 or 16 bits, (H, W, 3), in the same colours as `finish`.

        It goes by bands of rows, since a copy of 8192×8192 pixels in floats takes 0.8 GB.
        """
        height, width = pixels.shape[2:]
        reduced = images.to_image(nnf.avg_pool2d(pixels, max(1, max(height, width) // colour.STATS_SIZE)))
        style = self._colour_prepared[1]
        if self.regions:
            parts = zip(style, self.regions, strict=True)
            limits = [colour.narrow_axes(reduced, [image], 0.0, region) for image, region in parts]
        else:
            limits = [colour.narrow_axes(reduced, style, self.settings.mix)]
        by_luminance = self.settings.colours == "luminance"
        photo = np.asarray(self.content.resize((width, height), Image.Resampling.LANCZOS)) if by_luminance else None
        finished = np.empty((height, width, 3), whole)
        for top in range(0, height, BAND_ROWS):
            rows = slice(top, min(top + BAND_ROWS, height))
            painted = pixels[0, :, rows].permute(1, 2, 0).cpu().numpy()
            weights = [masks.resize_rows(region, (width, height), rows)[..., None] for region in self.regions]
            band = sum(
                r * (painted @ A.T.astype(np.float32) + b.astype(np.float32))
                for r, (A, b) in zip(weights or [np.float32(1)], limits, strict=True)
            )
            if photo is not None:
                band = colour.take_luminance(band, photo[rows] / np.float32(255))
            finished[rows] = (band.clip(0, 1) * np.iinfo(whole).max).round()
        return finished

    def _change_colours(self, picture: Image.Image, change: Callable[..., Image.Image]) -> Image.Image:
        """Apply a function of colour.py that goes by the painting, in each region by its own."""
        style = self._colour_prepared[1]
        if not self.regions:
            return change(picture, style, self.settings.mix)
        changed = [change(picture, [image], 0.0, region) for image, region in zip(style, self.regions, strict=True)]
        return masks.blend(changed, self.regions)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that the losses of this run may compare."""
        by_neighbours = self.settings.objective in ("auto", "neighbours")
        return (*self.settings.layers, *(neighbours.LAYERS if by_neighbours else ()))

    @cached_property
    def _colour_prepared(self) -> tuple[Image.Image, tuple[Image.Image, ...]]:
        """The content image and the style images in the colours to optimise with."""
        regions = self.regions or (None,) * len(self.style)
        pairs = [
            colour.prepare(self.content, image, self.settings.colours, region)
            for image, region in zip(self.style, regions, strict=True)
        ]
        return pairs[0][0], tuple(style for _, style in pairs)

    def _mix(self, found: list[targets.Targets]) -> list[targets.Targets]:
        """Mix the targets of two paintings, unless each has a region."""
        return found if self.regions else [targets.mix_targets(found, self.settings.mix)]

    @cached_property
    def _content_at_result_size(self) -> Image.Image:
        return self.content.resize(self._fit_size(self.content, self.settings.size), Image.Resampling.LANCZOS)

    def _print_style_size(self, size: int) -> int:
        return round(size * self.settings.stroke)

    def _fit_size(self, image: Image.Image, size: int) -> tuple[int, int]:
        return images.fit_size(image, size, square=self.settings.square)

    def _to_tensor(self, image: Image.Image, size: int) -> Tensor:
        return images.to_tensor(image, self._fit_size(image, size)).to(self.backbone.device)

    def _pattern_vanishes(self, coarse: Stage, fine: Stage) -> bool:
        """Return whether the style image loses its pattern at the coarser size, by the statistics compared there.

        Neighbours need no pattern: they choose places of the painting, and leave its lines to the finer stages.
        """
        if coarse.style_loss == "neighbours":
            return False
        energies = [
            [sum(statistic.square().mean().item() for statistic in A.values()) for A in self.style_targets(*at)]
            for at in ((stage.size, coarse.style_loss) for stage in (coarse, fine))
        ]
        return any(a < MIN_PATTERN_ENERGY * b for a, b in zip(*energies, strict=True))

    def _min_stage_size(self) -> int:
        """The long side below which no stage may go; PictureError if the result itself would be too narrow."""
        min_side = backbones.smallest_side(self.layers)
        longest = 1.0
        for what, image in (("photo", self.content), *(("painting", image) for image in self.style)):
            width, height = self._fit_size(image, halve_print(self.settings)[-1])
            if min(width, height) < min_side:
                raise PictureError(
                    f"At size {self.settings.size} the {what} would have {width}×{height} pixels, too narrow for the "
                    f"chosen layers, which need {min_side}: crop it, or choose a larger size."
                )
            longest = max(longest, max(width, height) / min(width, height))
        return max(MIN_COARSE_SIZE, math.ceil(min_side * longest))
