"""A visitor marks a region of the photo with the second brush: the second painting paints it, the first the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from page import worker
from page.config import ServerConfig
from page.handlers import Handlers
from page.paintings import make_record
from page.pictures import to_data_url
from page.session import VISITS, Session
from page.worker import REGION_IGNORED, Request
from styletransfer import Settings, images, metadata
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.helpers import (
    COMPONENTS,
    HANDLERS,
    SMALL,
    large_request,
    more,
    only_desktop,
    only_phone,
    positions,
    slider,
    uploaded,
)
from tests.page.test_photo_editor import address_of_photo, drag, wait_for_other_photo

ASTRONAUT = ROOT / "examples" / "content" / "astronaut.jpg"
OTHER_PAINTING = ROOT / "examples" / "style" / "woodcut.webp"
EDITOR = COMPONENTS.photo_editor
LEFT, RIGHT = (0, 0, 30, 40), (30, 0, 60, 40)


def draw_half(box: tuple[int, int, int, int]) -> str:
    """A drawing that marks one half of the photo, as the page sends it."""
    mask = Image.new("L", (60, 40))
    mask.paste(255, box)
    return to_data_url(mask, is_drawing=True)


def mark_halves(visit: Session, photo: Path = PHOTO, keep: str = "", region: str | None = None) -> tuple[Any, Any]:
    """Mark the photo as the page does, its right half for the second painting; return the keep mask and the region."""
    drawn = {"drawing": keep, "region": draw_half(RIGHT) if region is None else region}
    changes = EDITOR.take_masks(visit, uploaded(photo), drawn)
    return changes[EDITOR.keep], changes[EDITOR.region]


def paint_marked(visit: Session, region: str, second_painting: Path | None = OTHER_PAINTING, **changes: Any) -> Any:
    """Press Paint on a photo with a region; return the last update."""
    visit.is_open = True
    HANDLERS.start_more(visit)
    values: dict[str, Any] = {**SMALL, "faces": False, **changes}
    second = uploaded(second_painting) if second_painting else None
    *_, last = HANDLERS.stylize(
        visit,
        uploaded(PHOTO),
        uploaded(PAINTING),
        "quick",
        **values,
        second_painting=second,
        region=uploaded(Path(region)),
    )
    HANDLERS.finish_run(visit)
    return last


def grey(mask: str) -> Any:
    return np.asarray(images.load(mask).image.convert("L"), dtype=float)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the engine was given, besides the photo and the settings, in each run."""
    runs: list[dict[str, Any]] = []
    original = worker.stylize

    def stylize(content: Any, style: Any, settings: Any, **more: Any) -> Any:
        runs.append({"style": style, **more})
        return original(content, style, settings, **more)

    monkeypatch.setattr(worker, "stylize", stylize)
    return runs


def test_both_masks_turn_and_are_cropped_with_their_photo() -> None:
    visit = Session()
    keep, region = mark_halves(visit, keep=draw_half(LEFT))
    assert grey(keep)[:, :28].min() == 255 and grey(region)[:, :28].max() == 0
    turned = EDITOR.turn_photo(visit, uploaded(PHOTO), uploaded(Path(keep)), uploaded(Path(region)))
    assert grey(turned[EDITOR.keep])[0].min() == 255, "what was on the left is at the top"
    assert grey(turned[EDITOR.region])[0].max() == 0
    assert grey(turned[EDITOR.region])[-1].min() == 255
    held = (uploaded(Path(turned[part])) for part in (EDITOR.photo, EDITOR.keep, EDITOR.region))
    cropped = EDITOR.crop_photo(visit, *held, {"box": [0, 0.6, 1, 0.4]})
    assert grey(cropped[EDITOR.keep]).max() < 5
    assert grey(cropped[EDITOR.region]).min() > 250
    assert (visit.desk.keep, visit.desk.region) == (cropped[EDITOR.keep], cropped[EDITOR.region])


def test_another_photo_has_no_region_and_the_same_one_keeps_it(every_update: None) -> None:
    visit = Session()
    keep, region = mark_halves(visit, ASTRONAUT, keep=draw_half(LEFT))
    held = uploaded(Path(keep)), uploaded(Path(region))
    same = EDITOR.follow_photo(visit, uploaded(ASTRONAUT), *held, False)
    assert (same[EDITOR.keep], same[EDITOR.region]) == (keep, region)
    paint_marked(visit, region)
    assert visit.results[0].region is None, "it was painted before the page had removed the region of the photo before"
    other = EDITOR.follow_photo(visit, uploaded(PHOTO), *held, False)
    assert other[EDITOR.keep] is other[EDITOR.region] is visit.desk.region is None


