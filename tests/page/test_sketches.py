"""Try all styles: sketches of a photo in every style, each in a turn of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from page import handlers, run, sketches, worker
from page.examples import styles
from page.queue import QUEUE, Durations, Queue
from page.session import VISITS, Session
from page.status import NOTHING_PAINTED
from page.worker import Failure, LocalPainter, Request, RunControl, RunEnd, Update
from styletransfer import PRESETS
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, Pressed, make_update, on_both, paint, positions, slider, uploaded

STYLES = [path for path, _ in styles()]


class Painter:
    """Paints each style in a colour of its own, and in no time, or when it is told to."""

    def __init__(self) -> None:
        self.painted: list[Request] = []
        self.waits_at: int | None = None
        self.fails_at: int | None = None

    def paint(self, request: Request) -> Iterator[Update | Failure]:
        number, control = len(self.painted), RunControl(request.folder)
        self.painted.append(request)
        if number == self.fails_at:
            yield Failure("This photo is too narrow.", expected=True)
            return
        while number == self.waits_at and not control.stopped:
            time.sleep(0.02)
            yield self.update(request, number, None)
        yield self.update(request, number, RunEnd.STOPPED if control.stopped else RunEnd.FINISHED)

    def update(self, request: Request, number: int, end: RunEnd | None) -> Update:
        picture = Image.new("RGB", (32, 24), (20 * number, 100, 100))
        return make_update(request, picture=picture, iteration=12, iterations=12, seconds=2.0, remaining=0.0, end=end)


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Painter]:
    """What paints, in an empty queue of its own."""
    painter, queue, durations = Painter(), Queue(LocalPainter()), Durations()
    monkeypatch.setattr(worker, "run", painter.paint)
    for module in (run, sketches):
        monkeypatch.setattr(module, "QUEUE", queue)
        monkeypatch.setattr(module, "DURATIONS", durations)
    yield painter
    painter.waits_at = None
    wait_until(lambda: not queue.is_busy)


def wait_until(is_so: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def press(
    session: Session,
    photo: Path = PHOTO,
    second_painting: Path | None = None,
    region: str | None = None,
    **changes: Any,
) -> dict[Any, Any]:
    """A press on "Try all styles"; what it changes."""
    session.is_open = True
    second = uploaded(second_painting) if second_painting else None
    marked = uploaded(Path(region)) if region else None
    values = positions(**changes).values()
    return HANDLERS.try_styles(session, uploaded(photo), None, "balanced", *values, second, marked)


def tiles(changes: dict[Any, Any]) -> list[dict[str, Any]]:
    return list(changes[COMPONENTS.wall]["tiles"])


def painted(changes: dict[Any, Any]) -> list[bool]:
    return [not tile["waits"] for tile in tiles(changes)]


def said(changes: dict[Any, Any]) -> str:
    return str(changes.get(COMPONENTS.wall_text))


def last(session: Session) -> dict[Any, Any]:
    *_, changes = HANDLERS.watch_sketches(session)
    return dict(changes)


def test_the_wall_fills_from_the_first_style_to_the_last(painter: Painter) -> None:
    session = Session()
    painter.waits_at = 0
    shown = press(session, content_weight=3.0, size=1024, iterations=500)
    assert [Path(tile["picture"]["path"]).stem for tile in tiles(shown)] == [Path(path).stem for path in STYLES]
    assert shown[COMPONENTS.stop_sketches]["visible"]
    assert not shown[COMPONENTS.try_styles]["interactive"]
    painter.waits_at = 5
    seen = next(changes for changes in HANDLERS.watch_sketches(session) if "Sketch 6 of 12" in said(changes))
    assert painted(seen) == [True] * 5 + [False] * 7
    assert "Stained glass" in said(seen)
    assert " s left" in said(seen)
    painter.waits_at = None
    assert session.sketches
    wait_until(lambda: len(painter.painted) == 12)
    shown = last(session)
    assert painted(shown) == [True] * 12
    assert said(shown) == "<p>12 sketches: press one to paint it in full.</p>"
    assert not shown[COMPONENTS.stop_sketches]["visible"]
    assert shown[COMPONENTS.try_styles]["interactive"]
    assert [request.paintings for request in painter.painted] == [(path,) for path in STYLES]
    settings = painter.painted[0].settings
    assert (settings.size, settings.iterations, settings.content_weight) == (384, PRESETS["quick"].iterations, 3.0)
    for number, tile in enumerate(tiles(shown)):
        with Image.open(tile["picture"]["path"]) as picture:
            assert abs(picture.getpixel((5, 5))[0] - 20 * number) < 8, "each in its place"  # type: ignore[index]
    assert not session.results, "sketches are none"
    assert not session.current
    assert {tile["picture"]["path"] for tile in tiles(shown)} | {str(PHOTO)} <= VISITS.open("e" * 32, session).files


def test_everybody_else_goes_first_before_each_sketch(painter: Painter) -> None:
    session, other = Session(), Session()
    painter.waits_at = 0
    press(session)
    wait_until(lambda: painter.painted)
    updates = paint(other)
    assert "You are next" in str(next(updates))
    assert session.sketches
    painter.waits_at = None
    list(updates)
    assert painter.painted[1].paintings == (str(PAINTING),), "after the one that was on"
    last(session)
    assert len(painter.painted) == 13


def test_those_who_wait_are_not_shut_out_by_sketches_and_sketches_keep_their_place(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketches.QUEUE, "max_waiting", 1)
    session, other = Session(), Session()
    painter.waits_at = 0
    press(session)
    wait_until(lambda: painter.painted)
    updates = paint(other)
    next(updates)
    late = press(Session())
    assert "busy, and 1 person waits already" in said(late)
    assert 'role="alert"' in said(late)
    painter.waits_at = None
    list(updates)
    assert painted(last(session)) == [True] * 12


def stop_at_the_fourth(painter: Painter) -> Session:
    """A visit whose sketches were stopped when three of them were painted."""
    session = Session()
    painter.waits_at = 3
    press(session)
    wait_until(lambda: len(painter.painted) == 4)
    HANDLERS.stop_sketches(session)
    return session


def test_stop_ends_it_and_what_was_painted_stays_also_after_a_reload(painter: Painter) -> None:
    session = stop_at_the_fourth(painter)
    shown = last(session)
    assert painted(shown) == [True] * 3 + [False] * 9
    assert "Stopped. 3 of 12 sketches" in said(shown)
    again = HANDLERS.return_to_visit(session)
    assert (tiles(again), said(again)) == (tiles(shown), said(shown))
    assert again[COMPONENTS.wall_part]["visible"]
    assert again[COMPONENTS.try_styles]["interactive"]
    painter.waits_at = None
    press(session, PAINTING)
    assert painted(last(session)) == [True] * 12
    assert not any(Path(tile["picture"]["path"]).exists() for tile in tiles(shown)[:3]), "the old ones are deleted"


def test_a_press_after_stop_goes_on_with_the_sketches_that_are_missing(painter: Painter) -> None:
    session = stop_at_the_fourth(painter)
    first = tiles(last(session))[:3]
    painter.waits_at = None
    press(session)
    shown = last(session)
    assert painted(shown) == [True] * 12
    assert tiles(shown)[:3] == first
    assert [request.paintings[0] for request in painter.painted[4:]] == STYLES[3:]
    press(session, content_weight=4.0)
    last(session)
    assert len(painter.painted) == 4 + 9 + 12, "other settings, other sketches"


def test_a_sketch_is_painted_with_the_second_painting_and_its_part_as_the_picture_would_be(painter: Painter) -> None:
    session = Session()
    session.masks[str(PAINTING)] = str(PHOTO)  # any picture is a mask
    press(session, second_painting=Path(STYLES[5]), region=str(PAINTING), mix=0.25)
    last(session)
    assert [request.paintings for request in painter.painted] == [(path, STYLES[5]) for path in STYLES]
    assert {(request.region, request.settings.mix) for request in painter.painted} == {(str(PAINTING), 0.25)}
    assert {STYLES[5], str(PAINTING)} <= session.files, "they would be deleted"


def test_a_reload_watches_how_the_wall_fills(painter: Painter) -> None:
    session = Session()
    painter.waits_at = 2
    press(session)
    watching = HANDLERS.watch_sketches(session)
    next(watching)
    watching.close()  # type: ignore[attr-defined]
    assert "Sketch" in said(HANDLERS.return_to_visit(session))
    again = HANDLERS.watch_sketches(session)
    next(again)
    painter.waits_at = None
    *_, shown = again
    assert painted(shown) == [True] * 12


def test_a_tab_that_is_closed_ends_its_sketches(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.run.RETURN_SECONDS", 0.1)
    session = Session()
    painter.waits_at = 2
    press(session)
    watching = HANDLERS.watch_sketches(session)
    next(watching)
    assert session.sketches
    session.sketches.expect_end()
    watching.close()  # type: ignore[attr-defined]
    wait_until(lambda: session.sketches and session.sketches.is_over, 5)
    assert "Ended, since this page was away. 2 of 12 sketches" in said(last(session))


def test_a_full_run_ends_the_sketches_and_says_so(painter: Painter) -> None:
    session = Session()
    painter.waits_at = 4
    press(session)
    wait_until(lambda: len(painter.painted) == 5)
    updates = paint(session)
    shown = last(session)
    assert "Ended, since you began to paint. 4 of 12 sketches" in said(shown)
    painter.waits_at = None
    list(updates)
    assert len(session.results) == 1
    assert len(painter.painted) == 6


def test_a_press_on_a_sketch_paints_its_photo_in_its_style(painter: Painter) -> None:
    session = Session()
    press(session)
    last(session)
    changes = HANDLERS.choose_sketch(session, uploaded(PAINTING), None, Pressed(6))
    assert changes[COMPONENTS.photo] == str(PHOTO), "another is on the desk now"
    assert changes[COMPONENTS.painting] == STYLES[6]
    assert changes[COMPONENTS.go]
    session.running = False
    assert COMPONENTS.photo not in HANDLERS.choose_sketch(session, uploaded(PHOTO), None, Pressed(6))


def test_a_press_on_a_sketch_of_another_photo_brings_back_the_marks_it_was_sketched_with(
    painter: Painter, tmp_path: Path
) -> None:
    session, mask = Session(is_open=True), tmp_path / "mask.png"
    Image.new("L", (32, 24), 255).save(mask)
    session.masks[str(mask)] = str(PHOTO)
    HANDLERS.try_styles(session, uploaded(PHOTO), uploaded(mask), "balanced", *positions().values(), None, None)
    last(session)
    changes = HANDLERS.choose_sketch(session, uploaded(PAINTING), None, Pressed(6))
    assert changes[COMPONENTS.photo] == str(PHOTO)
    assert changes[COMPONENTS.keep] == session.desk.keep == str(mask)
    assert changes[COMPONENTS.region] is None


def test_sketches_whose_page_never_comes_to_watch_them_end(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "GRACE_SECONDS", 0.1)
    session = Session()
    painter.waits_at = 1
    press(session)
    assert session.sketches
    wait_until(lambda: session.sketches and session.sketches.is_over)
    assert session.sketches.wall.painted == 1


def test_forgetting_a_single_painting_leaves_the_sketches(painter: Painter) -> None:
    session = Session()
    press(session)
    last(session)
    list(paint(session))
    id = session.results[0].id
    changes = HANDLERS.forget_paintings(session, gr.EventData(None, {"ids": [id], "all": False}))
    assert changes[COMPONENTS.status] == NOTHING_PAINTED
    assert COMPONENTS.wall_part not in changes
    assert session.sketches


def test_a_press_on_a_sketch_during_a_run_offers_to_paint_it_next(painter: Painter) -> None:
    session = Session()
    press(session)
    last(session)
    painter.waits_at = 12
    _updates = paint(session)
    changes = HANDLERS.choose_sketch(session, uploaded(PHOTO), None, Pressed(6))
    assert changes[COMPONENTS.offer]["visible"]
    assert COMPONENTS.go not in changes
    HANDLERS.stop_run(session)


def test_without_a_photo_it_says_so_and_the_wall_stays(painter: Painter) -> None:
    session = Session(is_open=True)
    changes = HANDLERS.try_styles(session, None, None, "balanced", *positions().values(), None, None)
    assert "Choose a photo first" in str(changes)
    assert COMPONENTS.wall not in changes
    assert list(HANDLERS.watch_sketches(session)) == [gr.skip()], "without a yield, Gradio would empty the buttons"


def test_a_photo_that_cannot_be_painted_ends_it_with_its_sentence(painter: Painter) -> None:
    session = Session()
    painter.fails_at = 1
    press(session)
    shown = last(session)
    assert "This photo is too narrow. 1 of 12 sketches" in said(shown)
    assert len(painter.painted) == 2


def test_forget_all_forgets_the_sketches_too_also_while_they_are_painted(painter: Painter) -> None:
    session = Session()
    painter.waits_at = 3
    press(session)
    watching = HANDLERS.watch_sketches(session)
    shown = next(changes for changes in watching if COMPONENTS.wall in changes and sum(painted(changes)) == 3)
    changes = HANDLERS.forget_paintings(session, gr.EventData(None, {"ids": [], "all": True}))
    assert not changes[COMPONENTS.wall_part]["visible"]
    assert not list(watching), "it does not come back"
    assert not any(Path(tile["picture"]["path"]).exists() for tile in tiles(shown)[:3])
    assert not list(session.folder.glob("sketch*"))


def test_a_page_from_before_a_restart_is_told_to_reload() -> None:
    with pytest.raises(gr.Error, match="The server was restarted"):
        HANDLERS.try_styles(Session(), uploaded(PHOTO), None, "balanced", *positions().values(), None, None)
    with pytest.raises(gr.Error, match="The server was restarted"):
        HANDLERS.choose_sketch(Session(), uploaded(PHOTO), None, Pressed(0))
    assert not QUEUE.is_busy


@pytest.mark.slow
@on_both
def test_a_person_tries_all_styles_stops_comes_back_and_paints_one_in_full(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketches, "SKETCH_SIZE", 64)
    page.goto(f"{page.url}?v=2&photo=chelsea&size=96&iterations=20")
    expect(page.locator("#photo img")).to_be_visible()
    expect(slider(page, "size")).to_have_value("96")
    expect(page.locator("#wall")).to_have_count(0)
    page.get_by_role("button", name="Try all styles").click()
    wall = page.locator("#wall .tile")
    expect(wall).to_have_count(12)
    expect(page.locator("#wall-text")).to_contain_text("of 12: ")
    in_sight = "() => document.querySelector('#stop-sketches').getBoundingClientRect().bottom < innerHeight"
    page.wait_for_function(in_sight)
    painted = page.locator("#wall .tile:enabled")
    expect(painted.nth(1)).to_be_visible()
    page.locator("#stop-sketches").click()
    expect(page.locator("#wall-text")).to_contain_text("Stopped.")
    expect(page.get_by_role("button", name="Try all styles")).to_be_enabled()
    count = painted.count()
    assert 2 <= count < 12
    names = [title for _, title in styles()]
    assert wall.all_inner_texts() == names
    page.reload()
    expect(painted).to_have_count(count)
    expect(page.locator("#wall-text")).to_contain_text(f"Stopped. {count} of 12 sketches")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    small = page.evaluate("[...document.querySelectorAll('#wall img')].filter(image => image.width < 60).length")
    assert not small
    painted.nth(1).click()
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#styles .tile[aria-pressed=true]")).to_have_text(names[1])
    expect(painted).to_have_count(count)
