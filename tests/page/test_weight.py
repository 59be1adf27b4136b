"""How much a visitor loads."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser

from page.examples import EXAMPLES
from scripts.weigh_page import weigh_page

MAX_BYTES = 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("window", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_the_page_before_the_first_tap_weighs_under_one_and_a_half_megabytes(
    url: str, browser: Browser, window: tuple[int, int]
) -> None:
    weights = weigh_page(browser, url, *window)
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:10]
    assert 200_000 < sum(weights.values()) < MAX_BYTES, heaviest
    assert any("/examples/" in name for name in weights), "the pictures are counted"
    assert not [name for name in weights if "plotly" in name.lower()], "no curve is shown yet"


def sent_bytes(url: str, encodings: str, method: str = "GET") -> tuple[httpx.Response, int]:
    """The answer, and how many bytes of its body were sent."""
    with httpx.stream(method, url, headers={"Accept-Encoding": encodings}) as answer:
        return answer, len(b"".join(answer.iter_raw()))


def test_the_page_is_sent_compressed_to_whoever_can_read_that(url: str) -> None:
    plain, length = sent_bytes(url, "identity")
    assert "content-encoding" not in plain.headers
    assert int(plain.headers["content-length"]) == length > 100_000
    small, small_length = sent_bytes(url, "gzip, deflate, br")
    assert int(small.headers["content-length"]) == small_length < length / 5
    assert "accept-encoding" in small.headers["vary"].lower()
    assert httpx.get(url, headers={"Accept-Encoding": "gzip"}).text == httpx.get(url).text
    _, nothing = sent_bytes(url, "gzip", "HEAD")
    assert nothing == 0


def test_pictures_and_what_is_painted_meanwhile_are_sent_as_they_are(url: str) -> None:
    picture, length = sent_bytes(f"{url}preview/thumbnail.jpg", "gzip, br")
    assert length == (EXAMPLES / "thumbnail.jpg").stat().st_size
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": [None, None, "quick", *[None] * 4]}).json()
    events, _ = sent_bytes(f"{url}gradio_api/call/paint/{started['event_id']}", "gzip, br")
    assert events.headers["content-type"].startswith("text/event-stream")
    for answer in (picture, events):
        assert "content-encoding" not in answer.headers
