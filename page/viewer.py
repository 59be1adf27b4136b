"""The picture as it is being painted, and when it is finished: before and after, on the whole screen, to share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from .examples import Example, pair_name
from .pictures import picture_of, to_data_url

TEMPLATE = """<figure class="viewer">
  <div class="frame">
    <img class="after" alt=""><img class="before" alt="The photo">
    <div class="divider" role="slider" tabindex="0" aria-label="Before and after" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow="0"></div>
  </div>
  <figcaption></figcaption>
  <div class="tools">
    <button type="button" class="share">Share</button><button type="button" class="full">Full screen</button>
  </div>
</figure>"""


def build_viewer(value: dict[str, Any]) -> gr.HTML:
    """Build the viewer; `value` comes from `show_painting`, `show_result` or `show_example`."""
    script = Path(__file__).with_suffix(".js").read_text("utf-8")
    return gr.HTML(value, html_template=TEMPLATE, js_on_load=script, elem_id="result", apply_default_css=False)


def show_painting(picture: Image.Image) -> dict[str, Any]:
    """Return the value that shows a picture which is being painted, without a file of it on the server's disk."""
    return _value(to_data_url(picture), None, "The picture as it is being painted", "", is_own=True)


def show_small(picture: Image.Image | None, before: str | None) -> dict[str, Any]:
    """Return the value that shows a small copy of a picture, if there is one, and its photo."""
    return _value(picture and to_data_url(picture), before, "A small copy of the picture", "A small copy.", is_own=True)


def show_result(picture: str, before: str | None) -> dict[str, Any]:
    """Return the value that shows a finished picture, given its path and that of the photo in the same shape."""
    label = "Drag the line to compare, or press and hold to see the photo." if before else ""
    return _value(picture_of(picture), before, "The finished picture", label, is_own=True)


def show_example(example: Example) -> dict[str, Any]:
    """Return the value that shows the finished result of an example beside its photo."""
    label = f"An example: {pair_name(example.photo, [example.painting])}"
    return _value(picture_of(example.result), example.photo, label, label, split=0.5)


def _value(
    picture: Any, before: str | None, alt: str, label: str, *, split: float = 0.0, is_own: bool = False
) -> dict[str, Any]:
    photo = picture_of(before)
    return {"picture": picture, "before": photo, "alt": alt, "label": label, "split": split, "is_own": is_own}