def test_a_region_alone_is_a_mark_and_nothing_drawn_forgets_it() -> None:
    visit = Session()
    keep, region = mark_halves(visit)
    assert keep is None
    assert {region} <= visit.files, "the file would be deleted"
    nothing = EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": "", "region": ""})
    assert "Nothing is marked" in nothing[EDITOR.notice]["value"]
    assert nothing[EDITOR.region] is visit.desk.region is None
    damaged = EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": "", "region": "%"})
    assert set(damaged) == {EDITOR.notice}, "nothing else changes"


def test_a_region_is_shown_in_its_colour_and_says_whether_a_second_painting_is_missing() -> None:
    visit = Session()
    keep, region = mark_halves(visit, keep=draw_half(LEFT))
    held = uploaded(PHOTO), uploaded(Path(keep)), uploaded(Path(region)), False
    without = EDITOR.show_kept(visit, *held, None)[EDITOR.kept]
    assert "Choose a second painting" in without
    with_one = EDITOR.show_kept(visit, *held, uploaded(OTHER_PAINTING))[EDITOR.kept]
    assert "The second painting paints these parts." in with_one
    assert "Choose" not in with_one
    assert with_one.count("<img") == 2, "what is kept is shown apart"


def test_an_editor_that_is_opened_again_has_both_masks() -> None:
    visit = Session()
    keep, region = mark_halves(visit, keep=draw_half(LEFT))
    shown = EDITOR.open_brushes(visit, uploaded(PHOTO), uploaded(Path(keep)), uploaded(Path(region)))[EDITOR.brush]
    assert shown["mask"] != shown["region"]
    assert "region" not in EDITOR.open_brushes(visit, uploaded(PHOTO), uploaded(Path(keep)), None)[EDITOR.brush]


def test_the_second_painting_gets_the_region_and_the_first_the_rest(
    every_update: None, given: list[dict[str, Any]]
) -> None:
    visit = Session()
    _, region = mark_halves(visit)
    paint_marked(visit, region)
    assert given[0]["style"] == (str(PAINTING), str(OTHER_PAINTING))
    assert given[0]["regions"] == (None, region)
    assert given[0]["keep"] is None
    result = visit.results[0]
    assert result.region == region
    assert metadata.is_in_regions(result.file)
    assert result.jpeg and metadata.is_in_regions(result.jpeg)
    assert make_record(result)["in_regions"] is True
    assert region in Request(str(PHOTO), (), Settings(), Path(), region=region).files


def test_a_run_without_a_second_painting_says_that_the_region_was_ignored(
    every_update: None, given: list[dict[str, Any]]
) -> None:
    visit = Session()
    _, region = mark_halves(visit)
    last = paint_marked(visit, region, second_painting=None)
    assert REGION_IGNORED in last[COMPONENTS.status]
    assert given[0]["regions"] is None
    assert visit.results[0].region is None
    assert not metadata.is_in_regions(visit.results[0].file)
    assert visit.desk.region == region, "it is there when a second painting is chosen"


def test_a_region_of_the_whole_photo_stays_with_its_picture_so_that_more_mixes_nothing(every_update: None) -> None:
    visit = Session()
    _, region = mark_halves(visit, region=draw_half((0, 0, 60, 40)))
    paint_marked(visit, region, iterations=1)
    assert visit.results[0].region == region


