"""The page in Debian's Chromium, as a person uses it on a desktop and on a phone."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from page import handlers
from styletransfer import Settings, metadata
from tests.data import PAINTING, PHOTO
from tests.page.helpers import (
    NEVER_EARLY,
    SLOW_FETCH,
    on_both,
    on_desktop,
    on_phone,
    only_desktop,
    only_phone,
    paint_example,
    slider,
)


def count_points(page: Page) -> int:
    """How many evaluations the curve of the total loss shows."""
    return page.evaluate(
        """() => { const plot = document.querySelector('#curves .js-plotly-plot');
                   return plot ? plot.data.find(curve => curve.name == 'total').y.length : 0; }"""
    )


def shown(page: Page) -> str:
    return page.locator("#result .after").get_attribute("src") or ""


@on_phone
def test_a_person_paints_an_example_watches_and_stops(page: Page) -> None:
    page.locator("#examples .tile").first.click()
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    expect(page.locator("#result .after")).to_be_visible()  # what the example gives
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    page.wait_for_function("document.querySelector('#curves .js-plotly-plot')?.data?.length == 4")
    before, points = shown(page), count_points(page)
    page.wait_for_function(f"document.querySelector('#result .after').src != '{before}'")
    page.wait_for_function(
        f"document.querySelector('#curves .js-plotly-plot').data[3].y.length > {points}",
    )
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    page.wait_for_function("document.querySelector('#result .after').src.startsWith('http')")  # the saved file
    kept = shown(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    with Image.open(BytesIO(download.value.path().read_bytes())) as png:
        assert png.format == "PNG"
    assert shown(page) == kept
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


@pytest.mark.slow
@only_desktop
def test_the_page_shows_how_far_the_download_of_vgg19_is(page: Page) -> None:
    expect(page.locator("#backbone")).to_contain_text("on its way (42%)")


@pytest.mark.slow
@only_phone
def test_paint_without_a_photo_says_so_and_can_be_pressed_again(page: Page) -> None:
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_text("Choose a photo first, or take one of the samples.")).to_be_visible()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()


@on_desktop
def test_a_broken_file_says_so_and_keeps_the_painting(page: Page, tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(PHOTO.read_bytes()[:2000])
    page.set_input_files("#styles input[type=file]", PAINTING)
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    page.set_input_files("#photo input[type=file]", tmp_path / "holiday.png")
    expect(page.locator("#photo-notice")).to_contain_text("holiday.png is damaged")
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_text("Choose a photo first, or take one of the samples.")).to_be_visible()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()


def annotations(page: Page) -> list[str]:
    return page.evaluate(
        """() => (document.querySelector('#curves .js-plotly-plot')?.layout?.annotations ?? []).map(a => a.text)"""
    )


@pytest.mark.slow
@on_desktop
def test_a_slider_moved_during_a_run_changes_it_and_pause_and_more_work(page: Page) -> None:
    paint_example(page, 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    slider(page, "style_weight").fill("8.5")
    slider(page, "style_weight").press("Tab")
    page.wait_for_function(
        "document.querySelector('#curves .js-plotly-plot')?.layout?.annotations?.some(a => a.text.includes('changed'))"
    )
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_contain_text("Paused:")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.get_by_role("button", name="More")).to_be_enabled()
    page.get_by_role("button", name="More").click()
    expect(page.locator("#status")).to_contain_text(f"{handlers.STEPS_OF_MORE} of {handlers.STEPS_OF_MORE}")


@on_both
def test_before_the_first_picture_photo_styles_and_paint_are_in_sight(page: Page) -> None:
    page.wait_for_selector("#examples img")
    height = page.viewport_size["height"]
    for name in ("title", "photo", "paint", "result"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["y"] >= 0, name
        assert box["y"] + box["height"] <= height, name
    for tile in page.locator("#samples .tile, #styles .tile").all():
        box = tile.bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44
    assert page.locator("#styles .tile").first.bounding_box()["y"] < height - 60, "styles are in sight"
    assert page.locator("#laboratory").bounding_box()["y"] >= height
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


@pytest.mark.slow
@on_desktop
def test_the_photos_own_colours_are_previewed_at_once(page: Page) -> None:
    page.locator("#examples .tile").first.click()
    expect(page.locator("#result .after")).to_be_visible()  # on a phone it moves the sections down
    expect(page.locator("#preview img")).to_be_visible()
    before = page.locator("#preview img").get_attribute("src")
    page.get_by_label("Of my photo", exact=True).click()
    page.wait_for_function(f"document.querySelector('#preview img').src != '{before}'")


@pytest.mark.slow
@only_desktop
def test_a_person_saves_the_picture_and_restores_its_settings_by_link_and_by_file(
    url: str, page: Page, tmp_path: Path
) -> None:
    paint_example(page, 30)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#download").click()
    mine = tmp_path / "mine.png"
    mine.write_bytes(download.value.path().read_bytes())
    assert metadata.read_settings(mine) == replace(NEVER_EARLY["balanced"], size=96, iterations=30)
    expect(page.locator("#result .before")).to_be_visible()
    expect(page.locator("#strip .tile")).to_have_count(1)
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#link textarea, #link input")
    expect(link).to_have_value(re.compile("^http.*size=96"))
    page.goto(link.input_value())
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    expect(slider(page, "size")).to_have_value("96")
    page.goto(f"{url}?__theme=light&size=huge&photo=nobodys")
    expect(page.locator("#photo-notice")).to_contain_text("Ignored in this link: photo, size.")
    page.goto(url)
    page.set_input_files("#photo input[type=file]", mine)
    expect(page.locator("#photo-notice")).to_contain_text("Settings restored from this picture")
    expect(slider(page, "size")).to_have_value("96")
    expect(slider(page, "iterations")).to_have_value("30")


@pytest.mark.slow
@only_phone
def test_a_file_chosen_while_a_page_comes_back_is_not_overwritten_by_what_it_showed_before(
    url: str, page: Page, tmp_path: Path
) -> None:
    metadata.save_png(Image.new("RGB", (90, 60)), tmp_path / "mine.png", replace(Settings(), size=128))
    page.goto(f"{url}?v=2&photo=coffee&size=96")
    expect(slider(page, "size")).to_have_value("96")
    page.add_init_script(SLOW_FETCH)
    page.goto(url)
    page.set_input_files("#photo input[type=file]", tmp_path / "mine.png")
    expect(slider(page, "size")).to_have_value("128")
    page.wait_for_timeout(2500)
    expect(slider(page, "size")).to_have_value("128")
    expect(page.locator("#photo img")).to_have_attribute("src", re.compile("mine.png$"))


@pytest.mark.parametrize(
    ("page", "scheme"),
    [
        pytest.param((1280, 900), "light", id="desktop-light", marks=pytest.mark.slow),
        pytest.param((390, 844), "dark", id="phone-dark", marks=pytest.mark.slow),
        pytest.param((1280, 900), "dark", id="desktop-dark", marks=pytest.mark.slow),
        pytest.param((390, 844), "light", id="phone-light", marks=pytest.mark.slow),
    ],
    indirect=["page"],
)
def test_the_page_has_no_serious_barrier_for_people_with_disabilities(url: str, page: Page, scheme: str) -> None:
    page.goto(f"{url}?__theme={scheme}")
    paint_example(page, 10)
    expect(page.locator("#status")).to_contain_text("Finished:")
    for button in ("#download", "#more", "#try-styles", "#several-photos"):  # the last to come back: they fade in
        expect(page.locator(button)).to_be_enabled()
    assert page.locator("#stop").evaluate("stop => getComputedStyle(stop).filter") == "grayscale(1)", "not neutral"
    page.mouse.move(0, 0)  # a button under the mouse has other colours
    page.wait_for_function("document.getAnimations().every(animation => animation.playState != 'running')")
    found = Axe().run(page).response["violations"]
    serious = [
        f"{violation['id']}: {[node['html'][:150] for node in violation['nodes'][:3]]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)
