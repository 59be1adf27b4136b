"""What the losses compare with: activations of photos and Gram matrices of paintings, kept for the next run."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Sequence
from functools import partial

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from . import losses
from .backbones import Backbone

MOST_BYTES = 32 << 20  # a pair at 512 px with its smaller stages

Targets = dict[str, Tensor]
_kept: LRUCache[Hashable, Targets] = LRUCache(MOST_BYTES, lambda targets: sum(T.nbytes for T in targets.values()))


def _key(what: str, backbone: Backbone, pixels: Tensor, layers: tuple[str, ...]) -> Hashable:
    digest = hashlib.blake2b(pixels.cpu().numpy().data).digest()
    return what, backbone, digest, pixels.shape, layers


_cached = partial(cached, _kept, lock=threading.Lock())


@_cached(key=partial(_key, "content"))
@torch.no_grad()
def content(backbone: Backbone, photo: Tensor, layers: tuple[str, ...]) -> Targets:
    """P: the activations of the photo (1, 3, H, W), each (1, N, H_l, W_l), by layer. Not to be changed."""
    return dict(backbone.activations(photo, layers))


@_cached(key=partial(_key, "style"))
@torch.no_grad()
def style(backbone: Backbone, painting: Tensor, layers: tuple[str, ...]) -> Targets:
    """A: the Gram matrices of the painting (1, 3, H, W) per position, each (N, N), by layer. Not to be changed."""
    return {layer: losses.gram_matrix(S) / S[0, 0].numel() for layer, S in backbone.activations(painting, layers)}


def mixed_style(backbone: Backbone, paintings: Sequence[Tensor], layers: tuple[str, ...], share: float) -> Targets:
    """A of one painting; of two, their Gram matrices mixed: those of the second count for `share`, in [0, 1]."""
    A, *B = (style(backbone, painting, layers) for painting in paintings)
    return {layer: torch.lerp(A[layer], B[0][layer], share) for layer in layers} if B else A
