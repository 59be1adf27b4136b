"""The targets that the losses compare with: a photo's activations, a painting's Gram matrices. Kept for later runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Sequence
from functools import partial

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from . import losses, neighbours
from .backbones import Backbone
from .torch_state import own_state

MAX_CONTENT_BYTES = 96 << 20  # a photo at 1024 px (90 MB)
MAX_STYLE_BYTES = 64 << 20  # a painting's hypercolumns at 256 px (41 MB), and its statistics at each size (3 MB)

Targets = dict[str, Tensor]
"""Tensors by layer name. Cached and shared between runs: never change one in place."""


def _make_cache(max_bytes: int) -> LRUCache[Hashable, Targets]:
    return LRUCache(max_bytes, lambda targets: sum(tensor.nbytes for tensor in targets.values()))


# Apart, so that a large photo does not push out the painting that the next photo is painted by.
_content_cache, _style_cache = _make_cache(MAX_CONTENT_BYTES), _make_cache(MAX_STYLE_BYTES)


def _key(kind: str, backbone: Backbone, pixels: Tensor, layers: tuple[str, ...], objective: str = "") -> Hashable:
    digest = hashlib.blake2b(pixels.cpu().numpy().data).digest()
    return kind, backbone, digest, pixels.shape, layers, objective


_cached = partial(cached, lock=threading.Lock())


@_cached(_content_cache, key=partial(_key, "content"))
@own_state()
def content_targets(backbone: Backbone, content_image: Tensor, layers: tuple[str, ...]) -> Targets:
    """P of eq. 1: the activations of an image (1, 3, H, W) in [0, 1], each (1, N, H_l, W_l)."""
    return {layer: F.float() for layer, F in backbone.activations(content_image, layers)}


@_cached(_style_cache, key=partial(_key, "style"))
@own_state()
def style_targets(backbone: Backbone, style_image: Tensor, layers: tuple[str, ...], objective: str = "gram") -> Targets:
    """A: for each layer, the statistic that `objective` compares, of an image (1, 3, H, W) in [0, 1].

    For "gram" these are the Gram matrices per position of eq. 4, each (N, N).
    """
    statistic = losses.STYLE_LOSSES[objective].statistic
    return {layer: statistic(F, None) for layer, F in backbone.activations(style_image, layers)}


@_cached(
    _style_cache,
    key=lambda backbone, image, regions, *rest: (_key("", backbone, regions, ()), _key("", backbone, image, *rest)),
)
@own_state()
def _region_statistics(
    backbone: Backbone, image: Tensor, regions: Tensor, layers: tuple[str, ...], objective: str
) -> Targets:
    statistic = losses.STYLE_LOSSES[objective].statistic
    return {
        layer: torch.stack([statistic(F, losses.resize_mask(k, F.shape[2:])) for k in regions[:, None]])
        for layer, F in backbone.activations(image, layers)
    }


def region_statistics(
    backbone: Backbone, image: Tensor, regions: Tensor, layers: tuple[str, ...], objective: str
) -> list[Targets]:
    """The same statistic of an image (1, 3, H, W) within each of its `regions`, (K, 1, H, W) in [0, 1]."""
    found = _region_statistics(backbone, image, regions, layers, objective)
    return [{layer: statistics[region] for layer, statistics in found.items()} for region in range(len(regions))]


@_cached(_style_cache, key=lambda backbone, style_image: _key("hypercolumns", backbone, style_image, ()))
def _hypercolumns(backbone: Backbone, style_image: Tensor) -> Targets:
    return {"": neighbours.hypercolumns(backbone, style_image)}


def hypercolumns(backbone: Backbone, style_image: Tensor) -> Tensor:
    """The hypercolumns of a painting (1, 3, H, W) in [0, 1], (2624, M): see neighbours.hypercolumns."""
    return _hypercolumns(backbone, style_image)[""]


def mix_targets(found: Sequence[Targets], share: float) -> Targets:
    """Return the targets of one painting, or the weighted mean of two: the second counts for `share`, in [0, 1]."""
    first, *second = found
    return {layer: torch.lerp(first[layer], second[0][layer], share) for layer in first} if second else first
