"""Faces: found where they are and nowhere else, never at the cost of a run, and covered by the mask."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import skimage.feature
from PIL import Image, ImageOps

from styletransfer.faces import Face, face_mask, find_faces
from tests.data import ROOT

CONTENT = ROOT / "examples" / "content"

# Read off the astronaut's photo by eye, in pixels of 512×512: x, y
LEFT_EYE, RIGHT_EYE, MOUTH = (203, 101), (247, 103), (222, 146)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(CONTENT / "astronaut.jpg").convert("RGB")


def assert_only_face(photo, *points):
    """`photo` has one face, whose box holds `points` (x, y as fractions) and little more."""
    (face,) = find_faces(photo)
    for x, y in points:
        assert face.left < x < face.left + face.width
        assert face.top < y < face.top + face.height
    assert 0.08 < face.width < 0.25  # the eyes are 0.09 apart


def fractions(*points):
    return [(x / 512, y / 512) for x, y in points]


def test_the_face_of_a_portrait_is_found_and_the_suit_is_not_taken_for_one(astronaut):
    assert_only_face(astronaut, *fractions(LEFT_EYE, RIGHT_EYE, MOUTH))


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.grayscale,
        lambda photo: photo.convert("RGBA"),
        lambda photo: photo.resize((1300, 1300)),
        lambda photo: photo.resize((200, 200)),
        lambda photo: photo.point(lambda value: value * 0.4),
        lambda photo: photo.point(lambda value: min(255, value * 1.6)),
    ],
    ids=["grey", "transparent", "larger", "smaller", "darker", "brighter"],
)
def test_the_same_face_is_found_in_the_same_photo(astronaut, change):
    assert_only_face(change(astronaut), *fractions(LEFT_EYE, RIGHT_EYE, MOUTH))


def test_a_face_is_found_in_a_mirrored_photo(astronaut):
    mirrored = [(1 - x, y) for x, y in fractions(LEFT_EYE, RIGHT_EYE, MOUTH)]
    assert_only_face(ImageOps.mirror(astronaut), *mirrored)


@pytest.mark.parametrize("angle", [-10, 10])
def test_a_tilted_head_is_found(astronaut, angle):
    assert len(find_faces(astronaut.rotate(angle, Image.Resampling.BICUBIC))) == 1


def test_both_people_of_a_photo_are_found(astronaut):
    two = Image.new("RGB", (1024, 512))
    two.paste(astronaut, (0, 0))
    two.paste(ImageOps.mirror(astronaut), (512, 0))
    left, right = sorted(find_faces(two))
    assert left.left + left.width < 0.5 < right.left


@pytest.mark.parametrize("name", ["chelsea", "china", "coffee", "flower", "rocket"])
def test_no_face_is_found_where_there_is_none(name):
    assert find_faces(Image.open(CONTENT / f"{name}.jpg")) == ()


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (16, 16), (1, 1), (300, 200)])
def test_an_odd_picture_has_no_face_and_no_error(size, caplog):
    assert find_faces(Image.new("RGB", size, "teal")) == ()
    assert not caplog.records


def test_a_detector_that_fails_does_not_stop_the_run(astronaut, monkeypatch, caplog):
    def fail(path):
        raise RuntimeError("the model is missing")

    monkeypatch.setattr(skimage.feature, "Cascade", fail)
    assert find_faces(astronaut) == ()
    assert "the model is missing" in caplog.text


def test_importing_the_module_does_not_load_the_detector():
    code = "import sys, styletransfer.faces; print('skimage' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False"


def test_the_mask_keeps_eyes_and_mouth_and_nothing_far_away(astronaut):
    mask = face_mask(find_faces(astronaut), (256, 256))
    assert mask.mode == "L"
    for x, y in (LEFT_EYE, RIGHT_EYE, MOUTH):
        assert mask.getpixel((x // 2, y // 2)) == 255
    for corner in ((0, 0), (255, 0), (0, 255), (255, 255), (200, 220)):  # the last: on the suit
        assert mask.getpixel(corner) == 0


def test_the_mask_has_no_hard_edge_and_the_size_and_shape_that_were_asked_for():
    mask = face_mask((Face(0.25, 0.25, 0.5, 0.5),), (300, 100))
    assert mask.size == (300, 100)
    grey = np.asarray(mask) >= 128
    assert abs(np.ptp(np.nonzero(grey.any(axis=0))) - 150) <= 2  # half the width
    assert abs(np.ptp(np.nonzero(grey.any(axis=1))) - 50) <= 2  # half the height
    assert np.abs(np.diff(np.asarray(mask).astype(int), axis=1)).max() < 10


def test_of_two_faces_neither_hides_the_other():
    apart = face_mask((Face(0, 0.3, 0.3, 0.3), Face(0.7, 0.3, 0.3, 0.3)), (100, 100))
    assert apart.getpixel((15, 45)) == apart.getpixel((85, 45)) == 255
    near = (Face(0.1, 0.3, 0.4, 0.4), Face(0.4, 0.3, 0.4, 0.4))
    both = np.asarray(face_mask(near, (100, 100)))
    assert (both == np.maximum(*(np.asarray(face_mask((face,), (100, 100))) for face in near))).all()


def test_the_mask_is_black_without_faces():
    assert face_mask((), (30, 20)).getextrema() == (0, 0)
