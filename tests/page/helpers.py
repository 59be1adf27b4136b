"""What several tests of the page use: requests, settings and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import handle_file
from PIL import Image
from playwright.sync_api import Locator, Page, expect

import app
from page import controls, layout
from page.config import ServerConfig
from page.handlers import Handlers
from page.session import Session
from page.worker import Request, Update
from styletransfer import PRESETS, Losses, Settings
from tests.data import PAINTING, PHOTO

PATIENCE = 120_000  # milliseconds; a busy machine may draw nothing of a page for a minute
DESKTOP, PHONE = pytest.param((1280, 900), id="desktop"), pytest.param((390, 844), id="phone")
SLOW_PHONE = pytest.param((390, 844), id="phone", marks=pytest.mark.slow)
on_both = pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True)
SLOW_DESKTOP = pytest.param((1280, 900), id="desktop", marks=pytest.mark.slow)
on_phone = pytest.mark.parametrize("page", [SLOW_DESKTOP, PHONE], indirect=True)  # and slowly on a desktop
on_desktop = pytest.mark.parametrize("page", [DESKTOP, SLOW_PHONE], indirect=True)  # and among the slow on a phone
only_desktop = pytest.mark.parametrize("page", [DESKTOP], indirect=True)  # where the width makes no difference
only_phone = pytest.mark.parametrize("page", [PHONE], indirect=True)
with gr.Blocks():
    COMPONENTS = layout.create_components(ServerConfig())
HANDLERS = Handlers(COMPONENTS, ServerConfig())  # for tests that need no server
NEVER_EARLY = {**PRESETS, "balanced": replace(PRESETS["balanced"], tolerance=0)}  # runs to its last step


def parse_options() -> argparse.Namespace:
    """The page's options, read in a thread of its own: in this one Playwright may have a loop of asyncio."""
    with ThreadPoolExecutor() as thread:
        return thread.submit(app.parse_options).result()


def large_request(**changes: Any) -> dict[str, Any]:
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


def save_file(folder: Path, name: str, content: bytes) -> Any:
    path = folder / name
    path.write_bytes(content)
    return handle_file(path)


def positions(**changes: Any) -> dict[str, Any]:
    settings = Settings(size=64, iterations=40)
    return controls.slider_values(replace(settings, **changes))


def uploaded(path: Path) -> dict[str, Any]:
    """What a drop zone holds."""
    return {"path": str(path)}


def paint(session: Session, **changes: Any) -> Iterator[Any]:
    """A run of a visit, as the page starts it."""
    session.is_open = True
    HANDLERS.start_more(session)
    values = positions(**changes).values()
    return HANDLERS.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "balanced", *values, None)


def more(session: Session, photo: Path = PHOTO) -> Iterator[Any]:
    """A press on More."""
    session.is_open = True
    HANDLERS.start_more(session)
    values = positions().values()
    return HANDLERS.continue_painting(session, uploaded(photo), uploaded(PAINTING), "balanced", *values, None)


def small_request(**changes: Any) -> dict[str, Any]:
    given = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "size": 64, "iterations": 1}
    return {**given, "api_name": "/stylize", **changes}


SMALL = {
    "size": 64,
    "iterations": 3,
    "objective": "auto",
    "faces": True,
    "style_weight_power_of_ten": 7.3,
    "content_weight": 1,
    "tv_weight": 0,
    "colours": "painting",
    "stroke": 1,
    "mix": 0.5,
}


def save_plain_photo(folder: Path, number: int) -> Path:
    """A photo that nobody else has."""
    file = folder / f"{number}.png"
    Image.new("RGB", (64, 48), (12 * number, 255 - 12 * number, 128)).save(file)
    return file


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} input[type=number]")


def open_second_part(page: Page) -> None:
    """Show what a second painting is chosen with."""
    page.locator("#second-toggle").click()


def paint_example(page: Page, iterations: int) -> None:
    """Paint an example at a size at which a step takes no time. A link chooses the pictures and moves the sliders."""
    page.goto(
        f"{page.url}{'&' if '?' in page.url else '?'}v=2&photo=chelsea&painting=woodcut&size=96&iterations={iterations}"
    )
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    expect(slider(page, "size")).to_have_value("96")
    expect(slider(page, "iterations")).to_have_value(str(iterations))
    page.get_by_role("button", name="Paint", exact=True).click()


class Pressed:
    """Which picture of a row was."""

    def __init__(self, index: int) -> None:
        self.index = index


def make_update(request: Request, **changes: Any) -> Update:
    """What a run shows of a picture that nothing has painted."""
    shown: dict[str, Any] = {
        "picture": Image.new("RGB", (32, 24)),
        "losses": [Losses(*[1.0] * len(Losses._fields))],
        "marks": {},
        "iteration": 1,
        "iterations": 2,
        "size": 32,
        "seconds": 10.0,
        "remaining": 40.0,
        "settings": request.settings,
        "backbone": "vgg16",
        "notes": (),
        "masked": False,
        "in_regions": False,
        "end": None,
    }
    return Update(**{**shown, **changes})


SLOW_FETCH = """(() => {
  const fetchNow = window.fetch;
  window.fetch = async (...call) => { await new Promise(done => setTimeout(done, 700)); return fetchNow(...call); };
})()"""
"""JavaScript that lets each request of the page wait before it leaves."""


@contextmanager
def fail_on_errors(page: Page) -> Iterator[None]:
    """Errors in the console of the page fail the test."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield
    assert not errors, errors
