"""The page's own pictures: examples, sample photos and styles, their tiles; and what the page calls any picture."""

from __future__ import annotations

import csv
import filecmp
import random
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .tiles import Tile

EXAMPLES = Path(__file__).parent.parent / "examples"
FIRST_EXAMPLE = 2  # the one that the page opens with
MAX_NAME_LENGTH = 40
# What cameras, messengers and clipboards call every picture; such a name says nothing.
NAMELESS = re.compile(
    "at|blob|camera|capture|clipboard|dcim|dji|download|dsc|dscf|dscn|file|gopr|image|img|mvimg|photo|pic|picture|pxl|"
    "scan|screen|screenshot|shot|signal|telegram|temp|tmp|unnamed|untitled|vid|wa|webcam|whatsapp"
)


class Example(NamedTuple):
    """The paths of a photo, of a painting, and of the result that the default preset gives."""

    photo: str
    painting: str
    result: str


def examples() -> list[Example]:
    """Return the rows of examples/pairs.csv, as paths."""
    return [
        Example(
            photo=content_path(pair["photo"]),
            painting=style_path(pair["painting"]),
            result=str(EXAMPLES / "results" / f"{pair['photo']}--{pair['painting']}.jpg"),
        )
        for pair in _read_table("pairs.csv")
    ]


def styles() -> list[tuple[str, str]]:
    """Return the rows of examples/styles.csv: the path of each style, and its title."""
    return [(style_path(row["style"]), row["title"]) for row in _read_table("styles.csv")]


def _read_table(name: str) -> list[dict[str, str]]:
    with (EXAMPLES / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def style_manner(path: str) -> str:
    """Return the words for "painted like this style", given its path: "as a woodcut"."""
    return {row["style"]: row["manner"] for row in _read_table("styles.csv")}[Path(path).stem]


def thumbnail(path: str) -> str:
    """Return the path of a small WebP of one of the page's own pictures; scripts/make_thumbnails.py makes them."""
    return str((EXAMPLES / "thumbnails" / Path(path).relative_to(EXAMPLES)).with_suffix(".webp"))


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


def photo_names() -> dict[str, str]:
    """Return the rows of examples/photos.csv: what the page calls each of its photos, by the name of its file."""
    return {row["photo"]: row["name"] for row in _read_table("photos.csv")}


def photo_name(path: str) -> str:
    """Return what the page calls a photo: "Cat", the words of the file's name for a visitor's own, or "Photo"."""
    return photo_names().get(example_name(path, "content") or "") or _words(path) or "Photo"


def style_name(path: str) -> str:
    """Return what the page calls a painting: its title, the words of the file's name for a visitor's, or "My style"."""
    titles = {Path(style).stem: title for style, title in styles()}
    return titles.get(example_name(path, "style") or "") or _words(path) or "My style"


def pair_name(photo: str, paintings: Sequence[str]) -> str:
    """Return what the page calls a picture of this photo: "Cat · Woodcut", or with both paintings."""
    return f"{photo_name(photo)} · {' + '.join(map(style_name, paintings))}"


def _words(path: str) -> str:
    """Return the words of a file's name with capitals, of MAX_NAME_LENGTH at most, or "" if it does not name anything.

    "IMG_2041", "3f2a9c1e-77aa-4c21-9d1f-0123456789ab" and "photo (1)" do not.
    """
    stem = Path(path).stem
    words = re.findall(r"[^\W_]+", stem)
    roots = [re.sub(r"\d+$", "", word).lower() for word in words]
    naming = [root for root in roots if root.isalpha() and (len(root) > 1 or not root.isascii())]
    if all(map(NAMELESS.fullmatch, naming)) or re.fullmatch("[0-9a-f]{16,}", stem.replace("-", "").lower()):
        return ""
    capitals = " ".join(word[0].upper() + word[1:] for word in words)
    return textwrap.shorten(capitals, MAX_NAME_LENGTH, placeholder="")


def example_tiles() -> list[Tile]:
    """The results of the examples."""
    return [
        Tile(
            thumbnail(example.result),
            pair_name(example.photo, [example.painting]),
            files=(example.photo, example.painting),
        )
        for example in examples()
    ]


def sample_photos() -> list[str]:
    """The paths of the photos, each once."""
    return list(dict.fromkeys(example.photo for example in examples()))


def sample_tiles() -> list[Tile]:
    """The photos for visitors without one."""
    return [Tile(thumbnail(photo), photo_name(photo), files=(photo,)) for photo in sample_photos()]


def style_tiles(own: str | None = None) -> list[Tile]:
    """The styles, and in the end a tile for the visitor's own painting, of which `own` is the path."""
    return [
        *(Tile(thumbnail(path), title, files=(path,)) for path, title in styles()),
        Tile(own, "Your own", files=(own,) if own else ()),
    ]


def random_style(other_than: str | None) -> str:
    """Return the path of a random style, but not of the one at hand."""
    at_hand = example_name(other_than, "style")
    return random.choice([path for path, _ in styles() if Path(path).stem != at_hand])
