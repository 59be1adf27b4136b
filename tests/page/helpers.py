"""What several tests of the page use: requests, settings and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradio_client import handle_file
from PIL import Image
from playwright.sync_api import Locator, Page

from page import turn, watch
from styletransfer import PRESETS, Settings
from tests.data import PAINTING, PHOTO

MINUTE = 60_000  # milliseconds


UNHURRIED = {**PRESETS, "balanced": replace(PRESETS["balanced"], tolerance=0)}  # runs to its last step


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


def file_named(folder: Path, name: str, content: bytes) -> Any:
    path = folder / name
    path.write_bytes(content)
    return handle_file(path)


def positions(**changes: Any) -> list[Any]:
    settings = Settings(size=96, iterations=40)
    return turn.turn_to(replace(settings, **changes))


def running(job: watch.Job, **changes: Any) -> Iterator[Any]:
    """A run of a visit, as the page starts it."""
    watch.begin(job)
    return watch.stylize(job, str(PHOTO), str(PAINTING), "balanced", *positions(**changes), None)


def order(**changes: Any) -> dict[str, Any]:
    given = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "size": 64, "iterations": 1}
    return {**given, "api_name": "/stylize", **changes}


def coloured(folder: Path, number: int) -> Path:
    """A photo that nobody else has."""
    file = folder / f"{number}.png"
    Image.new("RGB", (64, 48), (12 * number, 255 - 12 * number, 128)).save(file)
    return file


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} input[type=number]")


def open_section(page: Page, title: str) -> None:
    page.get_by_role("button", name=title).click()
