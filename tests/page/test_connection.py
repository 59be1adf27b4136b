"""A network that drops, a page that is loaded again, a server that is restarted: nothing a visitor has is lost."""

from __future__ import annotations

import gc
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from page import layout
from page.handlers import RESTARTED
from page.run import GRACE_SECONDS
from page.session import VISITS, Session
from page.weights_download import Vgg19Download
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, PATIENCE, Pressed, paint, positions, slider, uploaded

TOKEN = "0123456789abcdef" * 2


class Network:
    """What lies between a browser and the server at `port`, and can be cut: every connection ends, and none begins."""

    def __init__(self, port: int) -> None:
        self.is_cut = False
        self._server, self._connections = port, set[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Cut it for so long."""
        self.is_cut = True
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self.is_cut = False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                if self.is_cut:
                    browser.close()
                    continue
                with suppress(OSError):
                    server = socket.create_connection(("127.0.0.1", self._server))
                    self._connections |= {browser, server}
                    for ends in ((browser, server), (server, browser)):
                        threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while sent := source.recv(1 << 16):
                target.sendall(sent)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._connections.discard(end)


@pytest.fixture
def network(url: str) -> Iterator[Network]:
    between = Network(urlsplit(url).port or 80)
    yield between
    between.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


def start(page: Page, url: str, iterations: int) -> None:
    """Open the page by a link, press Paint, and wait for the first picture."""
    page.goto(f"{url}?photo=chelsea&painting=woodcut&size=64&iterations={iterations}")
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible(timeout=PATIENCE)
    expect(slider(page, "size")).to_have_value("64", timeout=PATIENCE)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Painting:", timeout=PATIENCE)


def steps(page: Page) -> int:
    """How many the status says."""
    found = re.search(r"(\d+) of", page.locator("#status").inner_text())
    return int(found[1]) if found else 0


def is_on_top(element: Locator) -> bool:
    """Whether nothing covers the middle of it."""
    middle = "element => { const box = element.getBoundingClientRect(), x = box.x + box.width / 2"
    found = "return element.contains(document.elementFromPoint(x, box.y + box.height / 2)); }"
    return bool(element.evaluate(f"{middle}; {found}"))


def wait_for_reload(page: Page, act: Callable[[], None]) -> None:
    """Do something after which the page loads itself again."""
    with page.expect_event("load", timeout=PATIENCE):
        act()


@pytest.mark.slow
def test_a_run_goes_on_while_the_network_is_gone_and_its_tab_sees_it_to_the_end(page: Page, network: Network) -> None:
    start(page, network.url, 600)
    wait_for_reload(page, lambda: network.cut(4))
    expect(page.locator("#status")).to_contain_text("Step 600 of 600", timeout=2 * PATIENCE)
    expect(page.locator("#result .after")).to_be_visible()
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#download")).to_be_enabled()
    assert page.locator("#curves .js-line").count() >= 3, "the whole curves"


@pytest.mark.slow
def test_a_run_whose_network_is_gone_for_too_long_ends_and_its_last_picture_is_there_after_it(
    page: Page, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.handlers.GRACE_SECONDS", 1.0)
    start(page, network.url, 2000)
    wait_for_reload(page, lambda: network.cut(6))
    expect(page.locator("#status")).to_contain_text("Cat · Woodcut. Press More", timeout=PATIENCE)
    expect(page.locator("#result .after")).to_be_visible()
    expect(page.get_by_role("button", name="More")).to_be_enabled()


@pytest.mark.slow
def test_a_finished_picture_save_and_more_survive_ten_seconds_without_a_network(
    page: Page, network: Network, download: Vgg19Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "is_over", True)
    start(page, network.url, 30)
    expect(page.locator("#download")).to_be_enabled(timeout=PATIENCE)
    expect(page.locator("#save-film")).to_be_enabled()
    time.sleep(3)  # until the page has asked for the download of VGG-19 for the last time
    page.evaluate("window.isTheSamePage = true")
    network.cut(10)
    time.sleep(3)
    assert page.evaluate("window.isTheSamePage")
    expect(page.locator("#result .after")).to_be_visible()
    with page.expect_download() as saved:
        page.locator("#download").click()
    assert saved.value.path().stat().st_size > 1000
    page.get_by_role("button", name="More").click()
    expect(page.locator("#status")).to_contain_text("of 20", timeout=PATIENCE)


@pytest.mark.slow
def test_a_reload_shows_photo_painting_sliders_picture_and_strip_again(page: Page, url: str) -> None:
    start(page, url, 30)
    expect(page.locator("#download")).to_be_enabled(timeout=PATIENCE)
    slider(page, "content_weight").fill("2.5")
    slider(page, "content_weight").press("Tab")
    time.sleep(1)
    page.reload()
    expect(page.locator("#status")).to_contain_text("Cat · Woodcut. Press More", timeout=PATIENCE)
    for place in ("#photo img", "#styles [aria-pressed=true]", "#result .after"):
        expect(page.locator(place)).to_be_visible()
    expect(slider(page, "content_weight")).to_have_value("2.5")
    expect(slider(page, "size")).to_have_value("64")
    expect(page.locator("#strip img")).to_have_count(1)
    expect(page.locator("#try-styles")).to_have_text("Try all styles")
    page.get_by_role("button", name="More").click()
    expect(page.locator("#status")).to_contain_text("of 20", timeout=PATIENCE)


@pytest.mark.slow
def test_a_tab_that_is_closed_on_purpose_frees_its_place_at_once(page: Page, url: str) -> None:
    start(page, url, 2000)
    session = VISITS.find(page.evaluate("visit.token()"))
    assert session
    page.goto("about:blank")
    assert wait_until_over(session, GRACE_SECONDS / 2)
    page.go_back()
    expect(page.locator("#status")).to_contain_text("Cat · Woodcut. Press More", timeout=PATIENCE)


@pytest.mark.slow
def test_a_page_that_was_open_when_the_server_was_restarted_keeps_its_picture_and_says_what_to_do(
    page: Page, restartable: tuple[str, Callable[[], None]]
) -> None:
    url, restart = restartable
    start(page, url, 8)
    expect(page.locator("#download")).to_be_enabled(timeout=PATIENCE)
    expect(page.locator("#save-film")).to_be_enabled(timeout=PATIENCE)
    time.sleep(3)
    restart()
    page.get_by_role("button", name="Paint", exact=True).click()
    said = page.locator("#said")
    expect(said).to_contain_text(RESTARTED, timeout=PATIENCE)
    expect(page.locator("#result .after")).to_be_visible()
    assert is_on_top(page.locator("#result .after"))
    said.get_by_role("button", name="Close").click()
    expect(said).to_have_count(0)
    page.locator("#strip .tile").first.click()
    expect(page.locator("#status")).to_contain_text("The full picture is no longer on the server", timeout=PATIENCE)
    expect(page.locator("#result .after")).to_be_visible()
    page.locator("#samples .tile").nth(1).click()
    expect(page.locator("#photo img")).to_have_attribute("src", re.compile("flower"))
    page.reload()
    page.locator("#examples .tile").nth(1).click()
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Painting:", timeout=PATIENCE)
    restart()  # in mid-run
    expect(said).to_contain_text(RESTARTED, timeout=PATIENCE)
    page.set_viewport_size({"width": 390, "height": 844})
    assert is_on_top(said), "and not Gradio's message that it tries to reconnect"
    expect(page.locator("#result .after")).to_be_visible()


# The same without a browser


def wait_until_over(session: Session, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while session.run and not session.run.is_over and time.monotonic() < deadline:
        time.sleep(0.05)
    return not session.run or session.run.is_over


def begin(session: Session) -> Iterator[dict[object, object]]:
    """A run of 2000 steps that has shown a picture."""
    updates = paint(session, iterations=2000)
    while COMPONENTS.result not in next(updates):
        pass
    return updates


def test_a_run_that_nobody_watches_stops_after_the_grace_and_keeps_its_picture(
    every_update: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("page.handlers.GRACE_SECONDS", 0.3)
    caplog.set_level("INFO", "page")
    session = Session()
    begin(session).close()  # type: ignore[attr-defined]
    assert wait_until_over(session, 10)
    assert session.current
    assert Path(session.current.file).is_file()
    assert 0 < len(session.current.losses) < 2000
    while "outcome=left" not in caplog.text:
        time.sleep(0.05)


def test_a_tab_that_comes_back_in_time_sees_its_run_go_on(every_update: None) -> None:
    session = Session()
    begin(session).close()  # type: ignore[attr-defined]
    assert session.run
    session.run.expect_end()
    session.run.expect_watcher()
    again = HANDLERS.watch_again(session)
    shown = HANDLERS.return_to_visit(session)
    assert shown[COMPONENTS.stop]["interactive"], "its buttons reach the run"
    done = len(session.run.losses)
    while not session.run.losses[done:]:
        next(again)
    HANDLERS.stop_run(session)
    *_, last = again
    assert "Stopped" in last[COMPONENTS.status]
    assert len(json.loads(last[COMPONENTS.plot].plot)["data"][0]["x"]) > done, "with the curves from the beginning"


def test_a_tab_that_says_it_is_closed_ends_its_run_within_two_seconds_unless_another_tab_watches(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.run.RETURN_SECONDS", 0.1)
    session = Session()
    first = begin(session)
    assert session.run
    session.run.expect_end()
    assert not wait_until_over(session, 0.5), "it is still watched"
    first.close()  # type: ignore[attr-defined]
    session.run.expect_end()
    assert wait_until_over(session, 10)


@pytest.mark.slow
def test_a_press_on_paint_after_a_run_was_left_is_not_stopped_with_it(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.handlers.GRACE_SECONDS", 0.0)
    session = Session()
    begin(session).close()  # type: ignore[attr-defined]
    *_, last = paint(session, iterations=4)
    assert "Step 4 of 4" in last[COMPONENTS.status]


def test_a_second_run_of_a_visit_is_refused_while_the_first_is_on(every_update: None) -> None:
    session = Session()
    updates = begin(session)
    shown = HANDLERS.return_to_visit(session)
    assert not shown[COMPONENTS.more]["interactive"]
    with pytest.raises(gr.Error, match="stop it first"):
        HANDLERS.start_more(session)
    HANDLERS.stop_run(session)
    *_, last = updates
    assert "Stopped" in last[COMPONENTS.status]
    HANDLERS.start_more(session)


def test_a_reload_before_the_first_picture_shows_the_run(every_update: None) -> None:
    session = Session()
    updates = paint(session, iterations=2000)
    next(updates), next(updates)
    HANDLERS.stop_run(session)
    list(updates)


def test_a_press_on_paint_that_is_lost_before_it_got_a_place_is_said() -> None:
    session = Session(is_open=True)
    HANDLERS.start_more(session)
    shown = HANDLERS.return_to_visit(session)
    assert "press Paint again" in shown[COMPONENTS.status]
    assert shown[COMPONENTS.start]["interactive"]
    assert COMPONENTS.status not in HANDLERS.return_to_visit(session), "once"


def test_a_press_on_paint_that_is_lost_is_said_also_beside_the_picture_before_it(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=1))
    HANDLERS.finish_run(session)
    HANDLERS.start_more(session)
    HANDLERS.return_to_visit(session)
    *_, shown = HANDLERS.watch_again(session)
    assert "press Paint again" in shown[COMPONENTS.status]
    assert shown[COMPONENTS.viewer]
    HANDLERS.return_to_visit(session)
    *_, shown = HANDLERS.watch_again(session)
    assert "press Paint again" not in shown[COMPONENTS.status], "once"


def test_what_was_chosen_after_the_last_press_on_paint_is_there_again_after_a_reload() -> None:
    session = Session(is_open=True)
    HANDLERS.follow_link(session, "photo=chelsea&painting=woodcut&v=2")
    HANDLERS.describe_second_painting(session, None, uploaded(PAINTING), None)
    HANDLERS.mark_style(session, uploaded(PHOTO))
    HANDLERS.steer(session, "quick", *positions(size=96, iterations=7, faces=False).values())
    shown = HANDLERS.return_to_visit(session)
    assert shown[COMPONENTS.second_painting] == str(PAINTING)
    assert shown[COMPONENTS.painting] == str(PHOTO)
    assert shown[COMPONENTS.preset] == "quick"
    assert [shown[COMPONENTS.controls[name]] for name in ("size", "iterations", "faces")] == [96, 7, False]
    HANDLERS.describe_second_painting(session, None, None, None)
    assert COMPONENTS.second_painting not in HANDLERS.return_to_visit(session), "it was removed"
    HANDLERS.show_example(session, Pressed(0))
    assert HANDLERS.return_to_visit(session)[COMPONENTS.preset] == "balanced"


def test_the_sentence_of_a_run_that_failed_unseen_is_shown_once_and_the_picture_before_it_stays(
    every_update: None, tmp_path: Path
) -> None:
    session = Session()
    list(paint(session, iterations=2))
    HANDLERS.start_more(session)
    broken = tmp_path / "notes.jpg"
    broken.write_text("no picture")
    values = positions().values()
    run = HANDLERS.stylize(session, {"path": str(broken)}, {"path": str(PAINTING)}, "balanced", *values, None)
    with pytest.raises(gr.Error, match="not in a readable format"):
        list(run)
    assert HANDLERS.return_to_visit(session)[COMPONENTS.viewer]
    *_, last = HANDLERS.watch_again(session)
    assert "not in a readable format" in last[COMPONENTS.status]
    *_, last = HANDLERS.watch_again(session)
    assert last[COMPONENTS.viewer]


@pytest.mark.slow
def test_a_visit_is_kept_for_an_hour_after_its_last_run_although_gradio_drops_it(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = TOKEN.replace("0", "b")
    session = VISITS.open(token, Session())
    list(paint(session, iterations=2))
    file = Path(session.results[0].file)
    del session
    gc.collect()
    VISITS.files()
    assert VISITS.open(token, Session()).results, "its tab comes back"
    monkeypatch.setattr("page.session.SECONDS_KEPT", 0.0)
    VISITS.files()
    gc.collect()
    assert VISITS.find(token) is None
    assert not file.exists()


def test_the_pictures_of_a_run_that_is_on_are_needed(every_update: None) -> None:
    session = Session()
    updates = begin(session)
    assert {str(PHOTO), str(PAINTING)} <= VISITS.files()
    HANDLERS.stop_run(session)
    list(updates)


def test_only_the_tab_that_has_the_secret_finds_a_visit() -> None:
    mine, other = Session(), Session()
    assert VISITS.open(TOKEN, mine) is mine
    assert VISITS.open(TOKEN, Session()) is mine, "after a reload"
    assert VISITS.open(TOKEN[::-1], other) is other
    assert VISITS.open("", mine) is mine
    assert VISITS.open("", other) is other, "a tab without storage has a visit of its own"
    del mine
    assert VISITS.find(TOKEN) is None, "once Gradio has dropped it"


def test_a_page_from_before_a_restart_is_told_to_reload() -> None:
    with pytest.raises(gr.Error, match=r"The server was restarted .* Save .* reload the page") as told:
        HANDLERS.start_more(Session())
    assert told.value.message == RESTARTED
    assert f"var RESTARTED = {json.dumps(RESTARTED)};" in layout.LOOK["head"], "in the words of its script"


def test_a_link_wins_over_the_visit_unless_the_page_is_only_loaded_again() -> None:
    token, query = TOKEN.replace("0", "a"), "photo=chelsea&v=2"
    fresh = Session()
    opened = HANDLERS.open_visit(fresh, token, query, False)
    assert opened == {COMPONENTS.link_query: query}
    HANDLERS.preview_colours(fresh, {"path": str(PHOTO)}, {"path": str(PAINTING)}, "painting")
    again = HANDLERS.open_visit(Session(), token, query, True)
    assert again[COMPONENTS.session] is fresh
    assert COMPONENTS.link_query not in again
    assert again[COMPONENTS.returned]
    shown = HANDLERS.return_to_visit(fresh)
    assert (shown[COMPONENTS.photo], shown[COMPONENTS.painting]) == (str(PHOTO), str(PAINTING))
    assert HANDLERS.open_visit(Session(), token, query, False)[COMPONENTS.link_query] == query


def test_a_link_opened_in_the_tab_of_a_run_leaves_nothing_of_it_behind(every_update: None) -> None:
    token, session = TOKEN.replace("0", "b"), Session(is_open=True)
    HANDLERS.open_visit(session, token, "", False)
    updates = paint(session, iterations=40)
    while COMPONENTS.result not in next(updates):
        pass
    session.photos, session.photo_count, session.wants_next = [str(PHOTO)], 2, True
    held = session.run
    assert held
    HANDLERS.open_visit(Session(), token, "photo=coffee&v=2", False)
    held.expect_end()
    updates.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while not held.is_over and time.monotonic() < deadline:
        time.sleep(0.02)
    assert held.is_over
    assert (session.running, session.run, session.photos, session.wants_next) == (False, None, [], False)
    HANDLERS.steer(session, "balanced", *positions().values())
    list(paint(session, iterations=1))
    assert COMPONENTS.go not in HANDLERS.finish_run(session), "the photos before are not painted"
    records = HANDLERS.show_results(session)[COMPONENTS.strip]["records"]
    assert len(records) == len(session.results) == 2, "the browser is told of the picture that nobody saw, too"
    assert len(HANDLERS.show_results(session)[COMPONENTS.strip]["records"]) == 1


def test_a_run_begun_before_the_end_of_the_last_one_is_noticed_can_be_stopped_and_steered(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=1))
    HANDLERS.start_more(session)  # a style was pressed
    changes = HANDLERS.finish_run(session)  # and only now the page hears of the end
    assert changes[COMPONENTS.stop]["interactive"]
    assert not changes[COMPONENTS.start]["interactive"]
    assert session.running
    values = positions(iterations=1).values()
    list(HANDLERS.paint_on_page(session, uploaded(PHOTO), uploaded(PAINTING), "balanced", *values, None))
    assert HANDLERS.finish_run(session)[COMPONENTS.start]["interactive"]


def test_a_slider_moved_just_after_the_end_of_a_run_says_nothing_of_a_full_disk(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=1))
    session.running = True  # the page has not heard of the end
    HANDLERS.steer(session, "balanced", *positions().values())
