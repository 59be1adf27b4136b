"""VGG as a backbone: pixels in, activations of named layers out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from . import images, weights
from .cpu.convolution import Conv3x3, max_pool
from .cpu.precision import fastest_precision
from .errors import SettingsError, WeightsError
from .torch_state import own_state

CALIBRATION = Path(__file__).with_name("calibration.webp")


class Backbone:
    """A VGG up to its deepest convolution: 3×3 convolutions named conv1_1 … conv5_4, 2×2 max pooling between blocks.

    A layer's activation is taken after its ReLU, as in the paper. Every layer is rescaled to a mean activation
    of 1, as the paper did for every filter, so that α and β mean the same on any backbone. ReLU and max pooling commute
    with that factor, so each layer otherwise computes what it did before.
    """

    @own_state()
    def __init__(self, vgg: weights.Weights, precision: torch.dtype = torch.float32) -> None:
        """Place the network on the fastest device. Its convolutions compute in `precision`, float32 or bfloat16.

        Bfloat16 has the range of float32, so neither an activation nor a gradient can overflow. Losses are summed in
        float32. After 40 iterations at 256 px, on a processor, the loss was within 0.5 % of float32's for two pairs.
        """
        self.name = vgg.name
        self.device = fastest_device()
        self.precision = precision
        self.mean = torch.tensor(vgg.mean, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(vgg.std, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)
        tensors = {key: tensor.to(self.device) for key, tensor in vgg.tensors.items()}
        self.layers = tuple(key.removesuffix(".weight") for key in tensors if key.endswith(".weight"))
        self.convolutions = {
            layer: Conv3x3(tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in self.layers
        }
        self._rescale()
        if self.precision != torch.float32:
            first = self.convolutions["conv1_1"]
            self.convolutions["conv1_1"] = Conv3x3(torch.cat([first.weight, first.weight], 1), first.bias)
            for layer, old in self.convolutions.items():
                self.convolutions[layer] = Conv3x3(old.weight.to(self.precision), old.bias.to(self.precision))

    def check(self, layers: Iterable[str]) -> None:
        """Raise SettingsError, with a suggestion, for a layer that this backbone does not have."""
        for layer in layers:
            if layer not in self.layers:
                near = difflib.get_close_matches(layer.replace("relu", "conv"), self.layers, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(self.layers)}."
                raise SettingsError(f"The backbone {self.name} has no layer {layer!r}: {hint}")

    def reach(self, layer: str) -> int:
        """How many pixels beyond its own a position of `layer` depends on, in each direction.

        Its own are a square of `stride` pixels. A convolution adds a position, and pooling halves their distance.
        """
        positions = 0
        for name in reversed(self.layers[: self.layers.index(layer) + 1]):
            positions = (positions + 1) * (2 if name.endswith("_1") and name != "conv1_1" else 1)
        return positions

    def activations(self, pixels: Tensor, layers: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Names and activations (after ReLU) of `layers`, each (1, N, H, W), for RGB `pixels` (1, 3, H, W) in [0, 1].

        They come one at a time, from the first to the deepest. A caller that uses each before it asks for the next
        saves memory, because the backward pass then holds no gradient of a layer before it gets there. They are
        float32, but on a processor they have the precision of the convolutions, since a copy in float32 would take
        longer than most losses do.
        """
        wanted = set(layers)
        for layer, activation in self._activations(pixels):
            if layer in wanted:
                yield layer, activation if self.device.type == "cpu" else activation.float()
                wanted.remove(layer)
                if not wanted:
                    return

    def _activations(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = (pixels - self.mean) / self.std
        if self.convolutions["conv1_1"].weight.dtype == torch.bfloat16:
            x = _split_bfloat16(x)
        for layer in self.layers:
            if layer.endswith("_1") and layer != "conv1_1":
                x = max_pool(x)
            x = self.convolutions[layer](x)
            yield layer, x

    def _rescale(self) -> None:
        """Divide every layer by its mean activation on a fixed sheet of four photos.

        The paper has one factor per filter. With those (capped at 50 times the layer's) the style loss of a photo was
        900 to 1400 times larger, and L-BFGS hardly kept a curvature pair before the loss next jumped (256 px, two
        pairs, 60 iterations): four photos say too little about a filter that rarely fires.
        """
        sheet = images.load(CALIBRATION).image
        sheet_pixels = images.to_tensor(sheet, sheet.size).to(self.device)
        means = {layer: activation.mean().item() for layer, activation in self._activations(sheet_pixels)}
        before = 1.0
        for layer, mean in means.items():
            old = self.convolutions[layer]
            self.convolutions[layer] = Conv3x3(old.weight * (before / mean), old.bias / mean)
            before = mean


def _split_bfloat16(x: Tensor) -> Tensor:
    """Split x (1, 3, H, W) into bfloat16 channels (1, 6, H, W): x, and what its rounding has left out.

    Without the rest, a small change of a pixel would change nothing. With it the gradient of a loss at 256 px is
    7 % off float32's, without it 8 %. The gradient flows through the rest alone, which has the same weights.
    """
    rounded = x.detach().bfloat16()
    return torch.cat([rounded, (x - rounded).bfloat16()], 1)


def fastest_device() -> torch.device:
    """Return CUDA, Apple's GPU, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def stride(layer: str) -> int:
    """Return the distance between two positions of `layer`, in pixels: pooling doubles it."""
    return 1 << (int(layer[4]) - 1)


def smallest_side(layers: Iterable[str]) -> int:
    """Return the shortest side, in pixels, that leaves one position in the deepest of `layers`."""
    return max(map(stride, layers))


def vgg16(precision: str = "auto") -> Backbone:
    """Return the VGG-16 that ships with this package."""
    return _vgg16(_choose_precision(precision))


def vgg19(file: Path, precision: str = "auto") -> Backbone:
    """Load VGG-19 from a file of torchvision or timm. Raises WeightsError if it is broken or another network.

    The process reads a file once for each precision, also a broken one, because finding that out takes a second or
    more.
    """
    found = _vgg19(file, _choose_precision(precision))
    if isinstance(found, WeightsError):
        raise found
    return found


@cache
@own_state()
def _vgg16(precision: torch.dtype) -> Backbone:
    return Backbone(weights.bundled_vgg16(), precision)


@cache
@own_state()
def _vgg19(file: Path, precision: torch.dtype) -> Backbone | WeightsError:
    try:
        return Backbone(weights.read_vgg19(file), precision)
    except WeightsError as error:
        return error


def _choose_precision(precision: str) -> torch.dtype:
    """Return float32 if asked for; else bfloat16 on CUDA, and on a processor where that is faster."""
    device = fastest_device().type
    if precision == "float32" or device == "mps":
        return torch.float32
    return torch.bfloat16 if device == "cuda" else fastest_precision()


def load(name: str = "auto", vgg19_file: Path | None = None, precision: str = "auto") -> tuple[Backbone, str]:
    """Load the backbone called `name` (auto, vgg19, vgg16), and say in one sentence if it is a second choice.

    Nothing is downloaded. auto takes vgg19 if its weights are on this machine, else vgg16. `vgg19_file` takes the place
    of the caches that are searched for them. With the `precision` auto, convolutions compute in bfloat16 where that is
    faster; float32 gives the same picture on every machine, up to rounding.
    Raises WeightsError if vgg19 is asked for by name and cannot be loaded.
    """
    if name == "vgg16":
        return vgg16(precision), ""
    file = vgg19_file or weights.cached_vgg19()
    missing = "weights of VGG-19 (548 MB) are not on this machine"
    if file is None and name == "vgg19":
        raise WeightsError(f"The {missing}: download them first, or choose vgg16.")
    if file is None:
        told = "Painted with VGG-16, the smaller of two networks: VGG-19 (548 MB) is not on this machine."
        return vgg16(precision), told
    try:
        return vgg19(file, precision), ""
    except WeightsError as error:
        if name == "vgg19":
            raise
        return vgg16(precision), f"Painted with VGG-16: {error}"
