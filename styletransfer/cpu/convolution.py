"""VGG's 3×3 convolutions and the gradients with respect to their input, by the fastest route of this machine.

The weights are frozen, so only input gradients are needed. Each is again a 3×3 same-padding convolution, with the
kernel flipped and its channel axes swapped. In float32 a route computes either without approximation:

- "direct": the library's own convolution.
- "nnpack": F(6×6, 3×3) of Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, arXiv 1509.09308,
  by NNPACK, with 5 times fewer multiplications. It transforms the kernel at every call, so it suits many pixels.
- "winograd": F(4×4, 3×3), with 4 times fewer. It transforms the kernel once, so it suits few pixels, many channels.

Rounding errors stay near 1e-5 of the largest activation. In bfloat16, for processors that multiply it natively, the
routes are "direct" and, as "winograd", the F(2×2, 3×3) of bfloat16.py.

The fastest route depends on the shape and the machine, so each class of shapes has a trial on first use. The process
keeps the choice, so that the same input gives the same bits within it, unless other programs held the processor during
the trial: such a choice may be slow, and is made again (see _Choice). `pin_route` makes the bits the same in every
process. Any other input (another device or precision, a batch) goes to the library's convolution.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..torch_state import own_state
from .bfloat16 import Winograd2x2

# Eq. 6–8 of the paper, Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, for tiles of m×m outputs from n×n inputs.
m, n = 4, 6
B_T = torch.tensor([
    [4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
], dtype=torch.float32, device="cpu")  # fmt: skip
G = torch.tensor([
    [6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24],
], dtype=torch.float32, device="cpu") / 24  # fmt: skip
A_T = torch.tensor([
    [1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1],
], dtype=torch.float32, device="cpu")  # fmt: skip

LARGE_KERNEL = 256 * 256  # above this C·K the kernel no longer fits the cache: use larger chunks
TILES, TILES_LARGE_KERNEL = 128, 256  # per chunk: enough for an efficient product, few enough to stay in the cache
MAX_SLAB_BYTES = 48 << 20  # input and output together: see Direct
TRIAL_ROUNDS, TRIAL_ROWS = 3, 48  # a trial times each route this often, on this many rows
MAX_TRIALS = 4  # of a class of shapes
SECONDS_TO_NEXT_TRIAL = 10.0  # by then the other program may have ended; four times as long after each further trial
NOISE = 1.4  # without other programs, the rounds of a route differ by less than this factor
SPEED_UP = 2.0  # and a whole call is less than this much faster than a trial, whose slab pays more for the kernel

Kernel = Callable[[], Tensor]
"""Returns the weights of a route, (K, C, 3, 3)."""


class Conv3x3:
    """ReLU(conv(x) + bias) with a frozen 3×3 kernel, stride 1 and zero padding 1; differentiable with respect to x.

    `weight` is (O, I, 3, 3) and `bias` (O,). Safe to call from several threads.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        self.forward = _Routes(self.weight, lambda: self.weight, self.bias)
        # Flip lazily: most routes store a transformed copy and never need this one again.
        self.backward = _Routes(self.weight, lambda: self.weight.flip(2, 3).transpose(0, 1).contiguous(), None)

    def __call__(self, x: Tensor) -> Tensor:
        """(1, I, H, W) to (1, O, H, W), for any H and W from 1."""
        has_routes = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and len(x) == 1
        if has_routes and x.dtype == self.weight.dtype:
            return _Conv3x3.apply(x, self)
        return nnf.relu(nnf.conv2d(x, self.weight, self.bias, padding=1))


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Conv3x3) -> Tensor:
        y = layer.forward(x)
        ctx.layer = layer
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return ctx.layer.backward(grad, gate=y), None


