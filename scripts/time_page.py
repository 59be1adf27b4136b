"""Time the page as a visitor feels it: from each tap until what it asked for can be seen.

python -m scripts.time_page [ADDRESS]       with Playwright and Chromium (tests/requirements.txt)

The browser computes beside the server, so that both are slower than on two machines. Run it on an idle one.
"""

from __future__ import annotations

import shutil
import sys

from playwright.sync_api import Page, sync_playwright

PAIRS = ((0, 1), (2, 5), (4, 6), (1, 9))  # of a sample photo and a style, by their places in their rows
# From a click to the first frame of the browser in which the condition holds, in milliseconds.
TIME_CLICK = """([selector, condition]) => new Promise((done) => {
  const holds = new Function(`return ${condition}`), began = performance.now();
  document.querySelector(selector).click();
  const look = () => (holds() ? done(performance.now() - began) : requestAnimationFrame(look));
  requestAnimationFrame(look);
})"""


def time_click(page: Page, selector: str, condition: str) -> float:
    """Return the seconds from a click until a condition, in JavaScript, holds in the page."""
    return float(page.evaluate(TIME_CLICK, [selector, condition])) / 1000


def time_pair(page: Page, sample: int, style: int) -> dict[str, float]:
    """Choose a sample photo and a style in a new page and paint; return the seconds of each."""
    picture = "document.querySelector('#photo img')"
    times = {
        "photo": time_click(
            page, f"#samples .tile:nth-child({sample + 1})", f"{picture}?.complete && {picture}.naturalWidth > 0"
        ),
        "style": time_click(
            page,
            f"#styles .tile:nth-child({style + 1})",
            f"document.querySelector('#styles .tile:nth-child({style + 1})').getAttribute('aria-pressed') == 'true'",
        ),
    }
    page.wait_for_timeout(1000)
    began = "window.began ??= performance.now()"
    times["first picture"] = time_click(
        page, "#paint", f"({began}, document.querySelector('#desk').dataset.painted == 'true')"
    )
    page.wait_for_function("document.querySelector('#status').textContent.includes('Finished')", timeout=600_000)
    times["finished"] = float(page.evaluate("performance.now() - window.began")) / 1000
    return times


def main(address: str) -> None:
    """Print the seconds for each pair."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for sample, style in PAIRS:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.wait_for_selector("#styles .tile")
            page.wait_for_timeout(3000)
            times = time_pair(page, sample, style)
            print(" ".join(f"{what} {seconds:.2f} s  " for what, seconds in times.items()))
            page.close()
        browser.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["http://127.0.0.1:7860/"]))
