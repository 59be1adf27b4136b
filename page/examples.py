"""What to paint and like what: examples, the two drop zones, the gallery of styles."""

from __future__ import annotations

import csv
import filecmp
import random
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

EXAMPLES = Path(__file__).parent.parent / "examples"


class Example(NamedTuple):
    """A photo, a painting, and what the default preset makes of them."""

    photo: str
    painting: str
    result: str


def examples() -> list[Example]:
    """The rows of examples/pairs.csv, as paths."""
    with (EXAMPLES / "pairs.csv").open(encoding="utf-8") as file:
        return [
            Example(
                photo_file(pair["photo"]),
                style_file(pair["painting"]),
                str(EXAMPLES / "results" / f"{pair['photo']}--{pair['painting']}.jpg"),
            )
            for pair in csv.DictReader(file)
        ]


def styles() -> list[tuple[str, str]]:
    """The rows of examples/styles.csv: a path, and what it is and by whom."""
    with (EXAMPLES / "styles.csv").open(encoding="utf-8") as file:
        return [(style_file(row["style"]), f"{row['title']} ({row['maker']})") for row in csv.DictReader(file)]


def photo_file(name: str) -> str:
    """The path of an example's photo."""
    return str(EXAMPLES / "content" / f"{name}.jpg")


def style_file(name: str) -> str:
    """The path of a style of ours."""
    return str(EXAMPLES / "style" / f"{name}.webp")


def name_of(path: str | None, folder: str) -> str | None:
    """What one of our own pictures is called, for a link; None for a visitor's, whatever its file is called."""
    if not path or not Path(path).is_file():
        return None
    ours = EXAMPLES / folder / Path(path).name
    return ours.stem if ours.is_file() and filecmp.cmp(path, ours, shallow=False) else None


def strip() -> gr.Gallery:
    """The examples' results, to be clicked."""
    labels = [
        f"{Path(example.photo).stem} as {Path(example.painting).stem}".replace("-", " ") for example in examples()
    ]
    pictures = [(example.result, label) for example, label in zip(examples(), labels, strict=True)]
    return _gallery(pictures, label="Examples: press one", show_label=False, elem_id="examples", columns=8)


def gallery() -> gr.Gallery:
    """The styles, to be clicked."""
    return _gallery(styles(), label="Styles: press one", show_label=False, elem_id="styles", columns=3)


def _gallery(pictures: list[tuple[str, str]], **look: Any) -> gr.Gallery:
    plain: dict[str, Any] = {"allow_preview": False, "interactive": False, "buttons": []}
    return gr.Gallery(pictures, height="auto", object_fit="cover", **plain, **look)


def picture(label: str, *, webcam: bool = False) -> gr.Image:
    """A drop zone that hands over the file as it came: reading it, and refusing it, is the engine's.

    Never send it a gr.update or gr.skip: Gradio would then build it anew for that visitor, with its own reading.
    """
    sources: list[Any] = ["upload", "clipboard", *(["webcam"] if webcam else [])]
    image = gr.Image(label=label, sources=sources, height=220, elem_id=label.lower().replace(" ", "-"), buttons=[])
    image.preprocess = lambda payload: payload and payload.path  # type: ignore
    return image


def surprise() -> tuple[str, str]:
    """A photo and a painting of ours, by chance."""
    return random.choice(examples()).photo, random.choice(styles())[0]
