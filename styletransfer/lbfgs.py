"""L-BFGS on the pixels (Nocedal & Wright 2006, algorithm 7.4), inside the gamut, with one evaluation per step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

BAND = 1 << 22
"""So many numbers are computed with at once where memory is short: 20 ms on a core."""


class LBFGS:
    """Minimise f over images with pixels in [0, 1]. The caller evaluates f; `step` returns the next image to evaluate.

    Three departures from the textbook, because the result is saved in 8 bits and starts far from its minimum:

    - Steps are projected on the gamut, and pixels that push against its walls are left out of the quasi-Newton
      direction (Bertsekas 1982). When only the finished image was clamped, the style loss of the saved file was
      6 times the reported one (512 px, 300 iterations).
    - The first step moves the most-moved pixel by FIRST_MOVE; later steps move none by more than MAX_MOVE.
      The first step of torch.optim.LBFGS has L1 length 1: float32 cannot represent it, and the loss climbs for 20
      iterations.
    - There is no line search. A step that more than doubles the best loss, or gives no number, is taken back. Its
      curvature is learned first, so that the next step is shorter; if that one is taken back, too, all is forgotten.
      When all was forgotten at once, a portrait whose third step of eleven went wrong stayed blurred.
    """

    HISTORY = 20
    FIRST_MOVE = 10 / 255
    MAX_MOVE = 0.5
    MAX_INCREASE = 2.0  # times the best loss

    def __init__(self) -> None:
        self.best: tuple[float, Tensor, Tensor] | None = None  # f, x, g
        self._last: tuple[Tensor, Tensor] | None = None  # x, g
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=self.HISTORY)  # s, y, 1 / sᵀy
        self._first_move = self.FIRST_MOVE
        self.accepted = True  # False if the last step was taken back

    @property
    def best_image(self) -> Tensor | None:
        """The evaluated image with the smallest f, (1, 3, H, W); None before the first step."""
        return self.best[1] if self.best else None

    def step(self, x: Tensor, f: float, g: Tensor) -> Tensor:
        """Return the image to evaluate next, given the loss `f` and its gradient `g` at `x`, each (1, 3, H, W)."""
        was_accepted = self.accepted
        self.accepted = not self.best or f <= self.MAX_INCREASE * self.best[0]  # NaN is not
        is_known = self._last is not None and math.isfinite(f) and self._add_pair(x, g)
        if not self.best or f < self.best[0]:
            self.best = f, x, g
        if not self.accepted:
            _, x, g = self.best
            if not (is_known and was_accepted):
                self._pairs.clear()
                self._first_move /= 4
        self._last = x, g
        free = ((x > 0) | (g < 0)) & ((x < 1) | (g > 0))
        d = -self._multiply_inverse_hessian(g * free) * free
        largest = d.abs().max().item() or 1.0
        length = min(1.0, self.MAX_MOVE / largest) if self._pairs else self._first_move / largest
        return (x + length * d).clamp_(0, 1)

    def _add_pair(self, x: Tensor, g: Tensor) -> bool:
        """Remember s = x − x_last and y = g − g_last, and return whether the curvature along s is positive."""
        assert self._last is not None
        s, y = x - self._last[0], g - self._last[1]
        sy = _dot(s, y)
        is_positive = bool(sy > 1e-10 * _dot(y, y))
        if is_positive:
            self._pairs.append((s, y, 1 / sy))
        return is_positive

    def _multiply_inverse_hessian(self, g: Tensor) -> Tensor:
        """Return H g by the two-loop recursion over the pairs (s, y). Its scalars stay on the device of g."""
        q = g.clone()
        alphas = []
        for s, y, rho in reversed(self._pairs):
            alphas.append(rho * _dot(s, q))
            q.addcmul_(y, alphas[-1], value=-1)
        if self._pairs:
            s, y, rho = self._pairs[-1]
            q.div_(rho * _dot(y, y))
        for (s, y, rho), alpha in zip(self._pairs, reversed(alphas), strict=True):
            q.addcmul_(s, alpha - rho * _dot(y, q))
        return q


class LeanLBFGS:
    """The same for a print, in less memory: a picture of 8192×8192 pixels takes 0.8 GB, and this class keeps 2.8 GB.

    Departures from LBFGS: three pairs in bfloat16, which a stage of few steps hardly fills; the gradient's memory
    becomes the next image; and a step that does not lower f is taken back, so that the best image is the last that was
    accepted. The curvature along such a step is learned from it, so that the next is shorter.
    After 6 evaluations at 1024 px, L_total was 0.31 of what it was at first, and 0.42 by Adam.
    """

    HISTORY = 3

    def __init__(self) -> None:
        self.f = math.inf  # of the best image
        self.best_image: Tensor | None = None  # (1, 3, H, W); None before the first step
        self._g: Tensor | None = None  # its gradient, in bfloat16
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque()  # s, y, 1 / sᵀy
        self._first_move = LBFGS.FIRST_MOVE

    def step(self, x: Tensor, f: float, g: Tensor) -> Generator[None, None, Tensor]:
        """Return the image to evaluate next, given `f` and its gradient `g` at `x`, each (1, 3, H, W).

        It takes the memory of `g`. Yields after each BAND of numbers.
        """
        has_pair = self.best_image is not None and math.isfinite(f) and (yield from self._add_pair(x, g))
        if f < self.f:
            self.f, self.best_image, self._g = f, x, g.bfloat16()
        else:
            assert self.best_image is not None and self._g is not None
            if not has_pair:
                self._pairs.clear()
                self._first_move /= 4
            x = self.best_image
            g.copy_(self._g)
        yield from self._hold_at_walls(g)
        yield from self._multiply_inverse_hessian(g)
        yield from self._hold_at_walls(g)
        largest = max(-g.min().item(), g.max().item()) or 1.0
        length = min(1.0, LBFGS.MAX_MOVE / largest) if self._pairs else self._first_move / largest
        for g_band, x_band in _bands(g, x):
            g_band.mul_(-length).add_(x_band).clamp_(0, 1)
            yield
        return g

    def _add_pair(self, x: Tensor, g: Tensor) -> Generator[None, None, bool]:
        """Remember s = x − x_best, y = g − g_best and 1 / sᵀy, and return whether the curvature along s is positive."""
        assert self.best_image is not None and self._g is not None
        if len(self._pairs) == self.HISTORY:
            self._pairs.popleft()  # before there is memory for the next
        s, y = (torch.empty_like(x, dtype=torch.bfloat16) for _ in range(2))
        for s_band, y_band, x_band, g_band, x_best, g_best in _bands(s, y, x, g, self.best_image, self._g):
            s_band.copy_(x_band - x_best)
            y_band.copy_(g_band - g_best)
            yield
        sy = yield from _dot_bands(s, y)
        yy = yield from _dot_bands(y, y)
        if sy > 1e-10 * yy:
            self._pairs.append((s, y, 1 / sy))
        return sy > 1e-10 * yy

    def _hold_at_walls(self, d: Tensor) -> Generator[None, None, None]:
        """Set d to zero, in place, where the gradient pushes a pixel of the best image against a wall of the gamut."""
        assert self.best_image is not None and self._g is not None
        for d_band, x, g in _bands(d, self.best_image, self._g):
            d_band.mul_(((x > 0) | (g < 0)) & ((x < 1) | (g > 0)))
            yield

    def _multiply_inverse_hessian(self, q: Tensor) -> Generator[None, None, None]:
        """Turn g into H g, in place, by the two-loop recursion over the pairs (s, y)."""
        alphas = []
        for s, y, rho in reversed(self._pairs):
            alphas.append(rho * (yield from _dot_bands(s, q)))
            yield from _add_bands(q, y, -alphas[-1])
        if self._pairs:
            s, y, rho = self._pairs[-1]
            yy = yield from _dot_bands(y, y)
            q.div_(rho * yy)
        for (s, y, rho), alpha in zip(self._pairs, reversed(alphas), strict=True):
            beta = rho * (yield from _dot_bands(y, q))
            yield from _add_bands(q, s, alpha - beta)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def _bands(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same parts of tensors of one shape, as flat views."""
    return zip(*(torch.split(tensor.view(-1), BAND) for tensor in tensors), strict=True)


def _dot_bands(a: Tensor, b: Tensor) -> Generator[None, None, float]:
    total = 0.0
    for a_band, b_band in _bands(a, b):
        total += torch.dot(a_band.float(), b_band.float()).item()
        yield
    return total


def _add_bands(q: Tensor, s: Tensor, factor: float) -> Generator[None, None, None]:
    for q_band, s_band in _bands(q, s):
        q_band.add_(s_band, alpha=factor)
        yield
