"""Which style loss each stage has, and the frames that come again while neighbours are searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from styletransfer import PRESETS, Frame, Resume, Settings, SettingsError, neighbours, schedule, stylize
from styletransfer.problem import Problem
from styletransfer.schedule import MAX_NEIGHBOURS_SIZE, PRINT_ITERATIONS, plan_stages
from tests.data import PAINTING, PHOTO, one_sentence
from tests.engine.test_optimize import array, quick


def losses_by_size(objective: str, size: int, stages: int, smallest: int = 64) -> dict[int, str]:
    settings = Settings(objective=objective, size=size, stages=stages, iterations=30)
    return {stage.size: stage.style_loss for stage in plan_stages(settings, smallest)}


def test_the_default_lays_out_the_coarsest_size_with_neighbours_and_paints_the_others_with_moments():
    assert losses_by_size("auto", 512, 3) == {128: "neighbours", 256: "moments", 512: "moments"}
    assert losses_by_size("auto", 512, 2) == {256: "neighbours", 512: "moments"}
    assert losses_by_size("auto", 512, 1) == {512: "moments"}


def test_neighbours_lay_out_every_size_but_the_last():
    assert losses_by_size("neighbours", 512, 3) == {128: "neighbours", 256: "neighbours", 512: "moments"}
    assert losses_by_size("neighbours", 256, 1) == {256: "neighbours"}


def shallow_sizes(size: int, stages: int, **values: object) -> list[int]:
    settings = Settings(size=size, stages=stages, iterations=30, **values)
    return [stage.size for stage in plan_stages(settings, 64) if stage.is_shallow]


def test_the_last_of_several_stages_is_shallow_and_paints_strokes_alone():
    for objective in ("auto", "neighbours"):
        assert shallow_sizes(512, 3, objective=objective) == [512]
        assert shallow_sizes(1024, 4, objective=objective) == [1024]
        assert shallow_sizes(512, 1, objective=objective) == []


def test_a_stage_that_starts_from_the_photo_is_not_shallow_even_if_the_coarser_one_is_left_out(
    photo, vgg16, monkeypatch
):
    monkeypatch.setattr(schedule, "MAX_NEIGHBOURS_SIZE", 64)
    lines = np.zeros((192, 192, 3), np.uint8)  # which are gone at half the size
    lines[::2] = 255
    settings = Settings(size=192, stages=2)
    assert [stage.is_shallow for stage in plan_stages(settings, 64)] == [False, True]
    plan = Problem(photo, (Image.fromarray(lines),), settings, vgg16).plan_all()
    assert [(stage.size, stage.is_shallow) for stage in plan] == [(192, False)]


def test_no_stage_is_shallow_that_is_asked_to_compare_one_loss_or_other_layers():
    for values in (
        {"objective": "gram"},
        {"objective": "moments"},
        {"content_layers": ("conv3_2",)},
        {"style_layers": ("conv1_1", "conv5_1")},
    ):
        assert shallow_sizes(512, 3, **values) == []


@pytest.mark.parametrize("objective", ["auto", "neighbours"])
def test_neighbours_are_never_searched_at_a_size_that_takes_long(objective):
    for size, stages, smallest in itertools.product((64, 256, 512, 900, 2048), range(1, 7), (16, 64, 300)):
        for stage_size, style_loss in losses_by_size(objective, size, stages, smallest).items():
            assert style_loss == "moments" or stage_size <= MAX_NEIGHBOURS_SIZE == 256


@pytest.mark.parametrize("objective", ["gram", "moments"])
def test_gram_matrices_and_moments_are_compared_at_every_size(objective):
    for size, stages in itertools.product((64, 256, 512, 1024), range(1, 7)):
        assert set(losses_by_size(objective, size, stages).values()) == {objective}


def test_a_print_is_composed_small_and_goes_on_in_tiles_each_twice_as_large():
    for size, composed, prints in ((1024, 1024, []), (1040, 520, [1040]), (4961, 620, [1240, 2480, 4961])):
        settings = Settings(size=size, stages=2)
        plan = plan_stages(settings, 64)
        assert plan[: -len(prints) or None] == plan_stages(replace(settings, size=composed), 64)
        assert [stage.size for stage in plan if stage.in_tiles] == prints
        assert {stage.iterations for stage in plan if stage.in_tiles} <= {PRINT_ITERATIONS}


def test_a_print_by_gram_matrices_is_refused_with_what_to_choose():
    with pytest.raises(SettingsError, match="choose the objective auto, or a smaller size") as error:
        plan_stages(replace(PRESETS["classic"], size=2064), 16)
    assert one_sentence(error.value)
    (stage,) = plan_stages(replace(PRESETS["classic"], size=2048), 16)
    assert (stage.size, stage.iterations, stage.in_tiles) == (2048, 300, False)


def test_classic_is_painted_as_before_neighbours_faces_and_smoothness_were_the_default():
    (stage,) = plan_stages(PRESETS["classic"], 16)
    assert (stage.size, stage.style_loss, stage.iterations) == (512, "gram", 300)
    assert not PRESETS["classic"].faces
    assert PRESETS["classic"].tv_weight == 0


@pytest.mark.parametrize(
    ("objective", "style_loss"), [("auto", "moments"), ("neighbours", "moments"), ("gram", "gram")]
)
def test_a_picture_that_is_continued_is_not_laid_out_again(objective, style_loss, photo, painting, vgg16):
    settings = quick(objective=objective, size=192, stages=2, iterations=2)
    frames = list(stylize(photo, painting, settings, backbone=vgg16, init_image=photo))
    assert [(frame.iteration, frame.size, frame.style_loss) for frame in frames] == [
        (1, 192, style_loss),
        (2, 192, style_loss),
    ]


def test_a_coarse_stage_without_a_mask_leaves_none_of_the_photos_lines_under_its_strokes(photo, painting, vgg16):
    lines = Image.fromarray((np.indices((128, 192)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    first = next(stylize(lines, painting, quick(size=192, stages=2), backbone=vgg16))
    assert (first.size, first.style_loss) == (96, "neighbours")
    assert array(first.picture).std() < 10, "at half the size the lines have no contrast"


# While neighbours are searched

PARTS = 4  # of a search at 96×64, where 384 places of the photo are compared with 480 of the painting


@pytest.fixture
def search(photo, painting, vgg16, monkeypatch) -> Callable[..., Iterator[Frame]]:
    """A run at 96 and 192 px whose first search has PARTS parts."""
    monkeypatch.setattr(neighbours, "CHUNK", 480 * 96)

    def run(**values: object) -> Iterator[Frame]:
        settings = {"size": 192, "stages": 2, "iterations": 6, **values}
        return stylize(photo, painting, quick(**settings), backbone=vgg16)

    return run


def test_the_first_search_is_shown_as_frame_0_with_the_picture_that_the_run_starts_from(search, photo):
    frames = list(search())
    searching = [frame for frame in frames if not frame.iteration]
    assert len(searching) == PARTS - 1
    assert [frame.iteration for frame in frames[PARTS - 1 :]] == [1, 2, 3, 4, 5, 6]
    for frame in searching:
        assert all(map(math.isnan, frame.losses))
        assert all(map(math.isnan, frame.weighted))
        assert (frame.iterations, frame.size, frame.style_loss, frame.backbone) == (6, 96, "neighbours", "vgg16")
        assert frame.seconds > 0
        assert np.array_equal(array(frame.picture), array(frames[PARTS - 1].picture))


def test_a_search_in_parts_changes_nothing_of_the_picture(search, monkeypatch):
    in_parts = [frame for frame in search() if frame.iteration]
    monkeypatch.setattr(neighbours, "CHUNK", 1 << 30)
    at_once = list(search())
    assert [frame.losses for frame in in_parts] == [frame.losses for frame in at_once]
    assert np.array_equal(array(in_parts[-1].picture), array(at_once[-1].picture))


@pytest.mark.slow
def test_a_later_search_shows_the_last_frame_again(photo, painting, vgg16, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 480 * 96)
    settings = quick(objective="neighbours", size=384, stages=3, iterations=9)
    found = list(itertools.takewhile(lambda f: f.size < 384, stylize(photo, painting, settings, backbone=vgg16)))
    at = next(n for n, frame in enumerate(found) if frame.size == 192)
    assert found[at].style_loss == "neighbours"
    again = [frame for frame in found[:at] if frame is found[at - 1]]
    assert len(again) > 10, "the search at twice the size has sixteen times as many pairs"
    assert found[at].iteration == found[at - 1].iteration + 1


def test_a_run_can_be_left_during_the_first_search(search):
    run = search()
    assert next(run).iteration == 0
    run.close()
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.slow
def test_settings_sent_during_the_first_search_hold_from_the_first_step(search):
    run = search()
    assert next(run).settings.content_weight == 1
    sent = quick(size=192, stages=2, iterations=500, content_weight=3.0, tolerance=0)
    again = run.send(sent)
    assert (again.iteration, again.settings.content_weight) == (0, 3)
    frames = list(run)
    assert [frame.iteration for frame in frames if frame.iteration] == [1, 2, 3, 4, 5, 6], "not 500"
    plain = [frame for frame in search(content_weight=3.0) if frame.iteration]
    assert [frame.losses for frame in frames if frame.iteration] == [frame.losses for frame in plain]


@pytest.mark.slow
def test_strokes_sent_during_a_search_are_those_that_are_searched(photo, painting, search):
    run = search()
    next(run)
    run.send(quick(size=192, stages=2, stroke=2.0))
    steered = [frame.losses for frame in run if frame.iteration]
    assert steered == [frame.losses for frame in search(stroke=2.0) if frame.iteration]
    assert steered != [frame.losses for frame in search() if frame.iteration]


def test_the_time_that_is_left_is_a_number_or_unknown_while_neighbours_are_searched(search):
    for frame in search():
        assert not math.isnan(frame.remaining)
        assert frame.remaining >= 0


def test_colours_sent_while_neighbours_are_painted_search_again_and_lose_nothing(search):
    run = search()
    last = next(frame for frame in run if frame.iteration == 2)
    again = run.send(quick(size=192, stages=2, colours="luminance"))
    assert again is last, "the search goes on before the next step"
    rest = [frame for frame in run if frame is not last]
    assert [frame.iteration for frame in rest] == [3, 4, 5, 6]
    assert {frame.settings.colours for frame in rest} == {"luminance"}


@pytest.mark.parametrize("objective", ["auto", "gram"])
def test_a_run_that_was_lost_goes_on_from_its_last_picture_and_counts_on(photo, painting, vgg16, objective):
    settings = quick(objective=objective, size=192, stages=2, iterations=12, content_weight=1.0)
    whole = list(stylize(photo, painting, settings, vgg16))
    lost = next(frame for frame in whole if frame.size == 192 and frame.iteration >= 8)
    resume = Resume(lost.picture, lost.size, lost.iteration, lost.iterations - lost.iteration)
    rest = [
        frame
        for frame in stylize(photo, painting, settings, vgg16, resume=resume)
        if not math.isnan(frame.losses.total)
    ]
    assert [frame.iteration for frame in rest] == list(range(lost.iteration + 1, whole[-1].iteration + 1))
    assert {(frame.size, frame.style_loss, frame.iterations) for frame in rest} == {(192, lost.style_loss, 12)}
    assert np.abs(array(rest[0].picture) - array(lost.picture)).mean() < 3, "but for the rounding to 8 bits"
    assert rest[-1].losses.total < rest[0].losses.total < whole[-4].losses.total * 2


def test_a_run_that_was_lost_with_nothing_left_to_paint_is_refused_in_a_sentence(photo, painting, vgg16):
    with pytest.raises(SettingsError, match="Nothing is left to paint") as error:
        next(stylize(photo, painting, quick(size=96), vgg16, resume=Resume(photo, 96, 4, 0)))
    assert one_sentence(error.value)


@pytest.mark.slow
def test_a_run_that_was_lost_in_a_coarse_stage_has_the_finer_ones_still_to_come(vgg16):
    settings = quick(objective="auto", size=384, stages=2, iterations=24)
    whole = [frame for frame in stylize(PHOTO, PAINTING, settings, vgg16) if frame.iteration]
    lost = next(frame for frame in whole if frame.iteration == 6)
    resume = Resume(lost.picture, lost.size, lost.iteration, lost.iterations - lost.iteration)
    rest = {frame.iteration: frame for frame in stylize(PHOTO, PAINTING, settings, vgg16, resume=resume)}
    del rest[6]  # while neighbours are searched
    assert [(number, frame.size) for number, frame in rest.items()] == [(f.iteration, f.size) for f in whole[6:]]
    assert {frame.size for frame in rest.values()} == {192, 384}
    assert rest[24].losses.total == pytest.approx(whole[-1].losses.total, rel=0.05)
