"""Targets are computed once per picture and size, and never those of another picture."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from styletransfer import Settings, images, stylize, targets
from styletransfer.backbones import Backbone

CONTENT, STYLE = ("conv2_1",), ("conv1_1", "conv2_1")


@pytest.fixture(autouse=True)
def empty() -> None:
    targets._content_cache.clear()
    targets._style_cache.clear()


@pytest.fixture
def pixels(photo) -> Tensor:
    return images.to_tensor(photo, (48, 32))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The (H, W) of every picture that passes through the backbone without a gradient."""
    passed: list[tuple[int, ...]] = []
    original = Backbone.activations

    def counted(self, x, layers):
        if not x.requires_grad:
            passed.append(tuple(x.shape[2:]))
        return original(self, x, layers)

    monkeypatch.setattr(Backbone, "activations", counted)
    return passed


def test_they_are_the_activations_and_the_gram_matrices_per_position(vgg16, pixels):
    with torch.no_grad():
        exact = dict(vgg16.activations(pixels, STYLE))
    P, A = targets.content_targets(vgg16, pixels, CONTENT), targets.style_targets(vgg16, pixels, STYLE)
    assert torch.equal(P["conv2_1"], exact["conv2_1"])
    for layer in STYLE:
        F = exact[layer].flatten(2)[0].double().numpy()
        np.testing.assert_allclose(A[layer].numpy(), F @ F.T / F.shape[1], rtol=1e-4, atol=1e-5)


def test_a_run_with_other_weights_computes_no_targets_again(photo, painting, vgg16, passes):
    values = {"size": 64, "iterations": 2, "stages": 1, "content_layers": CONTENT, "style_layers": STYLE}
    list(stylize(photo, painting, Settings(**values), backbone=vgg16))
    assert len(passes) == 3, "the photo's content, its style (the unit of the loss), and the painting's style"
    list(stylize(photo.copy(), painting.copy(), Settings(**values, style_weight=1e5, tv_weight=1), backbone=vgg16))
    assert len(passes) == 3
    list(stylize(painting, photo, Settings(**values), backbone=vgg16))
    assert len(passes) == 4, "of the two pictures in exchanged parts, the style is known"


def test_moments_and_gram_matrices_of_one_picture_are_not_mixed_up(vgg16, pixels):
    gram = targets.style_targets(vgg16, pixels, STYLE)["conv1_1"]
    moments = targets.style_targets(vgg16, pixels, STYLE, "moments")["conv1_1"]
    assert (gram.shape, moments.shape) == ((64, 64), (64, 65))
    assert targets.style_targets(vgg16, pixels, STYLE)["conv1_1"] is gram


def test_another_picture_layer_or_backbone_has_targets_of_its_own(vgg16, pixels, passes):
    other = pixels.clone()
    other[0, 0, 0, 0] += 1 / 255
    stretched = pixels.reshape(1, 3, 48, 32)
    for backbone in (vgg16, Backbone.__new__(Backbone)):
        backbone.__dict__.update(vgg16.__dict__)
        for picture in (pixels, other, stretched):
            for layers in (("conv1_1",), ("conv2_1",)):
                before = len(passes)
                targets.content_targets(backbone, picture, layers)
                targets.style_targets(backbone, picture, layers)
                assert len(passes) == before + 2


def test_they_take_no_more_memory_than_allowed_and_the_oldest_go_first(vgg16, pixels, passes, monkeypatch):
    one = targets.content_targets(vgg16, pixels, CONTENT)["conv2_1"].nbytes
    targets._content_cache.clear()
    monkeypatch.setattr(targets._content_cache, "_Cache__maxsize", 2 * one)
    three = [pixels, pixels / 2, pixels / 3]
    for picture in three:
        targets.content_targets(vgg16, picture, CONTENT)
    assert targets._content_cache.currsize == 2 * one
    passes.clear()
    targets.content_targets(vgg16, three[2], CONTENT)
    assert passes == []
    targets.content_targets(vgg16, three[0], CONTENT)
    assert len(passes) == 1


def test_what_is_too_large_to_keep_is_computed_all_the_same(vgg16, pixels, monkeypatch):
    monkeypatch.setattr(targets._content_cache, "_Cache__maxsize", 10)
    assert targets.content_targets(vgg16, pixels, CONTENT)["conv2_1"].shape == (1, 128, 16, 24)
    assert targets._content_cache.currsize == 0


def test_threads_share_them(vgg16, pixels):
    found: list[Tensor] = []
    threads = [
        threading.Thread(target=lambda: found.append(targets.style_targets(vgg16, pixels, STYLE)["conv1_1"]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(found[0], A) for A in found)
