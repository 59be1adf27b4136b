"""VGG as named taps: pixels in, activations of chosen layers out."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from . import pictures, weights
from .convolution import Conv3x3, max_pool
from .errors import SettingsError, WeightsError

CALIBRATION = Path(__file__).with_name("calibration.webp")


class Backbone:
    """A VGG up to its deepest convolution: 3×3 convolutions named conv1_1 … conv5_4, 2×2 max pooling between blocks.

    A layer's activation is taken after its ReLU, as in the paper. Every layer is rescaled to a mean activation
    of 1, as the paper did for every filter, so that α and β mean the same on any backbone. Up to that factor each layer
    computes what it did before, since ReLU and max pooling commute with it.
    """

    def __init__(self, vgg: weights.Weights, precision: torch.dtype | None = None) -> None:
        """On the fastest device there is; `precision` is by default float32, or bfloat16 on CUDA.

        Bfloat16 has the range of float32: neither an activation nor a gradient can overflow. Losses are computed in
        float32. After 60 evaluations at 128 px, on the processor, the loss was within 0.1 % of float32's.
        """
        self.name = vgg.name
        self.device = fastest_device()
        self.precision = precision or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.mean = torch.tensor(vgg.mean, device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(vgg.std, device=self.device).view(1, 3, 1, 1)
        tensors = {key: tensor.to(self.device) for key, tensor in vgg.tensors.items()}
        self.layers = tuple(key.removesuffix(".weight") for key in tensors if key.endswith(".weight"))
        self.convolutions = {
            layer: Conv3x3(tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in self.layers
        }
        self._rescale()
        if self.precision != torch.float32:
            for layer, old in self.convolutions.items():
                self.convolutions[layer] = Conv3x3(old.weight.to(self.precision), old.bias.to(self.precision))

    def check(self, layers: Iterable[str]) -> None:
        """Raise SettingsError, with a suggestion, for a layer that this backbone does not have."""
        for layer in layers:
            if layer not in self.layers:
                near = difflib.get_close_matches(layer.replace("relu", "conv"), self.layers, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(self.layers)}."
                raise SettingsError(f"The backbone {self.name} has no layer {layer!r}: {hint}")

    def activations(self, pixels: Tensor, layers: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Names and activations (after ReLU) of `layers`, each (1, N, H, W), for RGB `pixels` (1, 3, H, W) in [0, 1].

        From the first to the deepest, one at a time: what is done with one before the next is asked for is undone
        right there in the backward pass, and no gradient waits in memory. Float32, whatever the precision of the
        convolutions.
        """
        wanted = set(layers)
        for layer, activation in self._activations(pixels):
            if layer in wanted:
                yield layer, activation.float()
                wanted.remove(layer)
                if not wanted:
                    return

    def _activations(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = ((pixels - self.mean) / self.std).to(self.convolutions[self.layers[0]].weight.dtype)
        for layer in self.layers:
            if layer.endswith("_1") and layer != "conv1_1":
                x = max_pool(x)
            x = self.convolutions[layer](x)
            yield layer, x

    @torch.no_grad()
    def _rescale(self) -> None:
        """Divide every layer by its mean activation on a fixed sheet of four photos.

        The paper took one factor per filter. With those (none over 50 times its layer's) the style loss of a photo
        was 900 to 1400 times larger, and L-BFGS hardly kept a curvature pair before the next jump (256 px, two
        pairs, 60 evaluations): a sheet of four photos says too little of a filter that rarely fires.
        """
        sheet = pictures.load(CALIBRATION).image
        sheet_pixels = pictures.to_tensor(sheet, sheet.size).to(self.device)
        means = {layer: activation.mean().item() for layer, activation in self._activations(sheet_pixels)}
        before = 1.0
        for layer, mean in means.items():
            old = self.convolutions[layer]
            self.convolutions[layer] = Conv3x3(old.weight * (before / mean), old.bias / mean)
            before = mean


def fastest_device() -> torch.device:
    """CUDA, Apple's GPU, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def smallest_side(layers: Iterable[str]) -> int:
    """The shortest side, in pixels, that leaves the deepest of `layers` one position: 2×2 pooling between blocks."""
    return 1 << (max(int(layer[4]) for layer in layers) - 1)


@cache
def vgg16() -> Backbone:
    """The VGG-16 bundled with this package."""
    return Backbone(weights.bundled_vgg16())


def vgg19(file: Path) -> Backbone:
    """The VGG-19 of a file that holds torchvision's or timm's weights; WeightsError if it is broken or another net.

    Read once in the life of the process, also if it is broken: to find that out takes a second or more.
    """
    found = _vgg19(file)
    if isinstance(found, WeightsError):
        raise found
    return found


@cache
def _vgg19(file: Path) -> Backbone | WeightsError:
    try:
        return Backbone(weights.read_vgg19(file))
    except WeightsError as error:
        return error


def choose(name: str = "auto") -> tuple[Backbone, str]:
    """The backbone called `name` (auto, vgg19, vgg16), and one sentence for the user if it is a second choice.

    Never downloads: auto takes vgg19 when its weights are on this machine, and else vgg16.
    Raises WeightsError when vgg19 is asked for by name and cannot be had.
    """
    if name == "vgg16":
        return vgg16(), ""
    file = weights.cached_vgg19()
    if file is None:
        sentence = "The weights of VGG-19 (548 MB) are not on this machine"
        if name == "vgg19":
            raise WeightsError(f"{sentence}: download them first, or choose vgg16.")
        return vgg16(), f"Painted with VGG-16: {sentence[0].lower()}{sentence[1:]}."
    try:
        return vgg19(file), ""
    except WeightsError as error:
        if name == "vgg19":
            raise
        return vgg16(), f"Painted with VGG-16: {error}"


class Vgg19Download(threading.Thread):
    """Fetches the weights of VGG-19 in the background, so that a page is usable with VGG-16 meanwhile.

    `status` is one sentence for the user at any moment.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.status = "VGG-19 is being looked for on the network; until it is here, VGG-16 paints."

    def run(self) -> None:
        """Download, once; the next call of `choose` finds the file."""
        try:
            weights.download_vgg19(self._progress)
            self.status = "VGG-19 has arrived and paints from the next picture on."
        except WeightsError as error:
            self.status = f"VGG-16 paints. {error}"

    def _progress(self, done: int, total: int) -> None:
        share = f"{done / total:.0%}" if total else f"{done >> 20} MB"
        self.status = f"VGG-19 is on its way ({share}); until it is here, VGG-16 paints."
