"""The optimisation as a generator: images in, a Frame for every iteration out.

`stylize` loads the images, and `_Run` takes them through the stages of schedule.py. In each stage L-BFGS (lbfgs.py)
minimises an Objective (objective.py): L_total of the paper, at one size.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch.nn.functional as nnf
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import backbones, images, losses, masks, tiles
from .backbones import Backbone
from .cpu import memory
from .errors import SettingsError
from .lbfgs import LBFGS, LeanLBFGS
from .losses import Losses
from .objective import Objective, TiledObjective
from .problem import Problem, Resume
from .schedule import PRINT_LAYERS, Stage
from .settings import Settings
from .torch_state import own_state, step_in_own_state

QUERY_PHOTO_SHARE = 0.75
"""How much of the photo, and how little of the picture so far, is in the query for neighbours after the first stage."""
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
                if number > first and not self.stages[number - 1].in_tiles:
                    x = self.problem.take_light(x)  # while it is small
                x = yield from self.optimize_in_tiles(number, x)
                continue
            if number > first:
                x = self.problem.take_light(upsample_change(x, *self.bases[number - 1 : number + 1]))
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
        while larger is None:  # each time settings are sent, it begins anew
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
        """Time two tiles of a print, and return a frame 0 whose last note says its time and memory."""
        backbone, side = self.problem.backbone, tiles.TILE_SIDE
        x = self.problem.initial_image(self.stages[0])
        sample = nnf.interpolate(x, (side, 2 * side))  # two, since one alone has no margin
        A = {layer: losses.moments(F) for layer, F in backbone.activations(sample, PRINT_LAYERS)}
        objective = TiledObjective(backbone, self.problem.settings, sample, [A])
        time_steps(objective.evaluate(sample))  # also chooses the routes of the convolutions
        evaluation = statistics.mean(time_steps(objective.evaluate(sample)) for _ in range(3))
        sums = time_steps(tiles.sum_tiles(backbone, sample, PRINT_LAYERS, objective.tiles))

        def count_samples(shape: Sequence[int]) -> float:
            parts = tiles.cut_tiles(backbone, shape, PRINT_LAYERS)
            return sum(part.seen_pixels for part in parts) / sum(part.seen_pixels for part in objective.tiles)

        last = self.stages[-1]
        targets = sums * sum(map(count_samples, self.problem.print_style_shapes(last.size)))
        iteration = evaluation * count_samples(self.problem.shape(last.size)) + targets / last.iterations
        self.time_left.update(last, iteration)
        minutes, gigabytes = self.time_left.estimate(self.stages) / 60, self.problem.estimate_bytes(last.size) / 1e9
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


def time_steps(steps: Generator[None, None, object]) -> float:
    """Return the seconds that all `steps` take."""
    started = time.monotonic()
    for _ in steps:
        pass
    return time.monotonic() - started


def upsample_change(x: Tensor, base: Tensor, next_base: Tensor) -> Tensor:
    """Bring `x` (1, 3, H, W), painted on `base` of its shape, to the shape of `next_base`.

    The change x − base is upsampled and added to `next_base`. Where both are the photo, its fine lines are not lost;
    where both are black (see Problem.base), `x` itself is upsampled. docs/method.md has the figures.
    """
    if x.shape == next_base.shape:
        return x
    return (next_base + nnf.interpolate(x - base, next_base.shape[2:], mode="bicubic")).clamp(0, 1)
