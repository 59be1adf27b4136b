"""The optimisation as a generator: images in, a Frame for every iteration out. Read this file first, losses.py next.

`stylize` loads the images, and `_Run` takes them through the stages of schedule.py. In each stage L-BFGS (lbfgs.py)
minimises an Objective: L_total of the paper, at one size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import backbones, images, losses, masks, neighbours, targets, tiles
from .backbones import Backbone
from .cpu import memory
from .errors import SettingsError
from .lbfgs import LBFGS, LeanLBFGS
from .losses import Losses, Sums
from .problem import Problem, Resume
from .schedule import PRINT_LAYERS, Stage
from .settings import Settings
from .tiles import Tile
from .torch_state import own_state, step_in_own_state

REFERENCE_SIZE = 512
"""The long side, in pixels, at which α is the paper's: see Objective."""
COARSER_CONTENT_FACTOR = 2.0
"""Content weighs this many times as much in a stage as in the next finer one.

Finer stages do not find again what a coarse one has lost. docs/method.md has the figures.
"""
CONTENT_SCALE = 1.2e6
"""α times this is the weight of the whole content, relative to the photo's own variation: see Objective."""
MIN_CONTENT_VARIATION = 50.0
"""The least variation per position. A photo of one colour has none to be relative to; usual values are 250 to 2000."""
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
QUERY_PHOTO_SHARE = 0.75
"""How much of the photo, and how little of the picture so far, is in the query for neighbours after the first stage."""
CONTENT_STRIDE = 2
"""How many pixels wide and high the squares are whose mean L_content of a print compares."""
MIN_PIXEL_VARIATION = 1e-3
"""The least variation per square of the picture that a print starts from; usual values are 0.05 to 0.2."""
EARLY_STOP_INTERVAL = 10
"""Iterations over which EarlyStop measures the change of the image."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One iteration: how far the run is, and the image whose loss was evaluated.

    If a step diverged, the frame shows the image before it. The last frame shows the best image of its stage.

    While neighbours are searched, and between the tiles of a print, the last frame comes again and again, so that a run
    can be stopped or steered. Before the first iteration this is frame 0, which shows the image that the run starts
    from and has no losses (NaN).
    """

    iteration: int  # from 1; 0 before the first
    iterations: int  # in all, as planned at this moment: a stage may be left out or end early
    size: int  # long side of this stage, in pixels
    style_loss: str  # of this stage: gram, moments or neighbours
    seconds: float  # since the run was started
    remaining: float  # seconds, estimated
    losses: Losses
    settings: Settings
    backbone: str
    masked: bool  # whether a mask that was given says what to keep
    in_regions: bool  # whether each painting has a region of its own
    notes: tuple[str, ...]  # what the user should know of this run, one sentence each
    _pixels: Tensor = field(repr=False)
    _bases: tuple[Tensor, Tensor] | None = field(repr=False)  # of this stage and of the last one; None for a print
    _problem: Problem = field(repr=False)

    @property
    def weighted(self) -> Losses:
        """The terms of the sum: α L_content, β L_style, γ L_tv, and L_total."""
        s = self.settings
        content, style, tv, total = self.losses
        return Losses(s.content_weight * content, s.style_weight * style, s.tv_weight * tv, total)

    @cached_property
    @own_state()
    def picture(self) -> Image.Image:
        """The image in 8-bit RGB, at the size of the result in every stage. It is converted when first read.

        That of a print has the size of its stage.
        """
        if self._bases:
            return self._problem.finish(upsample_change(self._pixels, *self._bases))
        return Image.fromarray(self._problem.finish_print(self._pixels, np.uint8))

    @property
    def is_print(self) -> bool:
        """Whether this is a frame of a print, which is larger than schedule.MAX_WHOLE_SIZE when it is finished."""
        return self._bases is None

    @property
    def width_height(self) -> tuple[int, int]:
        """The size of `picture`, in pixels."""
        pixels = self._bases[1] if self._bases else self._pixels
        return pixels.shape[3], pixels.shape[2]

    @own_state()
    def deep_picture(self) -> NDArray[Any]:
        """The image of a print in 16-bit RGB, (H, W, 3). It is not kept: one of 8192×8192 pixels takes 0.4 GB."""
        return self._problem.finish_print(self._pixels, np.uint16)


