"""The page's own pictures: examples, sample photos and styles, and the tiles that show them."""

from __future__ import annotations

import csv
import filecmp
import random
from pathlib import Path
from typing import NamedTuple

from .tiles import Tile

EXAMPLES = Path(__file__).parent.parent / "examples"
FIRST_EXAMPLE = 2  # the one that the page opens with


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
    """Return the rows of examples/styles.csv: the path of each style, and its title."""
    with (EXAMPLES / "styles.csv").open(encoding="utf-8") as file:
        return [(style_path(row["style"]), row["title"]) for row in csv.DictReader(file)]


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


def example_title(example: Example) -> str:
    """Return what an example shows, such as "Chelsea as Woodcut"."""
    titles = dict(styles())
    return f"{Path(example.photo).stem.capitalize()} as {titles[example.painting]}"


def example_tiles() -> list[Tile]:
    """The results of the examples."""
    return [Tile(example.result, example_title(example)) for example in examples()]


def sample_photos() -> list[str]:
    """The paths of the photos, each once."""
    return list(dict.fromkeys(example.photo for example in examples()))


def sample_tiles() -> list[Tile]:
    """The photos for visitors without one."""
    return [Tile(photo, Path(photo).stem.capitalize()) for photo in sample_photos()]


def style_tiles(own: str | None = None) -> list[Tile]:
    """The styles, and in the end a tile for the visitor's own painting, of which `own` is the path."""
    return [*(Tile(path, title) for path, title in styles()), Tile(own, "Your own")]


def random_style(other_than: str | None) -> str:
    """Return the path of a random style, but not of the one at hand."""
    at_hand = example_name(other_than, "style")
    return random.choice([path for path, _ in styles() if Path(path).stem != at_hand])
