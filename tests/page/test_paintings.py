"""The strip "Your paintings": what outlives a reload and a restart, what comes back, and what a forgery cannot read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, expect

from page import examples
from page.paintings import make_record, read_record
from page.results import SavedResult, TimeLapse, name_result
from page.session import VISITS, Session
from styletransfer import Settings, metadata
from tests.data import PAINTING, PHOTO, encode, noise
from tests.page.helpers import COMPONENTS, HANDLERS, PATIENCE, more, slider
from tests.page.test_connection import TOKEN, steps


def press(record: Any) -> Any:
    """What Gradio passes on when a picture of the strip is pressed."""
    return gr.EventData(None, {"record": record})


def painted(session: Session, photo: Path = PHOTO) -> dict[str, Any]:
    """The record that a browser gets of a picture that this visit has just painted."""
    last = noise(400, 300)
    film = TimeLapse()
    film.add(last)
    result = SavedResult.save(
        last,
        folder=session.folder,
        name=name_result(str(photo), [str(PAINTING)], session.stems),
        photo=str(photo),
        paintings=(str(PAINTING),),
        time_lapse=film,
        settings=Settings(size=64, iterations=40),
        losses=[],
        marks={},
        only_png=True,
    )
    session.is_open = True
    session.add(result)
    told = HANDLERS.show_results(session)[COMPONENTS.strip]
    return json.loads(json.dumps(told["records"][0]))  # as it travels


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which Gradio keeps uploads."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return tmp_path / "gradio"


def save_upload(uploads: Path, name: str = "abc/me.jpg") -> str:
    file = uploads / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(noise(), "JPEG"))
    return str(file)


def test_a_record_has_a_small_picture_the_settings_and_no_path_of_our_own_examples() -> None:
    session = Session()
    record = painted(session)
    back = read_record(record, Session())
    assert back.picture and max(back.picture.size) <= 320
    assert back.settings == session.results[0].settings
    assert len(json.dumps(record)) < 60_000
    example = examples.examples()[0]
    result = session.results[0]._replace(photo=example.photo, paintings=(example.painting, examples.styles()[1][0]))
    names = make_record(result)
    assert names["photo"] == Path(example.photo).stem
    assert all("/" not in name for name in names["paintings"])
    back = read_record({**names, "id": "unknown"}, Session())
    assert (back.photo, back.painting, back.second_painting) == (result.photo, *result.paintings)


def test_a_record_of_another_tab_of_the_browser_opens_its_full_picture() -> None:
    other = VISITS.open(TOKEN.replace("1", "c"), Session())
    record = painted(other)
    assert read_record(record, Session()).result is other.results[0]
    Path(other.results[0].file).unlink()
    assert read_record(record, Session()).result is None


def test_an_upload_is_found_again_while_it_is_there(uploads: Path) -> None:
    photo, painting = save_upload(uploads), save_upload(uploads, "def/style.jpg")
    sent = {"id": "x", "photo": photo, "paintings": [painting]}
    back = read_record(sent, Session())
    assert (back.photo, back.painting, back.second_painting, back.missing) == (photo, painting, None, ())
    Path(photo).unlink()
    assert read_record(sent, Session()).missing == ("photo",)
    assert read_record({**sent, "paintings": [painting, "/gone.jpg"]}, Session()).missing == (
        "photo",
        "second painting",
    )


def test_a_forged_record_reads_no_file_that_is_not_the_visitors(uploads: Path, tmp_path: Path) -> None:
    mine, other = Session(), Session()
    theirs, secret = other.folder / "painting-1.png", tmp_path / "secret.jpg"
    for file in (theirs, secret, mine.folder / "painting-1.png"):
        file.write_bytes(encode(noise(), "PNG"))
    (uploads / "abc").mkdir()
    (uploads / "abc" / "link.jpg").symlink_to(secret)
    forged: list[Any] = ["/etc/passwd", str(theirs), str(secret), f"{uploads}/../secret.jpg", "../secret.jpg", "app.py"]
    forged += [f"{uploads}/abc/link.jpg", f"{mine.folder}/../{other.folder.name}/painting-1.png", str(uploads), ""]
    forged += ["/" + "a" * 5000, "a\0b", None, 7, ["chelsea"], {"path": "/etc/passwd"}, "../style/woodcut"]
    for named in forged:
        found = read_record({"id": "x", "photo": named, "paintings": [named, named]}, mine)
        assert (found.photo, found.painting, found.second_painting) == (None, None, None), named
    own = str(mine.folder / "painting-1.png")
    assert read_record({"photo": own}, mine).photo == own


def test_a_forged_record_of_any_shape_is_shown_as_nothing() -> None:
    session = Session(is_open=True)
    good = metadata.to_json(Settings())
    for settings in ("{", "[]", 7, None, good.replace('"size": 512', '"size": 1e9'), "[" * 100_000):
        assert read_record({"settings": settings}, session).settings is None, settings
    huge = "data:image/jpeg;base64," + "A" * 400_000
    for picture in ("/etc/passwd", "data:image/jpeg;base64,!", "data:image/jpeg;base64,AAAA", huge, 7, None):
        assert read_record({"picture": picture}, session).picture is None, picture
    for record in (None, 7, "record", [], {}, {"paintings": "woodcut"}, {"paintings": []}, {"id": ["x"]}):
        shown = HANDLERS.reopen_painting(session, press(record))
        assert "choose the photo and the painting again" in shown[COMPONENTS.status]
        assert not shown[COMPONENTS.more]["interactive"]
        assert COMPONENTS.photo not in shown, "what is chosen stays"
    for data in (None, "record", 7, {}):
        assert HANDLERS.reopen_painting(session, gr.EventData(None, data))
        HANDLERS.forget_paintings(session, gr.EventData(None, data))
    HANDLERS.forget_paintings(session, gr.EventData(None, {"ids": [None, {}, "x"]}))


@pytest.mark.slow
def test_a_picture_reopened_after_another_can_be_continued(every_update: None) -> None:
    session = Session()
    first, second = painted(session), painted(session, PAINTING)
    *_, refused = HANDLERS._show_on_page(session, more(session))
    assert "The photo has changed" in refused[COMPONENTS.status]
    HANDLERS.finish_run(session)
    session.offered = "Woodcut"
    shown = HANDLERS.reopen_painting(session, press(first))
    assert not shown[COMPONENTS.offer]["visible"]
    assert (shown[COMPONENTS.photo], shown[COMPONENTS.painting]) == (str(PHOTO), str(PAINTING))
    assert shown[COMPONENTS.second_painting] is None
    assert shown[COMPONENTS.more]["interactive"]
    updates = more(session, Path(shown[COMPONENTS.photo]))
    while COMPONENTS.result not in next(updates):
        pass
    HANDLERS.stop_run(session)
    *_, last = updates
    assert "Stopped" in last[COMPONENTS.status]
    HANDLERS.finish_run(session)
    assert HANDLERS.reopen_painting(session, press(second))[COMPONENTS.photo] == str(PAINTING)


def test_a_picture_cannot_be_reopened_in_mid_run_and_the_strip_says_so() -> None:
    session = Session()
    record = painted(session)
    HANDLERS.start_more(session)
    told = HANDLERS.reopen_painting(session, press(record))
    assert list(told) == [COMPONENTS.strip]
    assert "let it finish, or stop it" in told[COMPONENTS.strip]["sentence"]
    HANDLERS.finish_run(session)


def test_a_picture_that_is_no_longer_on_the_server_comes_back_small_with_its_settings() -> None:
    record = painted(Session())
    session = Session(is_open=True)
    shown = HANDLERS.reopen_painting(session, press({**record, "photo": "chelsea", "paintings": ["woodcut"]}))
    assert shown[COMPONENTS.viewer]["picture"].startswith("data:image/jpeg")
    assert "press Paint to paint it again with the same settings" in shown[COMPONENTS.status]
    assert shown[COMPONENTS.controls["size"]] == 64
    assert Path(shown[COMPONENTS.photo]).stem == "chelsea"
    for button in (COMPONENTS.download, COMPONENTS.save_film, COMPONENTS.more):
        assert not shown[button]["interactive"]
    again = HANDLERS.return_to_visit(session)
    assert again[COMPONENTS.controls["size"]] == 64, "also after a reload"


def test_a_mask_that_is_gone_is_said_and_more_is_off(tmp_path: Path) -> None:
    session, mask = Session(), tmp_path / "mask.png"
    mask.write_bytes(encode(noise(), "PNG"))
    painted(session)
    session.results[0] = session.results[0]._replace(keep=str(mask))
    record = make_record(session.results[0])
    shown = HANDLERS.reopen_painting(session, press(record))
    assert shown[COMPONENTS.keep] == str(mask)
    assert shown[COMPONENTS.more]["interactive"]
    mask.unlink()
    for visit in (session, Session(is_open=True)):
        shown = HANDLERS.reopen_painting(visit, press({**record, "id": record["id"] if visit is session else ""}))
        assert "The parts that were marked to keep are gone" in shown[COMPONENTS.status]
        assert shown.get(COMPONENTS.keep) is None
        assert not shown[COMPONENTS.more]["interactive"]


def test_after_an_example_no_button_offers_the_picture_before() -> None:
    session = Session()
    painted(session)
    shown = HANDLERS.show_example(session, SimpleNamespace(index=0))  # type: ignore[arg-type]
    for button in (COMPONENTS.download, COMPONENTS.save_film, COMPONENTS.more):
        assert not shown[button]["interactive"]
    assert shown[COMPONENTS.download]["value"] is shown[COMPONENTS.save_film]["value"] is None
    with pytest.raises(gr.Error, match="press Paint first"):
        list(more(session))


def test_forget_all_deletes_the_pictures_of_every_tab_from_the_server() -> None:
    mine, other, stranger = Session(), VISITS.open(TOKEN.replace("2", "d"), Session()), Session()
    ids = [painted(session)["id"] for session in (mine, other)]
    painted(stranger)
    files = [Path(file) for session in (mine, other) for file in session.results[0].files]
    shown = HANDLERS.forget_paintings(mine, gr.EventData(None, {"ids": ids, "all": True}))
    assert not any(file.exists() for file in files)
    assert not mine.results and not other.results and not mine.current and not other.current
    assert not shown[COMPONENTS.viewer]["is_own"]
    assert Path(stranger.results[0].file).is_file()


def test_a_picture_that_another_tab_has_forgotten_is_no_longer_shown_when_this_one_hears_of_it() -> None:
    mine, other = Session(), VISITS.open(TOKEN.replace("2", "e"), Session())
    id = painted(other)["id"]
    forget = gr.EventData(None, {"ids": [id], "all": False})
    assert COMPONENTS.viewer not in HANDLERS.forget_paintings(mine, forget)
    assert not HANDLERS.forget_paintings(other, forget)[COMPONENTS.viewer]["is_own"]
    assert COMPONENTS.viewer not in HANDLERS.forget_paintings(other, forget), "once"


# In a browser


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A browser of a visitor, with a window of the (width, height) that the test asks for."""
    width, height = getattr(request, "param", (1280, 900))
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield context
    context.close()


