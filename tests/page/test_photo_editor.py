"""A visitor turns the photo, cuts a part out and marks what is kept, with a mouse and with a finger."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from page import session
from page.pictures import to_data_url
from page.session import Session
from styletransfer import images, metadata
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.helpers import (
    COMPONENTS,
    HANDLERS,
    PATIENCE,
    SMALL,
    fail_on_errors,
    more,
    open_second_part,
    slider,
    uploaded,
)

ASTRONAUT = ROOT / "examples" / "content" / "astronaut.jpg"
EDITOR = COMPONENTS.photo_editor


def mask_left_half(visit: Session, photo: str) -> str:
    """Mark the left half of the photo as the page does, and return the mask."""
    mask = Image.new("L", (60, 40))
    mask.paste(255, (0, 0, 30, 40))
    drawing = to_data_url(mask, is_drawing=True)
    return str(EDITOR.take_masks(visit, uploaded(Path(photo)), {"drawing": drawing})[EDITOR.keep])


def left_is_white(mask: str) -> bool:
    grey = np.asarray(images.load(mask).image.convert("L"), dtype=float)
    half = grey.shape[1] // 2
    return bool(grey[:, : half - 2].mean() > 250 and grey[:, half + 2 :].mean() < 5)


def test_a_mask_turns_and_is_cropped_with_its_photo() -> None:
    visit = Session()
    mask = mask_left_half(visit, str(PHOTO))
    assert left_is_white(mask)
    turned = EDITOR.turn_photo(visit, uploaded(PHOTO), uploaded(Path(mask)), None)
    grey = np.asarray(images.load(turned[EDITOR.keep]).image.convert("L"))
    assert grey[0].min() == 255, "what was on the left is at the top"
    assert grey[-1].max() == 0
    whole = uploaded(Path(turned[EDITOR.photo])), uploaded(Path(turned[EDITOR.keep]))
    cropped = EDITOR.crop_photo(visit, *whole, None, {"box": [0, 0, 1, 0.4]})
    assert np.asarray(images.load(cropped[EDITOR.keep]).image).min() > 250, "only kept parts are left"
    assert visit.desk.photo == cropped[EDITOR.photo]
    assert visit.desk.keep == cropped[EDITOR.keep]


def test_a_turn_and_a_crop_can_be_undone_and_the_masks_come_back() -> None:
    visit = Session()
    mask = mask_left_half(visit, str(PHOTO))
    turned = EDITOR.turn_photo(visit, uploaded(PHOTO), uploaded(Path(mask)), None)
    whole = uploaded(Path(turned[EDITOR.photo])), uploaded(Path(turned[EDITOR.keep]))
    cropped = EDITOR.crop_photo(visit, *whole, None, {"box": [0, 0, 1, 0.4]})
    followed = EDITOR.follow_photo(visit, uploaded(Path(cropped[EDITOR.photo])), None, None, False)
    assert followed[EDITOR.undo]["interactive"]
    once = EDITOR.undo_edit(visit, uploaded(Path(cropped[EDITOR.photo])))
    assert (once[EDITOR.photo], once[EDITOR.keep]) == (turned[EDITOR.photo], turned[EDITOR.keep])
    twice = EDITOR.undo_edit(visit, uploaded(Path(once[EDITOR.photo])))
    assert (twice[EDITOR.photo], twice[EDITOR.keep]) == (str(PHOTO), mask)
    assert (visit.desk.photo, visit.desk.keep) == (str(PHOTO), mask)
    assert not EDITOR.follow_photo(visit, uploaded(PHOTO), None, None, False)[EDITOR.undo]["interactive"]
    Path(turned[EDITOR.photo]).unlink()
    lost = EDITOR.undo_edit(visit, uploaded(Path(cropped[EDITOR.photo])))
    assert "choose it again" in lost[EDITOR.notice]["value"]
    assert set(lost) == {EDITOR.notice}, "what there is stays"


def test_another_photo_has_no_mask_and_the_same_one_keeps_it() -> None:
    visit = Session()
    mask = mask_left_half(visit, str(PHOTO))
    same = EDITOR.follow_photo(visit, uploaded(PHOTO), uploaded(Path(mask)), None, False)
    assert same[EDITOR.keep] == mask
    other = EDITOR.follow_photo(visit, uploaded(ASTRONAUT), uploaded(Path(mask)), None, False)
    assert other[EDITOR.keep] is None
    assert visit.desk.keep is None
    assert not EDITOR.follow_photo(visit, None, None, None, True)[EDITOR.section]["visible"]


def test_an_editor_that_was_opened_at_once_for_a_new_photo_stays_open() -> None:
    visit = Session()
    EDITOR.open_crop(visit, uploaded(PHOTO))
    assert EDITOR.crop_panel not in EDITOR.follow_photo(visit, uploaded(PHOTO), None, None, False)
    assert not EDITOR.follow_photo(visit, uploaded(ASTRONAUT), None, None, False)[EDITOR.crop_panel]["visible"]


def test_the_faces_of_a_photo_that_has_been_replaced_meanwhile_are_not_shown() -> None:
    visit = Session()
    EDITOR.follow_photo(visit, uploaded(ASTRONAUT), None, None, True)
    shown = EDITOR.show_kept(visit, uploaded(ASTRONAUT), None, None, True, None)
    assert "1 face found" in shown[EDITOR.kept]
    assert "<img" in shown[EDITOR.kept]
    assert not EDITOR.show_kept(visit, uploaded(ASTRONAUT), None, None, False, None)[EDITOR.kept], "faces are not kept"
    EDITOR.follow_photo(visit, uploaded(PHOTO), None, None, True)
    assert EDITOR.kept not in EDITOR.show_kept(visit, uploaded(ASTRONAUT), None, None, True, None)


def test_turning_for_ever_fills_no_disk_and_deletes_nothing_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_EDITS", 2)
    visit, photo = Session(), str(PHOTO)
    for _ in range(6):
        photo = EDITOR.turn_photo(visit, uploaded(Path(photo)), None, None)[EDITOR.photo]
        assert Path(photo).is_file()
    assert len(list(visit.folder.glob("*/*.jpg"))) <= 4
    assert PHOTO.is_file()


def test_a_broken_photo_or_drawing_costs_one_sentence(tmp_path: Path) -> None:
    broken, visit = tmp_path / "notes.jpg", Session()
    broken.write_text("no picture")
    for changes in (
        EDITOR.turn_photo(visit, uploaded(broken), None, None),
        EDITOR.open_crop(visit, uploaded(broken)),
        EDITOR.crop_photo(visit, uploaded(PHOTO), None, None, None),
        EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": "%"}),
    ):
        assert changes[EDITOR.notice]["visible"]
        assert set(changes) == {EDITOR.notice}, "nothing else changes"
    nothing = EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": ""})
    assert "Nothing is marked" in nothing[EDITOR.notice]["value"]
    assert nothing[EDITOR.keep] is None


@pytest.mark.slow
def test_a_mask_is_in_the_record_and_more_keeps_the_same_parts(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = Session(is_open=True)
    mask = mask_left_half(visit, str(PHOTO))
    HANDLERS.start_more(visit)
    values: dict[str, Any] = {**SMALL, "faces": False}
    list(HANDLERS.stylize(visit, uploaded(PHOTO), uploaded(PAINTING), "quick", **values, keep=uploaded(Path(mask))))
    assert visit.results[0].keep == mask
    assert metadata.is_masked(visit.results[0].file)
    assert HANDLERS.return_to_visit(visit)[EDITOR.keep] == mask, "after a reload"
    EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": ""})
    monkeypatch.setattr("page.handlers.STEPS_OF_MORE", 2)
    list(more(visit))
    assert visit.results[1].keep == mask, "the picture that is continued had one"
    record = HANDLERS.show_results(visit)[COMPONENTS.strip]["records"][0]
    HANDLERS.finish_run(visit)
    assert HANDLERS.reopen_painting(visit, gr.EventData(None, {"record": record}))[EDITOR.keep] == mask
    Path(mask).unlink()
    with pytest.raises(Exception, match="The mask of this picture is no longer on the server"):
        list(more(visit))


def test_the_mask_of_the_photo_before_is_not_used_for_the_next(every_update: None) -> None:
    visit = Session(is_open=True)
    mask = mask_left_half(visit, str(ASTRONAUT))
    HANDLERS.start_more(visit)
    list(HANDLERS.stylize(visit, uploaded(PHOTO), uploaded(PAINTING), "quick", **SMALL, keep=uploaded(Path(mask))))
    assert visit.results[0].keep is None
    assert not metadata.is_masked(visit.results[0].file)


# In a browser


@pytest.fixture(
    params=[
        pytest.param((1280, 900, False), id="mouse", marks=pytest.mark.slow),
        pytest.param((390, 844, True), id="finger", marks=pytest.mark.slow),
    ]
)
def visitor(url: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page with a mouse at a desk, or with a finger on a phone. Errors in its console fail the test."""
    width, height, touches = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=touches, is_mobile=touches, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    with fail_on_errors(page):
        page.goto(url)
        page.set_input_files("#photo input[type=file]", PHOTO)
        expect(page.locator("#photo img")).to_be_visible()
        page.locator("#styles .tile").first.click()
        yield page
        context.close()


