"""A browser, a server and its visitors, for the tests of the page."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, sync_playwright


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
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str], Client]]:
    """A function that lets another visitor come to an address. They leave when the test ends."""
    clients: list[Client] = []

    def come(url: str) -> Client:
        clients.append(Client(url, verbose=False))
        return clients[-1]

    yield come
    for client in clients:  # closing waits a second for its heartbeat, and nothing here depends on that
        threading.Thread(target=client.close, daemon=True).start()


@pytest.fixture
def client(connect: Callable[[str], Client], url: str) -> Client:
    return connect(url)
