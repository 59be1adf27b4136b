"""How a picture was made, kept inside its PNG file: the settings, as a text of the name RECORD."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from . import pictures
from .settings import Settings

RECORD = "styletransfer"
LONGEST = 10_000  # characters; our own have about 500


def save_png(picture: Image.Image, file: str | IO[bytes] | Any, settings: Settings) -> None:
    """Save the picture as PNG with its settings. Raises OSError."""
    info = PngInfo()
    info.add_text(RECORD, json.dumps(asdict(settings)))
    picture.save(file, format="PNG", pnginfo=info)


def read(source: pictures.Source) -> Settings | None:
    """The settings in one of our PNG files, or None: another picture, or none at all.

    A file may come from anybody, and from a later version: what is unknown is left out, what is out of range refuses
    the whole.
    """
    try:
        said = json.loads(pictures.text(source, RECORD)[:LONGEST])
        if not isinstance(said, dict):
            return None
        known = {f.name: said[f.name] for f in fields(Settings) if f.name in said}
        return Settings(**known)
    except Exception:  # decoders meet bad data with nearly any there is
        return None
