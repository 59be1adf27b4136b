"""Faces: where they are in a photo, and a mask over them, so that a run can keep more of them."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageOps

DETECTION_SIZE = 512  # pixels, the long side at which a photo is searched
MIN_FACE = 40  # pixels at that size
CLOSE_UP_FACE = 64  # pixels, a candidate's side in its close-up, which has half as much again on each side
TILTS = (-12, 0, 12)  # degrees
MIN_CONFIRMATIONS = 43
"""How often a candidate must be found again in its close-ups to be called a face.

In four portraits, also mirrored, scaled, darker or brighter, the face was found 45 to 227 times. The most was 40 on
the astronaut's suit, and 33 in 176 views of photos and paintings without a face. At 30, a flower has one.
"""

logger = logging.getLogger(__name__)


class Face(NamedTuple):
    """A box from the middle of the forehead to the chin, in fractions of the photo's width and height."""

    left: float
    top: float
    width: float
    height: float


def find_faces(photo: Image.Image) -> tuple[Face, ...]:
    """Find the faces that look at the camera, the surest first. A detector that fails finds none.

    Faces in profile, tilted by more than 15°, or smaller than a twelfth of the photo's long side are mostly missed.
    """
    try:
        return _detect_faces(photo)
    except Exception:  # a run without faces kept is better than none
        logger.exception("Faces could not be searched for; none will be kept.")
        return ()


def face_mask(faces: tuple[Face, ...], width_height: tuple[int, int]) -> Image.Image:
    """Draw a soft ellipse over each face: mode L of (width, height) pixels, white on the face, black far from it.

    Eyes and mouth are white. The ellipse is half black where it touches the box, and black a fifth of the box further:
    with more of the background in it, a pale halo stays around the head.
    """
    width, height = width_height
    mask = Image.new("L", width_height)
    y, x = np.ogrid[:height, :width]
    for face in faces:
        across = ((x + 0.5) / width - face.left) / face.width - 0.5  # −0.5 to 0.5 in the box
        down = ((y + 0.5) / height - face.top) / face.height - 0.5
        beyond = np.hypot(across, down) - 0.5  # in box sizes
        white = 255 * (0.5 - 2.5 * beyond).clip(0, 1)
        mask = ImageChops.lighter(mask, Image.fromarray(white.round().astype(np.uint8)))
    return mask


def _detect_faces(photo: Image.Image) -> tuple[Face, ...]:
    """Look for candidates in the whole photo, and look at each again in close-ups.

    The cascade alone calls two patches of the astronaut's suit faces.
    """
    from skimage.data import lbp_frontal_face_cascade_filename  # 0.4 s, so not when this package is imported
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    grey = photo.convert("L")
    scale = DETECTION_SIZE / max(grey.size)
    small = grey.resize((max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), reducing_gap=2.0)
    boxes = _run_cascade(cascade, small, 1.2, (MIN_FACE, DETECTION_SIZE), min_neighbor_number=2)
    candidates = [Face(*(side / scale for side in box)) for box in boxes]  # in pixels of the photo
    confirmations = {box: _count_confirmations(cascade, grey, box) for box in candidates}
    found: list[Face] = []
    for box in sorted(candidates, key=lambda box: -confirmations[box]):
        if confirmations[box] >= MIN_CONFIRMATIONS and all(_overlap(box, other) < 0.3 for other in found):
            found.append(box)
    width, height = grey.size
    return tuple(Face(box.left / width, box.top / height, box.width / width, box.height / height) for box in found)


def _count_confirmations(cascade: Any, grey: Image.Image, box: Face) -> int:
    """Count how often the cascade finds the candidate `box` (in pixels) in close-ups of it, tilted and mirrored.

    A face is found in many windows around it, tilted one way at least; what only looks like one, in few.
    """
    margin = CLOSE_UP_FACE // 2
    side = CLOSE_UP_FACE + 2 * margin
    left, top = box.left - box.width / 2, box.top - box.height / 2
    surroundings = grey.crop((round(left), round(top), round(left + 2 * box.width), round(top + 2 * box.height)))
    close_up = surroundings.resize((side, side))
    expected = Face(margin, margin, CLOSE_UP_FACE, CLOSE_UP_FACE)
    sizes = round(CLOSE_UP_FACE / 1.3), round(CLOSE_UP_FACE * 1.3)
    tilted = [close_up.rotate(angle, Image.Resampling.BICUBIC, fillcolor=128) for angle in TILTS]
    return sum(
        _overlap(window, expected) >= 0.5
        for view in [*tilted, *map(ImageOps.mirror, tilted)]
        # Above 1, no windows are merged: each counts.
        for window in _run_cascade(cascade, view, 1.1, sizes, min_neighbor_number=1, intersection_score_threshold=2)
    )


def _run_cascade(
    cascade: Any, grey: Image.Image, scale_factor: float, sizes: tuple[int, int], **merging: float
) -> list[Face]:
    """Return the square windows that the cascade calls faces, in pixels of `grey`; `sizes` is the least and largest."""
    least, largest = sizes
    windows = cascade.detect_multi_scale(
        np.asarray(grey.convert("RGB")),
        scale_factor=scale_factor,
        step_ratio=1,
        min_size=(least, least),
        max_size=(largest, largest),
        **merging,
    )
    return [Face(window["c"], window["r"], window["width"], window["height"]) for window in windows]


def _overlap(a: Face, b: Face) -> float:
    """The area that two boxes share, divided by the area that they cover together."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a.width * a.height + b.width * b.height - shared)