class Direct:
    """A convolution by the library's own kernel. If it has a bias, the bias and a ReLU follow.

    A gate of x's shape sets x to zero where gate ≤ 0: the backward pass of the ReLU.

    Beside input and output a kernel needs up to four times their memory: the gated input, copies in other layouts,
    transforms, which NNPACK even keeps. Cut into slabs of rows where input and output exceed
    MAX_SLAB_BYTES, only a slab needs it: a run at 512 px takes 3 % longer and 0.3 GB less.
    """

    layout = torch.contiguous_format

    def __init__(self, kernel: Kernel, bias: Tensor | None) -> None:
        self.weight, self.bias = kernel().contiguous(memory_format=self.layout), bias

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        (K, C), (H, W) = self.weight.shape[:2], x.shape[2:]
        slabs = -(-x.element_size() * (K + C) * H * W // MAX_SLAB_BYTES)
        if slabs <= 1:
            return self._rows(x, gate)
        step = -(-H // slabs // 6) * 6 - 2  # with the row above and below: whole tiles of NNPACK's
        y = torch.empty((1, K, H, W), dtype=x.dtype, device=x.device, memory_format=self.layout)
        for row in range(0, H, step):
            above = min(row, 1)
            rows = slice(row - above, row + step + 1)
            slab = self._rows(x[:, :, rows], gate if gate is None else gate[:, :, rows])
            y[:, :, row : row + step] = slab[:, :, above : above + step]
        return y

    def _rows(self, x: Tensor, gate: Tensor | None) -> Tensor:
        if gate is not None:
            x = torch.ops.aten.threshold_backward(x, gate, 0)
        y = self.convolve(x)
        return y if self.bias is None else y.relu_()

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve x (1, C, H, W) and add the bias if there is one, without a ReLU."""
        return nnf.conv2d(x, self.weight, self.bias, padding=1)


class DirectBfloat16(Direct):
    """A convolution by the library's own kernel, in bfloat16.

    With the kernel in the layout of the input it takes 14 instead of 49 ms for 3 channels in and 64 out at 512×512.
    """

    layout = torch.channels_last

    def _rows(self, x: Tensor, gate: Tensor | None) -> Tensor:
        return super()._rows(x.contiguous(memory_format=self.layout), gate)


class Nnpack(Direct):
    """A convolution by NNPACK, which torch ships but does not use for a single image."""

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve x (1, C, H, W) and add the bias if there is one, without a ReLU."""
        return torch._nnpack_spatial_convolution(x.contiguous(), self.weight, self.bias, 1, 1)


class Winograd:
    """A convolution by F(4×4, 3×3), with the names of the paper. Tiles of m×m outputs overlap in their n×n inputs.

    Both transforms are batches of small matrix products over channels-last memory, which a strided view reads in
    place; the n² products over channels are another batch. (With kernels packed for oneDNN an iteration at 128 px took
    0.11 s instead of 0.14, but 1.0 to 1.5 s for the next image of another shape, which the layout does not fit.)
    """

    layout = torch.channels_last

    def __init__(self, kernel: Kernel, bias: Tensor | None) -> None:
        g = kernel()
        self.K, self.C = g.shape[:2]
        self.U = (torch.kron(G, G) @ g.permute(2, 3, 1, 0).reshape(9, -1)).view(n * n, self.C, self.K)  # G g Gᵀ
        self.bias = bias

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        C, K = self.C, self.K
        H, W = x.shape[2:]
        rows, cols = -(-H // m), -(-W // m)
        step = min(rows, max(1, round((TILES_LARGE_KERNEL if C * K > LARGE_KERNEL else TILES) / cols)))
        T = step * cols
        x = x.contiguous(memory_format=self.layout)[0].permute(1, 2, 0)
        gate = gate if gate is None else gate[0].permute(1, 2, 0)
        y = x.new_empty(rows * m, W, K)
        # One tile more per row than needed makes the distance between all tiles the same: m columns.
        d = x.new_zeros(step * m + n, (cols + 1) * m, C)
        B_d = x.new_empty(step * m + 2, cols + 1, n, C)
        V = x.new_empty(step, cols, n, n * C)
        M = x.new_empty(T, n * n, K)
        A_M = x.new_empty(T, m, n * K)
        Y = x.new_empty(T * m, m, K)
        # Views that read the memory in place: a window is n columns of one row, a patch is n rows of such windows.
        windows = d.as_strided((B_d.shape[0] * B_d.shape[1], n, C), (m * C, C, 1))
        patches = [
            B_d.as_strided((cols, n, n * C), (n * C, (cols + 1) * n * C, 1), r * m * (cols + 1) * n * C)
            for r in range(step)
        ]
        B_windows, B_patches = B_T.expand(len(windows), n, n), B_T.expand(cols, n, n)
        A_rows, A_cols = A_T.expand(T, m, n), A_T.expand(T * m, m, n)
        for row in range(0, rows, step):
            row = min(row, rows - step)  # the last chunk overlaps the one before: every product has the same shape
            top = m * row - 1
            low, high = max(top, 0), min(top + m * step + 2, H)
            d[: low - top] = 0
            d[high - top :] = 0
            inside = d[low - top : high - top, 1 : W + 1]
            if gate is None:
                inside.copy_(x[low:high])
            else:
                torch.ops.aten.threshold_backward.grad_input(x[low:high], gate[low:high], 0, grad_input=inside)
            torch.bmm(B_windows, windows, out=B_d.view(-1, n, C))
            for patch, v in zip(patches, V, strict=True):
                torch.bmm(B_patches, patch, out=v)
            torch.bmm(V.view(T, n * n, C).transpose(0, 1), self.U, out=M.transpose(0, 1))
            if self.bias is not None:
                M[:, n + 1] += self.bias  # column 1 of Aᵀ is all ones: point (1, 1) reaches every output of the tile
            torch.bmm(A_rows, M.view(T, n, -1), out=A_M)
            torch.bmm(A_cols, A_M.view(-1, n, K), out=Y)
            self._assemble_tiles(Y.view(step, cols, m, m, K), y[row * m :][: step * m])
        return y[None, :H].permute(0, 3, 1, 2)

    def _assemble_tiles(self, tiles: Tensor, y: Tensor) -> None:
        """Copy tiles (rows, columns, m, m, K) side by side into y (rows·m, W, K), with a ReLU if there is a bias."""
        whole, rest = divmod(y.shape[1], m)
        low = -torch.inf if self.bias is None else 0.0
        tiles, y = tiles.transpose(1, 2), y.view(len(y) // m, m, *y.shape[1:])
        torch.clamp_min(tiles[:, :, :whole], low, out=y[:, :, : whole * m].view(len(y), m, whole, m, self.K))
        if rest:
            torch.clamp_min(tiles[:, :, whole, :rest], low, out=y[:, :, whole * m :])


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.maximum(*_split_even_odd(torch.maximum(*_split_even_odd(x, 2)), 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _route_gradient(x, 2, _route_gradient(torch.maximum(*_split_even_odd(x, 2)), 3, grad))


def max_pool(x: Tensor) -> Tensor:
    """Return the maxima of 2×2 positions of x (1, C, H, W). A last odd row or column is ignored.

    On a processor it pools rows first, then columns: an eighth of the library's time for 64 channels at 512×512.
    """
    return _MaxPool.apply(x) if x.device.type == "cpu" else nnf.max_pool2d(x, 2)


def _split_even_odd(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the even and the odd rows (dim 2) or columns (dim 3), equally many."""
    even, odd = ((slice(None),) * dim + (slice(start, x.shape[dim] // 2 * 2, 2),) for start in (0, 1))
    return x[even], x[odd]


def _route_gradient(x: Tensor, dim: int, grad: Tensor) -> Tensor:
    """Return the gradient with respect to x of the maximum of its halves. If both are equal, the odd half gets it."""
    even, odd = _split_even_odd(x, dim)
    spread = torch.zeros_like(x) if x.shape[dim] % 2 else torch.empty_like(x)
    to_even, to_odd = _split_even_odd(spread, dim)
    torch.ops.aten.threshold_backward.grad_input(grad, even - odd, 0, grad_input=to_even)
    torch.sub(grad, to_even, out=to_odd)
    return spread


@dataclass
class _Choice:
    """The route of a class of shapes, and whether its trial can be trusted.

    It cannot where the rounds of the trial disagree, or where a later call is much faster than the trial was: then
    another program has held the processor meanwhile. All routes do not suffer alike, so a slow one may have won.
    """

    route: str
    seconds_per_pixel: float
    is_doubtful: bool
    trials: int
    next_trial: float  # the time from which a doubtful choice is made again

    def is_due(self) -> bool:
        """Return whether it is time to make the choice again."""
        return self.is_doubtful and self.trials < MAX_TRIALS and time.perf_counter() >= self.next_trial

    def compare_call(self, seconds: float, pixels: int) -> None:
        """Take into account a call by this route."""
        if seconds * SPEED_UP < self.seconds_per_pixel * pixels:
            self.is_doubtful = True


Route = Direct | Winograd | Winograd2x2
ROUTES: dict[str, type[Route]] = {"direct": Direct, "nnpack": Nnpack, "winograd": Winograd}
BFLOAT16_ROUTES: dict[str, type[Route]] = {"direct": DirectBfloat16, "winograd": Winograd2x2}
_choices: dict[tuple[Any, ...], _Choice] = {}
_timing = threading.Lock()
_pinned: str | None = None


def pin_route(name: str | None) -> None:
    """Use one of ROUTES for every convolution with 16 channels or more; None times the routes again.

    With a pinned route a run gives the same bits in every process on this machine. Raises KeyError for another name.
    """
    global _pinned
    if name is not None and name not in ROUTES:
        raise KeyError(name)
    _pinned = name


@functools.cache
@own_state()
def usable_routes() -> tuple[str, ...]:
    """Return the routes of this build and processor. NNPACK is no documented part of torch, so it is tried."""
    x = torch.linspace(-1, 1, 560, dtype=torch.float32, device="cpu").view(1, 16, 5, 7)
    weight = torch.linspace(-1, 2, 2304, dtype=torch.float32, device="cpu").view(16, 16, 3, 3)
    y = nnf.conv2d(x, weight, padding=1)
    with contextlib.suppress(AttributeError, RuntimeError, TypeError):
        if torch._nnpack_available() and torch.allclose(Nnpack(lambda: weight, None)(x), y, atol=1e-2):
            return "direct", "winograd", "nnpack"
    return "direct", "winograd"


class _Routes:
    """A frozen convolution by the route that is fastest for the shape of its input."""

    def __init__(self, weight: Tensor, kernel: Kernel, bias: Tensor | None) -> None:
        self.channels, self.precision = sorted(weight.shape[:2]), weight.dtype
        self.routes = BFLOAT16_ROUTES if weight.dtype == torch.bfloat16 else ROUTES
        self.kernel, self.bias = kernel, bias
        self.built: dict[str, Route] = {}

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        name = self._choose_route(x, gate)
        route = self._build_route(name)
        start = time.perf_counter()
        y = route(x, gate)
        choice = _choices.get(self._classify(x))
        if choice and choice.route == name:
            choice.compare_call(time.perf_counter() - start, x[0, 0].numel())
        return y

    def _classify(self, x: Tensor) -> tuple[Any, ...]:
        """Return the class of shapes of an input: its two channel counts, and its pixels to a power of four."""
        return (self.precision, *self.channels, x[0, 0].numel().bit_length() // 2)

    def _build_route(self, name: str) -> Route:
        route = self.built.get(name)
        if route is None:
            with own_state():  # the route is kept, and with it a transformed kernel
                route = self.built[name] = self.routes[name](self.kernel, self.bias)
        return route

    def _choose_route(self, x: Tensor, gate: Tensor | None) -> str:
        """Return the name of the route for an input."""
        if self.channels[0] < 16:
            return "direct"
        if _pinned in self.routes:
            return _pinned
        shapes = self._classify(x)
        with _timing:
            choice = _choices.get(shapes)
            if not choice or choice.is_due():
                choice = _choices[shapes] = self._time_routes(x, gate, trials=choice.trials + 1 if choice else 1)
        return choice.route

    def _time_routes(self, x: Tensor, gate: Tensor | None, trials: int) -> _Choice:
        """Hold a trial, number `trials` of its class: time the routes in turn on a slab. The best round counts."""
        x, gate = x[:, :, :TRIAL_ROWS], gate if gate is None else gate[:, :, :TRIAL_ROWS]
        routes = {name: self._build_route(name) for name in self.routes if name in usable_routes()}
        seconds: dict[str, list[float]] = {name: [] for name in routes}
        for _ in range(TRIAL_ROUNDS):
            for name, route in routes.items():
                # Each route gets its own layout, since neighbouring layers mostly choose the same one.
                x = x.contiguous(memory_format=route.layout)
                gate = gate if gate is None else gate.contiguous(memory_format=route.layout)
                start = time.perf_counter()
                route(x, gate)
                seconds[name].append(time.perf_counter() - start)
        best = min(seconds, key=lambda name: min(seconds[name]))
        self.built = {best: routes[best]}
        return _Choice(
            route=best,
            seconds_per_pixel=min(seconds[best]) / x[0, 0].numel(),
            # The median, because the first round of a route also warms it up.
            is_doubtful=any(statistics.median(rounds) > NOISE * min(rounds) for rounds in seconds.values()),
            trials=trials,
            next_trial=time.perf_counter() + SECONDS_TO_NEXT_TRIAL * 4 ** (trials - 1),
        )
