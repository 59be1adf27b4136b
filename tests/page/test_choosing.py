"""What a visitor chooses with one tap, and the view of the picture: before and after, full screen, share."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.page.helpers import PATIENCE, SLOW_FETCH, on_both, only_desktop, only_phone, paint_example

SHARE = """Object.assign(navigator, {
  canShare: ({ files }) => files.length == 1,
  share: async ({ files: [file] }) => {
    window.shared = [file.name, file.type, [...new Uint8Array(await file.arrayBuffer())]]; } })"""

PLACES = """() => Array.from(
  document.querySelectorAll(":is(#samples, #styles, #examples) .tile, #try-styles, #several-photos, #likeness label"),
  (pressed) => { const { x, y } = pressed.getBoundingClientRect(); return [x, Math.round(y + scrollY)]; })"""
"""JavaScript: where on the page stands what a visitor may press next."""


def press_style(page: Page, name: str) -> None:
    page.locator("#styles .tile").filter(has_text=name).click()


def chosen_style(page: Page) -> str:
    return page.locator("#styles [aria-pressed=true]").inner_text()


def shown(page: Page) -> str:
    return page.locator("#result .after").get_attribute("src") or ""


@pytest.mark.slow
@on_both
def test_a_sample_and_a_style_are_chosen_with_a_tap_each_and_a_further_style_paints_at_once(page: Page) -> None:
    page.locator("#paint").click()
    expect(page.locator("#photo-notice")).to_be_visible()
    places = page.evaluate(PLACES)
    page.locator("#samples .tile").first.click()
    expect(page.locator("#kept")).to_contain_text("1 face found")
    assert page.evaluate(PLACES) == places, "what a visitor may be about to press has moved"
    bottom, top = page.locator("#styles .tile").last.bounding_box(), page.locator("#paint-bar").bounding_box()
    assert bottom and top
    is_phone = page.locator("#styles .tiles").evaluate("tiles => getComputedStyle(tiles).display") == "flex"
    assert is_phone or bottom["y"] + bottom["height"] <= top["y"], "Paint hides styles"
    press_style(page, "Mosaic")
    expect(page.locator("#styles [aria-pressed=true]")).to_have_count(1)
    assert chosen_style(page) == "Mosaic"
    expect(page.locator("#preview img")).to_be_visible()
    assert [y for _, y in page.evaluate(PLACES)] == [y for _, y in places]
    paint_example(page, 3)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.get_by_role("button", name="More")).to_be_enabled()
    first = shown(page)
    press_style(page, "Waves")
    page.wait_for_function("before => document.querySelector('#result .after').src != before", arg=first)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.get_by_role("button", name="More")).to_be_enabled()
    assert chosen_style(page) == "Waves"


def paint_flower_as_mosaic(page: Page) -> None:
    """Press Paint, and stop it once it paints these two."""
    page.locator("#paint").click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#strip li")).to_have_count(1)
    assert page.locator("#strip li").inner_text().startswith("Flower · Mosaic")


@pytest.mark.slow
@only_desktop
def test_paint_pressed_at_once_after_a_sample_and_a_style_paints_them_although_the_server_is_slow(page: Page) -> None:
    page.evaluate(SLOW_FETCH)
    page.locator("#samples .tile").nth(1).click()
    press_style(page, "Mosaic")
    assert chosen_style(page) == "Mosaic"
    paint_flower_as_mosaic(page)


@pytest.mark.slow
@only_phone
def test_paint_pressed_at_once_after_an_example_paints_it_although_the_server_is_slow(page: Page) -> None:
    page.evaluate(SLOW_FETCH)
    page.locator("#examples .tile").nth(1).click()
    paint_flower_as_mosaic(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "when"),
    [pytest.param((390, 844), "next", id="next-phone"), pytest.param((1280, 900), "now", id="now-desktop")],
    indirect=["page"],
)
def test_a_style_pressed_during_a_run_is_offered_next_or_now(page: Page, when: str) -> None:
    paint_example(page, 120 if when == "next" else 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    press_style(page, "Ink wash")
    expect(page.locator("#offer")).to_contain_text("Ink wash: your")
    page.locator("#samples .tile").nth(1).click()
    expect(page.locator("#offer")).to_contain_text("Flower · Ink wash: your")
    page.locator(f"#paint-{when}").click()
    if when == "next":
        expect(page.locator("#offer")).to_contain_text("Next: Flower · Ink wash")
        expect(page.locator("#cancel-next")).to_be_visible()
    expect(page.locator("#strip li")).to_have_count(1)  # the run before has ended, and its picture is kept
    expect(page.locator("#status")).to_contain_text("The picture before is kept")
    expect(page.locator("#offer")).to_be_hidden()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.locator("#strip li")).to_have_count(2)
    assert "Ink" in page.locator("#strip").inner_text()


@pytest.mark.slow
@on_both
def test_the_picture_is_in_sight_while_it_is_painted(page: Page) -> None:
    page.locator("#samples .tile").nth(1).click()
    expect(page.locator("#photo img")).to_be_visible()
    press_style(page, "Stained glass")
    expect(page.locator("#preview img")).to_be_visible()  # the server has both
    page.locator("#paint").click()
    expect(page.locator("#desk")).to_have_attribute("data-painted", "true")
    page.wait_for_timeout(1500)  # until the page has scrolled
    box = page.locator("#result .frame").bounding_box()
    assert box and page.viewport_size
    assert box["y"] > -1, "a browser scrolls to fractions of a pixel"
    assert box["y"] + box["height"] <= page.viewport_size["height"]
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")


@pytest.mark.slow
@on_both
def test_what_is_missing_is_said_in_its_box_until_it_is_there(page: Page) -> None:
    page.locator("#paint").click()
    expect(page.locator("#photo-notice")).to_contain_text("Choose a photo first")
    expect(page.locator("#painting-notice")).to_contain_text("Choose a style first")
    page.locator("#samples .tile").first.click()
    expect(page.locator("#photo-notice")).to_have_count(0)
    expect(page.locator("#painting-notice")).to_be_visible()
    press_style(page, "Woodcut")
    expect(page.locator("#painting-notice")).to_have_count(0)


@pytest.mark.slow
@only_phone
def test_surprise_me_keeps_the_photo_and_takes_another_style(page: Page) -> None:
    paint_example(page, 3)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#surprise")).to_be_enabled()
    photo, style = page.locator("#photo img").get_attribute("src"), chosen_style(page)
    page.locator("#surprise").click()
    expect(page.locator("#strip li")).to_have_count(2)
    page.wait_for_function(
        "style => document.querySelector('#styles [aria-pressed=true]')?.innerText != style", arg=style
    )
    assert page.locator("#photo img").get_attribute("src") == photo


@pytest.mark.slow
@only_phone
def test_the_likeness_dial_and_the_number_behind_it_follow_each_other(page: Page) -> None:
    paint_example(page, 2)  # on a phone the dial stands below a picture
    expect(page.locator("#status")).to_contain_text("Finished:")
    alpha = page.locator("#content_weight input[type=number]")
    page.locator("#likeness").get_by_label("Keep my photo").click()
    expect(alpha).to_have_value("4")
    alpha.fill("0.3")
    alpha.press("Tab")
    expect(page.locator("#likeness").get_by_label("Repaint")).to_be_checked()
    alpha.fill("2")
    alpha.press("Tab")
    expect(page.locator("#likeness input:checked")).to_have_count(0)


@pytest.mark.slow
@on_both
def test_a_finished_picture_is_compared_with_the_photo_and_fills_the_screen(page: Page) -> None:
    paint_example(page, 3)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#result .before")).to_be_visible()
    divider = page.get_by_role("slider", name="Before and after")
    page.locator("#result").scroll_into_view_if_needed()
    knob, frame = divider.bounding_box(), page.locator("#result .frame").bounding_box()
    assert knob and frame
    y = frame["y"] + frame["height"] / 2
    assert page.evaluate(
        """() => { const handle = getComputedStyle(document.querySelector('#result .divider'), '::after');
                   const [left, width] = [handle.left, handle.width].map(parseFloat);
                   return left == 22 && width == 44; }"""
    ), "the handle is whole at the edge of the picture"
    page.mouse.move(frame["x"] + 10, y)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 2, y, steps=4)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "50")
    divider.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "55")
    page.mouse.move(frame["x"] + frame["width"] * 0.8, y)
    page.mouse.down()
    expect(page.locator("#result .held")).to_have_count(1)
    page.mouse.up()
    expect(page.locator("#result .held")).to_have_count(0)
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("document.fullscreenElement != null")
    view = page.locator("#result .frame").bounding_box()
    assert view and page.viewport_size
    assert view["width"] >= page.viewport_size["width"] - 2
    page.get_by_role("button", name="Close", exact=True).click()
    page.wait_for_function("document.fullscreenElement == null")
    assert page.locator("#result .whole").count() == 0


@pytest.mark.slow
def test_share_gives_the_picture_itself_to_the_phone(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.set_default_timeout(PATIENCE)
    page.add_init_script(SHARE)
    page.goto(url)
    paint_example(page, 3)
    expect(page.locator("#result .before")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Share", exact=True).click()
    page.wait_for_function("window.shared")
    name, type, content = page.evaluate("window.shared")
    with Image.open(BytesIO(bytes(content))) as picture:
        assert picture.size == (96, 64)
        assert type == f"image/{(picture.format or '').lower()}"
    assert "woodcut" in name
    page.close()


@pytest.mark.slow
def test_where_nothing_can_be_shared_the_picture_is_copied_or_the_page_says_why(browser: Browser, url: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    paint_example(page, 3)
    expect(page.locator("#result .before")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.locator("#result")).to_contain_text("The picture is copied", timeout=PATIENCE)
    size = page.evaluate(
        """async () => { const [item] = await navigator.clipboard.read();
                         const picture = await createImageBitmap(await item.getType("image/png"));
                         return [picture.width, picture.height]; }"""
    )
    assert size == [96, 64]
    page.evaluate("void (navigator.clipboard.write = () => Promise.reject(new Error()))")
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.locator("#result")).to_contain_text("save it, and send the file", timeout=PATIENCE)
    context.close()
