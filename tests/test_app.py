"""The page through gradio_client, as a program sees it, and in Debian's Chromium, as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

import app
from styletransfer import PRESETS, backbones, weights
from styletransfer.settings import knobs

PHOTO = app.EXAMPLES / "content" / "chelsea.jpg"
PAINTING = app.EXAMPLES / "style" / "woodcut.webp"
MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "cached_vgg19", lambda: None)
        download = backbones.Vgg19Download()  # never started: it stands for one on a slow network
        download.status = "VGG-19 is on its way (42%)."
        page = app.build(download)
        yield app.launch(page, prevent_thread_lock=True, quiet=True)[1]
        page.close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    client = Client(url, verbose=False)
    yield client
    client.close()


def arguments(**changes: Any) -> dict[str, Any]:
    given = {
        "photo": handle_file(PHOTO),
        "painting": handle_file(PAINTING),
        "preset": "balanced",
        "size": 96,
        "iterations": 12,
        "content_weight": 1.0,
        "style_weight_power_of_ten": 8.0,
        "tv_weight": 0.0,
        "api_name": "/stylize",
    }
    return given | changes


def test_a_program_sees_the_picture_form_and_gets_a_png(client: Client) -> None:
    frames = list(client.submit(**arguments()))
    status, png = frames[-1][1], frames[-1][3]
    assert len(frames) >= 3
    assert "Finished" in status
    assert "12 of 12" in status
    with Image.open(png) as finished, Image.open(PHOTO) as photo:
        assert (finished.format, finished.mode, max(finished.size)) == ("PNG", "RGB", 96)
        assert finished.width / finished.height == pytest.approx(photo.width / photo.height, rel=0.02)


def test_it_is_said_when_another_backbone_paints(client: Client) -> None:
    assert "Painted with VGG-16" in client.predict(**arguments(iterations=1))[1]


def test_a_cancelled_job_makes_room_for_the_next(client: Client) -> None:
    job = client.submit(**arguments(iterations=2000, size=128))
    next(iter(job))
    job.cancel()
    assert "Finished" in client.predict(**arguments())[1]


def file_named(folder: Path, name: str, content: bytes) -> Any:
    path = folder / name
    path.write_bytes(content)
    return handle_file(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"photo": None}, "Choose a photo first."),
        ({"painting": None}, "Choose a painting first."),
        ({"size": 1e9}, "2048"),
        ({"size": 100.5}, "size must be a whole number from 64 to 2048"),
        ({"tv_weight": -1}, "minimum value 0"),
        ({"preset": "cubist"}, "cubist"),
    ],
)
def test_bad_input_through_the_api_gets_one_sentence(client: Client, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**arguments(**changes))
    assert sentence in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_text_named_jpg_is_refused_in_one_sentence(client: Client, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"photo\.jpg is not in a readable format"):
        client.predict(**arguments(photo=file_named(tmp_path, "photo.jpg", b"not a picture, but a text")))


def test_every_example_has_its_pictures_and_its_result() -> None:
    rows = app.examples()
    assert len(rows) >= 6
    for pictures in rows:
        for path in pictures:
            assert Path(path).is_file(), path


def test_every_preset_puts_the_sliders_where_its_settings_are(client: Client) -> None:
    for preset, settings in PRESETS.items():
        positions = app.turn_to(preset)
        turned = {name: knobs()[name].value(at) for name, at in zip(app.TURNED, positions, strict=True)}
        assert turned == pytest.approx({name: getattr(settings, name) for name in app.TURNED})
        assert app.chosen(preset, tuple(positions)) == settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and CI may not do without: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(url: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(MINUTE)
    expect.set_options(timeout=MINUTE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    yield page
    page.close()
    assert not errors


def curve_points(page: Page) -> int:
    """How many evaluations the curve of the total loss shows."""
    return page.evaluate(
        """() => { const plot = document.querySelector('#curves .js-plotly-plot');
                   return plot ? plot.data.find(curve => curve.name == 'total').y.length : 0; }"""
    )


def shown(page: Page) -> str:
    return page.locator("#result img").get_attribute("src") or ""


def test_a_person_paints_an_example_watches_and_stops(page: Page) -> None:
    page.locator("#examples tbody tr, #examples .gallery-item").first.click()
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#painting img")).to_be_visible()
    expect(page.locator("#result img")).to_be_visible()  # what the example gives
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    page.wait_for_function("document.querySelector('#curves .js-plotly-plot')?.data?.length == 4")
    before, points = shown(page), curve_points(page)
    page.wait_for_function(f"document.querySelector('#result img').src != '{before}'")
    page.wait_for_function(
        f"document.querySelector('#curves .js-plotly-plot').data[3].y.length > {points}",
    )
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    kept = shown(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    with Image.open(BytesIO(download.value.path().read_bytes())) as png:
        assert png.format == "PNG"
    assert shown(page) == kept
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


def test_the_page_shows_how_far_the_download_of_vgg19_is(page: Page) -> None:
    expect(page.locator("#backbone")).to_contain_text("on its way (42%)")


def test_paint_without_a_photo_says_so_and_can_be_pressed_again(page: Page) -> None:
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_text("Choose a photo first.")).to_be_visible()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()


def test_a_broken_file_says_so_and_keeps_the_painting(page: Page, tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(PHOTO.read_bytes()[:2000])
    page.set_input_files("#photo input[type=file]", tmp_path / "holiday.png")
    page.set_input_files("#painting input[type=file]", PAINTING)
    expect(page.locator("#painting img")).to_be_visible()
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_text("holiday.png")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("Nothing was painted this time.")
    expect(page.locator("#painting img")).to_be_visible()


def test_an_example_pressed_during_a_run_leaves_the_runs_picture_alone() -> None:
    job = app.Job()
    idle, fields = app.fill(job, 0), len(app.TURNED) + 3
    app.begin(job)
    busy = app.fill(job, 0)
    assert busy[:fields] == idle[:fields]
    assert idle[fields] == app.examples()[0][2]
    assert idle[fields] not in busy
    app.end(job)
    assert app.fill(job, 0) == idle
