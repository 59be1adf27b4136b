"""Rows of pictures to press: the styles, sample photos, examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from .pictures import picture_of

TAKE_FILES = "({ tiles, chosen }) => tiles[chosen].files"
"""JavaScript of a `select` event, from tiles to drop zones: a server that is slow would let Paint come before them."""
TAKE_FILE = f"{TAKE_FILES}[0]"
MARK_FILE = "(file, row) => ({ ...row, chosen: row.tiles.findIndex((tile) => tile.files[0].path === file?.path) })"
"""JavaScript from a drop zone and tiles to these tiles: a ring around the one that the drop zone holds."""
SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")


class Tile(NamedTuple):
    """A picture with its name; `picture` is its path, or None where a plus sign stands for one to come.

    `files` are the paths of the pictures in full that it stands for.
    """

    picture: str | None
    name: str
    is_waiting: bool = False  # for another picture in its place: it is dim, and cannot be pressed
    files: tuple[str, ...] = ()


def build_tiles(tiles: Sequence[Tile], *, label: str, elem_id: str, **props: Any) -> gr.HTML:
    """Build a row of tiles; the event `select` has the index of the one that was pressed.

    With `accept`, types of files, the last tile stands for the visitor's own picture: it asks for a file.
    """
    return gr.HTML(
        tiles_value(tiles),
        html_template=f'<div class="tiles" role="group" aria-label="{label}"></div>',
        js_on_load=SCRIPT,
        elem_id=elem_id,
        apply_default_css=False,
        **props,
    )


def tiles_value(tiles: Sequence[Tile], chosen: int | None = None) -> dict[str, Any]:
    """Return the value that shows these tiles, with a ring around the `chosen` one."""
    shown = [
        {
            "picture": picture_of(tile.picture),
            "name": tile.name,
            "waits": tile.is_waiting,
            "files": [picture_of(file) for file in tile.files],
        }
        for tile in tiles
    ]
    return {"tiles": shown, "chosen": chosen}
