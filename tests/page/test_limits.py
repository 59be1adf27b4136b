"""Requests that are too large for this machine: its memory, its network, its time."""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from page import server
from styletransfer.cpu import memory
from tests.page.helpers import small_request


@pytest.mark.slow
def test_a_size_that_memory_does_not_allow_is_refused_with_one_that_it_does(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1.4e9)
    with pytest.raises(AppError, match=r"needs .* GB of memory, and 1\.4 GB are free") as caught:
        client.predict(**small_request(size=2048))
    fits = int(re.findall(r"at most (\d+)", str(caught.value))[0])
    with Image.open(client.predict(**small_request(size=fits))[3]) as painted:
        assert max(painted.size) == fits


def test_where_memory_is_out_altogether_no_size_is_advised(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e8)
    with pytest.raises(AppError, match="try again when less is going on here"):
        client.predict(**small_request())


@pytest.mark.parametrize("door", ["gradio_api/upload", "gradio_api/queue/join", "gradio_api/call/paint"])
def test_a_body_said_to_be_huge_is_refused_at_once(url: str, client: Client, door: str) -> None:
    with suppress(httpx.TransportError):  # the server has hung up
        assert httpx.post(f"{url}{door}", content=bytes(server.MAX_BODY_BYTES + 1), timeout=30).status_code == 413
    assert client.predict(**small_request())[3]


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
    data = [{"path": address, "meta": {"_type": "gradio.FileData"}}, None, "quick", None, None]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "event: error" in said
    assert "more than 20 MB" in said
    assert server.MAX_FILE_BYTES < counts["sent"] < 2 * server.MAX_BODY_BYTES
    assert client.predict(**small_request())[3]


def test_a_file_over_the_limit_is_refused(url: str) -> None:
    files = {"files": ("large.png", io.BytesIO(bytes(server.MAX_FILE_BYTES + 1)), "image/png")}
    assert httpx.post(f"{url}gradio_api/upload", files=files, timeout=30).status_code == 413
