"""Temporary files: what stays, what is deleted, and what happens on a full disk."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from page import (
    results,
    storage,
)
from page.session import VISITS, Session
from page.worker import RunControl
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.helpers import (
    COMPONENTS,
    HANDLERS,
    SMALL,
    paint,
    save_plain_photo,
    slider,
    small_request,
    uploaded,
)


def test_a_program_leaves_nothing_on_disk_but_its_uploads_and_its_picture(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    before = {path for path in folder.rglob("*") if path.is_file()}
    client.predict(**small_request(photo=handle_file(save_plain_photo(tmp_path, 17))))
    with suppress(AppError):
        client.predict(**small_request(photo=handle_file(save_plain_photo(tmp_path, 18)), size=-1))
    stayed = {path for path in folder.rglob("*") if path.is_file()} - before
    assert sorted(path.name for path in stayed) == [
        "17.png",
        "18.png",
        "image.jpeg",
        "photo-woodcut.png",
        PAINTING.name,
    ]


def test_a_full_disk_costs_the_file_and_not_the_picture(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.metadata, "save_png", full)
    picture, status, _, png = client.predict(**small_request())
    assert "the disk is full" in status
    assert "Finished" in status
    assert picture
    assert not png


WITHOUT_CLEANUP = "import app; app.storage.SECONDS_PER_CLEANUP = 1e6; app.main()"  # the test has the disk to itself


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A page in whose own view of this machine temporary files lie on a disk of 24 MB; its address, and that disk."""
    apart = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=24m tmpfs {tmp_path}"
    if subprocess.run([*apart, mount], capture_output=True).returncode:
        pytest.skip("this machine lends no disk of its own to a process")
    command = [*apart, f"{mount} && exec {sys.executable} -u -c '{WITHOUT_CLEANUP}'"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STYLETRANSFER_VGG19": "none"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    found = (re.findall(r"http://\S+", line) for line in server.stdout or ())
    yield f"{next(match[0] for match in found if match)}/", Path(f"/proc/{server.pid}/root{tmp_path}")
    server.kill()


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a disk of its own for a process")
def test_a_disk_that_fills_up_during_a_run_costs_no_picture(small_disk: tuple[str, Path], browser: Browser) -> None:
    url, disk = small_disk
    page = browser.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(f"{url}?photo=chelsea&painting=woodcut&size=128&iterations=60")
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    expect(slider(page, "size")).to_have_value("128")
    paint = page.get_by_role("button", name="Paint", exact=True)
    paint.click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    filler = fill(disk)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#status")).to_contain_text("could not be saved (the disk is full)")
    picture = page.locator("#result .after").get_attribute("src") or ""
    sent = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
    assert max(Image.open(io.BytesIO(sent)).size) == 128
    expect(paint).to_be_enabled()
    expect(page.locator("#download")).to_be_disabled()
    expect(page.get_by_role("button", name="More")).to_be_disabled()
    assert page.locator(".toast-body").count() == 0
    fill(disk)
    page.locator("#photo").get_by_label("Remove Image").click()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator(".toast-body")).to_contain_text("The disk of this server is full")
    filler.unlink()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    paint.click()
    expect(page.locator("#download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#download").click()
    assert max(Image.open(download.value.path()).size) == 128
    page.close()


def test_a_file_that_is_a_day_old_is_deleted_as_the_page_promises_even_if_a_visitor_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "visit-1" / "photo.png"
    file.parent.mkdir()
    file.write_bytes(b"x")
    os.utime(file, (0, 0))  # as a copy that has kept its date
    now = time.time()
    for hours, stays in ((23.9, True), (24.1, False)):
        monkeypatch.setattr(storage.time, "time", lambda hours=hours: now + 3600 * hours)
        storage.make_room(tmp_path, {str(file)})
        assert file.exists() is stays


def test_a_cleanup_that_fails_does_not_end_the_cleanups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_PER_CLEANUP", 0.001)
    calls, is_well = itertools.count(), threading.Event()

    def find_needed() -> set[str]:
        if next(calls) == 0:
            raise RuntimeError("dictionary changed size during iteration")
        is_well.set()
        return set()

    storage.keep_room(tmp_path, find_needed)
    assert is_well.wait(20)


@pytest.mark.parametrize(("limit", "most"), [("MAX_STORED_BYTES", 3500), ("MAX_FILES", 3)])
def test_the_files_of_many_visits_stay_within_a_limit_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    for number in range(10):
        file = tmp_path / f"visit-{number}" / "photo.png"
        file.parent.mkdir()
        file.write_bytes(bytes(1000))
        os.utime(file, (number, number))
    monkeypatch.setattr(storage, limit, most)
    storage.make_room(tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.png")) == ["visit-7", "visit-8", "visit-9"]


def test_the_files_that_a_visitor_needs_are_deleted_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(bytes(1000))
        os.utime(tmp_path / f"{number}.png", (number, number))
    monkeypatch.setattr(storage, "MAX_STORED_BYTES", 3500)
    storage.make_room(tmp_path, {str(tmp_path / "0.png"), str(tmp_path / "1.png")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "9.png"]
    monkeypatch.setattr(storage, "MAX_STORED_BYTES", 1500)
    storage.make_room(tmp_path, {str(tmp_path / "0.png"), str(tmp_path / "1.png")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png"]


@pytest.mark.slow
def test_a_flood_of_uploads_breaks_neither_the_thumbnails_nor_a_visitors_pictures(
    url: str, folder: Path, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{url}?photo=chelsea&painting=woodcut&size=64&iterations=4")
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#download")).to_be_enabled(timeout=60_000)
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(os.urandom(1 << 20))
        httpx.post(f"{url}gradio_api/upload", files={"files": (tmp_path / f"{number}.png").open("rb")})
    monkeypatch.setattr(storage, "MAX_STORED_BYTES", stored + (2 << 20))
    storage.make_room(folder, VISITS.files())
    assert len([path for path in folder.rglob("*.png") if path.stat().st_size == 1 << 20]) <= 2, "the flood went first"
    with page.expect_download() as download:
        page.locator("#download").click()
    assert max(Image.open(download.value.path()).size) == 64
    page.get_by_role("button", name="More").click()
    expect(page.locator("#status")).to_contain_text("Finished:", timeout=60_000)
    newcomer = browser.new_page()
    newcomer.goto(url)
    expect(newcomer.locator("#examples img")).to_have_count(8)
    for thumbnail in newcomer.locator("#examples img").all():
        assert httpx.get(url.rstrip("/") + urlsplit(thumbnail.get_attribute("src") or "").path).status_code == 200
    newcomer.close()
    page.close()


def test_where_the_disk_is_nearly_full_half_of_the_rest_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(bytes(1000))
        os.utime(tmp_path / f"{number}.png", (number, number))
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2000))
    storage.make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.png" for number in range(4, 10)]


def test_visits_that_end_during_a_cleanup_do_not_end_the_cleanup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS_PER_CLEANUP", 0.001)
    monkeypatch.setattr(storage, "MAX_FILES", 20)
    monkeypatch.setattr(storage.signal, "signal", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with storage.create_folder() as folder:
        storage.keep_room(folder, set)
        for number in range(300):
            visit = folder / f"painting-{number}"
            visit.mkdir()
            for name in range(3):
                (visit / f"{name}.png").write_bytes(b"x")
            shutil.rmtree(visit, ignore_errors=True)
        for number in range(100):
            (folder / f"{number}.png").write_bytes(b"x")
        deadline = time.monotonic() + 20
        while len(list(folder.glob("*.png"))) > 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(folder.glob("*.png"))) <= 20
    assert not folder.exists()


def test_old_empty_folders_are_deleted_but_not_those_of_a_visit(tmp_path: Path) -> None:
    for name in ("gradio/left", "gradio/new", "gradio/used", "painting-visit"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "gradio" / "used" / "photo.png").write_bytes(b"x")
    for name in ("gradio/left", "gradio/used", "painting-visit"):
        os.utime(tmp_path / name, (0, 0))
    storage.make_room(tmp_path)
    stay = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir()}
    assert stay == {"gradio", "gradio/new", "gradio/used", "painting-visit"}


def test_the_page_asks_again_for_a_photo_that_has_been_deleted(url: str) -> None:
    def bring(path: Path) -> str:
        return httpx.post(f"{url}gradio_api/upload", files={"files": path.open("rb")}).json()[0]

    brought = [bring(PHOTO), bring(PAINTING)]
    Path(brought[0]).unlink()
    data = [*({"path": path, "meta": {"_type": "gradio.FileData"}} for path in brought), "quick", *[None] * 4]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "choose it again" in said, said


@pytest.mark.slow
def test_a_photo_that_is_deleted_during_a_run_costs_the_file_and_not_the_picture(tmp_path: Path) -> None:
    photo = save_plain_photo(tmp_path, 5)
    session = Session(is_open=True)
    HANDLERS.start_more(session)
    updates = HANDLERS.stylize(session, uploaded(photo), uploaded(PAINTING), "quick", **{**SMALL, "iterations": 60})
    while COMPONENTS.result not in next(updates):
        pass
    photo.unlink()
    *_, last = updates
    assert isinstance(last[COMPONENTS.result], Image.Image)
    assert "could not be saved" in last[COMPONENTS.status]
    assert last[COMPONENTS.download] is None
    assert not [path for path in session.folder.rglob("*") if path.is_file()]
    shown = HANDLERS.show_results(session)
    assert shown[COMPONENTS.save_film]["value"] is None, "nothing of an earlier picture stands beside it"


def test_a_change_that_a_full_disk_cannot_take_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    session = Session(is_open=True)
    HANDLERS.start_more(session)
    monkeypatch.setattr(RunControl, "send", full)
    with pytest.raises(gr.Error, match="The disk of this server is full"):
        HANDLERS.steer(session, "quick", *SMALL.values())


@pytest.mark.parametrize("error", [RuntimeError("no such codec"), OSError("encoder error -2")], ids=repr)
def test_a_picture_that_cannot_be_saved_for_any_reason_stays_shown_with_a_sentence(
    error: Exception, every_update: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **options: Any) -> None:
        raise error

    session = Session()
    list(paint(session, iterations=2))
    monkeypatch.setattr("styletransfer.metadata.save_jpeg", fail)
    *_, last = paint(session, iterations=2)
    assert isinstance(last[COMPONENTS.result], Image.Image)
    assert "Step 2 of 2" in last[COMPONENTS.status]
    assert "The picture could not be saved (" in last[COMPONENTS.status]
    is_expected = isinstance(error, OSError)
    assert (str(error) in last[COMPONENTS.status]) == is_expected
    assert ("no such codec" in caplog.text and "Traceback" in caplog.text) != is_expected
    HANDLERS.finish_run(session)
    shown = HANDLERS.show_results(session)
    assert not shown[COMPONENTS.download]["interactive"]
    assert len(session.results) == 1, "the pictures before it stay"
    assert {str(file) for file in session.folder.iterdir() if file.is_file()} == set(session.results[0].files)
    *_, again = HANDLERS.watch_again(session)
    assert again[COMPONENTS.viewer], "also after a reload"
    assert "The picture could not be saved (" in again[COMPONENTS.status]


def test_a_file_that_is_deleted_just_when_it_is_asked_for_is_answered_in_a_sentence() -> None:
    async def send_deleted_file(*_: object) -> None:
        raise FileNotFoundError("image.jpeg")

    answer = TestClient(storage.DiskErrors(send_deleted_file)).get("/image.jpeg")
    assert answer.status_code == 404
    assert answer.text == "This file is no longer on the server."


def test_a_file_that_is_deleted_after_the_head_of_the_answer_breaks_off_without_a_second_head() -> None:
    async def send_head_of_deleted_file(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise FileNotFoundError("image.jpeg")

    sent = list[str]()

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with ThreadPoolExecutor() as thread:  # in this one Playwright may have a loop of asyncio
        thread.submit(
            asyncio.run, storage.DiskErrors(send_head_of_deleted_file)({"type": "http"}, receive, send)
        ).result()
    assert sent == ["http.response.start"]