def drag(page: Page, on: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of an element to another, in fractions of its sides, as the device does."""
    on.scroll_into_view_if_needed()
    box = on.bounding_box()
    assert box
    path = [
        (
            box["x"] + box["width"] * (start[0] + (end[0] - start[0]) * step / 12),
            box["y"] + box["height"] * (start[1] + (end[1] - start[1]) * step / 12),
        )
        for step in range(13)
    ]
    if not page.evaluate("matchMedia('(pointer: coarse)').matches"):
        page.mouse.move(*path[0])
        page.mouse.down()
        for x, y in path[1:]:
            page.mouse.move(x, y)
        page.mouse.up()
        return
    finger = page.context.new_cdp_session(page)
    for kind, places in [("Start", path[:1]), *(("Move", [place]) for place in path[1:]), ("End", [])]:
        points = [{"x": x, "y": y} for x, y in places]
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})


def shape_of_photo(page: Page) -> float:
    """Width divided by height of the picture in the drop zone."""
    return page.evaluate(
        """async () => { const photo = document.querySelector('#photo img'); await photo.decode();
                         return photo.naturalWidth / photo.naturalHeight; }"""
    )


def wait_for_other_photo(page: Page, before: str) -> None:
    page.wait_for_function("before => document.querySelector('#photo img')?.src !== before", arg=before)


def address_of_photo(page: Page) -> str:
    return page.locator("#photo img").evaluate("photo => photo.src")


def places_of_tools(page: Page) -> list[list[int]]:
    """Where the buttons beside the photo stand."""
    return page.locator("#photo-tools").evaluate(
        "tools => Array.from(tools.querySelectorAll('button'), (tool) => [tool.offsetLeft, tool.offsetTop])"
    )


def paint_and_save(page: Page) -> Image.Image:
    """Paint a small picture, and return it as it is saved."""
    for name, value in (("size", "64"), ("iterations", "16")):
        slider(page, name).fill(value)
        slider(page, name).press("Tab")
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#download").click()
    png = Image.open(BytesIO(download.value.path().read_bytes()))
    png.load()
    return png


def test_a_photo_is_turned_and_cropped_and_the_painting_has_its_shape(visitor: Page) -> None:
    whole = shape_of_photo(visitor)
    before = address_of_photo(visitor)
    places = places_of_tools(visitor)
    visitor.locator("#turn").click()
    wait_for_other_photo(visitor, before)
    assert shape_of_photo(visitor) == pytest.approx(1 / whole, rel=0.01)
    turned = address_of_photo(visitor)
    visitor.locator("#undo-edit").click()
    wait_for_other_photo(visitor, turned)
    assert shape_of_photo(visitor) == pytest.approx(whole, rel=0.01)
    expect(visitor.locator("#undo-edit")).to_be_disabled()
    visitor.locator("#turn").click()
    wait_for_other_photo(visitor, before)
    expect(visitor.locator("#undo-edit")).to_be_enabled()
    assert places_of_tools(visitor) == places
    visitor.locator("#crop").click()
    part = visitor.locator("#crop-editor .part")
    expect(part).to_be_visible()
    corner = visitor.get_by_role("button", name="Bottom right corner")
    photo = visitor.locator("#crop-editor img").bounding_box()
    handle = corner.bounding_box()
    assert photo
    assert handle
    assert min(handle["width"], handle["height"]) >= 44, "large enough for a finger"
    # The corner goes up by half the photo: what is left is as wide, and a quarter to a half as high.
    up = -0.4 * photo["height"] / handle["height"]
    drag(visitor, corner, (0.5, 0.5), (0.5, 0.5 + up))
    drag(visitor, part, (0.5, 0.5), (0.5, -3))  # to the top, and no further
    box = part.bounding_box()
    assert box
    assert box["y"] == pytest.approx(visitor.locator("#crop-editor img").bounding_box()["y"], abs=4)
    before = address_of_photo(visitor)
    visitor.get_by_role("button", name="Use this part").click()
    wait_for_other_photo(visitor, before)
    expect(part).to_have_count(0)
    cropped = shape_of_photo(visitor)
    assert cropped == pytest.approx(box["width"] / box["height"], rel=0.05)
    painted = paint_and_save(visitor)
    assert max(painted.size) == 64
    assert painted.width / painted.height == pytest.approx(cropped, rel=0.05)


def test_what_is_painted_over_stays_nearer_to_the_photo_and_another_photo_forgets_it(visitor: Page) -> None:
    visitor.locator("#faces input").uncheck()
    visitor.locator("#keep-parts").click()
    canvas = visitor.locator("#keep-editor canvas")
    expect(canvas).to_be_visible()
    undo = visitor.locator("#keep-editor .undo")
    expect(undo).to_be_disabled()
    visitor.get_by_label("Width").fill("30")
    drag(visitor, canvas, (0.9, 0.1), (0.9, 0.9))
    undo.click()
    expect(undo).to_be_disabled()
    for across in (0.1, 0.25, 0.4):
        drag(visitor, canvas, (across, 0.02), (across, 0.98))
    visitor.get_by_role("button", name="Done").click()
    expect(visitor.locator("#kept")).to_contain_text("These parts are kept.")
    expect(visitor.locator("#kept img")).to_have_count(1)
    expect(canvas).to_have_count(0)
    painted = paint_and_save(visitor)
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize(painted.size, Image.Resampling.LANCZOS), dtype=float)
    change = np.abs(np.asarray(painted.convert("RGB"), dtype=float) - photo).mean((0, 2))
    assert change[:30].mean() < 0.85 * change[-20:].mean()
    assert metadata.is_masked(painted) or painted.info.get(metadata.PNG_KEY)

    visitor.locator("#keep-parts").click()  # the strokes are still there, and can be gone on with
    expect(canvas).to_be_visible()
    visitor.wait_for_function(
        """() => { const canvas = document.querySelector('#keep-editor canvas'), { width, height } = canvas;
                   const opaque = (x) => canvas.getContext('2d').getImageData(x * width, height / 2, 1, 1).data[3];
                   return width > 1 && opaque(0.2) > 200 && opaque(0.9) === 0; }"""
    )
    visitor.set_input_files("#photo input[type=file]", ASTRONAUT)
    expect(canvas).to_have_count(0)
    expect(visitor.locator("#kept")).not_to_contain_text("These parts are kept.")
    visitor.locator("#faces input").check()
    expect(visitor.locator("#kept")).to_contain_text("1 face found: it stays more like your photo.")
    expect(visitor.get_by_alt_text("The photo with its faces marked")).to_be_visible()


@pytest.mark.slow
def test_paint_takes_the_crop_and_the_marks_that_are_still_open(visitor: Page) -> None:
    open_second_part(visitor)
    visitor.locator("#second-styles .tile").nth(6).click()
    expect(visitor.locator("#second-text")).to_be_visible()
    visitor.locator("#keep-parts").click()
    canvas = visitor.locator("#keep-editor canvas")
    expect(canvas).to_be_visible()
    visitor.wait_for_timeout(1000)  # until it has scrolled there
    for button in ("#take-marks", "#paint"):
        assert visitor.locator(button).evaluate(
            """button => { const { left, top, width, height } = button.getBoundingClientRect();
                           const seen = document.elementFromPoint(left + width / 2, top + height / 2);
                           return button === seen || button.contains(seen); }"""
        ), f"{button} is covered"
    drag(visitor, canvas, (0.2, 0.1), (0.2, 0.9))
    slider(visitor, "size").fill("64")
    slider(visitor, "iterations").fill("2")
    slider(visitor, "iterations").press("Tab")
    visitor.locator("#paint").click()
    expect(canvas).to_have_count(0)
    expect(visitor.locator("#kept")).to_contain_text("These parts are kept.")
    expect(visitor.locator("#status")).to_contain_text("Step 2 of 2")
    before = address_of_photo(visitor)
    visitor.locator("#crop").click()
    part = visitor.locator("#crop-editor .part")
    expect(part).to_be_visible()
    visitor.locator("#paint").click()
    wait_for_other_photo(visitor, before)
    expect(part).to_have_count(0)
    expect(visitor.locator("#strip li")).to_have_count(2)


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param((1280, 900), id="desktop")], indirect=True)
def test_a_photo_is_cropped_and_marked_with_the_keyboard_alone(page: Page) -> None:
    page.set_input_files("#photo input[type=file]", PHOTO)
    page.locator("#crop").focus()
    page.keyboard.press("Enter")
    corner = page.get_by_role("button", name="Bottom right corner")
    expect(corner).to_be_visible()
    corner.focus()
    before, whole = page.locator("#crop-editor .part").bounding_box(), shape_of_photo(page)
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    after = page.locator("#crop-editor .part").bounding_box()
    assert before
    assert after
    assert after["width"] < 0.9 * before["width"]
    assert after["height"] == before["height"]
    address = address_of_photo(page)
    page.get_by_role("button", name="Use this part").press("Enter")
    wait_for_other_photo(page, address)
    assert shape_of_photo(page) < 0.95 * whole
    page.locator("#keep-parts").press("Enter")
    expect(page.locator("#keep-editor canvas")).to_be_visible()
    page.locator("#keep-editor canvas").focus()
    for key in ("ArrowLeft", "Space", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Done").press("Enter")
    expect(page.locator("#kept")).to_contain_text("These parts are kept.")
