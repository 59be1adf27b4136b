"""What a mask shows white, and faces, stay more like the photo."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from styletransfer import Frame, PictureError, Settings, faces, images, stylize
from styletransfer.faces import Face
from tests.data import ROOT, one_sentence
from tests.engine.test_optimize import array


def settings(**values: object) -> Settings:
    return Settings(**{"size": 96, "stages": 1, "iterations": 12, "tolerance": 0, "faces": False, **values})


def change(vgg16, photo: Image.Image, painted: Image.Image) -> np.ndarray:
    """How far conv4_2 of a painted picture is from the photo's, at each position (H/8, W/8)."""
    F, P = (
        dict(vgg16.activations(images.to_tensor(image, painted.size), ["conv4_2"]))["conv4_2"]
        for image in (painted, photo)
    )
    return (F - P).square().sum(1)[0].sqrt().numpy()


def grey(value: int) -> Image.Image:
    return Image.new("L", (40, 40), value)


@pytest.mark.parametrize(
    "objective",
    ["auto", pytest.param("neighbours", marks=pytest.mark.slow), pytest.param("gram", marks=pytest.mark.slow)],
)
def test_a_white_mask_keeps_the_picture_near_the_photo_a_black_one_does_not_and_grey_is_between(
    objective, photo, painting, vgg16
):
    changes = []
    for keep in (grey(0), grey(64), grey(255)):
        *_, last = stylize(photo, painting, settings(objective=objective), backbone=vgg16, keep=keep)
        changes.append(change(vgg16, photo, last.picture).mean())
    black, between, white = changes
    assert white < 0.9 * black
    assert white < between < black


@pytest.mark.slow
def test_a_black_mask_is_no_mask(photo, painting, vgg16):
    *_, plain = stylize(photo, painting, settings(), backbone=vgg16)
    *_, masked = stylize(photo, painting, settings(), backbone=vgg16, keep=grey(0))
    assert masked.losses == plain.losses
    assert np.array_equal(array(masked.picture), array(plain.picture))


def test_a_mask_that_is_ignored_or_stretched_is_said(photo, painting, vgg16):
    def painted(keep: Image.Image | None) -> Frame:
        *_, last = stylize(photo, painting, settings(iterations=1), backbone=vgg16, keep=keep)
        return last

    assert not painted(None).masked
    black, fitting, square = (painted(keep) for keep in (grey(0), grey(255).resize(photo.size), grey(9)))
    assert "The mask is black all over, so it was ignored." in black.notes
    assert not black.masked
    assert fitting.masked
    assert square.masked
    stretched = "The mask has another shape than the photo and was stretched to it."
    assert (stretched in square.notes, stretched in fitting.notes) == (True, False)


@pytest.mark.slow
def test_a_mask_is_stretched_over_the_whole_photo_and_its_white_part_is_kept(photo, painting, vgg16):
    tall = Image.fromarray(np.repeat([[0, 255]], 600, axis=0).repeat(20, axis=1).astype(np.uint8))
    assert tall.size == (40, 600)
    *_, plain = stylize(photo, painting, settings(), backbone=vgg16)
    *_, kept = stylize(photo, painting, settings(), backbone=vgg16, keep=tall)
    ratio = change(vgg16, photo, kept.picture) / change(vgg16, photo, plain.picture)
    half = ratio.shape[1] // 2
    assert np.median(ratio[:, half + 1 :]) < 0.85 * np.median(ratio[:, : half - 1])


def test_a_mask_may_be_a_file_of_any_kind(photo, painting, vgg16, tmp_path):
    mask = Image.fromarray(np.indices((64, 96)).sum(0).astype(np.uint8))
    mask.save(tmp_path / "mask.webp", lossless=True)
    one_step = settings(iterations=2)
    found = [list(stylize(photo, painting, one_step, vgg16, keep=keep)) for keep in (mask, tmp_path / "mask.webp")]
    assert found[0][-1].losses == found[1][-1].losses


@pytest.mark.parametrize("mask", [b"", b"no picture", "missing.png"], ids=["empty", "text", "missing"])
def test_a_mask_that_cannot_be_read_is_said_in_one_sentence(mask, photo, painting, vgg16):
    with pytest.raises(PictureError) as caught:
        next(stylize(photo, painting, settings(), backbone=vgg16, keep=mask))
    assert one_sentence(caught.value)
    assert ". " not in str(caught.value)


def test_a_mask_does_not_change_the_unmasked_weight_of_the_content(photo, painting, vgg16):
    """With α = 0 there is no content, masked or not."""
    *_, plain = stylize(photo, painting, settings(content_weight=0, iterations=3), backbone=vgg16)
    *_, masked = stylize(photo, painting, settings(content_weight=0, iterations=3), backbone=vgg16, keep=grey(255))
    assert masked.losses.total == pytest.approx(plain.losses.total, rel=1e-4)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(ROOT / "examples" / "content" / "astronaut.jpg").convert("RGB").resize((256, 256))