# The first where the width makes no difference.
at_one_width = pytest.mark.parametrize("context", [(1280, 900)], ids=["desktop"], indirect=True)
at_both_widths = pytest.mark.parametrize("context", [(1280, 900), (390, 844)], ids=["desktop", "phone"], indirect=True)


def begin(page: Page, url: str, photo: str, painting: str, iterations: int) -> None:
    """Open the page by a link, and press Paint."""
    page.goto(f"{url}?v=2&photo={photo}&painting={painting}&size=64&iterations={iterations}")
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    holds(page, "photo", photo)
    expect(slider(page, "size")).to_have_value("64")
    page.get_by_role("button", name="Paint", exact=True).click()


def paint_once(page: Page, url: str, photo: str, painting: str, count: int) -> None:
    """Paint two of ours until the strip has `count` pictures."""
    begin(page, url, photo, painting, 3)
    expect(tiles(page)).to_have_count(count)
    expect(page.locator("#save-film")).to_be_enabled()


def tiles(page: Page) -> Locator:
    """The pictures of the strip, the newest first."""
    return page.get_by_role("region", name="Your paintings").locator("li button")


def holds(page: Page, zone: str, name: str) -> None:
    page.wait_for_function(
        "([zone, name]) => document.querySelector(`#${zone} img`)?.src.includes(name)", arg=[zone, name]
    )


