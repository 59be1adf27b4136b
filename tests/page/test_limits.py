"""Requests that are too large for this machine: its memory, its network, its time."""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from page import layout, server
from page.config import ServerConfig
from page.handlers import Handlers
from page.session import Session
from page.sketches import sketch_settings
from styletransfer import PRESETS, metadata
from styletransfer.cpu import memory
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, small_request, uploaded


@pytest.mark.slow
def test_a_size_that_memory_does_not_allow_is_refused_with_one_that_it_does(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1.4e9)
    with pytest.raises(AppError, match=r"needs .* GB of memory, and 1\.4 GB are free") as caught:
        client.predict(**small_request(size=1024))
    fits = int(re.findall(r"choose size (\d+)", str(caught.value))[0])
    with Image.open(client.predict(**small_request(size=fits))[3]) as painted:
        assert max(painted.size) == fits


def test_a_server_with_a_largest_size_paints_no_larger_one_and_says_so_of_what_asks_for_it(tmp_path: Path) -> None:
    config = ServerConfig(max_size=128)
    with gr.Blocks():
        components = layout.create_components(config)
    handlers, session, size = Handlers(components, config), Session(is_open=True), components.controls["size"]
    assert isinstance(size, gr.Slider)
    assert (size.value, size.maximum) == (128, 128)
    assert {handlers.choose_preset(name)[size] for name in PRESETS} == {128}
    with pytest.raises(gr.Error, match="128"):
        handlers.check_ranges("balanced", {"size": 512})
    said = "Its size was 1024 pixels; this server paints 128 at most."
    opened = handlers.follow_link(session, "v=2&preset=balanced&size=1024")
    assert opened[size] == 128
    assert opened[components.notices[components.photo]]["value"] == said
    metadata.save_png(Image.new("RGB", (9, 9)), tmp_path / "large.png", replace(PRESETS["quick"], size=1024))
    restored = handlers.restore_settings(components.photo, uploaded(tmp_path / "large.png"))
    assert restored[size] == 128
    assert restored[components.notices[components.photo]]["value"].endswith(said)
    assert sketch_settings(PRESETS["best"], config).size == 128


@pytest.mark.slow
def test_a_program_gets_a_picture_of_the_servers_largest_size_and_no_larger() -> None:
    *_, picture = Handlers(COMPONENTS, ServerConfig(max_size=128)).paint(uploaded(PHOTO), uploaded(PAINTING), "quick")
    assert max(picture.size) == 128


def test_where_memory_is_out_altogether_no_size_is_advised(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e8)
    with pytest.raises(AppError, match="try again when less is going on here"):
        client.predict(**small_request())


@pytest.mark.slow
@pytest.mark.parametrize("door", ["gradio_api/upload", "gradio_api/queue/join", "gradio_api/call/paint"])
def test_a_body_said_to_be_huge_is_refused_at_once(url: str, client: Client, door: str) -> None:
    with suppress(httpx.TransportError):  # the server has hung up
        assert httpx.post(f"{url}{door}", content=bytes(server.MAX_BODY_BYTES + 1), timeout=30).status_code == 413
    assert client.predict(**small_request())[3]


@pytest.mark.slow
@pytest.mark.parametrize("door", ["gradio_api/upload", "gradio_api/queue/join", "gradio_api/call/paint"])
def test_an_endless_body_is_refused_and_read_no_further(url: str, client: Client, door: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        while sent < 10 * server.MAX_BODY_BYTES:
            sent += 1 << 20
            yield bytes(1 << 20)

    with suppress(httpx.TransportError):  # the server has hung up
        form = {"Content-Type": "multipart/form-data; boundary=x"} if "upload" in door else {}
        assert httpx.post(f"{url}{door}", content=endless(), headers=form, timeout=30).status_code == 413
    assert sent < 2 * server.MAX_BODY_BYTES
    assert client.predict(**small_request())[3]


@pytest.fixture
def endless_file(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Counter[str]]]:
    """The address of an endless file on a server that counts for a public one, and what it has sent of it."""
    counts = Counter[str]()

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while counts["sent"] < 10 * server.MAX_BODY_BYTES:
                    counts["sent"] += self.wfile.write(bytes(1 << 20))

        def log_message(self, *_: Any) -> None:
            pass

    async def public(_: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(server.safehttpx, "async_validate_url", public)
    far = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=far.serve_forever, daemon=True).start()
    yield f"http://elsewhere.example:{far.server_port}/photo.png", counts
    far.shutdown()


def test_an_endless_file_at_an_address_is_fetched_no_further_than_the_limit(
    url: str, client: Client, endless_file: tuple[str, Counter[str]]
) -> None:
    address, counts = endless_file
    data = [{"path": address, "meta": {"_type": "gradio.FileData"}}, None, "quick", *[None] * 4]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "event: error" in said
    assert "more than 20 MB" in said
    assert server.MAX_FILE_BYTES < counts["sent"] < 2 * server.MAX_BODY_BYTES
    assert client.predict(**small_request())[3]


def test_a_file_over_the_limit_is_refused(url: str) -> None:
    files = {"files": ("large.png", io.BytesIO(bytes(server.MAX_FILE_BYTES + 1)), "image/png")}
    assert httpx.post(f"{url}gradio_api/upload", files=files, timeout=30).status_code == 413
