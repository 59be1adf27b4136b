"""What a visitor saves: the files of a finished picture, their names, and what happens if one cannot be made."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence
from playwright.sync_api import Page, expect

from page import film, results
from page.examples import EXAMPLES, photo_name, photo_names, style_name
from page.film import TimeLapse
from page.run import Run
from page.session import Session
from page.worker import Request, RunControl, RunEnd, Update
from styletransfer import Settings, metadata
from tests.data import PAINTING, PHOTO, noise
from tests.page.helpers import COMPONENTS, HANDLERS, make_update, on_both, paint, save_plain_photo, slider

MOSAIC = str(EXAMPLES / "style" / "mosaic.webp")


def read_film(file: Path | str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What the header of a film says, and its frames as (H, W, 3)."""
    reader = imageio_ffmpeg.read_frames(str(file))
    said = next(reader)
    width, height = said["size"]
    return said, [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def difference(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def test_every_example_photo_has_a_name() -> None:
    assert {path.stem for path in (EXAMPLES / "content").iterdir()} == set(photo_names())
    assert photo_name(str(PHOTO)) == "Cat"
    assert style_name(str(PAINTING)) == "Woodcut"


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("my_old-dog.JPG", "My Old Dog"),
        ("Käse aus Évora.jpeg", "Käse Aus Évora"),
        ("beach2.png", "Beach2"),
        ("кот.webp", "Кот"),
        ("猫.heic", "猫"),
        ("chelsea.jpg", "Chelsea"),  # called like an example, and another picture
        ("x" * 60 + ".jpg", "X" + 39 * "x"),
        ("IMG_2041.HEIC", None),
        ("PXL_20261125_101112345.jpg", None),
        ("WhatsApp Image 2026-11-25 at 10.11.12.jpeg", None),
        ("3f2a9c1e-77aa-4c21-9d1f-0123456789ab.png", None),
        ("image (1).png", None),
        ("...jpg", None),
        ("__.png", None),
        ("1.png", None),
    ],
)
def test_a_visitors_picture_has_the_words_of_its_file_or_where_there_are_none_a_plain_name(
    tmp_path: Path, file: str, named: str | None
) -> None:
    path = str(tmp_path / file)
    Path(path).write_bytes(b"somebody's own")
    assert photo_name(path) == (named or "Photo")
    assert style_name(path) == (named or "My style")


def test_the_last_picture_is_seen_while_its_files_are_still_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paint_at_once(request: Request) -> Iterator[Update]:
        yield make_update(request, end=RunEnd.FINISHED)

    def save(run: Run, update: Update) -> str:
        return "" if seen.wait(10) else "The picture could not be saved: nobody has seen it."

    monkeypatch.setattr("page.worker.run", paint_at_once)
    seen, control = threading.Event(), RunControl(tmp_path)
    request = Request(str(PHOTO), (str(PAINTING),), Settings(), folder=tmp_path)
    run = Run(request, control, save, preset="balanced", grace=0.0)
    run.start()
    shown = filter(None, run.watch())
    assert next(shown).end is None
    seen.set()
    assert next(shown).end is RunEnd.FINISHED
    assert not run.message


def test_pictures_of_the_same_pair_are_numbered_and_none_gets_the_name_of_another() -> None:
    own = "/tmp/woodcut 2.png"  # its first picture would be called as the second one like the example is
    taken, captions = set[str](), []
    for painting in (str(PAINTING), str(PAINTING), own, str(PAINTING)):
        name = results.name_result(str(PHOTO), [painting], taken)
        assert name.stem not in taken
        taken.add(name.stem)
        captions.append(name.caption)
    assert captions == ["Cat · Woodcut", "Cat · Woodcut 2", "Cat · Woodcut 2 2", "Cat · Woodcut 3"]
    assert taken == {"cat-woodcut", "cat-woodcut-2", "cat-woodcut-2-2", "cat-woodcut-3"}


def test_both_paintings_are_in_the_name() -> None:
    name = results.name_result(str(PHOTO), [str(PAINTING), MOSAIC], ())
    assert name == ("Cat · Woodcut + Mosaic", "cat-woodcut-mosaic")


@pytest.mark.parametrize(
    "stem", ["кот", "猫 2", "a/../../b", "con", "-rf", "x'\"<>|:*?\\", "é" * 40, "word " * 45, "ﷺﷺ"]
)
def test_names_of_files_are_safe_on_any_system_and_short(stem: str) -> None:
    name = results.name_result(f"/tmp/{stem}.jpg", [f"/tmp/{stem}.png", f"/tmp/{stem}.png"], {"photo-woodcut"})
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)+", name.stem), name.stem
    assert len(name.stem) < 130
    assert len(name.caption) < 130


def test_a_name_in_other_letters_than_latin_ones_stays_in_the_caption() -> None:
    assert results.name_result("/tmp/кот.jpg", ["/tmp/猫.png"], ()) == ("Кот · 猫", "photo-my-style")


