"""VGG's 3×3 convolutions and the gradients with respect to their input, by the fastest exact route of this machine.

The weights are frozen, so only input gradients are needed: each is again a 3×3 same-padding convolution, with the
kernel turned by 180° and its channel axes swapped. A route computes either in float32, without approximation:

- "direct": the library's own convolution, channels last.
- "shifted": nine matrix products, shifted and added, for the gradient with respect to the image.
- "winograd4", "winograd6": F(4×4, 3×3) and F(6×6, 3×3) of Lavin & Gray, "Fast Algorithms for Convolutional Neural
  Networks", 2016, arXiv 1509.09308: 4 and 5 times fewer multiplications. Rounding errors stay near 1e-5 of the
  largest activation.

Which one wins depends on the shape and the machine, so each class of shapes is timed once, on first use, and the
choice is kept for the life of the process: the same input gives the same bits. Anything else (another device or
precision, a batch, a processor or build without the packed product below) takes the plain route.
"""

from __future__ import annotations

import functools
import itertools
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd.function import once_differentiable

# Eq. 6–8 of the paper, Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, by the side m of an output tile. For m = 4 these are the paper's
# own matrices; for m = 6 the same construction (Cook–Toom) with interpolation points 0, ±1, ±2, ±½, ∞.
B_T = {
    4: torch.tensor([
        [4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ]),
    6: torch.tensor([
        [1, 0, -5.25, 0, 5.25, 0, -1, 0], [0, 1, 1, -4.25, -4.25, 1, 1, 0], [0, -1, 1, 4.25, -4.25, -1, 1, 0],
        [0, 0.5, 0.25, -2.5, -1.25, 2, 1, 0], [0, -0.5, 0.25, 2.5, -1.25, -2, 1, 0],
        [0, 2, 4, -2.5, -5, 0.5, 1, 0], [0, -2, 4, 2.5, -5, -0.5, 1, 0], [0, -1, 0, 5.25, 0, -5.25, 0, 1],
    ]),
}  # fmt: skip
G = {
    4: torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
    6: torch.tensor([
        [90.0, 0, 0], [-20, -20, -20], [-20, 20, -20], [1, 2, 4], [1, -2, 4], [64, 32, 16], [64, -32, 16], [0, 0, 90],
    ]) / 90,
}  # fmt: skip
A_T = {
    4: torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
    6: torch.tensor([
        [1, 1, 1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 1 / 2, -1 / 2, 0], [0, 1, 1, 4, 4, 1 / 4, 1 / 4, 0],
        [0, 1, -1, 8, -8, 1 / 8, -1 / 8, 0], [0, 1, 1, 16, 16, 1 / 16, 1 / 16, 0],
        [0, 1, -1, 32, -32, 1 / 32, -1 / 32, 1],
    ]),
}  # fmt: skip

LARGE = 256 * 256  # C·K beyond which memory counts: F(6×6) turns the 9 numbers of a kernel into 64
TILES = 128  # per chunk: enough for an efficient product, few enough to stay in the cache
TILES_LARGE = 256  # of a large layer: there it is the kernel that should be read seldom
ROUNDS, SLAB = 5, 24  # a route is timed this often, on this many rows


class Conv3x3:
    """ReLU(conv(x) + bias) with a frozen 3×3 kernel, stride 1 and zero padding 1; differentiable with respect to x.

    `weight` is (O, I, 3, 3) and `bias` (O,). Safe to call from several threads.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        self.forward = _Routes(self.weight, self.bias)
        self.backward = _Routes(self.weight.flip(2, 3).transpose(0, 1), None)

    def __call__(self, x: Tensor) -> Tensor:
        """(1, I, H, W) to (1, O, H, W), for any H and W from 1."""
        if x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and len(x) == 1 and has_winograd():
            return _Conv3x3.apply(x, self)
        return nnf.relu(nnf.conv2d(x, self.weight, self.bias, padding=1))


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Conv3x3) -> Tensor:
        y = layer.forward(x.contiguous(memory_format=torch.channels_last))
        ctx.layer = layer
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return ctx.layer.backward(grad.contiguous(memory_format=torch.channels_last), gate=y), None


class Direct:
    """One convolution by the library's own kernel: with a bias, that and a ReLU follow.

    With a gate of x's shape, x counts only where gate > 0: the backward pass of the ReLU.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.contiguous(memory_format=torch.channels_last), bias

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        if gate is not None:
            x = torch.ops.aten.threshold_backward(x, gate, 0)
        y = nnf.conv2d(x, self.weight, self.bias, padding=1)
        return y if self.bias is None else y.relu_()


class Shifted:
    """The same for a few output channels, as at the image: nine products with x, shifted and added."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.permute(2, 3, 0, 1).flatten(0, 2), bias

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        if gate is not None:
            x = torch.ops.aten.threshold_backward(x, gate, 0)
        H, W = x.shape[2:]
        products = (self.weight @ x[0].permute(1, 2, 0).reshape(H * W, -1).T).view(3, 3, -1, H, W)
        y = x.new_zeros(products.shape[2], H + 2, W + 2)
        for i, j in itertools.product(range(3), range(3)):
            y[:, 2 - i : 2 - i + H, 2 - j : 2 - j + W] += products[i, j]
        y = y[None, :, 1:-1, 1:-1]
        return y if self.bias is None else nnf.relu(y + self.bias.view(-1, 1, 1))


class Winograd:
    """The same by F(m×m, 3×3), with the names of the paper. Tiles of m×m outputs overlap in their inputs, n×n.

    Both transforms are batches of small matrix products over channels-last memory, which a strided view reads in
    place. The n² products over channels are one 1×1 convolution in n² groups, whose kernel is packed beforehand.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, m: int) -> None:
        self.m, self.n = m, m + 2
        self.weight = weight
        self.K, self.C = weight.shape[:2]
        self.packed: dict[bool, Tensor] = {}
        self.bias = None
        if bias is not None:
            # Column 1 of Aᵀ is all ones, so what is added to point (1, 1) reaches every output of the tile.
            self.bias = torch.zeros(self.n, self.n, self.K)
            self.bias[1, 1] = bias
            self.bias = self.bias.flatten()

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        m, n, C, K = self.m, self.n, self.C, self.K
        H, W = x.shape[2:]
        rows, cols = -(-H // m), -(-W // m)
        step = min(rows, max(1, round((TILES_LARGE if C * K > LARGE else TILES) / cols)))
        T = step * cols
        U = self._pack(T)
        x = x[0].permute(1, 2, 0)
        gate = gate if gate is None else gate[0].permute(1, 2, 0)
        y = x.new_empty(rows * m, W, K)
        # One tile more per row than needed makes the distance between all tiles the same: m columns.
        d = x.new_zeros(step * m + n, (cols + 1) * m, C)
        B_d = x.new_empty(step * m + 2, cols + 1, n, C)
        V = x.new_empty(step, cols, n, n * C)
        A_M = x.new_empty(T, m, n * K)
        Y = x.new_empty(T * m, m, K)
        # Views that read the memory in place: a window is n columns of one row, a patch is n rows of such windows.
        windows = d.as_strided((B_d.shape[0] * B_d.shape[1], n, C), (m * C, C, 1))
        patches = [
            B_d.as_strided((cols, n, n * C), (n * C, (cols + 1) * n * C, 1), r * m * (cols + 1) * n * C)
            for r in range(step)
        ]
        B_windows, B_patches = B_T[m].expand(len(windows), n, n), B_T[m].expand(cols, n, n)
        A_rows, A_cols = A_T[m].expand(T, m, n), A_T[m].expand(T * m, m, n)
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
            M = _packed_product(V.view(1, T, 1, -1), U, self.bias, groups=n * n)
            torch.bmm(A_rows, M.view(T, n, -1), out=A_M)
            torch.bmm(A_cols, A_M.view(-1, n, K), out=Y)
            self._lay(Y.view(step, cols, m, m, K), y[row * m :][: step * m])
        return y[None, :H].permute(0, 3, 1, 2)

    def _pack(self, T: int) -> Tensor:
        """G g Gᵀ as the product over T tiles reads it; the memory layout is another one from 64 tiles on."""
        packed = self.packed.get(T < 64)
        if packed is None:
            U = torch.kron(G[self.m], G[self.m]) @ self.weight.permute(2, 3, 0, 1).reshape(9, -1)
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            groups = self.n**2
            shape = (1, groups * self.C, T, 1)
            packed = pack(U.view(-1, self.C, 1, 1).to_mkldnn(), (0, 0), (1, 1), (1, 1), groups, shape)
            if self.C * self.K > LARGE:
                self.packed = {}
            self.packed[T < 64] = packed
        return packed

    def _lay(self, tiles: Tensor, y: Tensor) -> None:
        """Lay (rows, columns, m, m, K) tiles side by side into y (rows·m, W, K), cut to its width; ReLU if any."""
        m, whole, rest = self.m, y.shape[1] // self.m, y.shape[1] % self.m
        low = -torch.inf if self.bias is None else 0.0
        tiles, y = tiles.transpose(1, 2), y.view(len(y) // m, m, *y.shape[1:])
        torch.clamp_min(tiles[:, :, :whole], low, out=y[:, :, : whole * m].view(len(y), m, whole, m, self.K))
        if rest:
            torch.clamp_min(tiles[:, :, whole, :rest], low, out=y[:, :, whole * m :])


def _packed_product(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """A grouped 1×1 convolution with a packed kernel: (1, T, 1, groups·C), channels last, to (1, T, 1, groups·K)."""
    x = x.permute(0, 3, 1, 2)
    y = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [0, 0], [1, 1], [1, 1], groups, "none", [], "")
    return y.permute(0, 2, 3, 1)


@functools.cache
def has_winograd() -> bool:
    """Whether this build and processor offer the packed product, which is not a documented part of the library."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    x, weight = torch.linspace(-1, 1, 560).view(1, 16, 5, 7), torch.linspace(-1, 2, 2304).view(16, 16, 3, 3)
    try:
        y = Winograd(weight, None, 4)(x)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(y, nnf.conv2d(x, weight, padding=1), atol=1e-2)


ROUTES: dict[str, Callable[..., Direct | Shifted | Winograd]] = {
    "direct": Direct,
    "shifted": Shifted,
    "winograd4": functools.partial(Winograd, m=4),
    "winograd6": functools.partial(Winograd, m=6),
}
_fastest: dict[tuple[int, ...], str] = {}
_timing = threading.Lock()


class _Routes:
    """One frozen convolution, by the route that is fastest for its input's shape."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.built: dict[str, Direct | Shifted | Winograd] = {}

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        return self._route(self._choose(x, gate))(x, gate)

    def _route(self, name: str) -> Direct | Shifted | Winograd:
        route = self.built.get(name)
        if route is None:
            route = self.built[name] = ROUTES[name](self.weight, self.bias)
        return route

    def _choose(self, x: Tensor, gate: Tensor | None) -> str:
        """The fastest route for this class of shapes: the two channel counts, and pixels to a power of two."""
        (K, C), (H, W) = self.weight.shape[:2], x.shape[2:]
        if min(K, C) < 16:
            return "shifted" if K < 16 else "direct"
        shape = (min(K, C), max(K, C), (H * W).bit_length())
        with _timing:
            if shape not in _fastest:
                _fastest[shape] = self._time(x, gate)
        return _fastest[shape]

    def _time(self, x: Tensor, gate: Tensor | None) -> str:
        """Time the routes on a slab of the input, in turn: the best of several rounds, as the machine is shared."""
        x, gate = x[:, :, :SLAB], gate if gate is None else gate[:, :, :SLAB]
        large = self.weight.shape[0] * self.weight.shape[1] > LARGE
        names = ("direct", "winograd4") if large else ("direct", "winograd4", "winograd6")
        routes = {name: self._route(name) for name in names}
        seconds = dict.fromkeys(routes, float("inf"))
        for _ in range(ROUNDS):
            for name, route in routes.items():
                start = time.perf_counter()
                route(x, gate)
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        best = min(seconds, key=seconds.__getitem__)
        self.built = {best: routes[best]}
        return best
