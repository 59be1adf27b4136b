"""The endpoints /stylize and /paint, as programs and language models call them."""

from __future__ import annotations

import base64
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from page import controls, layout, server
from page.config import ServerConfig
from styletransfer import PRESETS, metadata, weights
from styletransfer.settings import LIKENESS
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.helpers import large_request, small_request


@pytest.mark.slow
def test_a_program_gets_pictures_during_the_run_and_a_png_in_the_end(client: Client) -> None:
    frames = list(client.submit(**large_request()))
    status, png = frames[-1][1], frames[-1][3]
    assert len(frames) >= 3
    assert "Finished" in status
    assert "12 of 12" in status
    with Image.open(png) as finished, Image.open(PHOTO) as photo:
        assert (finished.format, finished.mode, max(finished.size)) == ("PNG", "RGB", 96)
        assert finished.width / finished.height == pytest.approx(photo.width / photo.height, rel=0.02)


def test_the_status_says_that_vgg16_paints_in_place_of_vgg19(client: Client) -> None:
    assert "Painted with VGG-16" in client.predict(**large_request(iterations=1))[1]


@pytest.mark.slow
def test_a_cancelled_job_makes_room_for_the_next(client: Client) -> None:
    job = client.submit(**large_request(iterations=2000, size=128))
    next(iter(job))
    job.cancel()
    assert "Finished" in client.predict(**large_request())[1]


def half_white(folder: Path) -> Any:
    """A mask of the photo: its left half is kept."""
    mask = Image.new("L", (90, 60))
    mask.paste(255, (0, 0, 45, 60))
    mask.save(folder / "mask.png")
    return handle_file(folder / "mask.png")


def distances(png: str) -> tuple[float, float]:
    """How far the left half of a picture is from the photo, in grey levels, and how far the right one is."""
    with Image.open(png) as painted, Image.open(PHOTO) as photo:
        small = np.asarray(photo.convert("RGB").resize(painted.size, Image.Resampling.LANCZOS), dtype=float)
        change = np.abs(np.asarray(painted.convert("RGB"), dtype=float) - small).mean((0, 2))
    half = len(change) // 2
    return change[: half - 3].mean(), change[half + 3 :].mean()


@pytest.mark.slow
def test_a_program_says_with_a_mask_what_stays_like_the_photo(client: Client, tmp_path: Path) -> None:
    *_, plain = client.predict(**large_request(faces=False))
    *_, kept = client.predict(**large_request(faces=False, keep=half_white(tmp_path)))
    left, right = (after / before for before, after in zip(distances(plain), distances(kept), strict=True))
    assert left < 0.8 * right
    assert metadata.is_masked(kept)
    assert not metadata.is_masked(plain)


@pytest.mark.slow
def test_the_likeness_of_a_program_takes_the_place_of_the_weight(client: Client) -> None:
    *_, named = client.predict(**large_request(iterations=2, likeness="keep my photo", content_weight=0.1))
    *_, weighed = client.predict(**large_request(iterations=2, content_weight=0.1))
    found = [metadata.read_settings(png) for png in (named, weighed)]
    assert [settings.content_weight for settings in found if settings] == [LIKENESS["keep my photo"], 0.1]


@pytest.mark.slow
def test_paint_takes_a_likeness_and_a_mask_too(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: replace(PRESETS[name], size=96, iterations=12, faces=False, tolerance=0) for name in PRESETS}
    monkeypatch.setattr(controls, "PRESETS", small)
    given = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "api_name": "/paint"}
    plain, kept = (client.predict(**given, **more) for more in ({}, {"keep": half_white(tmp_path)}))
    left, right = (after / before for before, after in zip(distances(plain), distances(kept), strict=True))
    assert left < 0.8 * right
    free, near = (client.predict(**given, likeness=name) for name in ("repaint", "keep my photo"))
    assert sum(distances(near)) < sum(distances(free))


@pytest.mark.slow
def test_a_mask_that_is_ignored_or_stretched_is_said_to_a_program(client: Client, tmp_path: Path) -> None:
    Image.new("L", (90, 60)).save(tmp_path / "black.png")
    Image.new("L", (40, 80), "white").save(tmp_path / "tall.png")
    for name, sentence in (("black", "so it was ignored"), ("tall", "was stretched to it")):
        status = client.predict(**large_request(iterations=1, keep=handle_file(tmp_path / f"{name}.png")))[1]
        assert sentence in status, name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"likeness": "a lot"}, "a lot"),
        ({"keep": handle_file(ROOT / "README.md")}, "README.md is not in a readable format"),
        ({"photo": None}, "Choose a photo first."),
        ({"painting": None}, "Choose a painting first."),
        ({"size": 1e9}, "2048"),
        ({"size": 100.5}, "size must be a whole number from 64 to"),
        ({"tv_weight": -1}, "minimum value 0"),
        ({"preset": "cubist"}, "cubist"),
    ],
)
def test_bad_input_of_a_program_is_refused_in_one_sentence(
    client: Client, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**large_request(**changes))
    assert sentence in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
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


@pytest.mark.slow
def test_settings_out_of_range_are_refused_and_the_server_stays_up(client: Client) -> None:
    for changes in (
        {"size": float("nan")},
        {"size": "large"},
        {"size": None},
        {"iterations": -1},
        {"iterations": 10**9},
        {"style_weight_power_of_ten": 1e300},
        {"content_weight": float("inf")},
        {"colours": "pink"},
        {"stroke": 1000},
        {"preset": ["balanced"]},
        {"second_painting": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}},
        {"keep": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}},
        {"likeness": ["repaint"]},
        {"likeness": 4},
    ):
        with pytest.raises((AppError, ValueError)) as caught:
            client.predict(**small_request(**changes))
        assert "Traceback" not in str(caught.value), changes
    assert client.predict(**small_request())[3]


def test_missing_and_extra_arguments_are_refused_and_the_server_stays_up(url: str, client: Client) -> None:
    for data in ([], [None], [1] * 40, {"photo": 3}, "text", None):
        started = httpx.post(f"{url}gradio_api/call/stylize", json={"data": data})
        if started.status_code == 200:
            said = httpx.get(f"{url}gradio_api/call/stylize/{started.json()['event_id']}", timeout=60).text
            assert "event: error" in said, data
            assert "Traceback" not in said, data
    assert client.predict(**small_request())[3]


def test_a_monitor_can_ask_whether_the_server_is_up(url: str) -> None:
    answer = httpx.get(f"{url}health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "painting": False, "painters": 1, "runs": 0, "waiting": 0}


def test_prometheus_reads_how_many_runs_ended_how_and_who_waits(url: str, client: Client) -> None:
    def read() -> dict[str, float]:
        answer = httpx.get(f"{url}metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    finished = 'styletransfer_runs_total{outcome="finished"}'
    before = read().get(finished, 0.0)
    client.predict(**small_request(iterations=2))
    after = read()
    assert after[finished] == before + 1
    assert after["styletransfer_run_seconds_count"] >= 1
    assert (after["styletransfer_painters"], after["styletransfer_waiting"]) == (1, 0)


def test_a_run_is_one_line_in_the_log_that_tells_nothing_about_the_visitor(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="page"):
        client.predict(**small_request(iterations=3))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("page")]
    assert len(lines) == 1
    assert re.fullmatch(r"job size=64 preset=balanced seconds=\d+\.\d evaluations=3 outcome=finished", lines[0])
