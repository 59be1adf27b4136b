"""The sizes a run paints at, from coarse to fine, and the iterations it spends at each."""

from __future__ import annotations

from typing import NamedTuple

from .settings import Settings

MIN_COARSE_SIZE = 96
"""The shortest long side of a coarse stage, in pixels. Below it a face covers a few positions of conv4_2, and is
distorted."""
MAX_COARSE_ITERATIONS = 24
"""A coarse stage changes little after so many iterations: see plan_stages."""

MAX_NEIGHBOURS_SIZE = 256
"""The longest side at which neighbours are searched: 0.7 s on two cores. At 512 px it is 7 s, for no better picture."""


class Stage(NamedTuple):
    """One part of the run: `iterations` at a long side of `size` pixels, with one of the style losses.

    A shallow stage compares layers up to `conv3_3` alone. It paints the strokes of what coarser stages have composed.
    """

    size: int
    iterations: int
    style_loss: str  # gram, moments or neighbours
    is_shallow: bool = False


def plan_stages(settings: Settings, min_size: int) -> list[Stage]:
    """Plan the stages from coarse to fine, each twice the size of the one before and none below `min_size` pixels.

    Coarse stages of a short run get more iterations, as 3 : 2 : 1, because each costs a quarter of one at the next
    size. No coarse stage gets more than MAX_COARSE_ITERATIONS or an equal share, whichever is more, so that the finer
    ones start soon. docs/method.md has the figures.
    """
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
    ]


def may_be_shallow(settings: Settings) -> bool:
    """Whether the last stage may be shallow: not for one style loss at every size, and not for layers that were chosen.

    At 512 px an iteration costs four fifths of one with all layers, and the picture is cleaner: roofs, eyes and masts
    keep their lines. docs/method.md has the figures.
    """
    return settings.objective in ("auto", "neighbours") and settings.layers == Settings().layers


def choose_style_loss(objective: str, size: int, *, is_first: bool, is_last: bool) -> str:
    """Return the style loss of a stage for a value of Settings.objective.

    "auto" lays out the picture with neighbours at the coarsest size, and paints with moments. "neighbours" goes on with
    them at every size but the last.
    """
    if objective in ("gram", "moments"):
        return objective
    only = is_first and is_last and objective == "neighbours"
    coarse = not is_last and (is_first or objective == "neighbours")
    return "neighbours" if size <= MAX_NEIGHBOURS_SIZE and (coarse or only) else "moments"
