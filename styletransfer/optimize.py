"""The optimisation as a generator: images in, a Frame for every iteration out. Read this file first, losses.py next.

`stylize` loads the images, and `_Run` takes them through the stages of schedule.py. In each stage L-BFGS (lbfgs.py)
minimises an Objective: L_total of the paper, at one size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

from . import backbones, images, losses, targets
from .backbones import Backbone
from .cpu import memory
from .errors import PictureError, SettingsError
from .lbfgs import LBFGS
from .losses import Losses
from .problem import Problem
from .schedule import Stage
from .settings import Settings

REFERENCE_SIZE = 512
"""The long side, in pixels, at which α is the paper's: see Objective."""
COARSER_CONTENT_FACTOR = 2.0
"""Content weighs this many times as much in a stage as in the next finer one.

Finer stages do not find again what a coarse one has lost. docs/method.md has the figures.
"""
EARLY_STOP_INTERVAL = 10
"""Iterations over which EarlyStop measures the change of the image."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One iteration: how far the run is, and the image whose loss was evaluated.

    If a step diverged, the frame shows the image before it. The last frame shows the best image of its stage.
    """

    iteration: int  # from 1
    iterations: int  # in all, as planned at this moment: a stage may be left out or end early
    size: int  # long side of this stage, in pixels
    seconds: float  # since the run was started
    remaining: float  # seconds, estimated
    losses: Losses
    settings: Settings
    backbone: str
    notes: tuple[str, ...]  # what the user should know of this run, one sentence each
    _pixels: Tensor = field(repr=False)
    _bases: tuple[Tensor, Tensor] = field(repr=False)  # of this stage and of the last one
    _problem: Problem = field(repr=False)

    @property
    def weighted(self) -> Losses:
        """The terms of the sum: α L_content, β L_style, γ L_tv, and L_total."""
        s = self.settings
        content, style, tv, total = self.losses
        return Losses(s.content_weight * content, s.style_weight * style, s.tv_weight * tv, total)

    @cached_property
    def picture(self) -> Image.Image:
        """The image in 8-bit RGB, at the size of the result in every stage. It is converted when first read."""
        return self._problem.finish(upsample_change(self._pixels, *self._bases))


def stylize(
    content: images.Source,
    style: images.Source | tuple[images.Source, ...],
    settings: Settings = Settings(),  # noqa: B008 - immutable
    backbone: Backbone | None = None,
    init_image: images.Source | None = None,
) -> Generator[Frame, Settings | None, None]:
    """Paint the photo `content` in the manner of the painting `style`; yields a Frame for every iteration.

    Closing the generator stops the run and frees its memory. Settings passed to its `send` take effect with the
    iteration that `send` returns, as far as they are STEERABLE.

    Args:
        content: The photo, as anything that images.load takes.
        style: The painting, or a tuple of two, which settings.mix mixes.
        settings: What to optimise, and for how long.
        backbone: A network to use in place of the one that `settings` names.
        init_image: A painted image to continue from, at full size only.

    Raises PictureError, SettingsError or WeightsError before the first Frame, and SettingsError later if weights that
    were sent are too large.
    """
    started = time.monotonic()
    sources = style if isinstance(style, tuple) else (style,)
    if not 1 <= len(sources) <= 2:
        raise PictureError(f"Give one painting, or two to be mixed, not {len(sources)}.")
    loaded = [images.load(source) for source in (content, *sources)]
    backbone, fallback = (backbone, "") if backbone else backbones.load(settings.backbone)
    backbone.check(settings.layers)
    problem = Problem(
        content=loaded[0].image,
        style=tuple(painting.image for painting in loaded[1:]),
        settings=settings,
        backbone=backbone,
        init_image=images.load(init_image).image if init_image else None,
    )
    problem.check_memory()
    notes = tuple(note for note in (*(image.note for image in loaded), fallback) if note)
    try:
        yield from _Run(problem, notes, started).optimize()
    finally:
        memory.trim_heap()


class _Evaluation(NamedTuple):
    """An image (1, 3, H, W) and its losses."""

    x: Tensor
    losses: Losses


