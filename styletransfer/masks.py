"""The masks of a photo: what to keep of it, and which painting paints which region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from . import faces, images
from .errors import PictureError
from .settings import Settings

MASK_SIZE = 512
"""The long side of every mask, in pixels."""
MAX_STRETCH = 1.05
"""A mask that is stretched by less has the photo's shape: the sides of small ones are rounded to whole pixels."""
MAX_PAINTINGS = 4
"""So many paintings may each have a region."""
MIN_REGION = 1e-3
"""A region that covers less of the photo is empty: deep layers have not a single position there."""
MAX_UNCOVERED = 1e-2
"""The photo that lies in no region is not worth a sentence if it is less: brushes leave gaps."""
SOFT_BORDER = 4.0
"""The standard deviation of the blur of a mask's border, in pixels of the mask. A harder one shows as a line."""


class Mask(NamedTuple):
    """A picture of mode L, fitted to the photo, and what the user should know of it or ""."""

    image: Image.Image
    note: str


class Regions(NamedTuple):
    """Which painting paints where.

    `weights` are pictures of mode F, one for each of the `paintings`, in [0, 1] and with the sum 1 everywhere; none if
    one painting paints all of the photo, or two that are mixed.
    """

    paintings: tuple[int, ...]  # those that paint anything, by their place among those given
    weights: tuple[Image.Image, ...]
    notes: tuple[str, ...]  # what the user should know, one sentence each


def read_mask(source: images.Source, photo: Image.Image) -> Mask:
    """Load a mask and fit it to the photo. Raises PictureError."""
    mask = images.load(source).image.convert("L")
    stretch = mask.width * photo.height / (mask.height * photo.width)
    fits = 1 / MAX_STRETCH < stretch < MAX_STRETCH
    told = "" if fits else "The mask has another shape than the photo and was stretched to it."
    return Mask(mask.resize(images.fit_size(photo, MASK_SIZE)), told)


def read_keep(keep: images.Source, photo: Image.Image) -> tuple[Image.Image | None, str]:
    """Load the mask of what to keep; return it, or None if it is black, and what the user should know or "".

    Its border is soft (SOFT_BORDER). Raises PictureError.
    """
    mask, told = read_mask(keep, photo)
    return (_soften(mask), told) if any(mask.getextrema()) else (None, "The mask is black all over, so it was ignored.")


def add_faces(mask: Image.Image | None, photo: Image.Image, settings: Settings) -> tuple[Image.Image | None, str]:
    """Add the faces of the photo to the mask, if they shall be kept; return it, and a sentence on the faces."""
    found = faces.find_faces(photo) if settings.faces else ()
    if not found:
        return mask, ""
    over_faces = faces.face_mask(found, images.fit_size(photo, MASK_SIZE))
    sentence = "Kept a face that was found." if len(found) == 1 else f"Kept {len(found)} faces that were found."
    return ImageChops.lighter(mask, over_faces) if mask else over_faces, sentence


def read_regions(regions: Sequence[images.Source | None] | None, count: int, photo: Image.Image) -> Regions:
    """Load the regions of `count` paintings: a mask each, white where it paints, or None for the one with the rest.

    Where regions overlap, their paintings are blended. What lies in none is painted by the first painting, unless one
    has the rest. Borders are soft (SOFT_BORDER). Without `regions`, the paintings are mixed. Raises PictureError.
    """
    if regions is None:
        if not 1 <= count <= 2:
            raise PictureError(f"Give one painting, or two to be mixed, not {count}: more need a region each.")
        return Regions(tuple(range(count)), (), ())
    with_rest = [number for number, source in enumerate(regions) if source is None]
    if not 1 <= count <= MAX_PAINTINGS:
        raise PictureError(f"Give at most {MAX_PAINTINGS} paintings with regions, not {count}.")
    if len(regions) != count:
        raise PictureError(f"Give a region, or None, for each of the {count} paintings, not {len(regions)} regions.")
    if len(with_rest) > 1:
        raise PictureError("One painting at most can be without a region: it paints the rest of the photo.")
    masks = {number: read_mask(source, photo) for number, source in enumerate(regions) if source is not None}
    notes = [mask.note.replace("The mask", _name_region(number)) for number, mask in masks.items() if mask.note]
    shares = {number: np.asarray(_soften(mask.image), np.float32) / 255 for number, mask in masks.items()}
    for number in [number for number, share in shares.items() if share.mean() < MIN_REGION]:
        del shares[number]
        notes.append(f"{_name_region(number)} is empty, so it was ignored.")
    rest = np.ones(images.fit_size(photo, MASK_SIZE)[::-1], np.float32)
    for share in shares.values():
        rest = (rest - share).clip(0)
    if with_rest and rest.mean() < MIN_REGION:
        notes.append(f"The regions leave nothing to {_name_painting(with_rest[0])}, so it was ignored.")
        with_rest = []
    elif not with_rest and rest.mean() > MAX_UNCOVERED:
        notes.append(f"What lies in no region is painted like {_name_painting(min(shares, default=0))}.")
    number = with_rest[0] if with_rest else min(shares, default=0)
    shares[number] = shares.get(number, 0) + rest
    total = np.sum(list(shares.values()), axis=0)
    paintings = tuple(sorted(shares))
    weights = [Image.fromarray(shares[number] / total) for number in paintings]
    return Regions(paintings, tuple(weights) if len(weights) > 1 else (), tuple(notes))


def _name_region(number: int) -> str:
    return f"The region of {_name_painting(number)}"


def _name_painting(number: int) -> str:
    return f"the {('first', 'second', 'third', 'fourth')[number]} painting"


def _soften(mask: Image.Image) -> Image.Image:
    return mask.filter(ImageFilter.GaussianBlur(SOFT_BORDER))


def blend(pictures: Sequence[Image.Image], weights: Sequence[Image.Image]) -> Image.Image:
    """Return the sum of RGB pictures of one size, each times its weights: see Regions."""
    size = pictures[0].size
    parts = (
        np.asarray(picture) * np.asarray(weight.resize(size, Image.Resampling.BILINEAR))[..., None]
        for picture, weight in zip(pictures, weights, strict=True)
    )
    return Image.fromarray(sum(parts).round().clip(0, 255).astype(np.uint8))


def resize_rows(weight: Image.Image, size: tuple[int, int], rows: slice) -> np.ndarray:
    """Return some `rows` of weights of mode F as they are at `size`, (width, height), without the other rows."""
    scale = weight.height / size[1]
    part = 0.0, rows.start * scale, float(weight.width), min(rows.stop * scale, float(weight.height))
    return np.asarray(weight.resize((size[0], rows.stop - rows.start), Image.Resampling.BILINEAR, box=part))
