"""The settings of a painting inside its file: in a PNG a text chunk called KEY, in a JPEG a comment, in a TIFF (see
print_files.py) a description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import IO, Any

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from . import images
from .errors import StyleTransferError
from .schedule import is_print
from .settings import Settings

KEY = "styletransfer"
DPI = 300
"""The resolution that a print is saved with, in dots per inch, unless another is asked for."""
MAX_CHARACTERS = 10_000  # a record of this version has about 500


BEFORE: Mapping[str, Any] = MappingProxyType({"objective": "gram", "faces": False, "precision": "float32"})
"""The settings that the first records do not have, and what pictures were painted with then."""

NO_INPUTS: Mapping[str, str] = MappingProxyType({})


def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def to_json(
    settings: Settings, *, masked: bool = False, in_regions: bool = False, inputs: Mapping[str, str] = NO_INPUTS
) -> str:
    """Return all settings as JSON, and whether masks said what to keep and what to paint by which painting.

    The masks themselves are not in the record.

    `inputs` are the files that were painted from, where they shall be told later: see read_inputs.
    """
    record = {**asdict(settings), "masked": masked, "in_regions": in_regions, "inputs": dict(inputs)}
    return json.dumps(record)


def png_info(record: str) -> PngInfo:
    """Return a record as what a PNG contains: see to_json."""
    info = PngInfo()
    info.add_text(KEY, record)
    return info


def save_png(
    picture: Image.Image,
    file: str | IO[bytes] | Any,
    settings: Settings,
    *,
    masked: bool = False,
    in_regions: bool = False,
) -> None:
    """Save the picture as PNG with its settings inside, and a print's resolution. Raises OSError."""
    record = to_json(settings, masked=masked, in_regions=in_regions)
    picture.save(file, format="PNG", pnginfo=png_info(record), **_resolution(settings))


def save_jpeg(
    picture: Image.Image,
    file: str | IO[bytes] | Any,
    settings: Settings,
    *,
    masked: bool = False,
    in_regions: bool = False,
) -> None:
    """Save the picture as JPEG that says it is in sRGB, with its settings inside, and a print's resolution.

    It looks like the picture, but has not its exact pixels. Many services drop the settings. Raises OSError.
    """
    comment = jpeg_comment(to_json(settings, masked=masked, in_regions=in_regions))
    picture.save(file, format="JPEG", quality=92, icc_profile=srgb_profile(), comment=comment, **_resolution(settings))


def jpeg_comment(record: str) -> str:
    """Return the comment of a JPEG that contains a record, as to_json returns it."""
    return f"{KEY}: {record}"


def _resolution(settings: Settings) -> dict[str, Any]:
    return {"dpi": (DPI, DPI)} if is_print(settings) else {}


def read_settings(source: images.Source) -> Settings | None:
    """Return the settings inside a file that save_png, save_jpeg or print_files.save wrote, or None for any other."""
    try:
        return from_json(images.read_text(source, KEY))
    except Exception:  # decoders raise nearly any exception on bad data
        return None


def is_masked(source: images.Source) -> bool:
    """Return whether a file that save_png or save_jpeg wrote was painted with a mask of what to keep."""
    return _read_record(source).get("masked") is True


def is_in_regions(source: images.Source) -> bool:
    """Return whether a file that save_png or save_jpeg wrote was painted by paintings with a region each."""
    return _read_record(source).get("in_regions") is True


def read_inputs(source: images.Source) -> dict[str, str]:
    """Return what a picture was painted from, as its record has it; of most pictures it has nothing.

    This is the SHA-256 of each file, in hexadecimal, under what it was used as: photo, painting, keep, weights.
    """
    inputs = _read_record(source).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _read_record(source: images.Source) -> dict[str, Any]:
    """Return what is recorded inside a file, or nothing. It may come from anybody."""
    try:
        record = json.loads(images.read_text(source, KEY))
    except Exception:  # decoders raise nearly any exception on bad data
        return {}
    return record if isinstance(record, dict) else {}


def from_json(text: str) -> Settings | None:
    """Return the settings in a text that to_json wrote, or None if it is not one.

    The text may come from anybody, and from a later version. Unknown names are ignored. One value out of range makes
    the whole text invalid.
    """
    try:
        found = json.loads(text[:MAX_CHARACTERS])
        known = {f.name: found[f.name] for f in fields(Settings) if f.name in found}
        return Settings(**{**BEFORE, **known}) if isinstance(found, dict) else None
    except (ValueError, TypeError, RecursionError, StyleTransferError):
        return None
