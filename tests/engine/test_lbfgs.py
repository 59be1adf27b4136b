"""L-BFGS reaches the minimum inside the gamut, one evaluation a step, and survives steps that go wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from styletransfer.lbfgs import LBFGS

Function = Callable[[Tensor], tuple[float, Tensor]]
SHAPE = (1, 3, 6, 5)
GREY_LEVEL = 1 / 255


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def separable() -> tuple[Function, Tensor]:
    """f(x) = ½ Σ h (x − t)² with h from 1 to 100 and many t outside the gamut, and its minimum: t clipped."""
    h = 100 ** torch.rand(SHAPE, generator=rng())
    t = 2 * torch.rand(SHAPE, generator=rng(1)) - 0.5
    return lambda x: (0.5 * (h * (x - t) ** 2).sum().item(), h * (x - t)), t.clamp(0, 1)


def coupled() -> tuple[Function, Tensor]:
    """f(x) = ½ (x − c)ᵀ Q (x − c), and its minimum in the gamut.

    Built backwards: choose the minimum, some of it on the walls, and a gradient there that pushes against
    them (Karush, Kuhn & Tucker); then c = minimum − Q⁻¹ gradient.
    """
    random = np.random.default_rng(0)
    n = math.prod(SHAPE)
    root = random.normal(size=(n, n)) / np.sqrt(n)
    Q = root @ root.T + 0.1 * np.eye(n)
    minimum = random.uniform(-0.5, 1.5, n).clip(0, 1)
    push = random.uniform(0.1, 1, n)
    gradient = np.where(minimum == 0, push, np.where(minimum == 1, -push, 0))
    c = minimum - np.linalg.solve(Q, gradient)

    def f(x: Tensor) -> tuple[float, Tensor]:
        away = x.numpy().astype(np.float64).ravel() - c
        return 0.5 * away @ Q @ away, torch.tensor(Q @ away, dtype=torch.float32).view(SHAPE)

    return f, torch.tensor(minimum, dtype=torch.float32).view(SHAPE)


def pictures(optimiser: LBFGS, f: Function, x: Tensor, steps: int) -> list[Tensor]:
    """The pictures that are evaluated, from `x` on."""
    evaluated = [x]
    for _ in range(steps):
        evaluated.append(optimiser.step(evaluated[-1], *f(evaluated[-1])))
    return evaluated


def start() -> Tensor:
    return torch.rand(SHAPE, generator=rng(2))


@pytest.mark.parametrize("problem", [separable, coupled])
def test_it_reaches_the_minimum_of_a_quadratic_in_the_gamut(problem: Callable[[], tuple[Function, Tensor]]):
    f, minimum = problem()
    last = pictures(LBFGS(), f, start(), 120)[-1]
    assert (last - minimum).abs().max().item() < GREY_LEVEL / 2


@pytest.mark.parametrize("problem", [separable, coupled])
def test_every_picture_it_asks_for_is_in_the_gamut(problem: Callable[[], tuple[Function, Tensor]]):
    f, _ = problem()
    for x in pictures(LBFGS(), f, start(), 60):
        assert x.shape == SHAPE
        assert x.min().item() >= 0
        assert x.max().item() <= 1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e12])
def test_the_first_step_moves_the_most_moved_pixel_by_ten_grey_levels_at_any_scale_of_the_loss(scale: float):
    f, _ = separable()
    x = torch.full(SHAPE, 0.5)
    value, g = f(x)
    moved = LBFGS().step(x, scale * value, scale * g) - x
    assert moved.abs().max().item() == pytest.approx(10 * GREY_LEVEL, rel=1e-4)
    assert (moved * g).sum().item() < 0


def test_it_goes_on_from_where_the_gradient_vanishes():
    x = start()
    optimiser = LBFGS()
    for _ in range(3):
        x_next = optimiser.step(x, 0.0, torch.zeros(SHAPE))
        assert torch.equal(x_next, x)
        assert optimiser.accepted
        x = x_next


def test_it_leaves_the_pictures_and_gradients_it_is_given_alone():
    f, _ = separable()
    optimiser, x = LBFGS(), start()
    for _ in range(10):
        value, g = f(x)
        kept_x, kept_g = x.clone(), g.clone()
        x_next = optimiser.step(x, value, g)
        assert torch.equal(x, kept_x)
        assert torch.equal(g, kept_g)
        x = x_next


def test_the_same_run_twice_asks_for_the_same_pictures():
    f, _ = coupled()
    for a, b in zip(pictures(LBFGS(), f, start(), 40), pictures(LBFGS(), f, start(), 40), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "jump"])
@pytest.mark.parametrize("when", [1, 2, 12])
def test_a_diverged_step_is_refused_and_the_minimum_is_reached_all_the_same(bad: float | str, when: int):
    f, minimum = separable()
    optimiser = LBFGS()
    evaluated = pictures(optimiser, f, start(), when)
    assert optimiser.accepted
    best = min(evaluated[:-1], key=lambda x: f(x)[0])
    broken = 1000 * f(start())[0] if bad == "jump" else float(bad)
    x = optimiser.step(evaluated[-1], broken, torch.full(SHAPE, math.nan))
    assert not optimiser.accepted
    assert (x - best).abs().max().item() <= 10 * GREY_LEVEL
    last = pictures(optimiser, f, x, 150)[-1]
    assert optimiser.accepted
    assert (last - minimum).abs().max().item() < GREY_LEVEL / 2


def test_after_several_diverged_steps_it_comes_ever_closer_to_the_best_picture():
    f, _ = separable()
    optimiser = LBFGS()
    evaluated = pictures(optimiser, f, start(), 5)
    best = min(evaluated[:-1], key=lambda x: f(x)[0])
    x, distances = evaluated[-1], []
    for _ in range(6):
        x = optimiser.step(x, math.nan, torch.full(SHAPE, math.nan))
        distances.append((x - best).abs().max().item())
    assert all(later < earlier for earlier, later in itertools.pairwise(distances))
    assert distances[-1] < GREY_LEVEL


def test_a_step_that_is_taken_back_costs_one_evaluation_and_not_what_was_learned():
    h = 100 ** torch.rand(SHAPE, generator=rng())

    def f(x: Tensor) -> tuple[float, Tensor]:
        return 0.5 * (h * (x - 0.5) ** 2).sum().item(), h * (x - 0.5)

    optimiser, x = LBFGS(), start()
    for _ in range(10):
        x = optimiser.step(x, *f(x))
    assert optimiser.best
    least = optimiser.best[0]
    too_far = (x + 0.2 * torch.rand(SHAPE, generator=rng(3))).clamp(0, 1)
    x = optimiser.step(too_far, *f(too_far))
    assert not optimiser.accepted
    later = [f(picture)[0] for picture in pictures(optimiser, f, x, 4)]
    assert later[0] < least
    assert later[-1] < 0.2 * least, "0.35 where all is forgotten"