@pytest.mark.slow
def test_a_face_is_kept_by_default_and_not_without_faces(astronaut, painting, vgg16):
    (face,) = faces.find_faces(astronaut)
    changes, notes = [], []
    for faces_are_kept in (True, False):
        run = settings(size=128, faces=faces_are_kept, iterations=10)
        *_, last = stylize(astronaut, painting, run, backbone=vgg16)
        found = change(vgg16, astronaut, last.picture)
        rows, columns = (
            slice(round(16 * start), round(16 * (start + extent)))
            for start, extent in ((face.top, face.height), (face.left, face.width))
        )
        changes.append((found[rows, columns].mean(), found[10:].mean()))
        notes.append(last.notes)
    (in_face, elsewhere), (in_face_without, elsewhere_without) = changes
    assert in_face < 0.9 * in_face_without
    assert elsewhere > 0.9 * elsewhere_without, "the suit is painted as it was"
    assert notes == [("Kept a face that was found.",), ()]
    assert Settings().faces


def test_faces_are_counted_in_the_note_and_nothing_is_said_where_there_is_none(photo, painting, vgg16, monkeypatch):
    for count, notes in ((0, ()), (1, ("Kept a face that was found.",)), (3, ("Kept 3 faces that were found.",))):
        found = tuple(Face(0.3 * n, 0.3, 0.2, 0.3) for n in range(count))
        monkeypatch.setattr(faces, "find_faces", lambda photo, found=found: found)
        assert next(stylize(photo, painting, settings(faces=True, iterations=1), backbone=vgg16)).notes == notes


def test_faces_are_not_even_searched_for_without_faces(photo, painting, vgg16, monkeypatch):
    monkeypatch.setattr(faces, "find_faces", lambda photo: pytest.fail("searches"))
    next(stylize(photo, painting, settings(iterations=1), backbone=vgg16))


@pytest.mark.slow
def test_a_mask_and_a_face_are_both_kept(photo, painting, vgg16, monkeypatch):
    """A left half in a mask, and a face on the right, are together as good as one mask of both."""
    monkeypatch.setattr(faces, "find_faces", lambda photo: (Face(0.6, 0.2, 0.3, 0.6),))
    size = images.fit_size(photo, 512)
    left = Image.new("L", size)
    left.paste(255, (0, 0, size[0] // 2, size[1]))
    left = left.filter(ImageFilter.GaussianBlur(16))  # softer than the borders of masks, which are softened
    face = faces.face_mask(faces.find_faces(photo), size)
    both = Image.fromarray(np.maximum(np.asarray(left), np.asarray(face)))
    with_face = list(stylize(photo, painting, settings(faces=True, iterations=3), vgg16, keep=left))[-1]
    with_mask = list(stylize(photo, painting, settings(iterations=3), vgg16, keep=both))[-1]
    assert with_face.losses == pytest.approx(with_mask.losses, rel=0.01)


def test_the_edge_of_what_is_kept_does_not_show_as_a_line_in_the_first_frames(vgg16):
    """A photo of one grey has no line of its own; the second stage lays kept lines back on what the first painted."""
    plain = Image.new("RGB", (256, 192), (150, 150, 150))
    mask = Image.new("L", plain.size)
    ImageDraw.Draw(mask).ellipse((60, 40, 180, 152), fill=255)
    run = settings(size=256, stages=2, iterations=4)
    first = next(frame for frame in stylize(plain, plain, run, backbone=vgg16, keep=mask) if frame.size == 256)
    assert np.ptp(array(first.picture).astype(int)) < 12


@pytest.mark.parametrize(
    ("flat", "objective"),
    [
        pytest.param(flat, objective, marks=() if (flat, objective) == ("both", "auto") else pytest.mark.slow)
        for flat in ("photo", "painting", "both")
        for objective in ("auto", "neighbours", "moments")
    ],
)
def test_a_picture_of_one_colour_is_painted_without_a_loss_that_is_no_number(flat, objective, photo, painting, vgg16):
    plain = Image.new("RGB", (96, 80), (90, 120, 200))
    content = photo if flat == "painting" else plain
    style = painting if flat == "photo" else plain
    run = settings(objective=objective, size=192, stages=2, iterations=6)
    frames = list(stylize(content, style, run, backbone=vgg16))
    assert len(frames) == 6
    assert np.isfinite([frame.losses for frame in frames]).all()
    assert all(np.isfinite(frame._pixels.numpy()).all() for frame in frames)
