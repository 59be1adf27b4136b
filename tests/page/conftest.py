"""A browser, a server and its visitors, for the tests of the page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Page, expect, sync_playwright

from page import controls, layout, server, worker
from page.config import ServerConfig
from page.weights_download import Vgg19Download
from styletransfer import weights
from styletransfer.objective import Objective
from tests.data import ROOT
from tests.page.helpers import NEVER_EARLY, PATIENCE, fail_on_errors


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and CI may not do without: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--host-resolver-rules=MAP *.lan 127.0.0.1",  # names of a local network, without HTTPS
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(url: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page in a window of the (width, height) that the test asks for. Errors in its console fail the test."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    with fail_on_errors(page):
        page.goto(url)
        yield page
        page.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str], Client]]:
    """A function that lets another visitor come to an address. They leave when the test ends."""
    clients: list[Client] = []

    def come(url: str) -> Client:
        clients.append(Client(url, verbose=False, httpx_kwargs={"timeout": 60}))  # this machine may be busy
        return clients[-1]

    yield come
    for client in clients:  # closing waits a second for its heartbeat, and nothing here depends on that
        threading.Thread(target=client.close, daemon=True).start()


@pytest.fixture
def client(connect: Callable[[str], Client], url: str) -> Client:
    return connect(url)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its temporary files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def download() -> Vgg19Download:
    """It is never started, and stands for one on a slow network."""
    download = Vgg19Download()
    download.status = "VGG-19 is on its way (42%)."
    return download


@contextmanager
def serve(folder: Path, download: Vgg19Download | None = None, **options: Any) -> Iterator[str]:
    """A server that paints with VGG-16 and stores its files in `folder`; gives its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "cached_vgg19", lambda: None)
        patch.setattr(controls, "PRESETS", NEVER_EARLY)
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setattr("tempfile.tempdir", str(folder))
        page = layout.build(ServerConfig(), download)
        options = {**layout.LOOK, "quiet": True, **options}
        yield server.launch(page, prevent_thread_lock=True, **options)[1]
        page.close()


@pytest.fixture(scope="module")
def url(folder: Path, download: Vgg19Download) -> Iterator[str]:
    """The address of a server that the tests of a file share."""
    with serve(folder, download) as address:
        yield address


@pytest.fixture
def every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation is shown, however fast they come."""
    monkeypatch.setattr(worker, "SECONDS_PER_UPDATE", -1)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)
    monkeypatch.setattr(controls, "PRESETS", NEVER_EARLY)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Evaluations, and the most that went on at the same time."""
    counts, lock, original = Counter[str](), threading.Lock(), Objective.__call__

    def counted(self: Objective, x: Any) -> Any:
        with lock:
            counts["now"] += 1
            counts["all"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        try:
            return original(self, x)
        finally:
            with lock:
                counts["now"] -= 1

    monkeypatch.setattr(Objective, "__call__", counted)
    return counts


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a page, and a function that ends its server and starts another one there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STYLETRANSFER_VGG19": "none"}
    log = (tmp_path / "log").open("w")

    def serve() -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "app.py", "--port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert any("http://" in line for line in server.stdout or ())
        return server

    server = serve()

    def restart() -> None:
        nonlocal server
        server.terminate()
        server.wait()
        server = serve()

    yield f"http://127.0.0.1:{port}/", restart
    server.kill()
    server.wait()
    log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()
