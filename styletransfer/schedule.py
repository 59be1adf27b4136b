"""The sizes a run paints at, from coarse to fine, and the iterations it spends at each."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from .errors import SettingsError
from .settings import Settings

MIN_COARSE_SIZE = 96
"""The shortest long side of a coarse stage, in pixels. Below it a face covers a few positions of conv4_2, and is
distorted."""
MAX_COARSE_ITERATIONS = 24
"""A coarse stage changes little after so many iterations: see plan_stages."""

MAX_NEIGHBOURS_SIZE = 256
"""The longest side at which neighbours are searched: 0.7 s on two cores. At 512 px it is 7 s, for no better picture."""

MAX_WHOLE_SIZE = 1024
"""The longest side at which a picture passes through the network at once. What is larger is a print: see Stage."""
MAX_GRAM_SIZE = 2048
"""The longest side with Gram matrices, which see the whole picture: in tiles, a photo's lines would come through."""
PRINT_ITERATIONS = 5
"""Iterations at each size of a print. The sixth lowered L_total by another seventh (pagoda, 1024 px)."""
PRINT_LAYERS = Settings().layer_weights("moments", is_shallow=True)
"""The style layers of a print, and w_l of each. Deeper ones have composed the picture at smaller sizes."""


class Stage(NamedTuple):
    """One part of the run: `iterations` at a long side of `size` pixels, with one of the style losses.

    A shallow stage compares layers up to `conv3_3` alone. It paints the strokes of what coarser stages have composed.
    A stage in tiles goes on so for a print, in bounded memory: see optimize.TiledObjective.
    """

    size: int
    iterations: int
    style_loss: str  # gram, moments or neighbours
    is_shallow: bool = False
    in_tiles: bool = False

    @property
    def work(self) -> int:
        """The time that it takes, in no unit: size² times iterations.

        A million pixels take 7.2 s of a core in a shallow stage, 9.4 s with all layers, and 8.4 s in one of a print.
        """
        return self.iterations * self.size**2


def plan_rest(stages: list[Stage], size: int, remaining: int) -> list[Stage]:
    """Leave out what is done of a run that was interrupted in the stage of `size`, with `remaining` iterations to go.

    Stages that are over stay, with no iterations.
    """
    later = sum(stage.iterations for stage in stages if stage.size > size)
    left = {stage.size: 0 if stage.size < size else stage.iterations for stage in stages}
    left[size] = max(0, remaining - later)
    return [stage._replace(iterations=left[stage.size]) for stage in stages]


def halve_print(settings: Settings) -> list[int]:
    """Return the size and its halves, down to the first below MAX_WHOLE_SIZE, at which a print is composed.

    What is no print is composed at its own size.
    """
    sizes = [settings.size]
    while is_print(settings) and sizes[-1] >= MAX_WHOLE_SIZE:
        sizes.append(sizes[-1] // 2)
    return sizes


def is_print(settings: Settings) -> bool:
    """Whether the picture is larger than what passes through the network at once."""
    return settings.size > MAX_WHOLE_SIZE and settings.objective != "gram"


def plan_print(settings: Settings) -> list[Stage]:
    """Plan the stages of a print that follow those up to MAX_WHOLE_SIZE; none for what is no print.

    Raises SettingsError for Gram matrices above MAX_GRAM_SIZE.
    """
    if settings.objective == "gram" and settings.size > MAX_GRAM_SIZE:
        raise SettingsError(
            f"Above {MAX_GRAM_SIZE} pixels there are no Gram matrices: choose the objective auto, or a smaller size."
        )
    sizes = sorted(halve_print(settings)[:-1])
    return [Stage(size, PRINT_ITERATIONS, "moments", is_shallow=True, in_tiles=True) for size in sizes]


def plan_stages(settings: Settings, min_size: int) -> list[Stage]:
    """Plan the stages from coarse to fine, each twice the size of the one before and none below `min_size` pixels.

    A print is planned at the size at which it is composed, and goes on from there. Raises SettingsError as plan_print.

    Coarse stages of a short run get more iterations, as 3 : 2 : 1, because each costs a quarter of one at the next
    size. No coarse stage gets more than MAX_COARSE_ITERATIONS or an equal share, whichever is more, so that the finer
    ones start soon. docs/method.md has the figures.
    """
    prints = plan_print(settings)
    settings = replace(settings, size=halve_print(settings)[-1])
    sizes = [settings.size >> k for k in range(settings.stages)]
    sizes = [size for size in sizes if size >= min_size or size == settings.size][: settings.iterations]
    shares = len(sizes) * (len(sizes) + 1) // 2
    most = max(MAX_COARSE_ITERATIONS, settings.iterations // len(sizes))
    coarser = [min(most, max(1, settings.iterations * (k + 1) // shares)) for k in range(1, len(sizes))]
    counts = [settings.iterations - sum(coarser), *coarser]
    coarse_to_fine = list(reversed(list(zip(sizes, counts, strict=True))))
    return [
        Stage(
            size,
            count,
            choose_style_loss(settings.objective, size, is_first=k == 0, is_last=k == len(sizes) - 1),
            is_shallow=0 < k == len(sizes) - 1 and may_be_shallow(settings),
        )
        for k, (size, count) in enumerate(coarse_to_fine)
    ] + prints


def may_be_shallow(settings: Settings) -> bool:
    """Whether the last stage may be shallow: not for one style loss at every size, and not for layers that were chosen.

    At 512 px an iteration costs four fifths of one with all layers, and the picture is cleaner: roofs, eyes and masts
    keep their lines. docs/method.md has the figures.
    """
    return settings.objective in ("auto", "neighbours") and settings.layers == Settings().layers


def choose_style_loss(objective: str, size: int, *, is_first: bool, is_last: bool) -> str:
    """Return the style loss of a stage for a value of Settings.objective.

    "auto" lays out the picture with neighbours at the coarsest size, and paints with moments. "neighbours" goes on with
    them at every size but the last. Neither searches them above MAX_NEIGHBOURS_SIZE.
    """
    if objective in ("gram", "moments"):
        return objective
    only = is_first and is_last and objective == "neighbours"
    coarse = not is_last and (is_first or objective == "neighbours")
    return "neighbours" if size <= MAX_NEIGHBOURS_SIZE and (coarse or only) else "moments"
