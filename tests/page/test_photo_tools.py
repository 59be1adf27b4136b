"""What becomes of a photo that is turned or cropped, and of what is drawn on it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from page import photo_tools
from page.photo_tools import Box
from styletransfer import PictureError, images
from tests.data import PHOTO, ROOT, encode

ASTRONAUT = str(ROOT / "examples" / "content" / "astronaut.jpg")


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(images.load(path).image, dtype=float)


def save_with_orientation(folder: Path, orientation: int) -> tuple[Path, np.ndarray]:
    """A photo as cameras store it, and what it shows when it is upright."""
    picture, exif = Image.open(PHOTO), Image.Exif()
    exif[0x0112] = orientation
    picture.save(folder / "holiday.jpg", exif=exif, quality=95)
    return folder / "holiday.jpg", pixels(folder / "holiday.jpg")


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_turned_photo_is_a_quarter_further_clockwise_however_the_camera_was_held(
    tmp_path: Path, orientation: int
) -> None:
    path, upright = save_with_orientation(tmp_path, orientation)
    turned = photo_tools.rotate(str(path), tmp_path)
    assert np.abs(pixels(turned) - np.rot90(upright, -1)).mean() < 1
    assert Path(turned).stem == "holiday"
    assert tmp_path in Path(turned).parents
    assert path.is_file()


def test_four_turns_give_the_photo_again(tmp_path: Path) -> None:
    path = str(PHOTO)
    for _ in range(4):
        path = photo_tools.rotate(path, tmp_path)
    assert np.abs(pixels(path) - pixels(PHOTO)).mean() < 2


def test_a_turned_png_loses_nothing_and_a_transparent_one_becomes_white(tmp_path: Path) -> None:
    Image.open(PHOTO).save(tmp_path / "cat.png")
    turned = photo_tools.rotate(str(tmp_path / "cat.png"), tmp_path)
    assert np.array_equal(pixels(turned), np.rot90(pixels(tmp_path / "cat.png"), -1))
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "glass.png")
    assert (pixels(photo_tools.rotate(str(tmp_path / "glass.png"), tmp_path)) == 255).all()


def test_a_turned_photo_keeps_neither_place_nor_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.open(PHOTO).save(tmp_path / "holiday.jpg", exif=exif)
    with Image.open(photo_tools.rotate(str(tmp_path / "holiday.jpg"), tmp_path)) as turned:
        assert not dict(turned.getexif())


def test_a_huge_photo_is_reduced_when_it_is_turned(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 100), "teal").save(tmp_path / "long.jpg")
    with Image.open(photo_tools.rotate(str(tmp_path / "long.jpg"), tmp_path)) as turned:
        assert turned.size == (82, images.MAX_SIDE)


def test_a_crop_is_the_part_that_was_drawn(tmp_path: Path) -> None:
    cropped = pixels(photo_tools.crop(str(PHOTO), Box(0.25, 0.5, 0.5, 0.5), tmp_path))
    whole = pixels(PHOTO)
    height, width = whole.shape[:2]
    expected = whole[round(height * 0.5) :, round(width * 0.25) : round(width * 0.75)]
    assert cropped.shape == expected.shape
    assert np.abs(cropped - expected).mean() < 1


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        (Box(0.5, 0.5, 0.01, 0.5), "choose one with at least 16"),
        (Box(0.9, 0.9, 0.0, 0.0), "This part has 0×0 pixels"),
    ],
)
def test_a_part_that_is_too_small_is_refused(tmp_path: Path, box: Box, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        photo_tools.crop(str(PHOTO), box, tmp_path)


@pytest.mark.parametrize("value", [None, [], [1, 2, 3], ["a"] * 4, {"left": 1}, 7])
def test_a_part_that_is_no_rectangle_is_refused(value: Any) -> None:
    with pytest.raises(PictureError, match="Draw the part"):
        photo_tools.read_box(value)


def test_a_part_never_reaches_beyond_the_photo(tmp_path: Path) -> None:
    assert photo_tools.read_box([-1, 0, 7, float("nan")])[:3] == (0, 0, 1)
    cropped = photo_tools.crop(str(PHOTO), Box(0.5, 0.5, 1.0, 1.0), tmp_path)
    assert pixels(cropped).shape[0] == pytest.approx(pixels(PHOTO).shape[0] / 2, abs=1)


def drawn(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode(image, "PNG")).decode()


def test_what_was_drawn_is_the_mask() -> None:
    drawing = Image.new("RGBA", (512, 300), "black")
    drawing.paste("white", (0, 0, 256, 300))
    mask = photo_tools.read_mask(drawn(drawing))
    assert mask is not None
    assert (mask.mode, mask.size) == ("L", (512, 300))
    assert (np.asarray(mask).mean(0) > 128).tolist() == [True] * 256 + [False] * 256


def test_a_drawing_is_never_larger_than_the_engine_needs() -> None:
    mask = photo_tools.read_mask(drawn(Image.new("L", (3000, 1500), "white")))
    assert mask is not None
    assert mask.size == (512, 256)


def test_nothing_drawn_is_no_mask() -> None:
    assert photo_tools.read_mask(drawn(Image.new("L", (40, 40)))) is None
    assert photo_tools.read_mask("") is None


@pytest.mark.parametrize("drawing", [None, 7, "data:image/png;base64,%%%", "data:image/png;base64,aGVsbG8="])
def test_a_drawing_that_is_damaged_is_refused_in_one_sentence(drawing: Any) -> None:
    with pytest.raises(PictureError) as caught:
        photo_tools.read_mask(drawing)
    assert str(caught.value).count(". ") == 0


def test_the_face_is_marked_where_it_is() -> None:
    found = photo_tools.find_faces(ASTRONAUT)
    assert len(found) == 1
    plain = np.asarray(photo_tools.shrink(ASTRONAUT, photo_tools.SHOWN_SIZE), dtype=float)
    marked = np.asarray(photo_tools.show_faces(ASTRONAUT, found), dtype=float)
    rows, columns = np.nonzero(np.abs(marked - plain).sum(2))
    height, width = plain.shape[:2]
    face = found[0]
    assert columns.mean() / width == pytest.approx(face.left + face.width / 2, abs=0.02)
    assert rows.mean() / height == pytest.approx(face.top + face.height / 2, abs=0.02)


def test_the_kept_part_is_tinted_and_the_rest_is_not(tmp_path: Path) -> None:
    mask = Image.new("L", (60, 40))
    mask.paste(255, (0, 0, 30, 40))
    path = photo_tools.save_mask(mask, str(PHOTO), tmp_path, "kept")
    plain = np.asarray(photo_tools.shrink(str(PHOTO), photo_tools.SHOWN_SIZE), dtype=float)
    tinted = photo_tools.show_mask(str(PHOTO), path, photo_tools.KEEP_COLOUR)
    changed = np.abs(np.asarray(tinted, dtype=float) - plain).sum(2)
    half = changed.shape[1] // 2
    assert changed[:, : half - 8].min() > 0
    assert changed[:, half + 8 :].max() == 0