def test_the_saved_files_show_the_picture_and_how_it_formed(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=12))
    result = session.results[-1]
    assert [Path(file).name for file in result.files] == [
        *("cat-woodcut.png", "cat-woodcut.jpg", "cat-woodcut.mp4", "cat-woodcut.webp", "cat-woodcut--photo.jpg")
    ]
    shown = HANDLERS.show_results(session)[COMPONENTS.viewer]
    assert shown["picture"]["path"] == result.jpeg, "who saves the picture that is shown gets it by its name"
    png, jpeg = Image.open(result.file), Image.open(result.jpeg or "")
    assert (jpeg.format, jpeg.size) == ("JPEG", png.size)
    assert difference(png, jpeg) < 6
    assert "sRGB" in ImageCms.getProfileDescription(
        ImageCms.ImageCmsProfile(ImageCms.core.profile_frombytes(jpeg.info["icc_profile"]))
    )
    assert metadata.read_settings(result.file) == metadata.read_settings(result.jpeg or "") == result.settings
    said, frames = read_film(result.film or "")
    assert (said["codec"], said["pix_fmt"].split("(")[0]) == ("h264", "yuv420p")
    grey = [Image.fromarray(frame).convert("L").resize(png.size) for frame in (frames[0], frames[-1])]
    assert difference(grey[-1], png.convert("L")) < 8, "it ends on the picture"
    assert difference(*grey) > 12, "it begins with the photo"
    still = 2 * film.FRAMES_PER_SECOND
    assert all(difference(frame, frames[-1]) < 2 for frame in frames[-still:]), "for two seconds"
    with Image.open(result.film_webp or "") as webp:
        assert webp.format == "WEBP"
        states = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(webp)]
    assert len(states) >= 8
    assert difference(states[-1], png) < 12
    assert difference(states[0], states[-1]) > 12


@pytest.mark.parametrize("size", [(33, 17), (64, 4), (480, 321), (900, 601)])
def test_a_film_of_any_size_has_even_sides_and_can_begin_before_it_is_there_in_full(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    time_lapse, last = TimeLapse(), noise(*size, seed=9)
    for seed in range(60):
        time_lapse.add(noise(*size, seed=seed))
    time_lapse.save_mp4(tmp_path / "film.mp4", last)
    said, frames = read_film(tmp_path / "film.mp4")
    assert [side % 2 for side in said["size"]] == [0, 0]
    assert max(said["size"]) <= film.SIZE
    assert 20 <= len(frames) - 2 * film.FRAMES_PER_SECOND <= film.MAX_FRAMES
    content = (tmp_path / "film.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("ffmpeg", ['for last; do :; done\necho half > "$last"\necho "$last" >&2\nexit 1', None])
def test_a_film_that_cannot_be_made_costs_no_picture_and_leaves_nothing_behind(
    every_update: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ffmpeg: str | None,
) -> None:
    program = tmp_path / "ffmpeg"
    if ffmpeg:
        program.write_text(f"#!/bin/sh\n{ffmpeg}\n")
        program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    session = Session()
    *_, last = paint(session, iterations=2)
    assert "The picture is saved, but no film of it could be made." in last[COMPONENTS.status]
    assert sorted(path.name for path in session.folder.iterdir() if path.is_file()) == [
        *("cat-woodcut--photo.jpg", "cat-woodcut.jpg", "cat-woodcut.png")
    ]
    shown = HANDLERS.show_results(session)
    for button, offered in (("save_jpeg", True), ("download", True), ("save_film", False), ("save_webp", False)):
        assert shown[getattr(COMPONENTS, button)]["interactive"] is offered, button
    assert shown[COMPONENTS.film] is None
    assert "no film: " in caplog.text
    assert "cat-woodcut" not in caplog.text, "the log has no names of pictures"


def test_an_example_offers_no_files_of_the_picture_before(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=2))
    HANDLERS.finish_run(session)
    session.running = False

    class First:
        index = 0

    shown = HANDLERS.show_example(session, First())
    for button in ("save_jpeg", "download", "save_film", "save_webp"):
        assert shown[getattr(COMPONENTS, button)] == {"value": None, "interactive": False, "__type__": "update"}
    assert shown[COMPONENTS.film] is None
    assert shown[COMPONENTS.film_part] == {"visible": False, "__type__": "update"}


@pytest.mark.slow
@on_both
def test_a_person_saves_each_file_under_its_name_and_watches_the_film(page: Page, tmp_path: Path) -> None:
    photo = save_plain_photo(tmp_path, 3).rename(tmp_path / "my Dog.png")
    page.goto(f"{page.url}?v=2&painting=woodcut&size=96&iterations=12")
    expect(slider(page, "size")).to_have_value("96")
    page.set_input_files("#photo input[type=file]", photo)
    expect(page.locator("#photo img")).to_be_visible()
    for number in ("", "-2"):
        stem = f"my-dog-woodcut{number}"
        page.get_by_role("button", name="Paint", exact=True).click()
        page.wait_for_function(f"document.querySelector('#result img.after')?.src.endsWith('{stem}.jpg')")
        expect(page.locator("#save-film")).to_be_enabled()
        page.wait_for_function(
            f"document.querySelector('#film video')?.src.endsWith('{stem}.mp4') && "
            "document.querySelector('#film video').readyState >= 2"
        )
        saved = dict[str, Path]()
        for button in ("save-jpeg", "download", "save-film", "save-webp"):
            with page.expect_download() as download:
                page.locator(f"#{button}").click()
            saved[download.value.suggested_filename] = download.value.path()
        assert list(saved) == [f"{stem}.jpg", f"{stem}.png", f"{stem}.mp4", f"{stem}.webp"]
        for ending, format in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")):
            with Image.open(saved[stem + ending]) as picture:
                assert picture.format == format
                assert max(picture.size) == 96
                picture.load()
        assert len(read_film(saved[f"{stem}.mp4"])[1]) > 2 * film.FRAMES_PER_SECOND
    assert page.evaluate("document.querySelector('#film video').paused"), "it waits for the visitor"
    page.locator("#film [aria-label='play-pause-replay-button']").click()
    page.wait_for_function("document.querySelector('#film video').currentTime > 0.5")
    page.wait_for_function("document.querySelector('#film video').ended")
    expect(page.locator("#strip .tile span")).to_have_text(["My Dog · Woodcut 2", "My Dog · Woodcut"])
