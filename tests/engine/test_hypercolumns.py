"""Hypercolumns and the objectives built on the default's losses, against an independent network in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from styletransfer import Settings, images, neighbours, stylize
from styletransfer.objective import (
    CONTENT_SCALE,
    KEEP_WEIGHT,
    KEPT_STYLE_SHARE,
    MIN_CONTENT_VARIATION,
    MIN_CONTENT_WEIGHT,
    NEIGHBOURS_CONTENT_FACTOR,
    Objective,
)
from styletransfer.schedule import Stage

Array = NDArray[np.float64]


def average(F: Array, factor: int) -> Array:
    """The means of factor×factor blocks; what is left over at the right and at the bottom is dropped."""
    N, height, width = F.shape[0], F.shape[1] // factor, F.shape[2] // factor
    blocks = F[:, : height * factor, : width * factor].reshape(N, height, factor, width, factor)
    return blocks.mean((2, 4))


def double(F: Array) -> Array:
    """Bilinear interpolation to twice the size."""
    for axis in (1, 2):
        F = np.moveaxis(F, axis, -1)
        padded = np.concatenate([F[..., :1], F, F[..., -1:]], axis=-1)
        before, after = 0.25 * padded[..., :-2] + 0.75 * F, 0.75 * F + 0.25 * padded[..., 2:]
        F = np.moveaxis(np.stack([before, after], axis=-1).reshape(*F.shape[:-1], -1), -1, axis)
    return F


def columns(reference, x: Tensor) -> Array:
    """The hypercolumns of an image whose sides are multiples of 8, or of 8 and a little more, by NumPy."""
    parts = []
    with torch.no_grad():
        activations = reference.activations(x.double())
    for layer in neighbours.LAYERS:
        F = activations[layer][0].numpy()
        block = int(layer[4])
        F = double(F) if block == 4 else average(F, {1: 4, 2: 2, 3: 1}[block])
        parts.append(F / np.sqrt(len(F)))
    return np.concatenate(parts).reshape(2624, -1)


@pytest.mark.parametrize("width, height", [(48, 32), (64, 40), (51, 35)])
def test_hypercolumns_are_those_of_an_independent_network(width, height, photo, vgg16, reference):
    x = images.to_tensor(photo, (width, height))
    found, expected = neighbours.hypercolumns(vgg16, x), columns(reference, x)
    assert found.shape == expected.shape == (2624, (width // 4) * (height // 4))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize("narrow", range(8, 24))
def test_a_narrow_picture_has_hypercolumns_whichever_way_it_lies(narrow, photo, vgg16):
    for size in ((64, narrow), (narrow, 64)):
        found = neighbours.hypercolumns(vgg16, images.to_tensor(photo, size))
        assert found.shape == (2624, 16 * (narrow // 4))


@pytest.mark.parametrize("width, height", [(192, 30), (22, 192)])
def test_a_narrow_photo_is_laid_out_with_neighbours_and_painted(width, height, photo, painting, vgg16):
    settings = Settings(size=192, stages=2, iterations=2, style_layers=("conv1_1", "conv2_1"), tolerance=0)
    frames = list(stylize(photo.resize((width, height)), painting, settings, backbone=vgg16))
    assert [frame.style_loss for frame in frames] == ["neighbours", "moments"]


class Expected:
    """L_total of the default's losses in float64, from the activations of the reference network."""

    def __init__(self, reference, stage: Stage, settings: Settings, P: Tensor, S: Tensor, keep: Tensor) -> None:
        self.reference, self.stage, self.settings = reference, stage, settings
        self.P, self.S = self.activations(P), self.activations(S)
        self.keep = keep[0].double().numpy()
        self.T: Array | None = None
        shallow = {"conv3_1": 0.05, "conv3_3": 0.25}
        self.content_layers = shallow if stage.is_shallow else {"conv4_2": 1.0}
        self.w = {"conv1_1": 0.4, "conv2_1": 0.25, "conv3_1": 0.2, "conv4_1": 0.1, "conv5_1": 0.05}
        if stage.is_shallow:
            del self.w["conv4_1"], self.w["conv5_1"]

    def white(self, layer: str) -> Array:
        return average(self.keep, 2 ** (int(layer[4]) - 1))[0]

    def activations(self, x: Tensor) -> dict[str, Array]:
        with torch.no_grad():
            return {layer: F[0].numpy() for layer, F in self.reference.activations(x.double()).items()}

    def content(self, F: dict[str, Array]) -> float:
        return sum(weight * self.content_at(layer, F[layer]) for layer, weight in self.content_layers.items())

    def content_at(self, layer: str, F: Array) -> float:
        P = self.P[layer]
        variation = 0.5 * ((P - P.mean((1, 2), keepdims=True)) ** 2).sum()
        variation = max(variation, MIN_CONTENT_VARIATION * P[0].size)
        α = max(self.settings.content_weight, MIN_CONTENT_WEIGHT)
        k = 1 + KEEP_WEIGHT / α * self.white(layer)
        more = NEIGHBOURS_CONTENT_FACTOR if self.stage.style_loss == "neighbours" else 1
        return CONTENT_SCALE * more / variation * 0.5 * (k * (F - P) ** 2).sum()

    def style(self, x: Tensor, F: dict[str, Array]) -> float:
        if self.T is not None:
            H = columns(self.reference, x)
            cosines = (H * self.T).sum(0) / np.linalg.norm(H, axis=0) / np.linalg.norm(self.T, axis=0)
            return 1 - cosines.mean()
        total = 0.0
        for layer, w in self.w.items():
            a, b = (features[layer].reshape(len(features[layer]), -1) for features in (F, self.S))
            k = 1 - (1 - KEPT_STYLE_SHARE) * self.white(layer).flatten()
            mean = np.average(a, axis=1, weights=k) - b.mean(1)
            covariance = np.cov(a, aweights=k, ddof=0) - np.cov(b, bias=True)
            total += w * ((mean**2).sum() / (2 * len(a)) + (covariance**2).sum() / (4 * len(a) ** 2))
        return total

    def __call__(self, x: Tensor) -> float:
        F, s, pixels = self.activations(x), self.settings, x[0].double().numpy()
        tv = (np.diff(pixels, axis=1) ** 2).sum() + (np.diff(pixels, axis=2) ** 2).sum()
        return s.content_weight * self.content(F) + s.style_weight * self.style(x, F) + s.tv_weight * tv


