"""What the buttons and sliders of the page do, without a browser."""

from __future__ import annotations

import gc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client
from PIL import Image, ImageSequence

import app
from page import choose, keep, turn, watch
from styletransfer import Settings
from styletransfer.settings import knobs
from tests.data import PAINTING, PHOTO
from tests.page.helpers import positions, running


def test_every_preset_puts_the_sliders_where_its_settings_are(client: Client) -> None:
    for preset, settings in turn.PRESETS.items():
        positions = turn.turn_to(settings)
        turned = {name: knobs()[name].value(at) for name, at in zip(turn.TURNED, positions, strict=True)}
        assert turned == {name: getattr(settings, name) for name in turn.TURNED}
        assert turn.chosen(preset, tuple(positions)) == settings


class Pressed:
    """Which picture of a gallery was."""

    def __init__(self, index: int) -> None:
        self.index = index


def test_an_example_pressed_during_a_run_leaves_the_runs_picture_alone() -> None:
    job = watch.Job()
    idle = app.fill(job, Pressed(0))
    watch.begin(job)
    busy = app.fill(job, Pressed(0))
    assert len(busy) == len(idle)
    assert busy[:2] == idle[:2]
    assert choose.examples()[0].result in idle
    assert all(update == gr.skip() for update in busy[2:])
    watch.end(job)
    assert app.fill(job, Pressed(0)) == idle


def marks(update: tuple[Any, ...]) -> list[str]:
    return [note.text for note in update[2].layout.annotations]


def test_what_is_turned_during_a_run_counts_in_it_and_in_no_other_visitors(every_frame: None) -> None:
    job, other = watch.Job(), watch.Job()
    run, theirs = running(job), running(other)
    for _ in range(4):
        next(run), next(theirs)
    watch.steer(job, "balanced", *positions(style_weight=1e8, colours="luminance"))
    last, others_last = list(run)[-1], list(theirs)[-1]
    assert job.kept[-1].settings.style_weight == 1e8
    assert job.kept[-1].settings.colours == "luminance"
    assert other.kept[-1].settings.style_weight == Settings().style_weight
    assert "turned" in marks(last)
    assert "turned" not in marks(others_last)


def test_a_weight_turned_too_far_keeps_the_picture(every_frame: None, monkeypatch: pytest.MonkeyPatch) -> None:
    job = watch.Job()
    run = running(job)
    for _ in range(4):
        next(run)
    monkeypatch.setattr("styletransfer.loop.math.isfinite", lambda number: False)
    watch.steer(job, "balanced", *positions(style_weight=1e10))
    *_, last = run
    assert "choose smaller ones" in last[1]
    assert Path(last[3]).is_file()


def test_a_paused_run_does_no_work_and_goes_on_where_it_was(every_frame: None) -> None:
    job = watch.Job()
    run = running(job)
    for _ in range(4):
        next(run)
    assert watch.pause(job) == "Continue"
    updates = [next(run) for _ in range(4)]
    assert "Paused" in str(updates)
    assert all(not isinstance(update[0], Image.Image) for update in updates[-2:])
    assert watch.pause(job) == "Pause"
    *_, last = run
    assert "40 of 40" in last[1]


def test_stop_ends_a_paused_run_with_its_picture(every_frame: None) -> None:
    job = watch.Job()
    run = running(job)
    next(run), next(run)
    watch.pause(job)
    next(run)
    watch.stop(job)
    *_, last = run
    assert "Stopped" in last[1]
    assert Path(last[3]).is_file()


def test_more_goes_on_from_the_last_picture(every_frame: None) -> None:
    job = watch.Job()
    first = list(running(job))[-1]
    watch.begin(job)
    more = list(watch.paint_more(job, str(PHOTO), str(PAINTING), "balanced", *positions(), None))
    assert f"{watch.MORE} of {watch.MORE}" in more[-1][1]
    before, after = (np.asarray(update[0], dtype=float) for update in (first, more[1]))
    assert np.abs(before - after).mean() < 2
    assert len(job.kept) == 2
    assert job.kept[1].settings.iterations == 40, "what is set again is no shorter run"


