"""The plain loop of examples/plain.py as the benchmark runs it: timed, and without the engine in its process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch._dynamo  # torch.optim would import it at its first step, which takes seconds
from torch import Tensor

from examples.plain import Loss, Network, Step, paint

T = TypeVar("T")


def time_items(items: Iterator[T]) -> Iterator[tuple[float, T]]:
    """Each item with the seconds of work so far; what the caller does between two items is not counted."""
    seconds = 0.0
    while True:
        started = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        seconds += time.perf_counter() - started
        yield seconds, item


def time_steps(
    network: Network, photo: Tensor, painting: Tensor, α: float, β: float, iterations: int
) -> Iterator[tuple[float, Step]]:
    """The steps of `plain.paint`, with the seconds of work so far."""
    return time_items(paint(network, photo, painting, α, β, iterations))


def time_gradients(loss: Loss, x: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Compute the gradient at `x` (1, 3, H, W) again and again; yields the seconds it took, and the gradient."""
    while True:
        y = x.clone().requires_grad_()
        started = time.perf_counter()
        gradient = torch.autograd.grad(loss(y), y)[0]
        yield time.perf_counter() - started, gradient


def to_double(network: Network) -> None:
    """Make the network compute in float64 from now on."""
    network.mean, network.std = network.mean.double(), network.std.double()
    network.kernels = {layer: kernel.double() for layer, kernel in network.kernels.items()}
    network.biases = {layer: bias.double() for layer, bias in network.biases.items()}
