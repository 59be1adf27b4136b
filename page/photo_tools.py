"""What a visitor does to a photo before it is painted: turn it, cut a part out, mark parts of it, see its faces.

All of it works on files: a new one is made in the visit's folder, and the photo stays as it was.
"""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from styletransfer import PictureError, faces, images
from styletransfer.faces import Face

from .pictures import PNG_URL

MASK_SIZE = 512  # pixels of the long side; the engine's masks are no finer
EDITING_SIZE = 1024  # pixels of the long side of the photo that is drawn on
SHOWN_SIZE = 192  # pixels of the long side of what only shows where
KEEP_COLOUR, REGION_COLOUR = (214, 0, 108), (255, 176, 0)  # far apart also for colour-blind people
MARK_OPACITY = 140  # of 255
JPEG: Mapping[str, Any] = {"quality": 98, "subsampling": 0}  # four turns change a photo by about one grey level


class Box(NamedTuple):
    """A part of a photo, in fractions of its width and height."""

    left: float
    top: float
    width: float
    height: float


def rotate(path: str, folder: Path) -> str:
    """Turn a picture by a quarter, clockwise, and return the path of the new file in `folder`.

    A photo that a camera has stored lying is upright first. Raises PictureError or OSError.
    """
    return _save_beside(images.load(path).image.transpose(Image.Transpose.ROTATE_270), path, folder)


def crop(path: str, box: Box, folder: Path) -> str:
    """Cut a part out of a picture, and return the path of the new file in `folder`. Raises PictureError or OSError."""
    picture = images.load(path).image
    right, bottom = min(box.left + box.width, 1.0), min(box.top + box.height, 1.0)
    edges = [round(picture.width * box.left), round(picture.height * box.top)]
    edges += [round(picture.width * right), round(picture.height * bottom)]
    width, height = edges[2] - edges[0], edges[3] - edges[1]
    if min(width, height) < images.MIN_SIDE:
        least = f"choose one with at least {images.MIN_SIDE} on each side."
        raise PictureError(f"This part has {max(0, width)}×{max(0, height)} pixels; {least}")
    return _save_beside(picture.crop((edges[0], edges[1], edges[2], edges[3])), path, folder)


def read_box(value: Any) -> Box:
    """Return the box that the page has sent. Raises PictureError if it is none."""
    try:
        return Box(*(min(max(float(side), 0.0), 1.0) if math.isfinite(side) else math.nan for side in value))
    except (TypeError, ValueError) as error:
        raise PictureError("Draw the part of the photo first.") from error


def read_mask(drawing: Any) -> Image.Image | None:
    """Return the mask that the page has sent, mode L and white where the photo is marked, or None if nothing is white.

    `drawing` is the data URL of a PNG. Raises PictureError.
    """
    try:
        content = base64.b64decode(drawing.removeprefix(PNG_URL), validate=True)
    except (AttributeError, ValueError) as error:
        raise PictureError("What was drawn has been damaged on its way; draw it again.") from error
    mask = images.load(content).image.convert("L") if content else None
    if not mask or np.asarray(mask).max() < 128:
        return None
    return mask.resize(images.fit_size(mask, MASK_SIZE)) if max(mask.size) > MASK_SIZE else mask


def save_mask(mask: Image.Image, photo: str, folder: Path, purpose: str) -> str:
    """Save the mask of a photo in `folder`, with its `purpose` in its name, and return its path. Raises OSError."""
    file = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(photo).stem}-{purpose}.png"
    mask.save(file)
    return str(file)


@lru_cache(maxsize=256)
def find_faces(path: str) -> tuple[Face, ...]:
    """Find the faces that a run with this photo would keep. Raises PictureError."""
    return faces.find_faces(images.load(path).image)


def show_faces(path: str, found: tuple[Face, ...]) -> Image.Image:
    """Draw an ellipse around each face, on a small copy of the photo. Raises PictureError."""
    picture = shrink(path, SHOWN_SIZE)
    draw = ImageDraw.Draw(picture)
    for face in found:
        left, top = face.left * picture.width, face.top * picture.height
        edges = left, top, left + face.width * picture.width, top + face.height * picture.height
        draw.ellipse(edges, outline="white", width=8)
        draw.ellipse(edges, outline=KEEP_COLOUR, width=4)
    return picture


def show_mask(path: str, mask: str, colour: tuple[int, int, int]) -> Image.Image:
    """Tint what the mask marks, on a small copy of the photo. Raises PictureError."""
    picture = shrink(path, SHOWN_SIZE)
    opacity = images.load(mask).image.convert("L").resize(picture.size).point(lambda grey: grey * MARK_OPACITY // 255)
    picture.paste(colour, (0, 0, *picture.size), opacity)
    return picture


def make_transparent(mask: str) -> Image.Image:
    """Return a mask as white of mode LA that can be seen where it marks something. Raises PictureError."""
    opacity = images.load(mask).image.convert("L")
    return Image.merge("LA", (Image.new("L", opacity.size, "white"), opacity))


def shrink(path: str, size: int) -> Image.Image:
    """Return a picture with at most `size` pixels on its long side. Raises PictureError."""
    picture = images.load(path).image
    picture.thumbnail((size, size))
    return picture


def _save_beside(picture: Image.Image, original: str, folder: Path) -> str:
    """Save a picture under the name of the original, in a folder of its own. PNG stays PNG; all else becomes JPEG."""
    is_png = images.read_format(original) == "PNG"
    file = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(original).stem}{'.png' if is_png else '.jpg'}"
    if is_png:
        picture.save(file, compress_level=1)
    else:
        picture.save(file, **JPEG)
    return str(file)
