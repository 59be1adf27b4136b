"""The download of VGG-19 says how far it is, and why it failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from page.weights_download import Vgg19Download
from styletransfer import WeightsError, weights


def test_a_slow_download_tells_how_far_it_is_and_when_it_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    download = Vgg19Download()

    def slow(progress: Callable[[int, int], None]) -> None:
        for done in (0, 137_000_000, 548_000_000):
            progress(done, 548_000_000)
            said.append(download.status)

    monkeypatch.setattr(weights, "download_vgg19", slow)
    download.start()
    download.join(timeout=60)
    assert ["0%" in said[0], "25%" in said[1], "100%" in said[2]] == [True] * 3
    assert all("paints with VGG-16" in status for status in said)
    assert "arrived" in download.status


def test_a_download_that_fails_is_told_to_visitors_and_why_to_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(progress: Callable[[int, int], None]) -> None:
        raise WeightsError("VGG-19 could not be downloaded (no network): try later, or use vgg16.")

    monkeypatch.setattr(weights, "download_vgg19", fail)
    download = Vgg19Download()
    download.start()
    download.join(timeout=60)
    assert "paints with VGG-16" in download.status
    assert "could not be fetched" in download.status
    assert "no network" in caplog.text
