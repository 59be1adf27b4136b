"""Fixtures of every folder: two small pictures, the bundled VGG-16, and a reference implementation of it."""

from __future__ import annotations

import os

# The tolerances of these tests, and bit-for-bit repeatability, are those of float32 on a CPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# pytest-xdist's workers gw0 and gw1 start servers at the same time: Gradio looks for free ports from here upwards.
os.environ["GRADIO_SERVER_PORT"] = str(7860 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))

import numpy as np
import pytest
import torch
import torchvision.models
from PIL import Image
from torch import Tensor, nn

from styletransfer import backbones, weights
from styletransfer.cpu import convolution

# The tolerances of these tests are those of float32, also on a processor that is faster in bfloat16.
backbones.fastest_precision = lambda: torch.float32

# Some compare the pixels of two runs, and a route that is chosen again between them gives other bits.
convolution.MAX_TRIALS = 1

# Two workers share the processor. With more threads, each layer would wait for the slowest: six times slower.
torch.set_num_threads(1)


@pytest.fixture
def photo() -> Image.Image:
    """96×64: a sun over a striped field under a bright sky.

    Grainy: where neighbours are equal, rounding decides which of them max pooling sends the gradient to.
    """
    y, x = np.mgrid[0:64, 0:96] / 64
    sky = np.stack([0.3 + 0.5 * y, 0.5 + 0.4 * y, 0.9 - 0.1 * y], axis=-1)
    field = np.stack([0.3 + 0.2 * np.sin(25 * x), 0.5 + 0 * x, 0.2 + 0.1 * np.sin(9 * y)], axis=-1)
    picture = np.where((y > 0.6)[..., None], field, sky)
    picture[(x - 1) ** 2 + (y - 0.35) ** 2 < 0.04] = (1.0, 0.85, 0.3)
    grains = np.random.default_rng(1).uniform(-0.03, 0.03, picture.shape)
    return Image.fromarray((255 * (picture + grains).clip(0, 1)).astype(np.uint8))


@pytest.fixture
def painting() -> Image.Image:
    """80×96: dark swirls with yellow crests and grains of noise."""
    y, x = np.mgrid[0:96, 0:80] / 80
    crest = 0.5 + 0.5 * np.sin(30 * np.hypot(x - 0.4, y - 0.5) + 6 * np.arctan2(y - 0.5, x - 0.4))
    picture = np.stack([crest, 0.7 * crest, 0.6 - 0.5 * crest], axis=-1)
    grains = np.random.default_rng(0).uniform(-0.1, 0.1, picture.shape)
    return Image.fromarray((255 * (picture + grains).clip(0, 1)).astype(np.uint8))


@pytest.fixture(scope="session")
def vgg16() -> backbones.Backbone:
    return backbones.vgg16("float32")


class Reference:
    """torchvision's VGG-16 in float64 with the bundled weights, and colours as Simonyan & Zisserman fed them.

    `factor` of a layer is what brings its mean activation on the calibration sheet to 1.
    """

    def __init__(self) -> None:
        with torch.device("meta"):  # names and shapes only: the numbers come next
            features = torchvision.models.vgg16(weights=None).features
        self.network = features[:26]  # up to the ReLU of conv5_1
        tensors = iter(weights.bundled_vgg16().tensors.values())
        for module in self.network:
            if isinstance(module, nn.Conv2d):
                module.weight = nn.Parameter(next(tensors).double(), requires_grad=False)
                module.bias = nn.Parameter(next(tensors).double(), requires_grad=False)
        sheet = np.asarray(Image.open(backbones.CALIBRATION).convert("RGB")) / 255
        means = self.raw(torch.tensor(sheet).permute(2, 0, 1)[None])
        self.factor = {layer: 1 / activation.mean().item() for layer, activation in means.items()}

    def raw(self, pixels: Tensor) -> dict[str, Tensor]:
        """What follows each ReLU, as the published weights give it, for float64 RGB `pixels` in [0, 1]."""
        x = 255 * pixels - torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64).view(1, 3, 1, 1)
        found, block, index = {}, 1, 0
        for module in self.network:
            x = module(x)
            if isinstance(module, nn.MaxPool2d):
                block, index = block + 1, 0
            elif isinstance(module, nn.ReLU):
                index += 1
                found[f"conv{block}_{index}"] = x
        return found

    def activations(self, pixels: Tensor) -> dict[str, Tensor]:
        """Every layer's activation with its factor."""
        return {layer: self.factor[layer] * activation for layer, activation in self.raw(pixels).items()}


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()
