"""All of Gatys, Ecker & Bethge (CVPR 2016) in one file: `python examples/plain.py PHOTO PAINTING -o OUT.png`.

The aim is an image x with the content of a photo p and the style of a painting a. Read from top to bottom: images
become tensors, a network describes them, a loss compares the descriptions, and L-BFGS changes x until the loss is
small. Symbols and equation numbers are the paper's. In the shapes, N is the number of channels of a layer, and
M = H·W is its number of positions.

The file shares no code with the engine in styletransfer/, only the weights of VGG-16, so that the benchmark can compare
the two. Six things differ from the paper; each is marked (*) below where it happens:

 1. the network is VGG-16, which this package contains; the paper took VGG-19;
 2. pooling takes the maximum, as in the published VGG; the paper preferred the average;
 3. each layer as a whole is scaled to a mean activation of 1; the paper scaled each filter;
 4. a Gram matrix is divided by its M, so that photo and painting may have different shapes;
 5. the content loss is multiplied by (512 / S)² at long side S, so that α means the same at every size;
 6. x starts as the photo; the paper mostly started from white noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

CONTENT_LAYER = "conv4_2"
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
ALPHA, BETA = 1.0, 2e7  # the weights α and β of content and style
ROOT = Path(__file__).resolve().parents[1]
CALIBRATION = ROOT / "styletransfer" / "calibration.webp"  # four photos on one sheet


# 1. Images


def resize(image: Image.Image, size: int) -> Image.Image:
    """The image with `size` pixels on its long side, antialiased."""
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(shape, Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 pixels (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous() / 255


def to_image(x: Tensor) -> Image.Image:
    """Pixels (1, 3, H, W) in 8 bits; what lies outside [0, 1] is clamped only here."""
    return Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


# 2. The network


class Network:
    """VGG without its classifier, in float32: 3×3 convolutions, each with a ReLU, and pooling between the blocks."""

    @torch.no_grad()
    def __init__(self, vgg: Any) -> None:
        """`vgg` is a styletransfer.weights.Weights."""
        self.mean, self.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (vgg.mean, vgg.std))
        self.kernels = {key[:-7]: tensor for key, tensor in vgg.tensors.items() if key.endswith(".weight")}
        self.biases = {layer: vgg.tensors[f"{layer}.bias"] for layer in self.kernels}
        # (*) Scale each layer to a mean activation of 1. This changes no ReLU and no maximum.
        x = self._normalize(to_tensor(Image.open(CALIBRATION).convert("RGB")))
        scale = 1.0  # of the layer before
        for layer in self.kernels:
            x = self._convolve(self._pool(x, layer), layer)
            mean = x.mean().item()
            self.kernels[layer] = self.kernels[layer] * scale / mean
            self.biases[layer] = self.biases[layer] / mean
            scale = mean

    def activations(self, x: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """F^l (1, N, H_l, W_l) of each of `layers`, after the ReLU, for pixels (1, 3, H, W); no deeper than needed."""
        missing, found = set(layers), {}
        x = self._normalize(x)
        for layer in self.kernels:
            if not missing:
                break
            x = self._convolve(self._pool(x, layer), layer)
            if layer in missing:
                found[layer] = x
                missing.remove(layer)
        return found

    def _normalize(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def _pool(self, x: Tensor, layer: str) -> Tensor:
        first_of_block = layer in ("conv2_1", "conv3_1", "conv4_1", "conv5_1")
        return nnf.max_pool2d(x, 2) if first_of_block else x  # (*) halves H and W

    def _convolve(self, x: Tensor, layer: str) -> Tensor:
        return nnf.relu(nnf.conv2d(x, self.kernels[layer], self.biases[layer], padding=1))


# 3. The loss


def gram_matrix(F: Tensor) -> Tensor:
    """G = F Fᵀ / M (eq. 3), (1, N, H, W) to (N, N): the mean product of two channels at the same position."""
    F = F.flatten(2)[0]  # (N, M)
    return F @ F.T / F.shape[1]  # (*) per position


class Loss:
    """L_total (eq. 7) of an image of the photo's shape; the painting may have another."""

    @torch.no_grad()
    def __init__(self, network: Network, photo: Tensor, painting: Tensor, α: float, β: float) -> None:
        self.network, self.α, self.β = network, α, β
        self.content_scale = (512 / max(photo.shape[2:])) ** 2  # (*)
        self.P = network.activations(photo, [CONTENT_LAYER])[CONTENT_LAYER]
        self.A = {layer: gram_matrix(F) for layer, F in network.activations(painting, STYLE_LAYERS).items()}

    def __call__(self, x: Tensor) -> Tensor:
        """α L_content + β L_style at the pixels x (1, 3, H, W), a tensor of one number."""
        F = self.network.activations(x, (CONTENT_LAYER, *STYLE_LAYERS))
        content = 0.5 * (F[CONTENT_LAYER] - self.P).pow(2).sum()  # eq. 1
        E = [(gram_matrix(F[layer]) - A).pow(2).sum() / (4 * len(A) ** 2) for layer, A in self.A.items()]  # eq. 4
        style = torch.stack(E).mean()  # eq. 5 with w_l = 1/5
        return self.α * self.content_scale * content + self.β * style


# 4. The optimisation


class Step(NamedTuple):
    """One iteration: the loss `total` at the pixels `x` (1, 3, H, W)."""

    iteration: int  # from 1
    total: float
    x: Tensor


def paint(
    network: Network, photo: Tensor, painting: Tensor, α: float = ALPHA, β: float = BETA, iterations: int = 300
) -> Iterator[Step]:
    """Change the photo's pixels with torch's L-BFGS. Nothing keeps them in [0, 1]."""
    loss = Loss(network, photo, painting, α, β)
    x = photo.clone().requires_grad_()  # (*)
    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(x)
        total.backward()  # ∂L_total/∂x, through the network down to the pixels
        return total

    for iteration in range(1, iterations + 1):
        evaluated = x.detach().clone()
        total = optimizer.step(closure).item()
        yield Step(iteration, total, evaluated)


def main() -> None:
    """Paint one image and save it."""
    parser = argparse.ArgumentParser(description="Paint a photo in the style of a painting, in the plainest way.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("plain.png"), help="default: %(default)s")
    parser.add_argument("--size", type=int, default=512, help="long side in pixels (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=300, help="default: %(default)s")
    args = parser.parse_args()
    if args.iterations < 1:
        parser.error("--iterations must be at least 1")
    sys.path.insert(0, str(ROOT))
    from styletransfer import weights

    photo, painting = (
        to_tensor(resize(Image.open(path).convert("RGB"), args.size)) for path in (args.photo, args.painting)
    )
    network = Network(weights.bundled_vgg16())  # (*)
    for step in paint(network, photo, painting, iterations=args.iterations):
        print(f"{step.iteration:4} of {args.iterations}: L_total = {step.total:.4g}")
    to_image(step.x).save(args.out)


if __name__ == "__main__":
    main()
