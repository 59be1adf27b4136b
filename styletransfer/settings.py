"""Every setting of the engine, once: default, range, step and help. Sliders and flags are built from them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from .errors import SettingsError


@dataclass(frozen=True)
class Knob:
    """The range of one setting: `low`, `high` and `step` for numbers, or `choices`.

    `log` marks weights whose useful values span decades. A slider for one sets its power of ten.
    """

    help: str
    low: float = math.nan
    high: float = math.nan
    step: float = math.nan
    choices: tuple[str, ...] = ()
    log: bool = False
    symbol: str = ""

    def position(self, value: Any) -> Any:
        """Return the slider's position for `value`: its power of ten for a `log` knob."""
        return round(math.log10(value), 1) if self.log else value

    def value(self, position: Any) -> Any:
        """Return the value for the slider's `position`."""
        return float(f"{10**position:.2g}") if self.log else position  # 7.3 stands for 2e7


def _knob(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"knob": Knob(help, **limits)})


MOMENTS_LAYER_WEIGHTS = (0.4, 0.25, 0.2, 0.1, 0.05)
"""w_l of five style layers, from the shallowest, for moments."""
SHALLOW_CONTENT_WEIGHTS: Mapping[str, float] = MappingProxyType({"conv3_1": 0.05, "conv3_3": 0.25})
"""The content layers of a shallow stage, and how much each weighs relative to α: see schedule.Stage."""
LIKENESS: Mapping[str, float] = MappingProxyType({"repaint": 0.3, "between": 1.0, "keep my photo": 4.0})
"""The named positions of the likeness dial, as values of Settings.content_weight."""


