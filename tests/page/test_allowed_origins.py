"""Pages of other sites that may use the server: a script's calls, an embedded page, a sandboxed frame."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gradio
import httpx
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

import app
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.conftest import serve
from tests.page.helpers import PATIENCE, parse_options

FRONTEND = Path(gradio.__file__).parent / "templates" / "frontend"
CALL = """async (address) => {
    const json = {method: 'POST', headers: {'content-type': 'application/json', 'x-gradio-user': 'api'}};
    const form = new FormData();
    form.append('files', new Blob(['x']), 'photo.png');
    const uploaded = await fetch(address + 'gradio_api/upload', {method: 'POST', body: form, credentials: 'include'});
    const [path] = await uploaded.json();
    const data = [{path, meta: {_type: 'gradio.FileData'}}, null, 'quick', null, null, null, null];
    const asked = {...json, credentials: 'include', body: JSON.stringify({data})};
    const {event_id} = await (await fetch(address + 'gradio_api/call/paint', asked)).json();
    const address_of_answer = `${address}gradio_api/call/paint/${event_id}`;
    return await (await fetch(address_of_answer, {credentials: 'include'})).text();
}"""


class Elsewhere(SimpleHTTPRequestHandler):
    """Another site: it has Gradio's own scripts, and a page that embeds the server named in the query."""

    def do_GET(self) -> None:
        path, _, address = self.path.partition("?")
        pages = {
            "/": "<!doctype html>",
            "/component": f'<script type="module" src="/gradio.js"></script><gradio-app src="{address}"></gradio-app>',
            "/frame": f'<iframe sandbox="allow-scripts allow-forms" width=1000 height=2000 src="{address}"></iframe>',
        }
        if path not in pages:
            return super().do_GET()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(pages[path].encode())
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Elsewhere, directory=str(FRONTEND)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def url(folder: Path, elsewhere: str) -> Iterator[str]:
    """A server that lets in the other site and sandboxed frames."""
    with serve(folder, allowed_origins=[elsewhere, "null"]) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1100, "height": 2100})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield page
    page.close()


@pytest.mark.slow
def test_a_script_of_an_allowed_site_uploads_calls_and_reads_the_answer(url: str, elsewhere: str, page: Page) -> None:
    page.goto(f"{elsewhere}/")
    answer = page.evaluate(CALL, url)
    assert "Choose a painting first." in answer


def paint(page: Page | FrameLocator) -> None:
    expect(page.locator("#examples img").first).to_be_visible()
    page.locator("#photo input[type=file]").set_input_files(PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    page.locator("#styles input[type=file]").set_input_files(PAINTING)
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible()
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.locator("#result .after")).to_be_visible()


@pytest.mark.slow
def test_a_person_paints_in_a_frame_without_an_origin(url: str, elsewhere: str, page: Page) -> None:
    page.goto(f"{elsewhere}/frame?{url}")
    paint(page.frame_locator("iframe"))


@pytest.mark.slow
def test_a_person_paints_in_a_component_of_another_sites_page(url: str, elsewhere: str, page: Page) -> None:
    page.goto(f"{elsewhere}/component?{url}")
    paint(page)


def test_sites_that_are_not_named_stay_outside(url: str) -> None:
    said = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert httpx.post(f"{url}gradio_api/call/paint", json={}, headers=said).status_code == 403
    answer = httpx.get(f"{url}theme.css", headers=said)
    assert "access-control-allow-origin" not in answer.headers


def run_app(*options: str, environment: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STYLETRANSFER_ALLOW_ORIGIN": environment}
    return subprocess.run([sys.executable, "app.py", *options], cwd=ROOT, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("origin", ["site.example", "https://site.example/page", "*", "https://", "http://a:99999"])
def test_a_mistyped_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"write one as https://site\.example, or null"):
        app.read_origin(origin)


@pytest.mark.slow
def test_a_mistyped_origin_ends_the_start_with_one_sentence() -> None:
    for done in (run_app("--allow-origin", "site.example"), run_app(environment="null, site.example")):
        assert done.returncode == 2
        assert re.search("allow.origin: site.example is no origin", done.stderr.splitlines()[-1], re.IGNORECASE)
        assert "Traceback" not in done.stderr


def test_origins_are_read_from_the_options_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLETRANSFER_ALLOW_ORIGIN", "https://a.example, null\nhttp://B.example:80/")
    monkeypatch.setattr("sys.argv", ["app.py"])
    assert parse_options().allow_origin == ["https://a.example", "null", "http://b.example"]
    monkeypatch.setattr("sys.argv", ["app.py", "--allow-origin", "https://c.example", "--allow-origin", "null"])
    assert parse_options().allow_origin == ["https://c.example", "null"]
    monkeypatch.delenv("STYLETRANSFER_ALLOW_ORIGIN")
    monkeypatch.setattr("sys.argv", ["app.py"])
    assert parse_options().allow_origin == []
