"""What a run tells the page while neighbours are searched, and what the plot says of its stages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from page import controls, worker
from page.worker import Failure, Request, RunControl, RunEnd, Update
from styletransfer import PRESETS, Settings, metadata, neighbours, weights
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, uploaded

LAYERS = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1")}  # few, to be quick


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    """A request whose neighbours are searched in many parts. Every update is sent."""
    monkeypatch.setattr(neighbours, "CHUNK", 60_000)
    monkeypatch.setattr(worker, "SECONDS_PER_UPDATE", -1)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)

    def make(**values: Any) -> Request:
        settings = {"size": 192, "stages": 2, "iterations": 6, "tolerance": 0, **LAYERS, **values}
        return Request(photo=str(PHOTO), paintings=(str(PAINTING),), settings=Settings(**settings), folder=tmp_path)

    return make


def test_every_step_has_one_row_of_losses_and_a_search_has_none(request_of: Callable[..., Request]) -> None:
    updates = list(worker.run_here(request_of()))
    assert [update.iteration for update in updates] == [1, 2, 3, 4, 5, 6]
    losses = [loss for update in updates for loss in update.losses]
    assert len(losses) == 6
    assert all(math.isfinite(value) for loss in losses for value in loss)
    assert updates[-1].end is RunEnd.FINISHED


@pytest.mark.slow
def test_a_search_in_a_later_stage_has_no_rows_either_and_can_be_stopped(
    request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 700_000)
    request = request_of(objective="neighbours", size=384, stages=3)
    whole = list(worker.run_here(request))
    assert [update.iteration for update in whole] == sorted(update.iteration for update in whole)
    assert sum(len(update.losses) for update in whole) == 6
    assert len(whole) > 6, "the last picture is sent again while neighbours are searched"
    last_coarse = max(update.iteration for update in whole if update.size == 96)

    updates: list[Update] = []
    for update in worker.run_here(request):
        updates.append(update)
        if len(updates) > 1 and update.iteration == updates[-2].iteration:
            RunControl(request.folder).stop()
    assert updates[-1].end is RunEnd.STOPPED
    assert updates[-1].iteration == last_coarse
    assert sum(len(update.losses) for update in updates) == last_coarse


@pytest.mark.slow
def test_the_marks_of_the_plot_say_the_size_and_the_style_loss_of_each_stage(
    request_of: Callable[..., Request],
) -> None:
    for objective, first in (("auto", "neighbours"), ("moments", "moments"), ("gram", "gram")):
        updates = list(worker.run_here(request_of(objective=objective)))
        marks = {step: text for update in updates for step, text in update.marks.items()}
        second = next(update.iteration for update in updates if update.size == 192)
        last = "moments" if objective == "auto" else objective
        assert marks == {1: f"96 px · {first}", second: f"192 px · {last}"}


def test_stop_before_the_first_step_says_that_nothing_was_painted(request_of: Callable[..., Request]) -> None:
    request = request_of()
    RunControl(request.folder).stop()
    assert list(worker.run_here(request)) == [Failure("Stopped before the first step.", expected=True)]


@pytest.mark.slow
def test_a_change_during_the_first_search_holds_from_the_first_step(request_of: Callable[..., Request]) -> None:
    request = request_of()
    RunControl(request.folder).send(Settings(**{**LAYERS, "content_weight": 3.0}))
    updates = list(worker.run_here(request))
    assert {update.settings.content_weight for update in updates} == {3.0}
    assert "changed" not in [text for update in updates for text in update.marks.values()]
    assert updates[-1].iteration == updates[-1].iterations == 6


@pytest.mark.slow
def test_a_kept_face_is_among_the_notes(tmp_path: Path, request_of: Callable[..., Request]) -> None:
    photo = PHOTO.with_name("astronaut.jpg")
    for faces, note in ((True, "Kept a face that was found."), (False, "")):
        request = request_of(faces=faces, iterations=2)._replace(photo=str(photo))
        *_, last = worker.run_here(request)
        assert (note in last.notes) is bool(note)
        assert any("face" in said for said in last.notes) is bool(note)


# Pictures from before there were neighbours, and pictures with a mask, on the page


def png(folder: Path, text: str) -> dict[str, Any]:
    info = PngInfo()
    info.add_text(metadata.KEY, text)
    Image.new("RGB", (20, 20)).save(folder / "old.png", pnginfo=info)
    return uploaded(folder / "old.png")


@pytest.mark.parametrize("preset", PRESETS)
def test_an_old_picture_restores_what_it_was_painted_with(preset: str, tmp_path: Path) -> None:
    record = {"size": 320, "iterations": 75, "tv_weight": 0, "square": preset == "classic"}
    if preset == "classic":
        record |= {"relative_style": False, "stages": 1, "tolerance": 0}
    changes = HANDLERS.restore_settings(COMPONENTS.photo, png(tmp_path, json.dumps(record)))
    sliders = {name: changes[COMPONENTS.controls[name]] for name in controls.CONTROLS}
    assert (sliders["objective"], sliders["faces"], sliders["size"], sliders["tv_weight"]) == ("gram", False, 320, 0)
    assert changes[COMPONENTS.notices[COMPONENTS.photo]]["value"] == "Settings restored from this picture."
    painted = controls.to_settings(changes[COMPONENTS.preset], sliders)
    assert painted.square is (preset == "classic")
    assert painted.stages == (1 if preset == "classic" else Settings().stages)


def test_a_picture_of_a_masked_run_says_that_its_mask_is_missing(tmp_path: Path) -> None:
    for masked in (True, False):
        file = tmp_path / f"{masked}.png"
        metadata.save_png(Image.new("RGB", (20, 20)), str(file), Settings(), masked=masked)
        notice = HANDLERS.restore_settings(COMPONENTS.photo, uploaded(file))[COMPONENTS.notices[COMPONENTS.photo]][
            "value"
        ]
        assert ("Parts of it were marked to keep" in notice) is masked
        assert notice.startswith("Settings restored from this picture.")
