"""What a caller has set in torch (inference mode, autocast, gradients) must not reach the engine, nor its caches.

Default dtype and default device belong to the whole process, so they are not changed: every tensor names its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

AUTOCAST_DEVICES = ("cpu", "cuda", "mps")

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")


@contextmanager
def own_state() -> Iterator[None]:
    """Compute without inference mode, autocast and gradients; the caller's state returns on leaving.

    A tensor made in inference mode can never take part in a gradient. One in a cache would break every later run.
    Do not yield inside: the caller of a generator would get this state. For those there is `step_in_own_state`.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # sets the gradient mode too, so it comes before no_grad
        stack.enter_context(torch.no_grad())
        for device in AUTOCAST_DEVICES:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def step_in_own_state(steps: Callable[P, Generator[Y, S | None, R]]) -> Callable[P, Generator[Y, S | None, R]]:
    """Decorate a generator function: each step computes in `own_state`, which is left again at every yield."""

    @functools.wraps(steps)
    def stepped(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S | None, R]:
        generator = steps(*args, **kwargs)
        sent: S | None = None
        try:
            while True:
                with own_state():
                    try:
                        step = generator.send(sent)
                    except StopIteration as end:
                        return end.value
                sent = yield step
        finally:
            generator.close()

    return stepped
