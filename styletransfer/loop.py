"""The optimisation as a generator: pictures in, a Frame for every evaluation of the loss out."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

from . import backbones, losses, memory, pictures, targets
from .backbones import Backbone
from .errors import PictureError, SettingsError
from .lbfgs import LBFGS
from .losses import Losses
from .plan import Scene, Stage
from .settings import Settings

REFERENCE_SIZE = 512
"""The long side at which α is the paper's: see Objective."""
COARSER_CONTENT = 2.0
"""How many times as much content weighs in a stage as in the next finer one.

What a coarse stage lets go the finer ones do not find again: with 1 a building kept 0.43 of its structure at a style
distance of 0.44, with 2 it kept 0.57 at 0.48; a portrait 0.72 at 0.30 and 0.73 at 0.31 (512 px).
"""
SETTLED_AFTER = 10
"""Evaluations over which the change of a picture is measured: see Settings.tolerance."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One evaluation of the loss: where the run is, and the picture that was evaluated.

    In the place of a step that diverged, the one before is shown again; the last frame has the best of its stage.
    """

    iteration: int  # from 1
    iterations: int  # evaluations in all, as planned by now: a stage may be left out or end early
    size: int  # long side at which this stage paints, in pixels
    seconds: float  # since the run was started
    remaining: float  # an estimate, in seconds
    losses: Losses
    settings: Settings
    backbone: str
    notes: tuple[str, ...]  # what the user should know of this run, a sentence each
    _pixels: Tensor = field(repr=False)
    _grounds: tuple[Tensor, Tensor] = field(repr=False)  # of this stage and of the last
    _scene: Scene = field(repr=False)

    @property
    def weighted(self) -> Losses:
        """The terms of the sum: α L_content, β L_style, γ L_tv, and L_total."""
        s = self.settings
        content, style, tv, total = self.losses
        return Losses(s.content_weight * content, s.style_weight * style, s.tv_weight * tv, total)

    @cached_property
    def picture(self) -> Image.Image:
        """The picture in 8-bit RGB, always at the size asked for, converted when first read."""
        return self._scene.picture(_enlarged(self._pixels, *self._grounds))