@step_in_own_state
def stylize(
    content: images.Source,
    style: images.Source | tuple[images.Source, ...],
    settings: Settings = Settings(),  # noqa: B008 - immutable
    backbone: Backbone | None = None,
    init_image: images.Source | None = None,
    keep: images.Source | None = None,
    regions: Sequence[images.Source | None] | None = None,
    resume: Resume | None = None,
) -> Generator[Frame, Settings | None, None]:
    """Paint the photo `content` in the manner of the painting `style`; yields a Frame for every iteration.

    Closing the generator stops the run and frees its memory. Settings passed to its `send` take effect with the
    iteration that `send` returns, as far as they are STEERABLE.

    Args:
        content: The photo, as anything that images.load takes.
        style: The painting, or a tuple of two, which settings.mix mixes, or of up to four with `regions`.
        settings: What to optimise, and for how long.
        backbone: A network to use in place of the one that `settings` names.
        init_image: A painted image to continue from, at full size only.
        keep: A mask of the photo, stretched to its shape: what is white stays more like the photo, what is grey a
            little. One that is black all over is ignored.
        regions: For each painting, a mask of the photo that is white where this one paints, or None for one painting
            at most, which paints the rest. See masks.read_regions.
        resume: Where a run with the same arguments was when it was lost. This one goes on from there, and counts on.

    Raises PictureError, SettingsError or WeightsError before the first Frame, and SettingsError later if weights that
    were sent are too large.
    """
    started = time.monotonic()
    photo = images.load(content)
    sources = style if isinstance(style, tuple) else (style,)
    found = masks.read_regions(regions, len(sources), photo.image)
    paintings = [images.load(sources[number]) for number in found.paintings]
    backbone, fallback = (backbone, "") if backbone else backbones.load(settings.backbone, precision=settings.precision)
    given, told = masks.read_keep(keep, photo.image) if keep is not None else (None, "")
    mask, of_faces = masks.add_faces(given, photo.image, settings)
    problem = Problem(
        content=photo.image,
        style=tuple(painting.image for painting in paintings),
        settings=settings,
        backbone=backbone,
        init_image=images.load(init_image).image if init_image is not None else None,
        keep=mask,
        regions=found.weights,
        resume=resume,
        last_picture=images.load(resume.picture).image if resume else None,
    )
    backbone.check(problem.layers)
    problem.check_memory()
    notes = (*(image.note for image in (photo, *paintings)), told, *found.notes, fallback, of_faces)
    try:
        yield from _Run(problem, tuple(filter(None, notes)), started, masked=given is not None).optimize()
    finally:
        memory.trim_heap()


class _Evaluation(NamedTuple):
    """An image (1, 3, H, W) and its losses."""

    x: Tensor
    losses: Losses


R = TypeVar("R")

NO_LOSSES = Losses(math.nan, math.nan, math.nan, math.nan)


