"""What can be turned: presets and sliders, each built from its knob, and the link that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from styletransfer import PRESETS, Settings, StyleTransferError
from styletransfer.settings import knobs

from . import choose

LIVE = {
    "style_weight": "Strength of the style β",
    "content_weight": "Likeness to the photo α",
    "tv_weight": "Smoothness γ",
    "colours": "Colours",
    "stroke": "Size of the strokes",
    "mix": "Share of the second painting",
}
"""In plain words: what can be turned while a run is on, and counts at once."""
BEFOREHAND = {"size": "Size", "iterations": "Steps"}
TURNED = (*BEFOREHAND, *LIVE)
DEFAULT = next(iter(PRESETS))


def turner(name: str, settings: Settings) -> gr.Slider | gr.Radio:
    """The slider of a setting, or its choices, from its knob; it stands as in `settings`."""
    knob, label = knobs()[name], {**BEFOREHAND, **LIVE}[name]
    if knob.choices:
        return gr.Radio(list(knob.choices), value=getattr(settings, name), label=label, info=knob.help, elem_id=name)
    return gr.Slider(
        knob.position(knob.low),
        knob.position(knob.high),
        value=knob.position(getattr(settings, name)),
        step=knob.step,
        label=f"{label}, as a power of ten" if knob.log else label,
        info=knob.help,
        elem_id=name,
        buttons=[],
    )


def chosen(preset: str, positions: tuple[Any, ...]) -> Settings:
    """The preset's settings, with what the sliders say."""
    if preset not in PRESETS:
        raise StyleTransferError(f"There is no preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    turned: dict[str, Any] = {name: knobs()[name].value(at) for name, at in zip(TURNED, positions, strict=True)}
    return replace(PRESETS[preset], **turned)


def turn_to(settings: Settings) -> list[Any]:
    """Where the sliders stand for these settings."""
    return [knobs()[name].position(getattr(settings, name)) for name in TURNED]


def preset_of(settings: Settings) -> str | None:
    """The preset that differs from these settings only in what can be turned, if there is one."""
    turned = {name: getattr(settings, name) for name in TURNED}
    return next((name for name, preset in PRESETS.items() if replace(preset, **turned) == settings), None)


def query(photo: str | None, painting: str | None, preset: str, *positions: Any) -> str:
    """The settings and, if they are ours, the pictures, as the query of a link."""
    said: dict[str, Any] = {
        "photo": choose.name_of(photo, "content"),
        "painting": choose.name_of(painting, "style"),
        "preset": preset,
        **dict(zip(TURNED, positions, strict=True)),
    }
    usual = dict(zip(TURNED, turn_to(PRESETS[preset]), strict=True)) | {"photo": None, "painting": None}
    return urlencode({name: value for name, value in said.items() if value != usual.get(name)})


def opened(said: Mapping[str, str]) -> tuple[tuple[Any, ...], str]:
    """Photo, painting, preset and positions for the query of a link; and a sentence if some of it made no sense."""
    ours = {
        "photo": {choose.name_of(example.photo, "content"): example.photo for example in choose.examples()},
        "painting": {choose.name_of(path, "style"): path for path, _ in choose.styles()},
    }
    pictures = [known.get(said.get(what)) for what, known in ours.items()]
    left_out = [what for what, found in zip(ours, pictures, strict=True) if what in said and not found]
    preset = said.get("preset", DEFAULT)
    if preset not in PRESETS:
        left_out.append("preset")
        preset = DEFAULT
    settings = PRESETS[preset]
    for name in TURNED:
        if name in said:
            try:
                knob = knobs()[name]
                value: Any = said[name] if knob.choices else knob.value(float(said[name]))
                settings = replace(settings, **{name: value})
            except (ValueError, OverflowError, StyleTransferError):
                left_out.append(name)
    sentence = f"Left out of the link, since it makes no sense here: {', '.join(left_out)}." if left_out else ""
    return (*pictures, preset, *turn_to(settings)), sentence