@dataclass(frozen=True)
class Settings:
    """The objective and the length of a run. Immutable; a value out of range raises SettingsError in one sentence.

    α, β, γ and w_l are those of L_total = α L_content + β Σ_l w_l E_l + γ L_tv (Gatys et al. 2016, eq. 7, plus γ L_tv),
    on a backbone rescaled to mean activation 1 (see backbones.py) and pixels in [0, 1].
    """

    size: int = _knob(
        512,
        "Long side of the painting, in pixels. Above 1024 it is a print, painted in tiles.",
        low=64,
        high=8192,
        step=16,
    )
    iterations: int = _knob(
        52, "Iterations in all, at most; a print takes five more at each larger size.", low=1, high=2000, step=1
    )
    content_weight: float = _knob(
        1.0,
        "Likeness to the photo, the weight α of its content: 0.3 repaints freely, 4 keeps the photo.",
        low=0.0,
        high=100.0,
        step=0.1,
        symbol="α",
    )
    style_weight: float = _knob(
        2e7,
        "Strength of the painting's style: its weight β.",
        low=1.0,
        high=1e10,
        step=0.1,
        log=True,
        symbol="β",
    )
    tv_weight: float = _knob(
        20.0,
        "Smoothness: the weight γ of total variation.",
        low=0.0,
        high=100.0,
        step=0.1,
        symbol="γ",
    )
    objective: str = _knob(
        "auto",
        "Style loss: Gram matrices, as in the paper (gram); the mean and covariance of each layer, which also paint "
        "skies and walls (moments); the painting's nearest neighbour of every spot (neighbours); or neighbours at the "
        "coarsest size and moments after it (auto).",
        choices=("auto", "neighbours", "moments", "gram"),
    )
    colours: str = _knob(
        "painting",
        "Colours of the result: the painting's; the photo's own under painted light and shade (luminance); or those "
        "of a painting recoloured like the photo (matched).",
        choices=("painting", "luminance", "matched"),
    )
    stroke: float = _knob(
        1.0,
        "Size of the brush strokes: the scale of the painting relative to the result.",
        low=0.5,
        high=2.0,
        step=0.1,
    )
    faces: bool = _knob(True, "Keep faces more like the photo than the rest.")
    mix: float = _knob(0.5, "Share of the second painting, where there are two.", low=0.0, high=1.0, step=0.05)
    relative_style: bool = _knob(True, "Divide the style loss by the photo's own, so that one β suits all paintings.")
    stages: int = _knob(
        3, "Sizes to paint at, at most, each twice the one before; 1 is the paper's.", low=1, high=6, step=1
    )
    tolerance: float = _knob(
        0.4,
        "A stage ends when ten iterations change its picture by less than this many grey levels; at 0 none ends early.",
        low=0.0,
        high=10.0,
        step=0.1,
    )
    init: str = _knob("content", "The image to start from.", choices=("content", "noise"))
    seed: int = _knob(0, "Seed of the noise to start from.", low=0, high=2**32 - 1, step=1)
    square: bool = _knob(False, "Squash both pictures to a square instead of keeping their proportions.")
    backbone: str = _knob(
        "auto",
        "Network whose features are compared; auto takes vgg19 where its weights are on this machine.",
        choices=("auto", "vgg19", "vgg16"),
    )
    precision: str = _knob(
        "auto",
        "Number format of the convolutions: auto takes bfloat16 where that is faster; float32 is more exact.",
        choices=("auto", "float32"),
    )
    content_layers: tuple[str, ...] = _knob(("conv4_2",), "Layers of the content loss.")
    style_layers: tuple[str, ...] = _knob(
        ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"), "Layers of the style loss."
    )
    style_layer_weights: tuple[float, ...] | None = _knob(
        None,
        "Weight w_l of each style layer. When not given: equal shares for gram; the shallow ones most for moments of "
        "five layers.",
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _check_value(f.name, f.metadata["knob"], f.default, getattr(self, f.name)))
        if self.style_layer_weights is not None and len(self.style_layer_weights) != len(self.style_layers):
            raise SettingsError(
                f"style_layer_weights needs one weight for each of the {len(self.style_layers)} style layers, "
                f"not {len(self.style_layer_weights)}."
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that the losses compare."""
        return (*self.content_layers, *self.style_layers)

    def content_layer_weights(self, *, is_shallow: bool = False) -> dict[str, float]:
        """How much each content layer weighs relative to α, in a shallow stage or in another."""
        return dict(SHALLOW_CONTENT_WEIGHTS) if is_shallow else dict.fromkeys(self.content_layers, 1.0)

    def layer_weights(self, style_loss: str, *, is_shallow: bool = False) -> dict[str, float]:
        """w_l of each style layer, as given or by `style_loss`, of all of them or of those that a shallow stage has.

        Gram matrices weigh the same in every layer, as in the paper. Moments of five layers weigh most in the shallow
        ones.
        docs/method.md has the figures.
        """
        weights = self.style_layer_weights
        by_depth = sorted(self.style_layers)  # names of layers sort by depth: conv1_1 … conv5_4
        if weights is None and style_loss == "moments" and len(by_depth) == len(MOMENTS_LAYER_WEIGHTS):
            weights = tuple(MOMENTS_LAYER_WEIGHTS[by_depth.index(layer)] for layer in self.style_layers)
        if weights is None:
            weights = (1 / len(self.style_layers),) * len(self.style_layers)
        deepest = max(SHALLOW_CONTENT_WEIGHTS) if is_shallow else max(self.style_layers)
        return {layer: w for layer, w in zip(self.style_layers, weights, strict=True) if layer <= deepest}


STEERABLE = ("content_weight", "style_weight", "tv_weight", "colours", "stroke", "mix")
"""The settings that a run takes over from `send` while it is on."""


def knobs() -> dict[str, Knob]:
    """Return the knob of every setting, by name, in the order of declaration."""
    return {f.name: f.metadata["knob"] for f in fields(Settings)}


def _check_value(name: str, knob: Knob, default: Any, value: Any) -> Any:
    """Return `value` in the type of `default`. Raises SettingsError."""
    if knob.choices:
        if value not in knob.choices:
            raise SettingsError(f"{name} must be one of {', '.join(knob.choices)}, not {value!r}.")
        return value
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise SettingsError(f"{name} must be true or false, not {value!r}.")
        return value
    if isinstance(default, (int, float)):
        kind = "a whole number" if isinstance(default, int) else "a number"
        if not _is_number(value) or not knob.low <= value <= knob.high or (isinstance(default, int) and value % 1):
            raise SettingsError(f"{name} must be {kind} from {knob.low:.10g} to {knob.high:.10g}, not {value!r}.")
        return type(default)(value)
    return _check_layers(name, value) if name != "style_layer_weights" else _check_weights(name, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_layers(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(layer, str) for layer in value):
        raise SettingsError(f"{name} must be a list of layer names such as conv4_2, not {value!r}.")
    if not value or len(set(value)) != len(value):
        raise SettingsError(f"{name} must name at least one layer, and each only once.")
    return tuple(value)


def _check_weights(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(_is_number(w) and 0 <= w <= 1e6 for w in value):
        raise SettingsError(f"{name} must be numbers from 0 to 1000000, not {value!r}.")
    return tuple(float(w) for w in value)


# benchmarks/RESULTS.md says how long each takes. Classic is the
# configuration of the paper as students implement it: one size, both images squashed to 512×512, 300 iterations of
# L-BFGS from the photo, no total variation, the style loss without a scale.
PRESETS: Mapping[str, Settings] = MappingProxyType(
    {
        "balanced": Settings(),
        "quick": Settings(iterations=19),
        "best": Settings(iterations=180),
        "classic": Settings(
            objective="gram",
            precision="float32",
            tv_weight=0,
            faces=False,
            relative_style=False,
            stages=1,
            iterations=300,
            square=True,
            tolerance=0,
        ),
    }
)
