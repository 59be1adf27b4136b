"""F(2×2, 3×3) of Lavin & Gray, arXiv 1509.09308, in bfloat16: a route of convolution.py.

It takes 2.25 times fewer multiplications than the convolution itself. Its matrices hold only 0, ±1 and ±½, so its
rounding error in bfloat16 is 2.5 times the direct convolution's; that of F(4×4, 3×3) would be 16 times.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for tiles of m×m outputs from n×n inputs. Bᵀ and Aᵀ are written out below as additions.
m, n = 2, 4
G = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float32, device="cpu")
TILES = 1024  # per chunk: enough for an efficient product, few enough to stay in the cache


class Winograd2x2:
    """A convolution by F(2×2, 3×3), with the names of the paper; called like convolution.Direct.

    Both transforms add whole rows and columns of channels-last memory.
    """

    layout = torch.channels_last

    def __init__(self, kernel: Callable[[], Tensor], bias: Tensor | None) -> None:
        g = kernel()
        self.K, self.C = g.shape[:2]
        U = torch.kron(G, G) @ g.float().permute(2, 3, 1, 0).reshape(9, -1)  # G g Gᵀ
        self.U = U.view(n * n, self.C, self.K).to(g.dtype)
        self.bias = bias

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        C, K = self.C, self.K
        H, W = x.shape[2:]
        rows, cols = -(-H // m), -(-W // m)
        step = min(rows, max(1, round(TILES / cols)))
        x = x.contiguous(memory_format=self.layout)[0].permute(1, 2, 0)
        gate = gate if gate is None else gate[0].permute(1, 2, 0)
        y = x.new_empty(rows * m, cols * m, K)
        d = x.new_zeros(step * m + 2, cols * m + 2, C)
        B_d = x.new_empty(n, step, cols * m + 2, C)
        V = x.new_empty(n, n, step, cols, C)
        M = x.new_empty(n, n, step, cols, K)
        A_M = x.new_empty(m, n, step, cols, K)
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
            _transform_input([d[i : i + m * step - 1 : m] for i in range(n)], B_d.unbind())
            _transform_input([B_d[:, :, i : i + m * cols - 1 : m] for i in range(n)], V.unbind(1))
            torch.bmm(V.view(n * n, -1, C), self.U, out=M.view(n * n, -1, K))
            if self.bias is not None:
                M[1, 1] += self.bias  # column 1 of Aᵀ is all ones: point (1, 1) reaches every output of the tile
            tiles = y[row * m :][: step * m].view(step, m, cols, m, K).permute(1, 3, 0, 2, 4)
            _transform_output(M.unbind(), A_M.unbind())
            _transform_output(A_M.unbind(1), tiles.unbind(1))
            if self.bias is not None:
                y[row * m :][: step * m].relu_()
        return y[None, :H, :W].permute(0, 3, 1, 2)


def _transform_input(d: list[Tensor], out: tuple[Tensor, ...]) -> None:
    """Write the n rows of Bᵀ d, of n tensors of the same shape."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _transform_output(M: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
    """Write the m rows of Aᵀ M, of n tensors of the same shape."""
    torch.add(M[0], M[1], out=out[0]).add_(M[2])
    torch.sub(M[1], M[2], out=out[1]).sub_(M[3])