class Objective:
    """L_total and its gradient at one size.

    L_content is a sum over positions while L_style hardly depends on size, so that one α would weigh 16 times as
    much at 1024 px as at 256 px. L_content is therefore multiplied by (512/size)²: it is the paper's at the paper's
    512 px, and the balance is the same at every size. `coarser` says how many stages are finer than this one.

    L_style is divided by `unit`, the photo's own: at one β in the paper's terms a painting of strong patterns weighs
    up to 20 times as much as a soft one, and dissolves the photo.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: Settings,
        photo: Tensor,
        *paintings: Tensor,
        unit: float = 1.0,
        coarser: int = 0,
    ) -> None:
        self.backbone, self.settings, self.unit = backbone, settings, unit
        self.content_scale = (REFERENCE_SIZE / max(photo.shape[2:])) ** 2 * COARSER_CONTENT**coarser
        self.P = targets.content(backbone, photo, settings.content_layers)
        self.A = targets.mixed_style(backbone, paintings, settings.style_layers, settings.mix)

    def __call__(self, x: Tensor) -> tuple[Losses, Tensor]:
        """The losses at the picture `x` (1, 3, H, W), and the gradient of L_total, of the same shape."""
        s = self.settings
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            content = style = x.new_zeros(())
            for layer, F in self.backbone.activations(x, s.layers):
                if layer in self.P:
                    content = content + self.content_scale * losses.content_loss(F, self.P[layer])
                if layer in self.A:
                    style = style + s.w[layer] / self.unit * losses.style_loss(F, self.A[layer])
            tv = losses.tv_loss(x)
            total = losses.total_loss(content, style, tv, s.content_weight, s.style_weight, s.tv_weight)
        (gradient,) = torch.autograd.grad(total, x)
        return Losses(*torch.stack([content, style, tv, total]).tolist()), gradient


def stylize(
    content: pictures.Source,
    style: pictures.Source | tuple[pictures.Source, ...],
    settings: Settings = Settings(),  # noqa: B008 - immutable
    backbone: Backbone | None = None,
    begun: pictures.Source | None = None,
) -> Generator[Frame, Settings | None, None]:
    """Paint the photo `content` in the manner of the painting `style`; yields a Frame for every evaluation.

    Closing the generator ends the work at once and frees its memory. Settings that are sent to it (`send`) take
    effect at the evaluation that it then returns, as far as they are STEERABLE. `style` may be a tuple of two,
    which settings.mix mixes. A painted picture `begun` is gone on from, at the full size only. A `backbone` given here
    takes the place of the one that `settings` names.

    Raises PictureError, SettingsError or WeightsError before the first Frame; SettingsError also when weights that
    were sent are too large.
    """
    started = time.monotonic()
    sources = style if isinstance(style, tuple) else (style,)
    if not 1 <= len(sources) <= 2:
        raise PictureError(f"Give one painting, or two to be mixed, not {len(sources)}.")
    photo, *paintings = (pictures.load(source) for source in (content, *sources))
    backbone, second_choice = (backbone, "") if backbone else backbones.choose(settings.backbone)
    backbone.check(settings.layers)
    notes = tuple(note for note in (*(picture.note for picture in (photo, *paintings)), second_choice) if note)
    images = tuple(painting.image for painting in paintings)
    scene = Scene(photo.image, images, settings, backbone, pictures.load(begun).image if begun else None)
    scene.check_memory()
    try:
        yield from _paint(scene, notes, started)
    finally:
        memory.give_back()


def _paint(scene: Scene, notes: tuple[str, ...], started: float) -> Generator[Frame, Settings | None, None]:
    """The stages of a run, from coarse to fine, with an L-BFGS each."""
    plan = scene.plan()
    grounds = [scene.ground(stage.size) for stage in plan]
    x = scene.start(plan[0].size)
    iteration, spared, pace = 0, 0, math.inf
    for number, stage in enumerate(plan):
        if number:
            x = _enlarged(x, *grounds[number - 1 : number + 1])
        left, steered = stage.iterations, True
        while left:
            if steered:
                objective, optimiser, best_losses, steered = _objective(scene, plan, number), LBFGS(), None, False
                earlier, since = x, 0
            tick = time.monotonic()
            evaluated, gradient = objective(x)
            if best_losses is None and not math.isfinite(evaluated.total):
                raise SettingsError("With these weights the loss is no longer a number: choose smaller ones.")
            x_next = optimiser.step(x, evaluated.total, gradient)
            if optimiser.accepted:
                shown, shown_losses = x, evaluated
            if best_losses is None or evaluated.total < best_losses.total:
                best, best_losses = x, evaluated
            left -= 1
            if since and since % SETTLED_AFTER == 0:
                if _grey_levels(x - earlier) < scene.settings.tolerance:
                    spared, left = spared + left, 0
                earlier = x
            since += 1
            iteration += 1
            later = plan[number + 1 :]
            iterations = iteration + left + sum(stage.iterations for stage in later)
            # The best so far: each stage's first evaluation is slower, for it also times the convolutions' routes.
            pace = min(pace, (time.monotonic() - tick) / stage.size**2)
            if iteration == iterations:
                shown, shown_losses = best, best_losses
                if spared:
                    notes += (f"Ended {spared} evaluations early: nothing visible changed any more.",)
            sent = yield Frame(
                iteration,
                iterations,
                stage.size,
                time.monotonic() - started,
                pace * (left * stage.size**2 + sum(stage.iterations * stage.size**2 for stage in later)),
                shown_losses,
                scene.settings,
                scene.backbone.name,
                notes,
                shown,
                (grounds[number], grounds[-1]),
                scene,
            )
            x = x_next
            turned = scene.steered(sent) if sent else scene
            if turned.settings != scene.settings:
                scene, steered = turned, True
                grounds = [scene.ground(stage.size) for stage in plan]
                x = best
        x = best


def _objective(scene: Scene, plan: list[Stage], number: int) -> Objective:
    """That of a stage."""
    memory.give_back()  # here and below: without, the holes of other sizes stayed, 0.2 GB of them at 512 px
    unit, P, S = scene.unit(plan[0].size), scene.P(plan[number].size), scene.S(plan[number].size)
    objective = Objective(scene.backbone, scene.settings, P, *S, unit=unit, coarser=len(plan) - 1 - number)
    memory.give_back()
    return objective


def _enlarged(x: Tensor, ground: Tensor, larger_ground: Tensor) -> Tensor:
    """The picture `x`, painted on `ground`, at the size of `larger_ground`: what was changed is enlarged and added.

    Enlarging the picture itself would lose the photo's fine lines, and the finer stage has to find them again: on a
    portrait the score of 100 plain evaluations was passed after 28 s, and in this way after 20 (512 px).
    """
    if x.shape == larger_ground.shape:
        return x
    return (larger_ground + nnf.interpolate(x - ground, larger_ground.shape[2:], mode="bicubic")).clamp(0, 1)


def _grey_levels(change: Tensor) -> float:
    """The root mean square of a change of pixels, of 255."""
    return 255 * change.square().mean().sqrt().item()
