"""What a picture of ours says of itself, and what any other file may say."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from styletransfer import Settings, metadata
from tests.data import encode


def png(text: str | None) -> bytes:
    info = PngInfo()
    if text is not None:
        info.add_text(metadata.KEY, text)
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.mark.parametrize("save", [metadata.save_png, metadata.save_jpeg])
def test_the_settings_come_back_out_of_the_picture(save):
    settings = Settings(size=320, style_weight=3e8, colours="matched", style_layers=("conv2_1",), square=True)
    file = io.BytesIO()
    save(Image.new("RGB", (20, 20)), file, settings)
    assert metadata.read_settings(file) == settings
    assert metadata.read_settings(file.getvalue()) == settings


def test_a_setting_of_a_later_version_is_left_out():
    assert (
        metadata.read_settings(png(json.dumps({"objective": "auto", "faces": True, "precision": "auto", "glitter": 3})))
        == Settings()
    )


def test_a_picture_from_before_there_was_an_objective_means_what_it_meant_then():
    before = Settings(size=128, objective="gram", faces=False, precision="float32")
    assert metadata.read_settings(png('{"size": 128}')) == before


@pytest.mark.parametrize("save", [metadata.save_png, metadata.save_jpeg])
@pytest.mark.parametrize("masked", [False, True])
def test_a_picture_says_whether_a_mask_is_missing_from_it(masked, save):
    file = io.BytesIO()
    save(Image.new("RGB", (20, 20)), file, Settings(), masked=masked)
    assert metadata.is_masked(file) is masked
    assert not metadata.is_masked(png(None))


def test_what_a_picture_was_painted_from_comes_back_and_of_other_pictures_nothing():
    inputs = {"photo": "0" * 64, "painting": "1" * 64}
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG", pnginfo=metadata.png_info(metadata.to_json(Settings(), inputs=inputs)))
    assert metadata.read_inputs(file) == inputs
    assert metadata.read_settings(file) == Settings()
    for text in (None, "{", "[]", "{}", metadata.to_json(Settings()), '{"inputs": 3}', '{"inputs": ["photo"]}'):
        assert metadata.read_inputs(png(text)) == {}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[1, 2]",
        "7",
        '{"size": "large"}',
        '{"size": 1e999}',
        '{"size": 3}',
        '{"style_layers": 5}',
        "[" * 9000,
    ],
)
def test_a_picture_that_says_nothing_sensible_has_no_settings(text):
    assert metadata.read_settings(png(text)) is None


def test_other_files_have_no_settings(tmp_path):
    comments = (b"", b"{}", b"by somebody: {}", b"styletransfer", b"styletransfer: \xff")
    jpegs = [encode(Image.new("RGB", (20, 20)), "JPEG", comment=comment) for comment in comments]
    for source in (*jpegs, b"", b"no picture", tmp_path / "absent.png", png('{"size": 128}')[:60]):
        assert metadata.read_settings(source) is None
