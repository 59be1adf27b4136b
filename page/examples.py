"""The page's own pictures: examples and styles, and the galleries that show them."""

from __future__ import annotations

import csv
import filecmp
import random
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

EXAMPLES = Path(__file__).parent.parent / "examples"


class Example(NamedTuple):
    """The paths of a photo, of a painting, and of the result that the default preset gives."""

    photo: str
    painting: str
    result: str


def examples() -> list[Example]:
    """Return the rows of examples/pairs.csv, as paths."""
    with (EXAMPLES / "pairs.csv").open(encoding="utf-8") as file:
        return [
            Example(
                photo=content_path(pair["photo"]),
                painting=style_path(pair["painting"]),
                result=str(EXAMPLES / "results" / f"{pair['photo']}--{pair['painting']}.jpg"),
            )
            for pair in csv.DictReader(file)
        ]


def styles() -> list[tuple[str, str]]:
    """Return the rows of examples/styles.csv: the path of each style, and its title with its maker."""
    with (EXAMPLES / "styles.csv").open(encoding="utf-8") as file:
        return [(style_path(row["style"]), f"{row['title']} ({row['maker']})") for row in csv.DictReader(file)]


def content_path(name: str) -> str:
    """Return the path of an example's photo."""
    return str(EXAMPLES / "content" / f"{name}.jpg")


def style_path(name: str) -> str:
    """Return the path of a style."""
    return str(EXAMPLES / "style" / f"{name}.webp")


def example_name(path: str | None, folder: str) -> str | None:
    """Return the name of the picture at `path` if it is one of examples/`folder`, byte for byte, or None.

    A visitor's own picture has no name, even where its file is called like one of the examples.
    """
    if not path or not Path(path).is_file():
        return None
    example = EXAMPLES / folder / Path(path).name
    return example.stem if example.is_file() and filecmp.cmp(path, example, shallow=False) else None


def example_gallery() -> gr.Gallery:
    """Build the row of the examples' results; pressing one chooses it."""
    labels = [
        f"{Path(example.photo).stem} as {Path(example.painting).stem}".replace("-", " ") for example in examples()
    ]
    pictures = [(example.result, label) for example, label in zip(examples(), labels, strict=True)]
    return _gallery(pictures, label="Examples: press one", show_label=False, elem_id="examples", columns=8)


def style_gallery() -> gr.Gallery:
    """Build the gallery of the styles; pressing one chooses it."""
    return _gallery(styles(), label="Styles: press one", show_label=False, elem_id="styles", columns=3)


def _gallery(pictures: list[tuple[str, str]], **look: Any) -> gr.Gallery:
    plain: dict[str, Any] = {"allow_preview": False, "interactive": False, "buttons": []}
    return gr.Gallery(pictures, height="auto", object_fit="cover", **plain, **look)


def random_pair() -> tuple[str, str]:
    """Return the paths of a random photo and a random style."""
    return random.choice(examples()).photo, random.choice(styles())[0]