def test_more_refuses_to_lay_one_photos_picture_on_another(every_frame: None) -> None:
    job = watch.Job()
    list(running(job, iterations=2))
    with pytest.raises(gr.Error, match="The photo is another one by now"):
        list(watch.paint_more(job, str(PAINTING), str(PAINTING), "balanced", *positions(), None))


def test_a_visit_keeps_a_bounded_number_of_pictures(every_frame: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_KEPT", 2)
    job = watch.Job()
    for _ in range(3):
        list(running(job, iterations=2))
    assert [kept.caption[0] for kept in job.kept] == ["2", "3"]
    assert len(list(Path(job.folder.name).iterdir())) == 6


def test_a_run_that_is_paused_for_too_long_ends_with_its_picture(
    every_frame: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.3)
    job = watch.Job()
    run = running(job)
    next(run), next(run)
    watch.pause(job)
    *_, last = run
    assert "Stopped" in last[1]
    assert Path(last[3]).is_file()


def test_more_without_a_picture_says_so() -> None:
    with pytest.raises(gr.Error, match="press Paint first"):
        list(watch.paint_more(watch.Job(), str(PHOTO), str(PAINTING), "balanced", *positions(), None))


def test_what_a_visitor_made_goes_with_the_visitor(every_frame: None) -> None:
    job = watch.Job()
    list(running(job, iterations=2))
    file = Path(job.kept[-1].file)
    assert file.is_file()
    del job
    gc.collect()
    assert not file.parent.exists()


def test_the_time_lapse_is_an_animation_that_ends_on_the_picture(every_frame: None) -> None:
    job = watch.Job()
    list(running(job, iterations=120))
    kept = job.kept[-1]
    with Image.open(kept.lapse) as lapse, Image.open(kept.file) as finished:
        assert lapse.format == "WEBP"
        assert 20 <= lapse.n_frames <= keep.LONGEST_LAPSE + 2
        states = [np.asarray(frame.convert("RGB"), dtype=float) for frame in ImageSequence.Iterator(lapse)]
        assert np.abs(states[-1] - np.asarray(finished, dtype=float)).mean() < 12
        assert np.abs(states[0] - states[-1]).mean() > 12


def test_the_preview_has_the_colours_that_were_chosen() -> None:
    def mean(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB"), float).mean((0, 1))

    job, photo, painting = watch.Job(), Image.open(PHOTO), Image.open(PAINTING)
    for colours, like in (("painting", painting), ("matched", photo), ("luminance", photo)):
        preview = watch.preview(job, str(PHOTO), str(PAINTING), colours)
        assert preview is not None
        assert max(preview.size) == watch.PREVIEW_SIZE
        assert np.abs(mean(preview) - mean(like)).max() < 12, colours
    assert watch.preview(job, str(PHOTO), None, "painting") is None
    assert watch.preview(job, str(PHOTO), str(choose.EXAMPLES / "styles.csv"), "painting") is None


def test_pressing_paint_many_times_at_once_makes_one_picture_after_the_other(evaluated: Counter[str]) -> None:
    def painted(_: int) -> Any:
        return list(
            watch.stylize(watch.Job(), str(PHOTO), str(PAINTING), "quick", 64, 3, 7.3, 1, 0, "painting", 1, 0.5)
        )

    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(painted, range(6)))
    assert evaluated["most"] == 1
    assert all(isinstance(run[-1][0], Image.Image) for run in done)


def test_a_refused_order_raises_what_the_page_shows() -> None:
    with pytest.raises(gr.Error, match="Choose a photo first"):
        next(watch.stylize(watch.Job(), None, str(PAINTING), "quick", 64, 3, 7.3, 1, 0, "painting", 1, 0.5))
