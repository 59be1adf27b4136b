"""How much a visitor loads before the first tap."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

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
