"""The sliders: each is built from its knob, and what they say becomes Settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from styletransfer.errors import StyleTransferError
from styletransfer.settings import LIKENESS, PRESETS, STEERABLE, Settings, knobs

from .config import ServerConfig

LABELS = {
    "size": "Size",
    "iterations": "Steps",
    "objective": "Objective: what counts as the same style",
    "faces": "Keep faces",
    "style_weight": "Strength of the style β",
    "content_weight": "Likeness to the photo α",
    "tv_weight": "Smoothness γ",
    "colours": "Colours",
    "stroke": "Size of the strokes",
    "mix": "Share of the second painting",
}
"""The settings that have a control on the page, in the order in which /stylize takes them."""
CHOICE_LABELS = {
    "painting": "Of the painting",
    "luminance": "Of my photo",
    "matched": "Of the painting, tinted like my photo",
    "auto": "Auto: neighbours for the large shapes, then moments",
    "neighbours": "Neighbours (2022): the nearest spot of the painting, for every spot",
    "moments": "Moments: mean and covariance of each layer, which also paint skies and walls",
    "gram": "Gatys et al. (2016): Gram matrices, the paper's own",
}

if missing := set(STEERABLE) - LABELS.keys():
    raise RuntimeError(f"These settings can be changed during a run but have no label here: {', '.join(missing)}.")

START_CONTROLS = tuple(name for name in LABELS if name not in STEERABLE)
"""The controls that are fixed when a run starts."""
LIVE_CONTROLS = tuple(name for name in LABELS if name in STEERABLE)
"""The controls that can change during a run, and take effect at its next step."""
CONTROLS = tuple(LABELS)


def control(name: str, settings: Settings, config: ServerConfig) -> gr.Slider | gr.Radio | gr.Checkbox:
    """Build the slider (radio buttons, tick box) of the setting called `name`, showing its value in `settings`."""
    knob, label, value = knobs()[name], LABELS[name], getattr(settings, name)
    if knob.choices:
        choices: list[Any] = [(CHOICE_LABELS[choice], choice) for choice in knob.choices]
        return gr.Radio(choices, value=value, label=label, elem_id=name)
    if isinstance(value, bool):
        return gr.Checkbox(value=value, label=label, elem_id=name)
    return gr.Slider(
        knob.position(knob.low),
        config.max_size if name == "size" else knob.position(knob.high),
        value=knob.position(value),
        step=knob.step,
        label=f"{label}, as a power of ten" if knob.log else label,
        info=knob.help,
        elem_id=name,
        buttons=[],
    )


def get_preset(name: str) -> Settings:
    """Return the preset called `name`. Raises StyleTransferError if there is none."""
    if not isinstance(name, str) or name not in PRESETS:
        raise StyleTransferError(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def to_settings(preset: str, values: Mapping[str, Any]) -> Settings:
    """Return the preset's settings with the sliders' `values`, by the name of the setting, in their place.

    Raises StyleTransferError if there is no such preset, or if a value is out of range.
    """
    changes: dict[str, Any] = {name: knobs()[name].value(values[name]) for name in CONTROLS}
    return replace(get_preset(preset), **changes)


def slider_values(settings: Settings) -> dict[str, Any]:
    """Return where each of CONTROLS stands for `settings`."""
    return {name: knobs()[name].position(getattr(settings, name)) for name in CONTROLS}


def find_preset(settings: Settings) -> str | None:
    """Return the name of the preset that differs from `settings` only in CONTROLS, or None.

    Precision does not count: pictures from before there was a choice are in float32, and hardly differ in bfloat16.
    """
    changes: dict[str, Any] = {name: getattr(settings, name) for name in (*CONTROLS, "precision")}
    return next((name for name, preset in PRESETS.items() if replace(preset, **changes) == settings), None)


def name_likeness(content_weight: float) -> str | None:
    """Return the position of the likeness dial that stands for α, or None if it is between two of them."""
    return next((name for name, weight in LIKENESS.items() if weight == content_weight), None)
