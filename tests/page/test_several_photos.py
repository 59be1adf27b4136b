"""Several photos at once: one after the other in the same style, and all of them saved as a ZIP."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from page import run
from page.examples import content_path
from page.queue import Queue, QueueFullError
from page.session import MAX_RESULTS, VISITS, Session
from page.worker import LocalPainter
from tests.data import PAINTING
from tests.page.helpers import COMPONENTS, HANDLERS, only_desktop, positions, uploaded

PHOTO_NOTICE = COMPONENTS.notices[COMPONENTS.photo]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two photos, and between them a file that is none."""
    for name in ("chelsea", "coffee"):
        shutil.copy(content_path(name), tmp_path)
    (tmp_path / "diary.jpg").write_text("Dear diary")
    return [tmp_path / name for name in ("chelsea.jpg", "diary.jpg", "coffee.jpg")]


def choose(session: Session, photos: list[Path]) -> dict[Any, Any]:
    return HANDLERS.paint_photos(session, [uploaded(photo) for photo in photos], uploaded(PAINTING))


def paint_all(session: Session, changes: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    """What the page does: as often as a run may begin, it paints the photo that it then shows."""
    while COMPONENTS.go in changes:
        photo = uploaded(Path(changes[COMPONENTS.photo]))
        values = positions(iterations=2).values()
        yield from HANDLERS.paint_on_page(session, photo, uploaded(PAINTING), "quick", *values)
        changes = HANDLERS.finish_run(session)
        yield changes


def test_several_photos_are_painted_one_after_the_other_and_a_bad_file_costs_only_itself(photos: list[Path]) -> None:
    session = Session(is_open=True)
    *shown, end = paint_all(session, choose(session, photos))
    assert [Path(result.photo).name for result in session.results] == ["chelsea.jpg", "coffee.jpg"]
    said = " ".join(str(changes.get(COMPONENTS.status)) for changes in shown)
    assert "Photo 1 of 3" in said and "Photo 3 of 3" in said
    assert end[PHOTO_NOTICE]["value"].startswith("diary.jpg is")
    assert end[COMPONENTS.start]["interactive"]
    assert not HANDLERS.finish_run(session).get(PHOTO_NOTICE), "it is said once"
    packed = HANDLERS.pack_results(session)[COMPONENTS.zip_file]
    with zipfile.ZipFile(packed) as files:
        assert files.namelist() == [f"{result.name.stem}.png" for result in session.results]
        with files.open(files.namelist()[1]) as file, Image.open(file) as picture:
            assert max(picture.size) == 64


def test_all_photos_are_painted_although_others_have_filled_the_queue_meanwhile(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(LocalPainter(), max_waiting=1)
    monkeypatch.setattr(run, "QUEUE", queue)
    session, crowd = Session(is_open=True), list[Any]()
    updates = paint_all(session, choose(session, [photos[0], photos[2]]))
    next(changes for changes in updates if COMPONENTS.viewer in changes)
    crowd = [queue.join(lambda: 1.0)]
    for changes in updates:
        if COMPONENTS.go in changes:  # before the second photo
            assert crowd[0].wait_for_turn(5)
            crowd.append(queue.join(lambda: 1.0))
            with pytest.raises(QueueFullError):
                queue.join(lambda: 1.0)
        elif len(crowd) == 2 and "before you" in str(changes.get(COMPONENTS.status)):
            for entry in crowd:
                entry.leave()
    assert len(session.results) == 2


def test_saving_all_once_more_does_not_cut_off_the_file_that_is_on_its_way(photos: list[Path]) -> None:
    session = Session(is_open=True)
    list(paint_all(session, choose(session, photos[:1])))
    packed = Path(HANDLERS.pack_results(session)[COMPONENTS.zip_file])
    with packed.open("rb") as on_its_way:
        list(paint_all(session, choose(session, [photos[2]])))
        HANDLERS.pack_results(session)
        with zipfile.ZipFile(on_its_way) as files:
            assert len(files.namelist()) == 1
            assert files.testzip() is None
    assert [path.name for path in session.folder.glob("paintings*")] == ["paintings.zip"]


def test_stop_ends_the_photos_that_wait_too(photos: list[Path]) -> None:
    session = Session(is_open=True)
    updates = paint_all(session, choose(session, [photos[0], photos[2]]))
    next(changes for changes in updates if COMPONENTS.viewer in changes)
    HANDLERS.stop_run(session)
    *_, end = updates
    assert end[COMPONENTS.start]["interactive"]
    assert len(session.results) == 1


def test_photos_that_wait_are_not_deleted_and_too_many_are_said(photos: list[Path]) -> None:
    session = Session(is_open=True)
    begun = choose(session, [photos[0]] * (MAX_RESULTS + 1) + photos)
    assert len(session.photos) == MAX_RESULTS - 1
    assert f"the first {MAX_RESULTS} are painted" in begun[PHOTO_NOTICE]["value"]
    assert str(photos[0]) in VISITS.open("9" * 32, session).files
    HANDLERS.stop_run(session)
    assert COMPONENTS.go not in HANDLERS.finish_run(session)


def test_several_photos_without_a_style_are_refused_in_its_box(photos: list[Path]) -> None:
    refused = HANDLERS.paint_photos(Session(is_open=True), [uploaded(photo) for photo in photos], None)
    assert refused[COMPONENTS.notices[COMPONENTS.painting]]["value"] == "Choose a style first, then the photos."


@pytest.mark.slow
@only_desktop
def test_a_person_paints_several_photos_and_saves_them_as_a_zip(page: Page, photos: list[Path]) -> None:
    page.goto(f"{page.url}?v=2&painting=woodcut&size=64&iterations=3")
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    page.set_input_files("input:has(+ #several-photos)", photos)
    expect(page.locator("#strip li")).to_have_count(2)
    expect(page.locator("#photo-notice")).to_contain_text("diary.jpg is")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all as ZIP").click()
    with zipfile.ZipFile(download.value.path()) as files:
        assert files.namelist() == ["cat-woodcut.png", "coffee-woodcut.png"]  # named as on the page