@pytest.mark.slow
def test_a_region_comes_back_and_goes_on_with_its_picture_until_its_file_is_gone(
    every_update: None, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.handlers.STEPS_OF_MORE", 2)
    visit = Session()
    _, region = mark_halves(visit)
    paint_marked(visit, region)
    assert HANDLERS.return_to_visit(visit)[COMPONENTS.region] == region, "after a reload"
    EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": ""})
    HANDLERS.start_more(visit)
    held = uploaded(PHOTO), uploaded(PAINTING), "balanced"
    list(HANDLERS.continue_painting(visit, *held, *positions().values(), uploaded(OTHER_PAINTING)))
    assert given[-1]["regions"] == (None, region), "the picture that is continued had one"
    assert visit.results[1].region == region
    record = HANDLERS.show_results(visit)[COMPONENTS.strip]["records"][-1]
    HANDLERS.finish_run(visit)
    reopened = HANDLERS.reopen_painting(visit, gr.EventData(None, {"record": record}))
    assert reopened[COMPONENTS.region] == visit.desk.region == region
    assert reopened[COMPONENTS.more]["interactive"]
    visit.current = visit.results[0]
    HANDLERS.start_more(visit)
    list(Handlers(COMPONENTS, ServerConfig(max_size=96)).enlarge_on_page(visit))
    assert given[-1]["regions"] == (None, region)
    HANDLERS.finish_run(visit)
    HANDLERS.start_more(visit)
    Path(region).unlink()
    *_, refused = HANDLERS._show_on_page(visit, more(visit))
    assert "The region of this picture is no longer on the server" in refused[COMPONENTS.status]
    HANDLERS.finish_run(visit)
    for reopening, known in ((visit, record), (Session(is_open=True), {**record, "id": ""})):
        gone = HANDLERS.reopen_painting(reopening, gr.EventData(None, {"record": known}))
        assert (
            "The parts that were marked for its second painting are gone, too: mark them again."
            in gone[COMPONENTS.status]
        )
        assert gone.get(COMPONENTS.region) is None
        assert not gone[COMPONENTS.more]["interactive"]


@pytest.mark.slow
def test_more_after_a_run_does_not_forget_what_is_marked_on_the_page(every_update: None) -> None:
    visit = Session()
    _, region = mark_halves(visit, keep=draw_half(LEFT))
    paint_marked(visit, region, iterations=1)
    EDITOR.take_masks(visit, uploaded(PHOTO), {"drawing": draw_half(LEFT), "region": draw_half(RIGHT)})
    marked = visit.desk.keep, visit.desk.region
    updates = more(visit)
    while COMPONENTS.result not in next(updates):
        pass
    HANDLERS.stop_run(visit)
    list(updates)
    assert (visit.desk.keep, visit.desk.region) == marked


def test_a_picture_of_a_run_in_regions_says_that_they_are_missing(tmp_path: Path) -> None:
    for in_regions in (True, False):
        file = tmp_path / f"{in_regions}.png"
        metadata.save_png(Image.new("RGB", (20, 20)), str(file), Settings(), in_regions=in_regions)
        changes = HANDLERS.restore_settings(COMPONENTS.photo, uploaded(file))
        said = changes[COMPONENTS.notices[COMPONENTS.photo]]["value"]
        assert ("Parts of it were marked for a second painting: the marks are not in the file." in said) is in_regions


def test_a_link_says_that_it_does_not_carry_the_region() -> None:
    visit = Session()
    _, region = mark_halves(visit)
    held = uploaded(PHOTO), uploaded(PAINTING), None, None, uploaded(Path(region))
    link = HANDLERS.make_link(visit, "http://photo.example/", *held, "quick", *positions().values())
    assert "the parts you marked:" in link[COMPONENTS.link_note]["value"]


# Programs


def white_half(folder: Path) -> Any:
    mask = Image.new("L", (60, 40))
    mask.paste(255, RIGHT)
    mask.save(folder / "region.png")
    return handle_file(folder / "region.png")


def test_a_program_that_gives_a_region_without_a_second_painting_is_refused_in_one_sentence(
    client: Client, tmp_path: Path
) -> None:
    region = white_half(tmp_path)
    to_paint = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "api_name": "/paint"}
    for request in (large_request(region=region), {**to_paint, "region": region}):
        with pytest.raises(AppError, match="A region needs a second painting, which paints it"):
            client.predict(**request)


@pytest.mark.slow
def test_a_program_paints_a_region_like_the_second_painting(client: Client, tmp_path: Path) -> None:
    given = {"region": white_half(tmp_path), "second_painting": handle_file(OTHER_PAINTING)}
    *_, png = client.predict(**large_request(iterations=2, **given))
    assert metadata.is_in_regions(png)
    to_paint = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "api_name": "/paint"}
    with Image.open(client.predict(**to_paint, preset="quick", **given)) as painted:
        assert max(painted.size) > 200


# In a browser


def open_brushes(page: Page) -> None:
    page.locator("#keep-parts").click()
    canvas = page.locator("#keep-editor canvas")
    expect(canvas).to_be_visible()
    page.wait_for_function("document.querySelector('#keep-editor canvas').width > 1")
    page.get_by_label("Width").fill("30")


def press_tool(page: Page, name: str) -> None:
    page.locator("#keep-editor").get_by_role("button", name=name, exact=True).click()


def mark(page: Page, brush: str, across: float) -> None:
    """Paint a line from the top to the bottom with a brush, or the eraser."""
    press_tool(page, brush)
    drag(page, page.locator("#keep-editor canvas"), (across, 0.02), (across, 0.98))


def colours(page: Page) -> list[str]:
    """What is marked at a quarter, a half and three quarters of the photo's width: keep, region or nothing."""
    return page.evaluate(
        """() => { const canvas = document.querySelector('#keep-editor canvas'), { width, height } = canvas;
                   const context = canvas.getContext('2d');
                   return [0.25, 0.5, 0.75].map((x) => {
                       const [red, green, blue, opacity] = context.getImageData(x * width, height / 2, 1, 1).data;
                       return !opacity ? '' : green > 128 ? 'region' : 'keep'; }); }"""
    )