class _Run:
    """A run through all stages, from coarse to fine: the problem, how far the run is, and what it has to say."""

    def __init__(self, problem: Problem, notes: tuple[str, ...], started: float, *, masked: bool) -> None:
        self.problem, self.notes, self.started, self.masked = problem, notes, started, masked
        self.stages = problem.plan_stages()
        self.is_print = self.stages[-1].in_tiles
        self.bases = self.make_bases()
        self.iteration = problem.resume.iteration if problem.resume else 0
        self.skipped = 0  # iterations that early stops have left out
        self.time_left = TimeLeft()
        self.last_frame: Frame | None = None

    def optimize(self) -> Generator[Frame, Settings | None, None]:
        """Run the stages; each starts from the best image of the one before."""
        if self.is_print:
            yield self.announce()
        first = next(number for number, stage in enumerate(self.stages) if stage.iterations)
        x = self.problem.initial_image(self.stages[first])
        for number, stage in enumerate(self.stages[first:], first):
            if stage.in_tiles:
                x = yield from self.optimize_in_tiles(number, x)
                continue
            if number > first:
                x = upsample_change(x, *self.bases[number - 1 : number + 1])
            x = yield from self.optimize_stage(number, x)

    def optimize_stage(self, number: int, x: Tensor) -> Generator[Frame, Settings | None, Tensor]:
        """Run one stage from the image `x` (1, 3, H, W), and return its best image.

        Settings that were sent change the objective, so L-BFGS then starts again from the best image.
        """
        remaining = self.stages[number].iterations
        while remaining:
            objective = yield from self.build_objective(number, x)
            optimizer = LBFGS()
            early_stop = EarlyStop(x, self.problem.settings.tolerance)
            steered = False
            while remaining and not steered:
                tick = time.monotonic()
                evaluated, gradient = objective(x)
                if optimizer.best is None and not math.isfinite(evaluated.total):
                    raise SettingsError("With these weights the loss is no longer a number: choose smaller ones.")
                x_next = optimizer.step(x, evaluated.total, gradient)
                if optimizer.accepted:
                    shown = _Evaluation(x, evaluated)
                if optimizer.best_image is x:
                    best = shown
                remaining -= 1
                if early_stop.is_due(x):
                    self.skipped += remaining
                    remaining = 0
                self.time_left.update(self.stages[number], time.monotonic() - tick)
                self.last_frame = self.make_frame(number, remaining, shown, best)
                steered = self.steer((yield self.last_frame))
                x = x_next
            x = best.x
        return x

    def optimize_in_tiles(self, number: int, x: Tensor) -> Generator[Frame, Settings | None, Tensor]:
        """Run one stage of a print from the image `x` (1, 3, h, w) of the stage before, and return its best image.

        Settings that were sent, also between tiles, begin with a fresh objective at the best image.
        """
        stage, remaining = self.stages[number], self.stages[number].iterations
        larger = None
        while larger is None:  # or settings were sent
            larger = yield from self.steer_between(self.enlarge(x, stage.size), number, x)
        x = larger
        del larger  # 0.8 GB at 8192×8192 pixels
        while remaining:
            memory.trim_heap()
            A = yield from self.steer_between(self.problem.print_targets(stage.size), number, x)
            if A is None:
                continue
            objective = TiledObjective(
                self.problem.backbone,
                self.problem.settings,
                x,
                A,
                style_scale=self.problem.style_scale(self.stages[0].size if self.bases else 0, "moments"),
                keep=self.problem.keep_mask(stage.size) if self.problem.keep else None,
                regions=self.problem.region_weights(stage.size),
            )
            optimizer = LeanLBFGS()
            while remaining:
                tick = time.monotonic()
                found = yield from self.steer_between(objective.evaluate(x), number, x)
                if found is None:
                    break
                evaluated, gradient = found
                if optimizer.best_image is None and not math.isfinite(evaluated.total):
                    raise SettingsError("With these weights the loss is no longer a number: choose smaller ones.")
                x_next = yield from self.steer_between(optimizer.step(x, evaluated.total, gradient), number, x)
                if optimizer.best_image is x:
                    best = _Evaluation(x, evaluated)
                if x_next is None:
                    break
                remaining -= 1
                self.time_left.update(stage, time.monotonic() - tick)
                self.last_frame = self.make_frame(number, remaining, best, best)
                if self.steer((yield self.last_frame)):
                    break
                x = x_next
            x = x if optimizer.best_image is None else optimizer.best_image
        return x

    def announce(self) -> Frame:
        """Time a tile of a print, and return a frame 0 whose last note says how much time and memory it will take."""
        backbone, side = self.problem.backbone, tiles.TILE_SIDE
        x = self.problem.initial_image(self.stages[0])
        tile = nnf.interpolate(x, (side, side))
        A = {layer: losses.moments(F) for layer, F in backbone.activations(tile, PRINT_LAYERS)}
        for _ in range(2):  # the first also chooses the routes of the convolutions
            tick = time.monotonic()
            for _ in TiledObjective(backbone, self.problem.settings, tile, [A]).evaluate(tile):
                pass
        seconds_per_pixel = (time.monotonic() - tick) / side**2
        last = self.stages[-1]
        all_tiles = tiles.cut_tiles(backbone, self.problem.shape(last.size), PRINT_LAYERS)
        self.time_left.update(last, seconds_per_pixel * sum(tile.seen_pixels for tile in all_tiles))
        minutes, gigabytes = self.time_left.estimate(self.stages) / 60, self.problem.estimate_bytes() / 1e9
        self.notes += (f"This print takes about {minutes:.1f} minutes and {gigabytes:.1f} GB of memory.",)
        return self.describe(0, self.stages, _Evaluation(x, NO_LOSSES))

    def enlarge(self, x: Tensor, size: int) -> Generator[None, None, Tensor]:
        """Bring a print to the long side `size`, with the photo's own lines where a mask keeps it: see Problem.base."""
        if self.problem.keep:
            return upsample_change(x, self.problem.base(max(x.shape[2:])), self.problem.base(size))
        height, width = self.problem.shape(size)
        larger = x.new_empty(1, 3, height, width)
        for channel in range(3):
            larger[:, channel] = nnf.interpolate(x[:, channel, None], (height, width), mode="bicubic")[0]
            yield
            larger[:, channel].clamp_(0, 1)
            yield
        return larger

    def steer_between(
        self, steps: Generator[None, None, R], number: int, x: Tensor
    ) -> Generator[Frame, Settings | None, R | None]:
        """Return what `steps` returns, or None if settings were sent. Yields the last frame between them."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            frame = self.last_frame or self.describe(number, self.stages, _Evaluation(x, NO_LOSSES))
            if self.steer((yield frame)):
                return None

    def build_objective(self, number: int, x: Tensor) -> Generator[Frame, Settings | None, Objective]:
        """Build the objective of a stage that goes on from `x`. Yields the last frame while neighbours are searched.

        Settings that were sent meanwhile begin the search anew.
        """
        while True:
            memory.trim_heap()  # Fragments left by other stage sizes cost 0.2 GB at 512 px, here and after the targets.
            size, _, style_loss, is_shallow, _ = self.stages[number]
            objective = Objective(
                self.problem.backbone,
                self.problem.settings,
                self.problem.content_image(size),
                *self.problem.style_images(size),
                style_loss=style_loss,
                style_scale=self.problem.style_scale(self.stages[0].size, style_loss),
                finer_stages=len(self.bases) - 1 - number,
                keep=self.problem.keep_mask(size),
                regions=self.problem.region_weights(size),
                is_shallow=is_shallow,
            )
            memory.trim_heap()
            if style_loss != "neighbours":
                return objective
            for _ in objective.find_neighbours(x, photo_share=QUERY_PHOTO_SHARE if number else 1.0):
                frame = self.last_frame or self.describe(number, self.stages, _Evaluation(x, NO_LOSSES))
                if self.steer((yield frame)):
                    break
            else:
                return objective

    def make_frame(self, number: int, remaining: int, shown: _Evaluation, best: _Evaluation) -> Frame:
        """Count an iteration and describe it; the last one of the run shows the best image."""
        self.iteration += 1
        ahead = [self.stages[number]._replace(iterations=remaining), *self.stages[number + 1 :]]
        is_last = not any(stage.iterations for stage in ahead)
        if is_last and self.skipped:
            self.notes += (f"Ended {self.skipped} iterations early: nothing visible changed any more.",)
        return self.describe(number, ahead, best if is_last else shown)

    def describe(self, number: int, ahead: Sequence[Stage], shown: _Evaluation) -> Frame:
        """Return the frame of `shown`, in a stage, with the stages `ahead` still to come."""
        stage = self.stages[number]
        return Frame(
            iteration=self.iteration,
            iterations=self.iteration + sum(part.iterations for part in ahead),
            size=stage.size,
            style_loss=stage.style_loss,
            seconds=time.monotonic() - self.started,
            remaining=self.time_left.estimate(ahead),
            losses=shown.losses,
            settings=self.problem.settings,
            backbone=self.problem.backbone.name,
            masked=self.masked,
            in_regions=bool(self.problem.regions),
            notes=self.notes,
            _pixels=shown.x,
            _bases=None if self.is_print else (self.bases[number], self.bases[-1]),
            _problem=self.problem,
        )

    def steer(self, settings: Settings | None) -> bool:
        """Take over the STEERABLE values of `settings`, and return whether any of them has changed."""
        steered = self.problem.steer(settings) if settings else self.problem
        if steered.settings == self.problem.settings:
            return False
        self.problem = steered
        self.bases = self.make_bases()
        return True

    def make_bases(self) -> list[Tensor]:
        """The images that the changes of the stages are added to; for a print, without those of its larger sizes."""
        return [self.problem.base(stage.size) for stage in self.stages if not stage.in_tiles]


class EarlyStop:
    """Ends a stage once its image no longer changes visibly: see Settings.tolerance."""

    def __init__(self, x: Tensor, tolerance: float) -> None:
        self.reference, self.tolerance, self.iterations = x, tolerance, 0

    def is_due(self, x: Tensor) -> bool:
        """Count an iteration at `x`, and return whether the last interval changed less than `tolerance` grey levels."""
        at_interval = self.iterations > 0 and self.iterations % EARLY_STOP_INTERVAL == 0
        self.iterations += 1
        if not at_interval:
            return False
        root_mean_square = 255 * (x - self.reference).square().mean().sqrt().item()
        self.reference = x
        return root_mean_square < self.tolerance


class TimeLeft:
    """Estimates the seconds that are left from the fastest iteration so far.

    Not from the mean: the first iteration of a stage also times the routes of its convolutions (cpu/convolution.py).
    """

    def __init__(self) -> None:
        self.seconds_per_pixel = math.inf

    def update(self, stage: Stage, seconds: float) -> None:
        """Take into account an iteration of `stage` that took `seconds`."""
        self.seconds_per_pixel = min(self.seconds_per_pixel, seconds / stage._replace(iterations=1).work)

    def estimate(self, stages: Sequence[Stage]) -> float:
        """Return the seconds for the iterations of `stages`."""
        return self.seconds_per_pixel * sum(stage.work for stage in stages)


class Objective:
    """L_total (eq. 7) and its gradient at one size, with one of the three style losses.

    With Gram matrices, L_content is the paper's at the paper's 512 px. It is a sum over positions, but L_style hardly
    depends on size, so one α would weigh 16 times as much at 1024 px as at 256 px. L_content is therefore multiplied by
    (512/size)², and by COARSER_CONTENT_FACTOR for each of the `finer_stages` that follow.

    With moments or neighbours, L_content is relative to the photo's own variation: divided by ½ Σ (P − P̄)², times
    CONTENT_SCALE. One α then means the same likeness for a busy photo and for a quiet one.

    L_style is divided by `style_scale`, the photo's own style loss. At one β in the paper's terms a painting of strong
    patterns weighs up to 20 times as much as a soft one, and dissolves the photo.

    Where a mask is white, a position counts more in L_content (KEEP_WEIGHT) and less in L_style (KEPT_STYLE_SHARE).

    With regions, L_style is Σ_i a_i L_style,i over the regions i: the guided statistics of each, with its own painting
    (Gatys et al. 2017, arXiv 1611.07865, eq. 4 to 6), times its share a_i of the picture. The paper has no a_i. With
    it, every position feels its painting as strongly as in a picture without regions.
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
    """k of the content loss, such that α k = α + KEEP_WEIGHT where the mask is white (1): a face stays at any α."""
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

        L_style depends on the sums S over all positions alone. So its gradient is that of Σ ⟨∂L_style/∂S, S⟩ with
        ∂L_style/∂S held fixed (the chain rule), and S is a sum over tiles.
        """
        s = self.settings
        S = yield from tiles.sum_tiles(self.backbone, x, PRINT_LAYERS, self.tiles, self.style_k)
        L_style, to_S = self.compare_style(S)
        L_content = L_tv = 0.0
        gradient = torch.zeros_like(x)
        for tile in self.tiles:
            seen = tile.see(x).detach().requires_grad_()
            with torch.enable_grad():
                S = tiles.sum_tile(self.backbone, tile, seen, PRINT_LAYERS, self.style_k)
                style = torch.stack([to_S[key].dot(S[key]) for key in S]).sum()
                content, tv = self.compare_pixels(tile, seen)
                total = losses.total_loss(content, style, tv, s.content_weight, s.style_weight, s.tv_weight)
            tile.see(gradient).add_(torch.autograd.grad(total, seen)[0])
            L_content, L_tv = L_content + content.item(), L_tv + tv.item()
            yield
        L_total = losses.total_loss(L_content, L_style, L_tv, s.content_weight, s.style_weight, s.tv_weight)
        return Losses(L_content, L_style, L_tv, L_total), gradient

    def compare_style(self, S: tiles.LayerSums) -> tuple[float, tiles.LayerSums]:
        """Return L_style, and its derivatives by the sums of each layer and region, Σ k F Fᵀ and Σ k F."""
        L_style, slopes = 0.0, tiles.LayerSums()
        for (layer, region), (FF, F, k) in S.items():
            with torch.enable_grad():
                M = losses.moments_of_sums(Sums(FF.requires_grad_(), F.requires_grad_(), k))
                w = self.a[region] * PRINT_LAYERS[layer] / self.style_scale
                E = w * losses.moments_distance(M, self.A[region][layer])
            to_FF, to_F = torch.autograd.grad(E, (FF, F))
            slopes[layer, region] = Sums(to_FF.float(), to_F.float(), 0.0)
            L_style += E.item()
        return L_style, slopes

    def compare_pixels(self, tile: Tile, seen: Tensor) -> tuple[Tensor, Tensor]:
        """L_content and L_tv over the positions that belong to a tile, given what is seen of the image."""
        k = self.content_k if self.content_k is None else tile.take(self.content_k, CONTENT_STRIDE)
        reduced = nnf.avg_pool2d(tile.own(seen), CONTENT_STRIDE)
        content = self.content_scale * losses.content_loss(reduced, tile.take(self.P, CONTENT_STRIDE), k)
        tv = self.tv_scale * losses.tv_loss(seen, tile.rows.own_positions(1), tile.columns.own_positions(1))
        return content, tv


def upsample_change(x: Tensor, base: Tensor, next_base: Tensor) -> Tensor:
    """Bring `x` (1, 3, H, W), painted on `base` of its shape, to the shape of `next_base`.

    The change x − base is upsampled and added to `next_base`. Upsampling `x` itself would lose the photo's fine lines,
    which the finer stage would have to find again. docs/method.md has the figures.
    """
    if x.shape == next_base.shape:
        return x
    return (next_base + nnf.interpolate(x - base, next_base.shape[2:], mode="bicubic")).clamp(0, 1)
