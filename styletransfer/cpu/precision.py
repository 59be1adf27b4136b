"""Whether this processor paints faster in bfloat16: one convolution is checked and timed, once."""

from __future__ import annotations

import functools
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ..torch_state import own_state
from .convolution import Conv3x3

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
MAX_ERROR = 0.05  # relative to the norm; 0.01 is usual
TIMING_ROUNDS = 3


@functools.cache
@own_state()
def fastest_precision() -> torch.dtype:
    """Return bfloat16 where this processor has instructions for it, computes it rightly and faster; else float32.

    Without the instructions it would be 4 to 16 times slower (pytorch#183815), so it is not even tried.
    """
    if not has_instructions():
        return torch.float32
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        for shape in ((1, 256, 32, 32), (256, 256, 3, 3))
    )
    trials = {
        dtype: (Conv3x3(weight.to(dtype) / 48, torch.zeros(256, dtype=dtype, device="cpu")), x.relu().to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    exact, rounded = (_evaluate(layer, pixels) for layer, pixels in trials.values())
    if any((b.float() - a).norm() > MAX_ERROR * a.norm() for a, b in zip(exact, rounded, strict=True)):
        return torch.float32
    seconds = dict.fromkeys(trials, float("inf"))
    for _ in range(TIMING_ROUNDS):
        for dtype, (layer, pixels) in trials.items():
            start = time.perf_counter()
            _evaluate(layer, pixels)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return min(seconds, key=seconds.__getitem__)


def has_instructions() -> bool:
    """Look for bfloat16 among the flags of the processor, which only Linux lists."""
    with suppress(OSError):
        return not INSTRUCTIONS.isdisjoint(CPUINFO.read_text().split())
    return False


def _evaluate(layer: Conv3x3, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's activation of x, and the gradient of half its squared norm with respect to x."""
    x = x.requires_grad_()
    with torch.enable_grad():
        y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, y.detach())
    return y.detach(), gradient
