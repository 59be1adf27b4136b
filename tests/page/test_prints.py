"""Large for printing: a finished picture, painted as large as the server does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from page.config import ServerConfig
from page.handlers import Handlers
from page.session import Session
from styletransfer import schedule
from tests.page.helpers import COMPONENTS, only_phone, paint, paint_example

LARGE = Handlers(COMPONENTS, ServerConfig(max_size=192))


@pytest.fixture
def small_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than 128 px is a print."""
    monkeypatch.setattr(schedule, "MAX_WHOLE_SIZE", 128)


def finish(session: Session, **values: Any) -> None:
    list(paint(session, iterations=3, **values))
    LARGE.finish_run(session)


@pytest.mark.slow
def test_a_finished_picture_is_enlarged_as_it_was_painted_and_says_before_how_long_that_takes(
    small_prints: None,
) -> None:
    session = Session(is_open=True)
    finish(session, size=64, stroke=1.5)
    small = session.current
    assert small
    LARGE.start_more(session)
    shown = [changes[COMPONENTS.status] for changes in LARGE.enlarge_on_page(session) if COMPONENTS.status in changes]
    assert any("This print takes about" in status for status in shown[:3])
    assert "Finished" in shown[-1]
    large = session.current
    assert large and large.id != small.id
    assert (large.settings.size, large.settings.stroke, large.paintings) == (192, 1.5, small.paintings)
    for file in (large.file, str(large.jpeg)):
        with Image.open(file) as picture:
            assert max(picture.size) == 192
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    with Image.open(large.file) as picture, Image.open(small.file) as before:
        reduced, composed = (np.asarray(shown.convert("L").resize((8, 8)), float) for shown in (picture, before))
    assert np.abs(reduced - composed).mean() < 12, "it is the same picture"


@pytest.mark.slow
def test_what_cannot_be_enlarged_is_refused_in_one_sentence_and_the_picture_stays(small_prints: None) -> None:
    session = Session(is_open=True)

    def refuse() -> str:
        LARGE.start_more(session)
        status = str(list(LARGE.enlarge_on_page(session))[-1][COMPONENTS.status])
        LARGE.finish_run(session)
        return status

    assert "press Paint first" in refuse()
    finish(session, size=192)
    assert "as large as this server paints: 192 pixels" in refuse()
    finish(session, size=64, objective="gram")
    current = session.current
    assert "Gram matrices" in refuse()
    assert current and session.current is current and Path(current.file).is_file()
    settings = replace(current.settings, objective="auto")
    session.current = current._replace(photo="/nowhere/photo.jpg", settings=settings)
    assert "no longer on the server" in refuse()


@pytest.mark.slow
@only_phone
def test_a_person_enlarges_a_finished_picture_and_saves_what_there_is_when_it_is_stopped(
    page: Page, small_prints: None
) -> None:
    paint_example(page, 3)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.get_by_role("button", name="Large for printing")).to_be_enabled()
    page.get_by_role("button", name="Large for printing").click()
    expect(page.locator("#status")).to_contain_text("This print takes about")
    expect(page.locator("#status")).to_contain_text(re.compile(r"Step [1-9]\d* of"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.locator("#strip li")).to_have_count(2)
    expect(page.locator("#download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#download").click()
    with Image.open(download.value.path()) as picture:
        assert max(picture.size) > 64
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