@pytest.mark.parametrize(
    "stage", [Stage(48, 1, "neighbours"), Stage(48, 1, "moments"), Stage(48, 1, "moments", is_shallow=True)]
)
def test_the_loss_and_its_gradient_are_those_of_an_independent_network_where_a_mask_keeps_a_part(
    stage, photo, painting, vgg16, reference
):
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    noise = torch.Generator().manual_seed(0)
    x = 0.6 * P + 0.4 * torch.rand(P.shape, generator=noise)
    keep = torch.rand(1, 1, 32, 48, generator=noise)
    settings = Settings(content_weight=0.7, style_weight=3e6, tv_weight=50)
    objective = Objective(vgg16, settings, P, S, style_loss=stage.style_loss, keep=keep, is_shallow=stage.is_shallow)
    expected = Expected(reference, stage, settings, P, S, keep)
    if stage.style_loss == "neighbours":
        assert not list(objective.find_neighbours(P, 1.0))
        expected.T = objective.T.double().numpy()
    found, g = objective(x)
    assert found.total == pytest.approx(expected(x), rel=1e-3)
    g = g.double()
    for direction in (g, *(torch.randn(x.shape, generator=noise, dtype=torch.float64) for _ in range(2))):
        d, h = direction / direction.norm(), 1e-4
        slope = (expected(x.double() + h * d) - expected(x.double() - h * d)) / (2 * h)
        assert abs((g * d).sum().item() - slope) < 2e-3 * g.norm().item()


def test_the_neighbours_of_a_run_are_the_painting_s_places_most_like_the_photo(photo, painting, vgg16, reference):
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    objective = Objective(vgg16, Settings(), P, S, style_loss="neighbours")
    list(objective.find_neighbours(P, 1.0))
    query, painted = columns(reference, P), columns(reference, S)
    q, s = (H - H.mean(1, keepdims=True) for H in (query, painted))
    similarity = (s / np.linalg.norm(s, axis=0)).T @ (q / np.linalg.norm(q, axis=0))
    chosen = np.square(painted[:, :, None] - objective.T.numpy()[:, None, :]).sum(0).argmin(0)
    assert len(set(chosen)) > 3
    assert (similarity.max(0) - similarity[chosen, np.arange(len(chosen))]).max() < 1e-4


def test_after_the_first_stage_the_query_is_mixed_from_the_photo_and_the_picture_so_far(
    photo, painting, vgg16, monkeypatch
):
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    queries = []
    monkeypatch.setattr(neighbours, "find_neighbours", lambda query, *_: queries.append(query) or iter(()))
    objective = Objective(vgg16, Settings(), P, S, style_loss="neighbours")
    x = P.flip(3)
    for share in (1.0, 0.25, 0.0):
        list(objective.find_neighbours(x, share))
    of_photo, of_picture = (neighbours.hypercolumns(vgg16, image) for image in (P, x))
    for query, share in zip(queries, (1.0, 0.25, 0.0), strict=True):
        torch.testing.assert_close(query, share * of_photo + (1 - share) * of_picture, rtol=1e-4, atol=1e-4)
