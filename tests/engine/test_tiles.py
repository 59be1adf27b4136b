"""A print is computed in tiles, and nobody can see them: loss and gradient are those of the whole picture."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from styletransfer import Settings, losses, tiles
from styletransfer.lbfgs import LBFGS, LeanLBFGS
from styletransfer.objective import TiledObjective
from styletransfer.schedule import PRINT_LAYERS

H, W = 71, 86  # no multiple of 4: the last row of positions has no pixels of its own
SETTINGS = Settings(content_weight=2.0, style_weight=1e7, tv_weight=30.0)


def finish(steps: Generator[None, None, Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def random_image(height: int, width: int, seed: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def keep() -> Tensor:
    mask = torch.zeros(1, 1, H, W)
    mask[..., 10:40, 20:61] = 0.7
    return mask


def whole_loss(reference, x: Tensor, start: Tensor, painting: Tensor, keep: Tensor) -> tuple[list[Tensor], Tensor]:
    """The losses in float64 by the formulas of docs/method.md, of the whole picture and an independent network."""

    def moments(F: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        share = k / k.sum()
        μ = (share * F).sum((0, 2, 3))
        return μ, torch.einsum("bihw,bjhw->ij", share * F, F) - torch.outer(μ, μ)

    of_x, of_painting = reference.activations(x), reference.activations(painting)
    style = torch.zeros((), dtype=torch.float64)
    for layer, w in PRINT_LAYERS.items():
        F, S = of_x[layer], of_painting[layer]
        k = 1 - 0.6 * nnf.avg_pool2d(keep, 1 << int(layer[4]) - 1)
        (μ, C), (μ_A, C_A) = moments(F, k), moments(S, torch.ones_like(S[:, :1]))
        N = len(μ)
        style = style + w / 3 * ((μ - μ_A).square().sum() / (2 * N) + (C - C_A).square().sum() / (4 * N**2))
    P, halved, k = (nnf.avg_pool2d(t, 2) for t in (start, x, keep))
    variation = 0.5 * (P - P.mean((2, 3), keepdim=True)).square().sum()
    content = 1.2e6 * 0.5 * ((1 + 3 / 2 * k) * (halved - P).square()).sum() / variation
    right, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    tv = (512 / W) ** 2 * (right.square().sum() + down.square().sum())
    return [content, style, tv], 2 * content + 1e7 * style + 30 * tv


@pytest.mark.parametrize("masked", [False, True])
def test_no_seam_loss_and_gradient_are_those_of_the_whole_picture_whatever_the_tiles(
    masked, keep, vgg16, reference, monkeypatch
):
    x, start, painting = random_image(H, W, 0), random_image(H, W, 1), random_image(40, 52, 2)
    keep = keep if masked else torch.zeros_like(keep)
    exact = x.double().requires_grad_()
    terms, total = whole_loss(reference, exact, start.double(), painting.double(), keep.double())
    (gradient,) = torch.autograd.grad(total, exact)
    A = {layer: losses.moments(F) for layer, F in vgg16.activations(painting, PRINT_LAYERS)}
    for side, count in ((200, 1), (48, 4), (32, 9)):
        monkeypatch.setattr(tiles, "TILE_SIDE", side)
        objective = TiledObjective(vgg16, SETTINGS, start, [A], style_scale=3.0, keep=keep)
        assert len(objective.tiles) == count
        found, found_gradient = finish(objective.evaluate(x))
        assert found == pytest.approx([term.item() for term in (*terms, total)], rel=1e-4 if not masked else 1e-3)
        assert (found_gradient - gradient).norm() < 1e-3 * gradient.norm()


def test_a_position_depends_on_pixels_within_its_reach_and_on_no_other(vgg16):
    x = random_image(64, 64, 0)
    before = dict(vgg16.activations(x, PRINT_LAYERS))
    for layer, stride in (("conv1_1", 1), ("conv2_1", 2), ("conv3_1", 4)):
        reach = vgg16.reach(layer)
        own = 32 // stride  # a position whose pixels begin at 32
        for row, changes in ((32 - reach, True), (32 - reach - 1, False), (31 + stride + reach + 1, False)):
            other = x.clone()
            other[:, :, row] = 1 - other[:, :, row]
            after = dict(vgg16.activations(other, (layer,)))[layer]
            moved = (after[:, :, own] - before[layer][:, :, own]).abs().max() > 0.01  # rounding differs by 1e-4
            assert moved == changes, (layer, row)


# The optimiser of a print


def bowl(x: Tensor) -> tuple[float, Tensor]:
    """A quadratic function whose minimum is partly outside of the gamut, and its gradient."""
    scale = torch.linspace(1, 30, x.numel()).view(x.shape)
    centre = torch.linspace(-0.2, 1.2, x.numel()).view(x.shape)
    return (0.5 * scale * (x - centre).square()).sum().item(), scale * (x - centre)


def test_in_less_memory_the_optimiser_goes_the_same_way():
    lean, usual = LeanLBFGS(), LBFGS()
    x = expected = torch.full((1, 3, 5, 7), 0.5)
    for _ in range(4):
        x, expected = finish(lean.step(x, *bowl(x))), usual.step(expected, *bowl(expected))
        assert bowl(x)[0] == pytest.approx(bowl(expected)[0], rel=0.1)
        assert (x - expected).abs().max() < 0.05


def test_a_step_too_far_is_taken_back_and_the_next_one_is_shorter():
    optimizer = LeanLBFGS()
    start = torch.full((1, 3, 5, 7), 0.5)
    near = finish(optimizer.step(start, *bowl(start)))
    far = start + 60 * (near - start)
    again = finish(optimizer.step(far, *bowl(far)))
    assert bowl(far)[0] > bowl(start)[0], "or nothing is tested"
    assert optimizer.best_image is start
    assert bowl(again)[0] < bowl(start)[0]


def test_a_step_to_where_the_loss_is_no_number_is_taken_back():
    optimizer = LeanLBFGS()
    start = torch.full((1, 3, 5, 7), 0.5)
    worse = finish(optimizer.step(start, *bowl(start)))
    again = finish(optimizer.step(worse, float("nan"), torch.full_like(worse, float("nan"))))
    assert optimizer.best_image is start
    assert 0 < (again - start).abs().max() < (worse - start).abs().max()
    assert bowl(again)[0] < bowl(start)[0]