class _Run:
    """A run through all stages, from coarse to fine: the problem, how far the run is, and what it has to say."""

    def __init__(self, problem: Problem, notes: tuple[str, ...], started: float) -> None:
        self.problem, self.notes, self.started = problem, notes, started
        self.stages = problem.plan_stages()
        self.bases = [problem.base(stage.size) for stage in self.stages]
        self.iteration = 0
        self.skipped = 0  # iterations that early stops have left out
        self.time_left = TimeLeft()

    def optimize(self) -> Generator[Frame, Settings | None, None]:
        """Run the stages; each starts from the best image of the one before."""
        x = self.problem.initial_image(self.stages[0].size)
        for number in range(len(self.stages)):
            if number:
                x = upsample_change(x, *self.bases[number - 1 : number + 1])
            x = yield from self.optimize_stage(number, x)

    def optimize_stage(self, number: int, x: Tensor) -> Generator[Frame, Settings | None, Tensor]:
        """Run one stage from the image `x` (1, 3, H, W), and return its best image.

        Settings that were sent change the objective, so L-BFGS then starts again from the best image.
        """
        remaining = self.stages[number].iterations
        while remaining:
            objective = self.build_objective(number)
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
                self.time_left.update(self.stages[number].size, time.monotonic() - tick)
                frame = self.make_frame(number, remaining, shown, best)
                steered = self.steer((yield frame))
                x = x_next
            x = best.x
        return x

    def build_objective(self, number: int) -> Objective:
        """Build the objective of a stage."""
        memory.trim_heap()  # Fragments left by other stage sizes cost 0.2 GB at 512 px, here and after the targets.
        size = self.stages[number].size
        objective = Objective(
            self.problem.backbone,
            self.problem.settings,
            self.problem.content_image(size),
            *self.problem.style_images(size),
            style_scale=self.problem.style_scale(self.stages[0].size),
            finer_stages=len(self.stages) - 1 - number,
        )
        memory.trim_heap()
        return objective

    def make_frame(self, number: int, remaining: int, shown: _Evaluation, best: _Evaluation) -> Frame:
        """Count an iteration and describe it; the last one of the run shows the best image."""
        self.iteration += 1
        stage = self.stages[number]
        ahead = [stage._replace(iterations=remaining), *self.stages[number + 1 :]]
        iterations = self.iteration + sum(part.iterations for part in ahead)
        if self.iteration == iterations:
            shown = best
            if self.skipped:
                self.notes += (f"Ended {self.skipped} iterations early: nothing visible changed any more.",)
        return Frame(
            iteration=self.iteration,
            iterations=iterations,
            size=stage.size,
            seconds=time.monotonic() - self.started,
            remaining=self.time_left.estimate(ahead),
            losses=shown.losses,
            settings=self.problem.settings,
            backbone=self.problem.backbone.name,
            notes=self.notes,
            _pixels=shown.x,
            _bases=(self.bases[number], self.bases[-1]),
            _problem=self.problem,
        )

    def steer(self, settings: Settings | None) -> bool:
        """Take over the STEERABLE values of `settings`, and return whether any of them has changed."""
        steered = self.problem.steer(settings) if settings else self.problem
        if steered.settings == self.problem.settings:
            return False
        self.problem = steered
        self.bases = [steered.base(stage.size) for stage in self.stages]
        return True


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

    def update(self, size: int, seconds: float) -> None:
        """Take into account an iteration at long side `size` that took `seconds`."""
        self.seconds_per_pixel = min(self.seconds_per_pixel, seconds / size**2)

    def estimate(self, stages: Sequence[Stage]) -> float:
        """Return the seconds for the iterations of `stages`."""
        return self.seconds_per_pixel * sum(stage.iterations * stage.size**2 for stage in stages)


class Objective:
    """L_total (eq. 7) and its gradient at one size.

    L_content is a sum over positions, but L_style hardly depends on size, so one α would weigh 16 times as much at
    1024 px as at 256 px. L_content is therefore multiplied by (512/size)². That is the paper's L_content at the paper's
    512 px, and the balance is the same at every size. It is also multiplied by COARSER_CONTENT_FACTOR for each of
    the `finer_stages` that follow.

    L_style is divided by `style_scale`, the photo's own style loss. At one β in the paper's terms a painting of strong
    patterns weighs up to 20 times as much as a soft one, and dissolves the photo.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: Settings,
        content_image: Tensor,
        *style_images: Tensor,
        style_scale: float = 1.0,
        finer_stages: int = 0,
    ) -> None:
        """Compute the targets P and A of the images, each (1, 3, H, W) in [0, 1]."""
        self.backbone, self.settings, self.style_scale = backbone, settings, style_scale
        size = max(content_image.shape[2:])
        self.content_scale = (REFERENCE_SIZE / size) ** 2 * COARSER_CONTENT_FACTOR**finer_stages
        self.P = targets.content_targets(backbone, content_image, settings.content_layers)
        self.style_loss = losses.STYLE_LOSSES[settings.objective].loss
        self.A = targets.mix_style_targets(
            backbone, style_images, settings.style_layers, settings.mix, settings.objective
        )

    def __call__(self, x: Tensor) -> tuple[Losses, Tensor]:
        """Return the losses at the image `x` (1, 3, H, W), and the gradient of L_total, of the same shape."""
        s, w = self.settings, self.settings.layer_weights
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            content = style = x.new_zeros(())
            for layer, F in self.backbone.activations(x, s.layers):
                if layer in self.P:
                    content = content + self.content_scale * losses.content_loss(F, self.P[layer])
                if layer in self.A:
                    style = style + w[layer] / self.style_scale * self.style_loss(F, self.A[layer])
            tv = losses.tv_loss(x)
            total = losses.total_loss(content, style, tv, s.content_weight, s.style_weight, s.tv_weight)
        (gradient,) = torch.autograd.grad(total, x)
        return Losses(*torch.stack([content, style, tv, total]).tolist()), gradient


def upsample_change(x: Tensor, base: Tensor, next_base: Tensor) -> Tensor:
    """Bring `x` (1, 3, H, W), painted on `base` of its shape, to the shape of `next_base`.

    The change x − base is upsampled and added to `next_base`. Upsampling `x` itself would lose the photo's fine lines,
    which the finer stage would have to find again. docs/method.md has the figures.
    """
    if x.shape == next_base.shape:
        return x
    return (next_base + nnf.interpolate(x - base, next_base.shape[2:], mode="bicubic")).clamp(0, 1)
