"""Weigh the page: how many bytes a browser loads before the visitor's first tap.

python -m scripts.weigh_page [ADDRESS]      with Playwright and Chromium (tests/requirements.txt)
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

QUIET_MS = 3000  # how long nothing may come before the page counts as loaded


def weigh_page(browser: Browser, address: str, width: int = 1280, height: int = 800) -> dict[str, int]:
    """Open the page with an empty cache, and return the bytes on the network by resource, headers included."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    addresses: dict[str, str] = {}
    weights: dict[str, int] = {}

    def count(finished: Mapping[str, object]) -> None:
        path = addresses.get(str(finished["requestId"]), "?")
        weights[path] = weights.get(path, 0) + int(str(finished["encodedDataLength"]).split(".")[0])

    network.on("Network.requestWillBeSent", lambda it: addresses.update({it["requestId"]: it["request"]["url"]}))
    network.on("Network.loadingFinished", count)
    page.goto(address)
    page.wait_for_selector("#paint")
    loaded = -1
    while loaded < len(weights):
        loaded = len(weights)
        page.wait_for_timeout(QUIET_MS)
    context.close()
    return {name: size for name, size in weights.items() if not name.startswith(("data:", "blob:"))}


def main(address: str) -> None:
    """Print the weight of each resource, the heaviest first, and their sum."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        weights = weigh_page(browser, address)
        browser.close()
    for name, size in sorted(weights.items(), key=lambda item: -item[1]):
        print(f"{size / 1000:8.1f} kB  {urlsplit(name).path[-90:]}")
    print(f"{sum(weights.values()) / 1000:8.1f} kB  in {len(weights)} resources")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["http://127.0.0.1:7860/"]))
