"""The generator's contract: a Frame for every evaluation, pictures of the size asked for, and an end when closed."""

from __future__ import annotations

import collections
import dataclasses
import gc
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from styletransfer import Frame, Losses, PictureError, Settings, SettingsError, images, losses, stylize, targets
from styletransfer.backbones import Backbone
from styletransfer.objective import Objective
from styletransfer.schedule import plan_stages
from tests.data import ROOT

EXAMPLES = ROOT / "examples"

Array = NDArray[np.float64]


def quick(**values: object) -> Settings:
    """A small run on the first two blocks of the network, for whatever does not depend on the layers."""
    usual = {"size": 64, "iterations": 6, "stages": 1, "content_layers": ["conv2_1"], "tolerance": 0}
    return Settings(**{**usual, "style_layers": ["conv1_1", "conv2_1"], **values})


def array(picture: Image.Image) -> Array:
    return np.asarray(picture, dtype=np.float64)


@pytest.fixture
def paint(photo, painting, vgg16) -> Callable[..., Iterator[Frame]]:
    return lambda settings: stylize(photo, painting, settings, backbone=vgg16)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The (H, W) of every picture that passes through the backbone for a gradient."""
    passed: list[tuple[int, ...]] = []
    original = Backbone.activations

    def counted(self, x, layers):
        if x.requires_grad:
            passed.append(tuple(x.shape[2:]))
        return original(self, x, layers)

    monkeypatch.setattr(Backbone, "activations", counted)
    return passed


def test_a_run_makes_a_painting_and_the_total_loss_falls(paint):
    frames = list(paint(Settings(size=64, iterations=14, style_weight=2e8)))
    for frame in frames:
        assert all(map(math.isfinite, frame.losses))
        assert min(frame.losses) >= 0
    assert frames[-1].losses.total < 0.5 * frames[0].losses.total
    assert frames[-1].losses.style < 0.5 * frames[0].losses.style
    assert np.abs(array(frames[-1].picture) - array(frames[0].picture)).mean() > 5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_there_is_one_frame_for_every_evaluation(count, paint, evaluations):
    settings = quick(iterations=count)
    for n, frame in enumerate(paint(settings), 1):
        assert len(evaluations) == n
        assert (frame.iteration, frame.iterations) == (n, count)
        assert frame.settings is settings
        assert frame.backbone == "vgg16"
    assert len(evaluations) == count


def test_nothing_is_evaluated_before_the_first_frame_is_asked_for(paint, evaluations):
    paint(quick())
    assert evaluations == []


def test_time_passes_and_the_estimate_of_the_rest_ends_at_zero(paint):
    frames = list(paint(quick(size=128, stages=2)))
    seconds = [frame.seconds for frame in frames]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)
    assert all(frame.remaining > 0 for frame in frames[:-1])
    assert frames[-1].remaining == 0


def test_the_total_is_the_sum_of_the_weighted_terms(paint):
    frame = next(paint(quick(content_weight=3, style_weight=1e5, tv_weight=7, init="noise")))
    content, style, tv, total = frame.losses
    assert frame.weighted == pytest.approx((3 * content, 1e5 * style, 7 * tv, total), rel=1e-6)
    assert total == pytest.approx(sum(frame.weighted[:3]), rel=1e-5)


def test_a_run_from_the_photo_shows_it_first(paint, photo):
    frame = next(paint(quick(objective="gram")))
    assert frame.losses.content == 0
    expected = photo.resize((64, 43), Image.Resampling.LANCZOS)
    assert np.array_equal(array(frame.picture), array(expected))


def test_coarse_stages_come_first_and_every_picture_has_the_final_size(paint, evaluations):
    frames = list(paint(quick(size=192, stages=2, iterations=4)))
    sizes = [frame.size for frame in frames]
    assert sorted(set(sizes)) == [96, 192]
    assert sizes == sorted(sizes)
    assert evaluations == [(64, 96) if size == 96 else (128, 192) for size in sizes]
    assert {frame.picture.size for frame in frames} == {(192, 128)}
    assert {frame.picture.mode for frame in frames} == {"RGB"}


@pytest.mark.slow
def test_a_finer_stage_goes_on_from_the_picture_of_the_coarser(paint):
    frames = list(paint(quick(size=192, stages=2, iterations=12)))
    at = next(n for n, frame in enumerate(frames) if frame.size == 192)
    before, after, photo = (array(frames[n].picture).ravel() for n in (at - 1, at, 0))
    assert np.corrcoef(before, after)[0, 1] > np.corrcoef(photo, after)[0, 1]


@pytest.mark.slow
def test_a_finer_stage_starts_in_the_light_of_the_painting_but_where_the_photo_is_kept(photo, painting, vgg16):
    pixels = array(painting).reshape(-1, 3)
    axis = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2][0]

    def light(picture):
        return array(picture) @ axis

    left = Image.new("L", photo.size)
    left.paste(255, (0, 0, photo.width // 2, photo.height))
    settings = quick(size=192, stages=2, iterations=12)
    started, kept = (
        next(frame for frame in stylize(photo, painting, settings, backbone=vgg16, keep=keep) if frame.size == 192)
        for keep in (None, left)
    )
    deciles = [np.quantile(light(picture), np.linspace(0.3, 0.9, 7)) for picture in (started.picture, painting)]
    assert np.abs(deciles[0] - deciles[1]).max() < 8, "grey levels"
    far = slice(None), slice(0, 60)  # left of the soft edge
    photos = light(photo.resize((192, 128)))[far]
    off = [np.abs(light(frame.picture)[far] - photos).mean() for frame in (started, kept)]
    assert off[1] < 0.5 * off[0]


@pytest.mark.slow
def test_gram_matrices_paint_without_the_paintings_light_as_in_the_paper(paint):
    frames = list(paint(quick(size=192, stages=2, iterations=12, objective="gram")))
    at = next(n for n, frame in enumerate(frames) if frame.size == 192)
    before, after, photo = (array(frames[n].picture) for n in (at - 1, at, 0))
    assert np.abs(after - before).mean() < 0.5 * np.abs(before - photo).mean()


def test_one_stage_paints_at_one_size_only(paint, evaluations):
    assert {frame.size for frame in paint(quick(size=192, iterations=2))} == {192}
    assert set(evaluations) == {(128, 192)}


def test_square_squashes_both_pictures(paint, evaluations):
    frames = list(paint(quick(square=True, iterations=2)))
    assert {frame.picture.size for frame in frames} == {(64, 64)}
    assert set(evaluations) == {(64, 64)}


@pytest.mark.parametrize("width, height", [(64, 96), (90, 33), (64, 64)])
def test_the_picture_keeps_the_proportions_of_the_photo(width, height, photo, painting, vgg16):
    frame = next(stylize(photo.resize((width, height)), painting, quick(size=96), backbone=vgg16))
    assert max(frame.picture.size) == 96
    assert frame.picture.width / frame.picture.height == pytest.approx(width / height, rel=0.03)


def test_the_plan_of_a_run_ends_at_the_size_asked_for_and_spends_every_iteration():
    for count, iterations, size, smallest in itertools.product(
        range(1, 7), [*range(1, 71), 300], [64, 500, 1024], [16, 64, 300, 5000]
    ):
        plan = plan_stages(quick(size=size, iterations=iterations, stages=count), smallest)
        assert plan[-1].size == size
        assert len(plan) <= count
        assert sum(stage.iterations for stage in plan) == iterations
        assert min(stage.iterations for stage in plan) >= 1
        assert all(coarse.size == fine.size // 2 for coarse, fine in itertools.pairwise(plan))
        assert all(stage.size >= smallest for stage in plan[:-1])


def test_a_picture_is_converted_only_when_it_is_read_and_only_once(paint, monkeypatch):
    converted = []
    original = images.to_image
    monkeypatch.setattr(images, "to_image", lambda *args: converted.append(args) or original(*args))
    frames = list(paint(quick()))
    assert converted == []
    assert frames[3].picture is frames[3].picture
    assert len(converted) == 1


def test_frames_are_immutable(paint):
    frame = next(paint(quick()))
    for name in ("iteration", "losses", "picture"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frame, name, None)


def test_pictures_read_after_the_run_are_those_of_their_own_moment(paint):
    settings = quick(size=128, stages=2, init="noise")
    at_once = [array(frame.picture) for frame in paint(settings)]
    later = [array(frame.picture) for frame in list(paint(settings))]
    assert all(np.array_equal(a, b) for a, b in zip(at_once, later, strict=True))
    assert len({a.tobytes() for a in later}) > 1


def live_tensors() -> int:
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.slow
def test_closing_ends_the_work_and_frees_its_memory(paint, evaluations):
    list(paint(quick(size=128, stages=2, iterations=2)))  # whatever is computed once and kept is there from now on
    gc.collect()
    gc.disable()  # what needs the collector is not freed at once
    try:
        before = live_tensors()
        run = paint(quick(size=128, stages=2, iterations=20))
        frame = next(itertools.islice(run, 14, None))
        assert live_tensors() > before + 2
        run.close()
        evaluated = len(evaluations)
        assert live_tensors() == before + 2, "only the frame that is still held: its picture, and the photo beneath"
        assert frame.picture.size == (128, 85)
        del frame
        assert live_tensors() == before
    finally:
        gc.enable()
    with pytest.raises(StopIteration):
        next(run)
    assert len(evaluations) == evaluated


def test_a_run_that_is_dropped_frees_its_memory_too(paint):
    list(paint(quick(iterations=1)))
    gc.collect()
    before = live_tensors()
    run = paint(quick())
    next(run)
    del run
    assert live_tensors() == before


def test_a_run_may_be_advanced_from_a_new_thread_each_time(paint):
    settings = quick(size=128, stages=2)
    plain = list(paint(settings))
    run, hopping = paint(settings), []
    for _ in plain:
        with ThreadPoolExecutor(1) as thread:
            hopping.append(thread.submit(next, run).result())
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(next, run, None).result() is None
    assert [frame.losses for frame in hopping] == [frame.losses for frame in plain]
    assert np.array_equal(array(hopping[-1].picture), array(plain[-1].picture))


def test_a_run_leaves_the_callers_gradient_mode_alone_and_does_not_depend_on_it(paint):
    plain = list(paint(quick()))
    run, first = paint(quick()), None
    with torch.no_grad():
        first = next(run)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert [frame.losses for frame in (first, *run)] == [frame.losses for frame in plain]
    assert torch.is_grad_enabled()


def test_two_runs_in_turn_do_not_disturb_each_other(paint):
    alone = list(paint(quick(init="noise")))
    pairs = list(zip(paint(quick(init="noise")), paint(quick(tv_weight=50)), strict=True))
    assert [frame.losses for frame, _ in pairs] == [frame.losses for frame in alone]


def test_the_same_seed_gives_the_same_picture_bit_for_bit(paint):
    a, b = (list(paint(Settings(size=64, iterations=4, init="noise", seed=3)))[-1] for _ in range(2))
    assert a.losses == b.losses
    assert np.array_equal(array(a.picture), array(b.picture))


def test_another_seed_gives_other_noise_and_another_picture(paint):
    runs = [list(paint(quick(init="noise", seed=seed))) for seed in (0, 1, 2**32 - 1)]
    for n in (0, -1):
        assert len({array(run[n].picture).tobytes() for run in runs}) == 3


def test_the_seed_and_torchs_own_random_state_leave_each_other_alone(paint):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = next(paint(quick(init="noise", seed=3)))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(array(first.picture), array(next(paint(quick(init="noise", seed=3))).picture))


def test_a_run_from_noise_starts_without_a_trace_of_the_photo(paint, photo):
    start = array(next(paint(quick(init="noise", objective="gram"))).picture)
    assert start.std() > 50
    small = array(photo.resize((64, 43)))
    assert abs(np.corrcoef(start.ravel(), small.ravel())[0, 1]) < 0.1


def roughness(frame: Frame) -> float:
    x = array(frame.picture)
    return np.square(np.diff(x, axis=0)).sum() + np.square(np.diff(x, axis=1)).sum()


def test_more_tv_weight_makes_the_picture_smoother(paint):
    weights = {"content_weight": 0, "style_weight": 1e3}
    rough, smooth = (list(paint(quick(init="noise", tv_weight=γ, **weights)))[-1] for γ in (0, 100))
    assert roughness(smooth) < 0.5 * roughness(rough)


def test_more_style_weight_brings_the_painting_nearer_and_takes_the_photo_away(paint):
    little, much = (list(paint(quick(style_weight=β, iterations=12)))[-1].losses for β in (1e3, 1e8))
    assert much.style < 0.5 * little.style
    assert much.content > 2 * little.content


def test_layer_weights_choose_which_style_layer_comes_near_the_painting(paint, painting, vgg16):
    def distance(frame: Frame, layer: str) -> float:
        of_frame, of_painting = (
            dict(vgg16.activations(images.to_tensor(picture, picture.size), (layer,)))[layer]
            for picture in (frame.picture, painting.resize((53, 64)))
        )
        A = losses.gram_matrix(of_painting) / of_painting[0, 0].numel()
        return losses.style_loss(of_frame, A).item()

    layers = ["conv3_1", "conv1_1"]
    settings = [quick(iterations=12, style_layers=layers, style_layer_weights=w) for w in ([1, 0], [0, 1])]
    for_conv3, for_conv1 = (list(paint(each))[-1] for each in settings)
    assert distance(for_conv3, "conv3_1") < 0.8 * distance(for_conv1, "conv3_1")
    assert distance(for_conv1, "conv1_1") < 0.8 * distance(for_conv3, "conv1_1")


def test_a_photo_painted_after_itself_stays_as_it_is(photo, vgg16):
    frames = list(stylize(photo, photo, quick(), backbone=vgg16))
    assert len(frames) == 6
    assert np.abs(array(frames[-1].picture) - array(frames[0].picture)).max() <= 2


@pytest.mark.parametrize("swapped", [False, True])
def test_a_picture_too_narrow_for_the_layers_is_refused_in_one_sentence(swapped, photo, vgg16, evaluations):
    narrow = photo.resize((200, 30))
    pair = (photo, narrow) if swapped else (narrow, photo)
    with pytest.raises(PictureError) as error:
        next(stylize(*pair, Settings(size=64), backbone=vgg16))
    message = str(error.value)
    assert ("painting" if swapped else "photo") in message
    assert "64×10" in message
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    assert evaluations == []


def test_what_is_too_narrow_for_deep_layers_can_be_painted_with_shallow_ones(photo, vgg16):
    narrow = photo.resize((200, 30))
    assert next(stylize(narrow, narrow, quick(), backbone=vgg16)).picture.size == (64, 10)


def test_coarse_stages_never_make_a_picture_too_narrow_for_the_layers(photo, vgg16):
    banner = photo.resize((192, 20))
    for frame in stylize(banner, banner, Settings(size=192, stages=6, iterations=3), backbone=vgg16):
        assert frame.picture.size == (192, 20)
        assert frame.size * 20 / 192 >= 16


def test_the_callers_pictures_are_not_changed(photo, painting, vgg16):
    before = photo.tobytes(), painting.tobytes()
    list(stylize(photo, painting, quick(iterations=2), backbone=vgg16))
    assert (photo.tobytes(), painting.tobytes()) == before


@pytest.mark.slow
def test_a_note_of_a_picture_is_with_every_frame(painting, vgg16):
    panorama = Image.new("RGB", (6000, 4000), "teal")
    frames = list(stylize(panorama, painting, quick(iterations=2), backbone=vgg16))
    assert all("6000×4000" in frame.notes[0] and len(frame.notes) == 1 for frame in frames)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_a_diverged_evaluation_is_never_shown_and_the_run_goes_on(bad, paint, monkeypatch):
    original, calls = Objective.__call__, itertools.count(1)

    def diverging(self, x):
        found, gradient = original(self, x)
        if next(calls) in (4, 7, 8):
            return Losses(bad, bad, found.tv, bad), torch.full_like(gradient, math.nan)
        return found, gradient

    monkeypatch.setattr(Objective, "__call__", diverging)
    frames = list(paint(quick(iterations=20, style_weight=2e8)))
    assert [frame.iteration for frame in frames] == list(range(1, 21))
    for frame in frames:
        assert all(value < 1e20 for value in frame.losses)
        assert torch.isfinite(frame._pixels).all()
    for broken in (4, 7, 8):
        earlier = frames[: broken - 1]
        assert any(np.array_equal(array(frames[broken - 1].picture), array(frame.picture)) for frame in earlier)
    assert frames[-1].losses.total < 0.5 * frames[0].losses.total


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_from_the_start_is_said_and_nothing_broken_is_shown(bad, paint, monkeypatch):
    diverged = Losses(bad, bad, bad, bad)
    monkeypatch.setattr(Objective, "__call__", lambda self, x: (diverged, torch.full_like(x, math.nan)))
    with pytest.raises(SettingsError, match="no longer a number: choose smaller ones"):
        next(paint(quick()))


def test_a_run_ends_early_once_nothing_visible_changes_and_says_so(photo, vgg16):
    settings = quick(iterations=200, style_weight=1, tv_weight=0, tolerance=0.4)
    frames = list(stylize(photo, photo, settings, backbone=vgg16))
    assert len(frames) == 11, "the change is measured over ten evaluations"
    assert [frame.iteration for frame in frames] == list(range(1, 12))
    assert [frame.iterations for frame in frames] == [200] * 10 + [11]
    assert frames[-1].notes == ("Ended 189 iterations early: nothing visible changed any more.",)
    assert frames[-1].remaining == 0
    assert not any(frame.notes for frame in frames[:-1])


@pytest.mark.slow
def test_a_coarse_stage_that_ends_early_leaves_the_finer_ones_their_share(photo, vgg16):
    settings = quick(size=192, stages=2, iterations=90, style_weight=1, tv_weight=0, tolerance=0.4)
    sizes = [frame.size for frame in stylize(photo, photo, settings, backbone=vgg16)]
    assert sizes[:11] == [96] * 11
    assert set(sizes[11:]) == {192}


def test_a_picture_that_still_changes_is_painted_to_the_end(paint):
    assert len(list(paint(quick(iterations=25, tolerance=0.4)))) == 25


def test_with_no_tolerance_every_evaluation_is_made(photo, vgg16):
    assert len(list(stylize(photo, photo, quick(iterations=25, style_weight=1, tolerance=0), backbone=vgg16))) == 25


@pytest.mark.parametrize("objective", ["gram", "moments"])
def test_the_style_loss_is_counted_in_units_of_the_photos_own(objective, paint, photo, painting, vgg16):
    relative, absolute = (
        next(paint(quick(objective=objective, relative_style=relative))).losses for relative in (True, False)
    )
    assert relative.style == pytest.approx(1)
    P, S = (images.to_tensor(image, images.fit_size(image, 64)) for image in (photo, painting))
    assert absolute.style == pytest.approx(Objective(vgg16, quick(), P, S, style_loss=objective)(P)[0].style)
    assert absolute.style != pytest.approx(1, rel=0.1)


def fine_detail(picture: Image.Image) -> float:
    """The root mean square of the differences between neighbouring pixels, in grey levels."""
    grey = array(picture.convert("L"))
    return math.sqrt((np.diff(grey, axis=0) ** 2).mean() + (np.diff(grey, axis=1) ** 2).mean())


@pytest.mark.slow
def test_moments_paint_the_sky_that_gram_matrices_leave_a_photo(vgg16):
    content, style = EXAMPLES / "content" / "china.jpg", EXAMPLES / "style" / "stained-glass.webp"
    detail = {}
    for objective in ("gram", "moments"):
        *_, last = stylize(content, style, Settings(size=128, iterations=20, objective=objective), backbone=vgg16)
        width, height = last.picture.size
        detail[objective] = fine_detail(last.picture.crop((int(0.68 * width), 0, width, int(0.38 * height))))
    assert detail["moments"] > 1.3 * detail["gram"]


@pytest.mark.slow
def test_the_run_minimises_the_moments_it_reports(photo, painting, vgg16, reference):
    settings = quick(objective="moments", relative_style=False, iterations=1)
    (frame,) = stylize(photo, painting, settings, backbone=vgg16)
    x, S = (images.to_tensor(image, images.fit_size(image, 64)).double() for image in (photo, painting))
    of_photo, of_painting = reference.activations(x), reference.activations(S)
    expected = sum(
        losses.moments_loss(of_photo[layer], losses.moments(of_painting[layer])).item() / 2
        for layer in ("conv1_1", "conv2_1")
    )
    assert frame.losses.style == pytest.approx(expected, rel=1e-3)


def test_content_weighs_more_in_coarser_stages_of_gram_matrices(paint, photo, painting, vgg16):
    settings = quick(objective="gram", size=192, stages=2, iterations=4)
    first = {frame.size: frame for frame in reversed(list(paint(settings)))}[96]
    P, S = (images.to_tensor(image, images.fit_size(image, 96)) for image in (photo, painting))
    second = list(paint(settings))[1]
    usual = Objective(vgg16, settings, P, S)(second._pixels)[0].content
    assert first.losses.content == 0
    assert second.losses.content == pytest.approx(2 * usual, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["gram", "moments"])
def test_a_stage_at_which_the_paintings_pattern_is_gone_is_left_out_and_its_work_done_later(objective, photo, vgg16):
    lines = np.zeros((192, 192, 3), np.uint8)
    lines[::2] = 255
    squares = np.kron(np.indices((6, 6)).sum(0) % 2, np.ones((32, 32)))[..., None].repeat(3, 2)
    settings = quick(objective=objective, size=192, stages=2, iterations=12)
    for pattern, counts in ((lines, {192: 6}), (255 * squares, {96: 8, 192: 4})):
        frames = list(stylize(photo, Image.fromarray(pattern.astype(np.uint8)), settings, backbone=vgg16))
        assert collections.Counter(frame.size for frame in frames) == counts
        assert all(frame.iterations == len(frames) for frame in frames)
        assert not frames[-1].notes


def test_a_coarse_stage_of_gram_matrices_is_shown_with_the_fine_lines_of_the_photo(paint, photo):
    first, second, *_ = paint(quick(objective="gram", size=192, stages=2, iterations=6))
    enlarged = array(photo.resize((192, 128), Image.Resampling.LANCZOS))
    assert first.size == second.size == 96
    assert np.abs(array(first.picture) - enlarged).max() <= 2, "nothing is painted yet, and nothing is blurred"
    assert np.abs(array(second.picture) - enlarged).mean() > 1


def test_weights_sent_during_a_run_count_from_the_next_evaluation(photo, painting, vgg16):
    settings = quick(size=64, iterations=8, stages=1)
    frames = stylize(photo, painting, settings, backbone=vgg16)
    before = [next(frames) for _ in range(3)][-1]
    after = frames.send(replace(settings, style_weight=1e3, tv_weight=5.0))
    assert after.settings == replace(settings, style_weight=1e3, tv_weight=5.0)
    assert after.weighted.style == pytest.approx(1e3 * after.losses.style)
    assert after.weighted.total == pytest.approx(sum(after.weighted[:3]))
    assert after.iteration == before.iteration + 1
    assert _distance(after, before) < 0.05, "it goes on from the picture it had"
    rest = list(frames)
    assert rest[-1].iteration == rest[-1].iterations == 8
    assert rest[-1].losses.total < after.losses.total


def _distance(a, b):
    return float((a._pixels - b._pixels).abs().mean())


def test_less_style_sent_during_a_run_brings_the_photo_back(photo, painting, vgg16):
    settings = quick(size=64, iterations=24, stages=1)
    *_, kept = stylize(photo, painting, settings, backbone=vgg16)
    frames = stylize(photo, painting, settings, backbone=vgg16)
    for _ in range(8):
        next(frames)
    frames.send(replace(settings, style_weight=1.0))
    *_, steered = frames
    assert steered.losses.content < kept.losses.content / 4


def test_only_what_can_be_steered_changes_during_a_run(photo, painting, vgg16):
    settings = quick(size=64, iterations=4, stages=1)
    frames = stylize(photo, painting, settings, backbone=vgg16)
    next(frames)
    sent = replace(settings, size=128, iterations=500, content_weight=3.0)
    assert frames.send(sent).settings == replace(settings, content_weight=3.0)
    assert [frame.iteration for frame in frames][-1] == 4


@pytest.mark.slow
def test_settings_sent_in_one_stage_hold_in_the_next(photo, painting, vgg16):
    settings = quick(size=192, iterations=9, stages=2)
    frames = stylize(photo, painting, settings, backbone=vgg16)
    next(frames)
    frames.send(replace(settings, colours="luminance"))
    *_, last = frames
    assert last.size == 192
    assert last.settings.colours == "luminance"
    hue, photos = (
        np.asarray(p.convert("YCbCr"), dtype=float)[..., 1:] for p in (last.picture, photo.resize((192, 128)))
    )
    assert np.abs(hue - photos).mean() < 6


def test_a_picture_is_gone_on_from_where_it_stands(photo, painting, vgg16):
    settings = quick(size=96, iterations=20, stages=1)
    *_, half = stylize(photo, painting, settings, backbone=vgg16)
    more = list(stylize(photo, painting, settings, backbone=vgg16, init_image=half.picture))
    assert [frame.size for frame in more] == [96] * 20
    assert np.abs(array(more[0].picture) - array(half.picture)).max() <= 2, (
        "rounded twice, and its palette limited twice"
    )
    assert more[-1].losses.total < half.losses.total


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_two_paintings_are_mixed_by_their_gram_matrices(share, photo, painting, vgg16):
    other = Image.fromarray(np.asarray(painting)[::-1, :, ::-1].copy())
    settings = quick(objective="gram", size=64, iterations=1, stages=1, relative_style=False, mix=share)
    found = next(stylize(photo, (painting, other), settings, backbone=vgg16)).losses.style
    G, A, B = (
        targets.style_targets(vgg16, images.to_tensor(image, images.fit_size(image, 64)), settings.style_layers)
        for image in (photo, painting, other)
    )
    E = [losses.gram_distance(G[layer], (1 - share) * A[layer] + share * B[layer]).item() for layer in A]
    assert found == pytest.approx(sum(E) / len(E), rel=1e-3)


def test_three_paintings_are_refused(photo, painting, vgg16):
    with pytest.raises(PictureError, match="one painting, or two"):
        next(stylize(photo, (painting,) * 3, quick(), backbone=vgg16))


@pytest.mark.parametrize("objective", ["gram", "moments"])
def test_larger_strokes_are_those_of_a_larger_painting(objective, photo, painting, vgg16):
    settings = quick(objective=objective, size=64, iterations=1, stages=1, relative_style=False)
    twice = next(stylize(photo, painting, replace(settings, stroke=2.0), backbone=vgg16)).losses.style
    P = images.to_tensor(photo, images.fit_size(photo, 64))
    S = images.to_tensor(painting, images.fit_size(painting, 128))
    assert twice == pytest.approx(Objective(vgg16, settings, P, S, style_loss=objective)(P)[0].style, rel=1e-4)


def test_strokes_of_a_narrow_painting_never_get_too_small_for_the_layers(photo, painting, vgg16):
    narrow = painting.resize((400, 110))
    settings = Settings(size=64, iterations=3, stages=1)
    frames = stylize(photo, narrow, settings, backbone=vgg16)
    next(frames)
    steered = frames.send(replace(settings, stroke=0.5))
    assert steered.settings.stroke == 0.5
    assert math.isfinite(list(frames)[-1].losses.total)


def test_settings_sent_unchanged_disturb_nothing(photo, painting, vgg16):
    settings = quick(iterations=8)
    usual = [frame.losses.total for frame in stylize(photo, painting, settings, backbone=vgg16)]
    frames = stylize(photo, painting, settings, backbone=vgg16)
    found = [next(frames).losses.total]
    found += [frames.send(replace(settings, iterations=500)).losses.total for _ in range(7)]
    assert found == usual
