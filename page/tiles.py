"""Rows of pictures to press: the styles, sample photos, examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from .pictures import picture_of

TAKE_FILE = "({ tiles, chosen }) => tiles[chosen].file ?? tiles[chosen].picture"
"""JavaScript of a `select` event, from the tiles to a drop zone, so that no press on Paint comes before the picture."""
MARK_FILE = "(file, row) => ({ ...row, chosen: row.tiles.findIndex((tile) => tile.file.path === file?.path) })"
"""JavaScript from a drop zone and tiles to these tiles: a ring around the one that the drop zone holds."""
SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")


class Tile(NamedTuple):
    """A picture with its name; `picture` is its path, or None where a plus sign stands for one to come.

    Where it is small, `file` is the path of the picture in full, which `TAKE_FILE` puts into a drop zone.
    """

    picture: str | None
    name: str
    is_waiting: bool = False  # for another picture in its place: it is dim, and cannot be pressed
    file: str | None = None


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
            "file": picture_of(tile.file),
        }
        for tile in tiles
    ]
    return {"tiles": shown, "chosen": chosen}
