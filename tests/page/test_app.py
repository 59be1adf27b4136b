"""The page through gradio_client, as a program sees it, and in Debian's Chromium, as a person does."""

from __future__ import annotations

import base64
import gc
import inspect
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import gradio as gr
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio.state_holder import StateHolder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image, ImageSequence
from playwright.sync_api import Browser, Locator, Page, expect

from page import controls, examples, gradio_patches, handlers, layout, results, server, session, share_link, worker
from page.config import DEFAULT_PRESET, ServerConfig
from page.examples import EXAMPLES
from page.handlers import Handlers
from page.session import Session
from page.weights_download import Vgg19Download
from styletransfer import PRESETS, Settings, metadata, weights
from styletransfer.settings import STEERABLE, knobs
from tests.data import PAINTING, PHOTO

MINUTE = 60_000  # milliseconds
with gr.Blocks():
    COMPONENTS = layout.create_components(ServerConfig())
HANDLERS = Handlers(COMPONENTS, ServerConfig())  # for tests that need no server
UNHURRIED = {**PRESETS, "balanced": replace(PRESETS["balanced"], tolerance=0)}  # runs to its last step


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "cached_vgg19", lambda: None)
        patch.setattr(controls, "PRESETS", UNHURRIED)
        download = Vgg19Download()  # never started: it stands for one on a slow network
        download.status = "VGG-19 is on its way (42%)."
        page = layout.build(ServerConfig(), download)
        yield server.launch(page, theme=layout.THEME, css_paths=[layout.CSS], prevent_thread_lock=True, quiet=True)[1]
        page.close()


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
    rows = examples.examples()
    assert len(rows) >= 6
    for path in [path for pictures in rows for path in pictures]:
        assert Path(path).is_file(), path


def test_there_are_ten_styles_to_choose_from_each_with_its_picture_name_and_maker() -> None:
    styles = examples.styles()
    assert len(styles) >= 10
    assert {Path(path).name for path, _ in styles} == {path.name for path in (EXAMPLES / "style").iterdir()}
    assert all("(" in label for _, label in styles)


def test_every_preset_puts_the_sliders_where_its_settings_are(client: Client) -> None:
    for preset, settings in controls.PRESETS.items():
        values = controls.slider_values(settings)
        named = {name: knobs()[name].value(value) for name, value in values.items()}
        assert named == {name: getattr(settings, name) for name in controls.CONTROLS}
        assert controls.to_settings(preset, values) == settings


def test_what_can_be_changed_during_a_run_has_a_control_that_is_live() -> None:
    assert set(controls.LIVE_CONTROLS) == set(STEERABLE)
    assert (*controls.START_CONTROLS, *controls.LIVE_CONTROLS) == controls.CONTROLS
    assert tuple(COMPONENTS.controls) == controls.CONTROLS


def test_the_endpoint_takes_the_controls_in_the_order_in_which_the_page_sends_them() -> None:
    parameters = [name.removesuffix("_power_of_ten") for name in inspect.signature(HANDLERS.stylize).parameters]
    assert parameters == ["session", "photo", "painting", "preset", *controls.CONTROLS, "second_painting"]


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
    page.locator("#examples .thumbnail-item").first.click()
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
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    expect(page.locator("#outcome")).to_have_count(0)  # nothing to see there
    expect(page.locator("#painting img")).to_be_visible()


class Pressed:
    """Which picture of a gallery was."""

    def __init__(self, index: int) -> None:
        self.index = index


def test_an_example_pressed_during_a_run_leaves_the_runs_picture_alone() -> None:
    session, example = Session(), examples.examples()[0]
    idle = HANDLERS.show_example(session, Pressed(0))
    HANDLERS.start_run(session)
    busy = HANDLERS.show_example(session, Pressed(0))
    assert idle[COMPONENTS.result] == example.result
    assert busy == {COMPONENTS.photo: example.photo, COMPONENTS.painting: example.painting}
    assert busy.items() <= idle.items()
    HANDLERS.finish_run(session)
    assert HANDLERS.show_example(session, Pressed(0)) == idle


def positions(**changes: Any) -> dict[str, Any]:
    settings = Settings(size=96, iterations=40)
    return controls.slider_values(replace(settings, **changes))


def uploaded(path: Path) -> dict[str, Any]:
    """What a drop zone holds."""
    return {"path": str(path)}


def running(session: Session, **changes: Any) -> Iterator[Any]:
    """A run of a visit, as the page starts it."""
    HANDLERS.start_run(session)
    values = positions(**changes).values()
    return HANDLERS.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "balanced", *values, None)


