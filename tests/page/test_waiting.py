"""Visitors who wait for their turn, in Debian's Chromium."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Page, expect

from page.config import MAX_WAITING
from page.run import RUNS
from tests.data import PHOTO
from tests.page.helpers import PATIENCE, large_request, on_both, only_desktop, paint_example, slider

pytestmark = pytest.mark.slow
NEXT = re.compile("You are next( · about [0-9]+ (s|min))?")


@pytest.fixture
def other(page: Page) -> Iterator[Page]:
    """The tab of somebody else."""
    tab = page.context.browser.new_context(viewport=page.viewport_size).new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(page.url)
    yield tab
    tab.context.close()


@on_both
def test_two_visitors_wait_in_order_and_change_only_their_own_run(page: Page, other: Page) -> None:
    paint_example(page, 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    paint_example(other, 2000)
    expect(other.locator("#status")).to_have_text(NEXT)
    expect(other.locator("#status")).to_contain_text("about")
    assert "queue:" not in other.locator("body").inner_text(), "Gradio's own words"
    slider(other, "style_weight").fill("8.5")
    slider(other, "style_weight").press("Tab")
    page.wait_for_timeout(2000)
    marks = "() => document.querySelector('#curves .js-plotly-plot')?.layout?.annotations?.map(mark => mark.text)"
    assert "changed" not in ", ".join(page.evaluate(marks) or [])
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(other.locator("#status")).to_contain_text("Painting:")
    other.get_by_role("button", name="Stop").click()
    expect(other.locator("#status")).to_contain_text("Stopped:")


@on_both
def test_stop_leaves_the_queue_at_once_and_the_page_shows_what_it_did(page: Page, other: Page) -> None:
    paint_example(other, 2000)
    expect(other.locator("#status")).to_contain_text("Painting:")
    expect(page.locator("#result .after")).to_be_visible()
    shown = page.locator("#result .after").get_attribute("src")
    paint_example(page, 30)
    expect(page.locator("#status")).to_have_text(NEXT)
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    expect(page.locator("#status")).to_contain_text("Stop leaves the queue.")
    assert page.evaluate(
        """() => { const box = document.querySelector('#stop').getBoundingClientRect();
                   return box.top >= 0 && box.bottom <= innerHeight; }"""
    ), "out of sight"
    stop.click()
    expect(page.locator("#status")).to_contain_text("You left the queue. Nothing was painted.", timeout=5000)
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    assert page.locator("#result .after").get_attribute("src") == shown
    assert len(RUNS) == 1
    other.get_by_role("button", name="Stop").click()
    expect(other.locator("#status")).to_contain_text("Stopped:")


@only_desktop
def test_a_place_is_still_held_after_a_reload(page: Page, other: Page) -> None:
    paint_example(page, 2000)
    expect(page.locator("#status")).to_contain_text("Painting:")
    paint_example(other, 30)
    expect(other.locator("#status")).to_have_text(NEXT)
    other.reload()
    expect(other.locator("#status")).to_have_text(NEXT)
    expect(other.get_by_role("button", name="Paint", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(other.locator("#status")).to_contain_text(re.compile(r"Finished: .*Step 30 of 30"))


@only_desktop
def test_closed_tabs_give_their_places_to_the_next_visitor(
    page: Page, browser: Browser, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tabs = [browser.new_context(viewport=page.viewport_size).new_page() for _ in range(2)]
    for tab in tabs:
        tab.set_default_timeout(PATIENCE)
        tab.goto(url)
    with caplog.at_level("INFO", logger="page"):
        paint_example(tabs[0], 2000)
        expect(tabs[0].locator("#status")).to_contain_text("Painting:")
        paint_example(tabs[1], 2000)
        expect(tabs[1].locator("#status")).to_have_text(NEXT)
        tabs[1].context.close()
        deadline = time.monotonic() + 60
        while len(RUNS) > 1 and time.monotonic() < deadline:  # a busy machine may hear of both at once
            page.wait_for_timeout(100)
        tabs[0].context.close()
        paint_example(page, 4)
        expect(page.locator("#status")).to_contain_text("Step 4 of 4")
    ends = [record.getMessage().split("evaluations=")[1] for record in caplog.records if "outcome=" in record.message]
    assert len(ends) == 3
    assert "0 outcome=left" in ends, "the one who closed the tab while waiting never began"
    assert ends[-1] == "4 outcome=finished"


@pytest.fixture
def full_queue(connect: Callable[[str], Client], url: str) -> Iterator[None]:
    clients = [connect(url) for _ in range(1 + MAX_WAITING)]
    jobs = [client.submit(**large_request(iterations=2000, size=256)) for client in clients]
    deadline = time.monotonic() + 60
    while len(RUNS) < len(jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield
    for job in jobs:
        job.cancel()
    while RUNS and time.monotonic() < deadline + 60:
        time.sleep(0.1)


@pytest.mark.usefixtures("full_queue")
def test_a_full_queue_is_reported_only_to_visitors_who_press_paint(url: str, browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1000)
    assert "busy" not in page.locator("body").inner_text()
    paint_example(page, 4)
    expect(page.locator("#status [role=alert]")).to_contain_text("This page is busy, and 8 people wait already")
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    page.close()