def masks_of(page: Page) -> tuple[str | None, str | None]:
    session = VISITS.find(page.evaluate("visit.token()"))
    assert session
    return session.desk.keep, session.desk.region


@pytest.mark.slow
@only_desktop
def test_a_region_is_marked_painted_by_the_second_painting_and_back_after_a_reload(
    page: Page, given: list[dict[str, Any]]
) -> None:
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    page.locator("#styles .tile").first.click()
    open_brushes(page)
    mark(page, "Second painting", 0.75)
    assert colours(page) == ["", "", "region"]
    page.get_by_role("button", name="Done").click()
    kept = page.locator("#kept")
    expect(kept).to_contain_text("Choose a second painting")
    kept.get_by_role("link").click()
    expect(page.locator("#second-painting")).to_be_in_viewport()
    page.set_input_files("#second-painting input[type=file]", OTHER_PAINTING)
    expect(kept).to_contain_text("The second painting paints these parts.")
    expect(kept.get_by_alt_text("The photo with the second painting's parts tinted")).to_be_visible()
    for name, value in (("size", "96"), ("iterations", "3")):
        slider(page, name).fill(value)
        slider(page, name).press("Tab")
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Finished:")
    keep, region = masks_of(page)
    assert keep is None and region
    assert given[-1]["regions"] == (None, region)
    assert grey(region)[:, :256].max() < 5 and grey(region)[200, 384] == 255
    page.reload()
    expect(kept).to_contain_text("The second painting paints these parts.")
    open_brushes(page)
    page.wait_for_function("document.querySelector('#keep-editor .undo').disabled")
    assert colours(page) == ["", "", "region"]


@pytest.mark.slow
@only_phone
def test_undo_eraser_and_clear_work_over_both_brushes(page: Page) -> None:
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    open_brushes(page)
    for tool in page.locator("#keep-editor .tools button").all():
        box = tool.bounding_box()
        assert box and min(box["width"], box["height"]) >= 44, "large enough for a finger"
    mark(page, "Keep", 0.25)
    mark(page, "Second painting", 0.75)
    assert colours(page) == ["keep", "", "region"]
    mark(page, "Eraser", 0.75)
    mark(page, "Eraser", 0.25)
    assert colours(page) == ["", "", ""]
    press_tool(page, "Undo")
    assert colours(page) == ["keep", "", ""]
    press_tool(page, "Undo")
    press_tool(page, "Clear")
    assert colours(page) == ["", "", ""]
    press_tool(page, "Undo")
    assert colours(page) == ["keep", "", "region"]
    mark(page, "Second painting", 0.25)  # a spot may be both
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#kept img")).to_have_count(2)
    keep, region = masks_of(page)
    assert keep and region
    middle = grey(keep).shape[0] // 2
    assert [grey(keep)[middle, x] for x in (128, 384)] == [255, 0]
    assert [grey(region)[middle, x] for x in (128, 384)] == [255, 255]


@pytest.mark.slow
@only_desktop
def test_the_region_turns_with_the_photo_and_another_photo_forgets_it(page: Page) -> None:
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    open_brushes(page)
    page.locator("#keep-editor").get_by_role("button", name="Second painting").press("Enter")
    canvas = page.locator("#keep-editor canvas")
    canvas.focus()
    for key in (*["ArrowLeft"] * 8, "Space"):
        page.keyboard.press(key)
    assert colours(page) == ["region", "", ""]
    page.get_by_role("button", name="Done").press("Enter")
    expect(page.locator("#kept")).to_contain_text("These parts need a second painting.")
    page.locator("#kept").get_by_role("link").click()
    expect(page.locator("#second-painting")).to_be_in_viewport()
    waves = page.locator("#second-styles .tile", has_text="Waves")
    waves.click()
    expect(waves).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#second-painting img")).to_be_visible()
    expect(page.locator("#kept")).to_contain_text("The second painting paints these parts.")
    before = address_of_photo(page)
    page.locator("#turn").click()
    wait_for_other_photo(page, before)
    expect(page.locator("#kept img")).to_have_count(1)
    _, region = masks_of(page)
    assert region
    rows = grey(region).max(1)
    assert rows[: len(rows) // 3].max() == 255, "what was on the left is at the top"
    assert rows[len(rows) // 2 :].max() < 5
    page.set_input_files("#photo input[type=file]", ASTRONAUT)
    expect(page.locator("#kept")).to_contain_text("1 face found")
    expect(page.locator("#kept")).not_to_contain_text("second painting")
    assert masks_of(page) == (None, None)
