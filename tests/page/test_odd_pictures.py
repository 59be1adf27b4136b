"""Odd and broken pictures, as people drop them on the page: each is painted or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.data import BAD, ODD, PHOTO, encode, exif, noise, one_sentence
from tests.page.helpers import large_request, save_file, small_request


def test_a_text_named_jpg_is_refused_in_one_sentence(client: Client, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"photo\.jpg is not in a readable format"):
        client.predict(**large_request(photo=save_file(tmp_path, "photo.jpg", b"not a picture, but a text")))


def files() -> dict[str, bytes]:
    """Forty kinds and more of what people drop on a page."""
    found = {what: source for what, (source, *_) in ODD.items() if isinstance(source, bytes)}
    found |= {what: source for what, (source, _) in BAD.items()}
    found |= {f"EXIF orientation {n}": encode(noise(), "JPEG", exif=exif(n)) for n in range(1, 9)}
    found["1×1"] = encode(noise(1, 1), "PNG")
    found["1×4000"] = encode(noise(1, 4000), "PNG")
    found["12000×12000"] = encode(Image.new("L", (12000, 12000)), "PNG")
    found["SVG"] = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    found["an HTML page"] = b"<!doctype html><title>photo</title><script>alert(1)</script>"
    found["half a JPEG"] = PHOTO.read_bytes()[: PHOTO.stat().st_size // 2]
    return found


FILES = files()


def test_there_are_forty_odd_files() -> None:
    assert len(FILES) >= 40
    assert set(QUICK) <= set(FILES)


QUICK = (  # one of each way to be painted or refused; the tests of the engine read them all
    "CMYK JPEG",
    "HEIC",
    "empty.png",
    "half.heic",
    "1×1",
    "1×4000",
    "SVG",
    "an HTML page",
)


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what in QUICK else pytest.mark.slow) for what in FILES]
)
def test_an_odd_picture_is_painted_or_refused_in_one_sentence(client: Client, tmp_path: Path, what: str) -> None:
    file = tmp_path / "holiday.jpg"
    file.write_bytes(FILES[what])
    try:
        png = client.predict(**small_request(photo=handle_file(file)))[3]
    except AppError as error:
        assert one_sentence(error), error
    else:
        with Image.open(png) as painted:
            assert max(painted.size) == 64