@pytest.mark.slow
@at_both_widths
def test_paintings_survive_a_reload_and_a_restart_and_come_back_with_all_they_were_painted_from(
    context: BrowserContext, restartable: tuple[str, Callable[[], None]]
) -> None:
    url, restart = restartable
    page = context.new_page()
    paint_once(page, url, "chelsea", "woodcut", 1)
    page.set_input_files("#photo input[type=file]", {"name": "me.jpg", "mimeType": "", "buffer": PHOTO.read_bytes()})
    holds(page, "photo", "me.jpg")
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(tiles(page)).to_have_count(2)
    for tile in tiles(page).all():
        box = tile.bounding_box()
        assert box and box["width"] >= 96 and box["height"] >= 96
        assert tile.locator("img").get_attribute("alt")
    page.reload()
    expect(tiles(page)).to_have_count(2)
    tiles(page).nth(1).click()
    holds(page, "photo", "chelsea")
    expect(page.locator("#download")).to_be_enabled()
    page.get_by_role("button", name="More").click()
    expect(tiles(page)).to_have_count(3)
    tiles(page).nth(1).click()
    holds(page, "photo", "me.jpg")
    expect(page.locator("#save-film")).to_be_enabled()
    restart()
    page.goto(url)
    expect(tiles(page)).to_have_count(3)
    tiles(page).nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("choose the photo again, then press Paint")
    expect(page.locator("#photo-notice")).to_contain_text("no longer on the server")
    expect(page.locator("#styles [aria-pressed=true]")).to_contain_text("Woodcut")
    assert "data:image/jpeg" in (page.locator("#result .after").get_attribute("src") or "")
    expect(page.locator("#download")).to_be_disabled()
    expect(page.get_by_role("button", name="More")).to_be_disabled()
    tiles(page).nth(2).click()
    expect(page.locator("#status")).to_contain_text("press Paint to paint it again with the same settings")
    holds(page, "photo", "chelsea")
    expect(slider(page, "size")).to_have_value("64")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(tiles(page)).to_have_count(4)


