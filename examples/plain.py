"""The plain loop that every tutorial has, in full: the yardstick. It shares the raw weights with the engine, no code.

Nothing of the engine is imported either, for it sets how threads wait and how memory is kept: see apart.py.

The objective is the engine's, so that losses can be compared: α L_content (512/S)² + β Σ E_l / 5 at long side S, on a
network rescaled to mean activation 1, pixels in [0, 1], each Gram matrix divided by its number of positions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._dynamo  # torch.optim imports it at its first step, for seconds
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor

CONTENT_LAYER = "conv4_2"
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CALIBRATION = Path(__file__).parent.parent / "styletransfer" / "calibration.webp"


def pixels(image: Image.Image) -> Tensor:
    """An RGB picture as float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous() / 255


def saved(x: Tensor) -> Image.Image:
    """The 8-bit picture that is kept of (1, 3, H, W): only here do pixels outside [0, 1] get lost."""
    return Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def resized(image: Image.Image, size: int) -> Image.Image:
    """The picture with `size` pixels on its long side, antialiased."""
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(shape, Image.Resampling.LANCZOS)


class Network:
    """VGG, layer after layer, in float32 NCHW; each layer divided by its mean activation on the calibration sheet."""

    @torch.no_grad()
    def __init__(self, raw: Any) -> None:  # styletransfer.weights.Weights
        self.mean, self.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (raw.mean, raw.std))
        self.kernels = {key[:-7]: tensor for key, tensor in raw.tensors.items() if key.endswith(".weight")}
        self.biases = {layer: raw.tensors[f"{layer}.bias"] for layer in self.kernels}
        x = self._normalised(pixels(Image.open(CALIBRATION).convert("RGB")))
        scale = 1.0  # of what comes into the layer
        for layer in self.kernels:
            x = self._convolved(self._pooled(x, layer), layer)
            mean = x.mean().item()
            self.kernels[layer] = self.kernels[layer] * scale / mean
            self.biases[layer] = self.biases[layer] / mean
            scale = mean

    def features(self, x: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Activations (1, N, H, W) of `layers` for pixels (1, 3, H, W) in [0, 1]; nothing beyond the deepest is run."""
        missing, found = set(layers), {}
        x = self._normalised(x)
        for layer in self.kernels:
            if not missing:
                break
            x = self._convolved(self._pooled(x, layer), layer)
            if layer in missing:
                found[layer] = x
                missing.remove(layer)
        return found

    def double(self) -> None:
        """The same network from now on in float64."""
        self.mean, self.std = self.mean.double(), self.std.double()
        self.kernels = {layer: kernel.double() for layer, kernel in self.kernels.items()}
        self.biases = {layer: bias.double() for layer, bias in self.biases.items()}

    def _normalised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def _pooled(self, x: Tensor, layer: str) -> Tensor:
        return nnf.max_pool2d(x, 2) if layer in ("conv2_1", "conv3_1", "conv4_1", "conv5_1") else x

    def _convolved(self, x: Tensor, layer: str) -> Tensor:
        return nnf.relu(nnf.conv2d(x, self.kernels[layer], self.biases[layer], padding=1))


class Loss:
    """L_total at the size of `photo` (1, 3, H, W), for pictures of that shape; `painting` has a shape of its own."""

    @torch.no_grad()
    def __init__(self, network: Network, photo: Tensor, painting: Tensor, α: float, β: float) -> None:
        self.network, self.α, self.β = network, α, β
        self.content_scale = (512 / max(photo.shape[2:])) ** 2
        self.content = network.features(photo, [CONTENT_LAYER])[CONTENT_LAYER]
        self.grams = {layer: gram(F) for layer, F in network.features(painting, STYLE_LAYERS).items()}

    def __call__(self, x: Tensor) -> Tensor:
        """α L_content (512/S)² + β Σ E_l / 5."""
        features = self.network.features(x, (CONTENT_LAYER, *STYLE_LAYERS))
        content = 0.5 * (features[CONTENT_LAYER] - self.content).pow(2).sum()
        E = [(gram(features[layer]) - A).pow(2).sum() / (4 * len(A) ** 2) for layer, A in self.grams.items()]
        style = torch.stack(E).mean()
        return self.α * self.content_scale * content + self.β * style


def gram(F: Tensor) -> Tensor:
    """(1, N, H, W) to (N, N): F Fᵀ / M."""
    F = F.flatten(2)[0]
    return F @ F.T / F.shape[1]


def gradients(loss: Loss, x: Tensor) -> Iterator[tuple[float, Tensor]]:
    """The gradient at `x` again and again, with the seconds that it took."""
    while True:
        y = x.clone().requires_grad_()
        started = time.perf_counter()
        gradient = torch.autograd.grad(loss(y), y)[0]
        yield time.perf_counter() - started, gradient


class Step(NamedTuple):
    """One evaluation of the loss, at `x` (1, 3, H, W); `seconds` of work so far, the caller's own not counted."""

    evaluation: int
    seconds: float
    total: float
    x: Tensor


def paint(
    network: Network, photo: Tensor, painting: Tensor, α: float, β: float, evaluations: int = 300
) -> Iterator[Step]:
    """torch's own L-BFGS on the pixels, from the photo; nothing keeps them in the gamut."""
    started, seconds = time.perf_counter(), 0.0
    loss = Loss(network, photo, painting, α, β)
    x = photo.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = loss(x)
        total.backward()
        return total

    for evaluation in range(1, evaluations + 1):
        evaluated = x.detach().clone()
        total = optimiser.step(closure).item()
        seconds += time.perf_counter() - started
        yield Step(evaluation, seconds, total, evaluated)
        started = time.perf_counter()