def more(session: Session, photo: Path = PHOTO) -> Iterator[Any]:
    """A press on More."""
    HANDLERS.start_run(session)
    values = positions().values()
    return HANDLERS.continue_painting(session, uploaded(photo), uploaded(PAINTING), "balanced", *values, None)


@pytest.fixture
def every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation is shown, however fast they come."""
    monkeypatch.setattr(worker, "SECONDS_PER_UPDATE", -1)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)
    monkeypatch.setattr(controls, "PRESETS", UNHURRIED)


def marks(update: dict[Any, Any]) -> list[str]:
    return [note.text for note in update[COMPONENTS.plot].layout.annotations]


def status(update: dict[Any, Any]) -> str:
    return update[COMPONENTS.status]


def png(update: dict[Any, Any]) -> Path:
    return Path(update[COMPONENTS.download])


def test_what_is_changed_during_a_run_counts_in_it_and_in_no_other_visitors(every_frame: None) -> None:
    mine, other = Session(), Session()
    run, theirs = running(mine), running(other)
    for _ in range(4):
        next(run), next(theirs)
    HANDLERS.steer(mine, "balanced", *positions(style_weight=1e8, colours="luminance").values())
    last, others_last = list(run)[-1], list(theirs)[-1]
    assert mine.results[-1].settings.style_weight == 1e8
    assert mine.results[-1].settings.colours == "luminance"
    assert other.results[-1].settings.style_weight == Settings().style_weight
    assert "changed" in marks(last)
    assert "changed" not in marks(others_last)


def test_a_number_that_is_still_being_typed_changes_nothing(every_frame: None) -> None:
    session = Session()
    HANDLERS.start_run(session)
    for typed in (None, "", 1e9, -1, float("nan")):  # 10 to the power of 1e9 would take hours
        HANDLERS.steer(session, "balanced", *{**positions(), "style_weight": typed}.values())
    assert session.control.receive() is None


def test_a_weight_turned_too_far_keeps_the_picture(every_frame: None, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    run = running(session)
    for _ in range(4):
        next(run)
    monkeypatch.setattr("styletransfer.optimize.math.isfinite", lambda number: False)
    HANDLERS.steer(session, "balanced", *positions(style_weight=1e10).values())
    *_, last = run
    assert "choose smaller ones" in status(last)
    assert png(last).is_file()


def test_a_paused_run_does_no_work_and_goes_on_where_it_was(every_frame: None) -> None:
    session = Session()
    run = running(session)
    for _ in range(4):
        next(run)
    assert HANDLERS.toggle_pause(session) == "Continue"
    updates = [next(run) for _ in range(4)]
    assert "Paused" in str(updates)
    assert all(COMPONENTS.result not in update for update in updates[-2:])
    assert HANDLERS.toggle_pause(session) == "Pause"
    *_, last = run
    assert "40 of 40" in status(last)


def test_stop_ends_a_paused_run_with_its_picture(every_frame: None) -> None:
    session = Session()
    run = running(session)
    next(run), next(run)
    HANDLERS.toggle_pause(session)
    next(run)
    HANDLERS.stop_run(session)
    *_, last = run
    assert "Stopped" in status(last)
    assert png(last).is_file()


def test_more_goes_on_from_the_last_picture(every_frame: None) -> None:
    session = Session()
    first = list(running(session))[-1]
    updates = list(more(session))
    assert f"{handlers.STEPS_OF_MORE} of {handlers.STEPS_OF_MORE}" in status(updates[-1])
    before, after = (np.asarray(update[COMPONENTS.result], dtype=float) for update in (first, updates[1]))
    assert np.abs(before - after).mean() < 2
    assert len(session.results) == 2
    assert session.results[1].settings.iterations == 40, "what is restored is no shorter run"


def test_more_refuses_to_lay_one_photos_picture_on_another(every_frame: None) -> None:
    session = Session()
    list(running(session, iterations=2))
    with pytest.raises(gr.Error, match="The photo has changed"):
        list(more(session, PAINTING))


def test_a_visit_keeps_a_bounded_number_of_pictures(every_frame: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_RESULTS", 2)
    visit = Session()
    for _ in range(3):
        list(running(visit, iterations=2))
    assert [result.caption[0] for result in visit.results] == ["2", "3"]
    assert len(list(visit.folder.iterdir())) == 6


def test_a_run_that_is_paused_for_too_long_ends_with_its_picture(
    every_frame: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MAX_PAUSE_SECONDS", 0.3)
    session = Session()
    run = running(session)
    next(run), next(run)
    HANDLERS.toggle_pause(session)
    *_, last = run
    assert "Stopped" in status(last)
    assert png(last).is_file()


def test_more_without_a_picture_says_so() -> None:
    with pytest.raises(gr.Error, match="press Paint first"):
        list(more(Session()))


def test_what_a_visitor_made_goes_with_the_visitor(every_frame: None) -> None:
    session = Session()
    list(running(session, iterations=2))
    file = Path(session.results[-1].file)
    assert file.is_file()
    del session
    gc.collect()
    assert not file.parent.exists()


def test_each_visitor_has_a_folder_of_their_own_that_goes_when_gradio_drops_the_visit_for_want_of_room() -> None:
    with gr.Blocks() as page:
        state = gr.State(Session())
    page.state_session_capacity = 2
    visits = StateHolder()
    visits.set_blocks(page)
    folders = [visits[name][state._id].folder for name in ("first", "second")]
    assert folders[0] != folders[1]
    assert visits["first"][state._id].folder == folders[0]
    assert visits["third"][state._id].folder.is_dir()
    gc.collect()
    assert [folder.is_dir() for folder in folders] == [True, False], "the one that was idle longest"


def test_the_time_lapse_is_an_animation_that_ends_on_the_picture(every_frame: None) -> None:
    session = Session()
    list(running(session, iterations=120))
    result = session.results[-1]
    with Image.open(result.time_lapse) as lapse, Image.open(result.file) as finished:
        assert lapse.format == "WEBP"
        assert 20 <= lapse.n_frames <= results.MAX_TIME_LAPSE_FRAMES + 2
        states = [np.asarray(frame.convert("RGB"), dtype=float) for frame in ImageSequence.Iterator(lapse)]
        assert np.abs(states[-1] - np.asarray(finished, dtype=float)).mean() < 12
        assert np.abs(states[0] - states[-1]).mean() > 12


def test_a_link_opens_the_page_as_it_was() -> None:
    values = positions(style_weight=3e8, colours="matched", stroke=1.5)
    link = share_link.decode(share_link.encode(str(PHOTO), str(PAINTING), "quick", values))
    assert link[:3] == (str(PHOTO), str(PAINTING), "quick")
    assert controls.slider_values(link.settings) == values
    assert not link.ignored


def test_a_link_never_tells_of_a_visitors_own_picture(tmp_path: Path) -> None:
    mine = tmp_path / PHOTO.name
    mine.write_bytes(PHOTO.read_bytes() + b" ")
    assert "chelsea" not in share_link.encode(str(mine), None, "balanced", positions())


@pytest.mark.parametrize(
    "said",
    [
        {"size": "huge"},
        {"size": "1e999"},
        {"size": "nan"},
        {"colours": "pink"},
        {"preset": "../x"},
        {"photo": "../../app"},
    ],
)
def test_a_link_that_makes_no_sense_opens_the_page_as_usual(said: dict[str, str]) -> None:
    query = urlencode(said)
    assert share_link.decode(query) == (None, None, DEFAULT_PRESET, controls.PRESETS[DEFAULT_PRESET], tuple(said))
    notice = HANDLERS.follow_link(query)[COMPONENTS.notice]
    assert notice["value"] == f"Ignored in this link: {', '.join(said)}."


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} input[type=number]")


def open_section(page: Page, title: str) -> None:
    page.get_by_role("button", name=title).click()


def paint_small(page: Page, iterations: int) -> None:
    """An example at a size at which a step takes no time."""
    open_section(page, "Before you start")
    expect(slider(page, "size")).to_be_visible()
    page.locator("#examples .thumbnail-item").first.click()
    expect(page.locator("#result img")).to_be_visible()
    page.wait_for_timeout(1000)  # the example sets the sliders a moment after its result is there
    for name, value in (("size", 96), ("iterations", iterations)):
        expect(slider(page, name)).to_have_value(str(getattr(UNHURRIED["balanced"], name)))
        slider(page, name).fill(str(value))
        slider(page, name).press("Tab")
        expect(slider(page, name)).to_have_value(str(value))
    page.get_by_role("button", name="Paint", exact=True).click()


def annotations(page: Page) -> list[str]:
    return page.evaluate(
        """() => (document.querySelector('#curves .js-plotly-plot')?.layout?.annotations ?? []).map(a => a.text)"""
    )


def test_a_slider_moved_during_a_run_changes_it_and_pause_and_more_work(page: Page) -> None:
    paint_small(page, 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    open_section(page, "Adjust")
    slider(page, "style_weight").fill("8.5")
    slider(page, "style_weight").press("Tab")
    page.wait_for_function(
        "document.querySelector('#curves .js-plotly-plot')?.layout?.annotations?.some(a => a.text == 'changed')"
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


def test_two_visitors_at_once_wait_in_order_and_turn_only_their_own_run(page: Page, url: str) -> None:
    other = page.context.browser.new_context(viewport=page.viewport_size).new_page()
    other.set_default_timeout(MINUTE)
    other.goto(url)
    paint_small(page, 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    paint_small(other, 2000)
    expect(other.locator("#status")).to_contain_text("Waiting for a free place")
    place = other.locator("#status .progress-text")
    expect(place).to_contain_text(re.compile(r"queue: 1/1"))
    assert place.evaluate(
        """place => { const [box, around] = [place, place.parentElement].map(e => e.getBoundingClientRect());
                      return around.top <= box.top && box.bottom <= around.bottom + 1; }"""
    ), "cut off"
    open_section(other, "Adjust")
    slider(other, "style_weight").fill("8.5")
    slider(other, "style_weight").press("Tab")
    page.wait_for_timeout(2000)
    assert "changed" not in annotations(page)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(other.locator("#status")).to_contain_text("Painting:")
    other.get_by_role("button", name="Stop").click()
    expect(other.locator("#status")).to_contain_text("Stopped:")
    assert shown(page) != shown(other)
    other.context.close()


def test_closed_tabs_give_their_places_to_the_next_visitor(
    page: Page, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tabs = [page.context.browser.new_context(viewport=page.viewport_size).new_page() for _ in range(2)]
    with caplog.at_level("INFO", logger="page"):
        for tab in tabs:
            tab.set_default_timeout(MINUTE)
            tab.goto(url)
            paint_small(tab, 2000)
            expect(tab.locator("#status")).to_contain_text(
                "Painting:" if tab is tabs[0] else "Waiting for a free place"
            )
        expect(tabs[1].locator("#status")).to_contain_text(re.compile(r"queue: 1/1"))
        for tab in reversed(tabs):
            tab.context.close()
        paint_small(page, 4)
        expect(page.locator("#status")).to_contain_text("Finished: 4 of 4")
    outcomes = [record.getMessage().split("outcome=")[1] for record in caplog.records if "outcome=" in record.message]
    assert outcomes == ["left", "finished"], "the one who closed the tab while waiting never began"


@pytest.fixture
def full_queue(url: str) -> Iterator[None]:
    clients = [Client(url, verbose=False) for _ in range(1 + server.MAX_WAITING)]
    jobs = [clients[0].submit(**arguments(iterations=2000, size=256))]
    next(iter(jobs[0]))  # it has the place, and the others wait
    jobs += [client.submit(**arguments()) for client in clients[1:]]
    deadline = time.monotonic() + 30
    while None in [job.status().rank for job in jobs[1:]] and time.monotonic() < deadline:
        time.sleep(0.1)
    yield
    for job, client in zip(jobs, clients, strict=True):
        job.cancel()
        client.close()


@pytest.mark.usefixtures("full_queue")
def test_where_the_queue_is_full_only_who_presses_paint_is_told(url: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(url)
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    page.wait_for_timeout(1000)
    assert page.locator(".toast-body").count() == 0
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator(".toast-body")).to_contain_text("busy")
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    page.close()


def test_before_the_first_picture_nothing_but_the_first_step_is_above_the_fold(page: Page) -> None:
    page.wait_for_selector("#examples img")
    height = page.viewport_size["height"]
    for name in ("title", "examples", "photo", "painting", "paint"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["y"] >= 0, name
        assert box["y"] + box["height"] <= height, name
    for title in ("Styles", "Adjust", "Before you start"):
        assert page.get_by_role("button", name=title).bounding_box()["y"] >= height - 5
    expect(page.locator("#outcome")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_the_photos_own_colours_are_previewed_at_once(page: Page) -> None:
    page.locator("#examples .thumbnail-item").first.click()
    open_section(page, "Adjust")
    expect(page.locator("#preview img")).to_be_visible()
    before = page.locator("#preview img").get_attribute("src")
    page.get_by_label("luminance", exact=True).click()
    page.wait_for_function(f"document.querySelector('#preview img').src != '{before}'")


def test_the_preview_has_the_colours_that_were_chosen() -> None:
    def mean(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB"), float).mean((0, 1))

    session, photo, painting = Session(), Image.open(PHOTO), Image.open(PAINTING)
    for colours, like in (("painting", painting), ("matched", photo), ("luminance", photo)):
        preview = HANDLERS.preview_colours(session, uploaded(PHOTO), uploaded(PAINTING), colours)
        assert preview is not None
        assert max(preview.size) == handlers.PREVIEW_SIZE
        assert np.abs(mean(preview) - mean(like)).max() < 12, colours
    assert HANDLERS.preview_colours(session, uploaded(PHOTO), None, "painting") is None
    text = uploaded(EXAMPLES / "styles.csv")
    assert HANDLERS.preview_colours(session, uploaded(PHOTO), text, "painting") is None


def test_a_language_model_has_the_finished_picture_as_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: replace(settings, size=96, iterations=4) for name, settings in PRESETS.items()}
    monkeypatch.setattr(controls, "PRESETS", small)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)
    page = layout.build(ServerConfig())
    url = server.launch(page, mcp_server=True, prevent_thread_lock=True, quiet=True)[1]

    def sent(file: Path) -> str:
        return "data:image/webp;base64," + base64.b64encode(file.read_bytes()).decode()

    async def call() -> Any:
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool.description for tool in (await session.list_tools()).tools}
            assert set(tools) == {"paint", "stylize"}
            assert "finished picture" in tools["paint"]
            given = {"photo": sent(PHOTO), "painting": sent(PAINTING), "preset": "quick"}
            return await session.call_tool("paint", given)

    try:
        with ThreadPoolExecutor(1) as thread:  # this one belongs to the browser
            answer = thread.submit(anyio.run, call).result()
    finally:
        page.close()
    assert not answer.isError
    with Image.open(BytesIO(base64.b64decode(answer.content[0].data))) as painted:
        assert (painted.format, max(painted.size)) == ("PNG", 96)


def test_a_person_takes_the_picture_along(url: str, page: Page, tmp_path: Path) -> None:
    paint_small(page, 30)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#lapse")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#lapse").click()
    with Image.open(download.value.path()) as lapse:
        assert lapse.n_frames >= 2
        for _ in ImageSequence.Iterator(lapse):
            lapse.load()
    with page.expect_download() as download:
        page.locator("#download").click()
    mine = tmp_path / "mine.png"
    mine.write_bytes(download.value.path().read_bytes())
    assert metadata.read_settings(mine) == replace(UNHURRIED["balanced"], size=96, iterations=30)
    open_section(page, "Before and after")
    expect(page.locator("#compare img")).to_have_count(2)
    open_section(page, "This visit's pictures")
    expect(page.locator("#history .thumbnail-item")).to_have_count(1)
    open_section(page, "Share")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#link textarea, #link input")
    expect(link).to_have_value(re.compile("^http.*size=96"))
    page.goto(link.input_value())
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#painting img")).to_be_visible()
    open_section(page, "Before you start")
    expect(slider(page, "size")).to_have_value("96")
    page.goto(f"{url}?__theme=light&size=huge&photo=nobodys")
    expect(page.locator("#notice")).to_contain_text("Ignored in this link: photo, size.")
    page.goto(url)
    page.set_input_files("#photo input[type=file]", mine)
    expect(page.locator("#notice")).to_contain_text("Settings restored from this picture")
    open_section(page, "Before you start")
    expect(slider(page, "size")).to_have_value("96")
    expect(slider(page, "iterations")).to_have_value("30")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_serious_barrier(url: str, page: Page, scheme: str) -> None:
    page.goto(f"{url}?__theme={scheme}")
    paint_small(page, 10)
    expect(page.locator("#status")).to_contain_text("Finished:")
    for title in ("Styles", "Adjust", "Before and after", "This visit's pictures", "Share"):
        open_section(page, title)
    found = Axe().run(page).response["violations"]
    serious = [
        f"{violation['id']}: {[node['html'][:150] for node in violation['nodes'][:3]]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)


def test_a_gradio_without_what_the_page_replaces_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    gradio_patches.apply_patches(server.fetch_or_explain)  # its own replacements pass
    monkeypatch.setattr(gr.Image, "postprocess", lambda self, value, extra: value)
    with pytest.raises(RuntimeError, match=rf"Gradio {re.escape(gr.__version__)} has no Image\.postprocess"):
        gradio_patches.apply_patches(server.fetch_or_explain)
    monkeypatch.undo()
    monkeypatch.delattr("gradio.processing_utils.async_ssrf_protected_get")
    with pytest.raises(RuntimeError, match=r"processing_utils\.async_ssrf_protected_get"):
        gradio_patches.apply_patches(server.fetch_or_explain)