@pytest.mark.slow
@at_one_width
def test_forget_all_takes_two_presses_and_leaves_nothing_in_any_tab(context: BrowserContext, url: str) -> None:
    page, other = context.new_page(), context.new_page()
    other.goto(url)
    paint_once(page, url, "chelsea", "woodcut", 1)
    expect(tiles(other)).to_have_count(1)
    session = VISITS.find(page.evaluate("visit.token()"))
    assert session
    file = Path(session.results[0].file)
    page.get_by_role("button", name="Forget …").click()
    page.get_by_role("button", name="Done").click()
    expect(tiles(page)).to_have_count(1)
    page.get_by_role("button", name="Forget …").click()
    page.get_by_role("button", name="Forget all 1").click()
    for tab in (page, other):
        expect(tiles(tab)).to_have_count(0)
        expect(tab.get_by_text("Your paintings")).to_be_hidden()
    expect(page.locator("#save-buttons")).to_be_hidden()
    for _ in range(100):
        if not file.exists():
            break
        time.sleep(0.1)
    assert not file.exists()
    page.reload()
    page.wait_for_timeout(2000)
    expect(tiles(page)).to_have_count(0)


@pytest.mark.slow
@at_both_widths
def test_one_painting_can_be_forgotten_and_the_others_stay(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    paint_once(page, url, "chelsea", "woodcut", 1)
    paint_once(page, url, "chelsea", "mosaic", 2)
    session = VISITS.find(page.evaluate("visit.token()"))
    assert session
    woodcut, mosaic = (Path(result.file) for result in session.results)
    shown = page.locator("#result .after").get_attribute("src")
    page.get_by_role("button", name="Forget …").click()
    tiles(page).filter(has_text="Woodcut").click()
    expect(tiles(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(tiles(page)).to_contain_text("Mosaic")
    assert page.locator("#result .after").get_attribute("src") == shown
    expect(page.locator("#download")).to_be_enabled()
    page.get_by_role("button", name="Forget …").click()
    tiles(page).click()
    expect(tiles(page)).to_have_count(0)
    expect(page.locator("#save-buttons")).to_be_hidden()
    for _ in range(100):
        if not mosaic.exists():
            break
        time.sleep(0.1)
    assert not woodcut.exists() and not mosaic.exists()


@pytest.mark.slow
@at_one_width
@pytest.mark.parametrize("refusal", ["opened", "filled"])
def test_a_browser_that_stores_nothing_says_so_and_keeps_the_paintings_until_the_page_is_closed(
    context: BrowserContext, url: str, refusal: str
) -> None:
    refuse = "function() { throw new DOMException('no', '%s') }"
    scripts = {
        "opened": f"IDBFactory.prototype.open = {refuse % 'SecurityError'}",
        "filled": f"IDBObjectStore.prototype.put = {refuse % 'QuotaExceededError'}",
    }
    context.add_init_script(scripts[refusal])
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    paint_once(page, url, "chelsea", "woodcut", 1)
    strip = page.get_by_role("region", name="Your paintings")
    expect(strip).to_contain_text("kept only until this page is closed")
    page.locator("#samples button").nth(1).click()
    tiles(page).first.click()
    holds(page, "photo", "chelsea")
    expect(page.locator("#save-film")).to_be_enabled()
    assert not errors


@pytest.mark.slow
@at_one_width
def test_no_more_than_sixty_are_kept_and_the_oldest_go(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    paint_once(page, url, "chelsea", "woodcut", 1)
    page.evaluate(
        """() => new Promise((done) => { indexedDB.open("photo-to-painting").onsuccess = ({ target: { result } }) => {
            const change = result.transaction("paintings", "readwrite"), paintings = change.objectStore("paintings");
            paintings.getAll().onsuccess = ({ target: { result: [record] } }) => {
                for (let i = 0; i < 60; i++) paintings.put({ ...record, id: `old-${i}`, date: i, caption: `Old ${i}` });
            };
            change.oncomplete = () => { result.close(); done(); };
        }; })"""
    )
    page.reload()  # which sends the last picture once more
    expect(page.get_by_text("Old 0", exact=True)).to_have_count(0)
    expect(page.get_by_text("Old 1", exact=True)).to_have_count(1)
    expect(tiles(page)).to_have_count(60)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


@pytest.mark.slow
@at_both_widths
def test_the_page_warns_when_it_is_left_in_mid_run_and_only_then(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    warnings: list[Dialog] = []
    page.on("dialog", lambda dialog: warnings.append(dialog))
    paint_once(page, url, "chelsea", "woodcut", 1)
    begin(page, url, "chelsea", "woodcut", 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    assert not warnings, "nothing was on when the link was opened"
    tiles(page).first.click()
    expect(page.get_by_text("A picture is being painted")).to_be_visible()
    with page.expect_event("dialog"):
        page.evaluate("setTimeout(() => location.reload())")
    assert warnings[0].type == "beforeunload"
    warnings[0].dismiss()
    done = steps(page)
    while steps(page) <= done:
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    page.reload()
    assert len(warnings) == 1, "the run is over"
