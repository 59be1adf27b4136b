"""How a picture was made, kept inside its PNG file: the settings, as a text of the name RECORD."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from . import pictures
from .errors import StyleTransferError
from .settings import Settings

RECORD = "styletransfer"
LONGEST = 10_000  # characters; our own have about 500


def text(settings: Settings) -> str:
    """All settings, as JSON."""
    return json.dumps(asdict(settings))


def save_png(picture: Image.Image, file: str | IO[bytes] | Any, settings: Settings) -> None:
    """Save the picture as PNG with its settings. Raises OSError."""
    info = PngInfo()
    info.add_text(RECORD, text(settings))
    picture.save(file, format="PNG", pnginfo=info)


def read(source: pictures.Source) -> Settings | None:
    """The settings in one of our PNG files, or None: another picture, or none at all."""
    try:
        return parse(pictures.text(source, RECORD))
    except Exception:  # decoders meet bad data with nearly any there is
        return None


def parse(said: str) -> Settings | None:
    """The settings that a text says, or None.

    It may come from anybody, and from a later version: what is unknown is left out, what is out of range refuses the
    whole.
    """
    try:
        found = json.loads(said[:LONGEST])
        known = {f.name: found[f.name] for f in fields(Settings) if f.name in found}
        return Settings(**known) if isinstance(found, dict) else None
    except (ValueError, TypeError, RecursionError, StyleTransferError):
        return None
