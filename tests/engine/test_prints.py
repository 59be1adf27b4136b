"""A print: what its frames show, how it is steered and stopped, what it says before it starts, and its pixels.

Here what is larger than 128 px is a print, in tiles of 32 px, so that nothing takes long.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from styletransfer import Frame, Settings, SettingsError, images, losses, problem, schedule, stylize, tiles
from styletransfer import __main__ as command_line
from styletransfer.cpu import memory
from styletransfer.problem import Problem
from tests.data import one_sentence
from tests.engine.test_optimize import quick
from tests.engine.test_tiles import finish

ITERATIONS = schedule.PRINT_ITERATIONS


@pytest.fixture(autouse=True)
def small_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MAX_WHOLE_SIZE", 128)
    monkeypatch.setattr(tiles, "TILE_SIDE", 32)


@pytest.fixture
def run(photo, painting, vgg16) -> Callable[..., Iterator[Frame]]:
    """A print of 192 px, composed at 96."""

    def start(init_image: Image.Image | None = None, keep: Image.Image | None = None, **values: object):
        settings = quick(**{"size": 192, "iterations": 2, **values})
        return stylize(photo, painting, settings, backbone=vgg16, init_image=init_image, keep=keep)

    return start


@pytest.mark.slow
def test_a_print_says_its_time_and_memory_first_and_then_grows(run):
    frames = list(run())
    assert (frames[0].iteration, frames[0].picture.size) == (0, (96, 64))
    assert frames[0].notes[-1].startswith("This print takes about ")
    steps = [frame for frame, before in zip(frames[1:], frames, strict=False) if frame.iteration != before.iteration]
    assert [frame.iteration for frame in steps] == list(range(1, 3 + ITERATIONS))
    assert [frame.size for frame in steps] == [96] * 2 + [192] * ITERATIONS
    assert {frame.iterations for frame in frames} == {2 + ITERATIONS}
    assert steps[-1].picture.size == steps[-1].width_height == (192, 128)
    assert steps[-1].remaining == 0
    assert all(frame.is_print for frame in frames)
    last = steps[-ITERATIONS:]
    assert [frame.losses.total for frame in last] == sorted((f.losses.total for f in last), reverse=True)


def test_a_print_may_be_stopped_between_two_tiles_and_keeps_what_there_is(run):
    frames = run()
    last = next(frame for frame in frames if frame.size == 192)
    again = list(itertools.islice(frames, 40))
    assert len(cut := [frame for frame in again if frame is last]) > 24, "twice as many as there are tiles"
    frames.close()
    assert cut[-1].picture.size == (192, 128)


@pytest.mark.slow
def test_settings_sent_between_two_tiles_of_a_print_hold_from_the_next_step(run):
    frames = run()
    last = next(frame for frame in frames if frame.size == 192)
    next(frames)
    frames.send(quick(size=192, iterations=2, tv_weight=100.0))
    rest = [frame for frame in frames if frame is not last]
    assert {frame.settings.tv_weight for frame in rest} == {100.0}
    assert rest[-1].iteration == 2 + ITERATIONS


@pytest.mark.slow
def test_a_print_goes_on_from_a_finished_picture(run, photo):
    finished = photo.resize((96, 64)).rotate(180)
    frames = list(run(init_image=finished))
    assert frames[0].picture.size == (96, 64)
    assert {frame.size for frame in frames[1:]} == {192}
    turned = np.asarray(frames[-1].picture.resize((96, 64)), dtype=float)
    assert np.abs(turned - np.asarray(finished)).mean() < np.abs(turned - np.asarray(photo)).mean()


@pytest.mark.slow
def test_what_a_mask_keeps_has_the_photos_own_lines_in_a_print(run, photo):
    keep = Image.new("L", (96, 64))
    keep.paste(255, (0, 0, 48, 64))
    *_, masked = run(keep=keep)
    *_, plain = run()
    change = [
        np.abs(np.asarray(frame.picture, dtype=float) - np.asarray(photo.resize((192, 128)), dtype=float)).mean((0, 2))
        for frame in (masked, plain)
    ]
    assert change[0][:80].mean() < 0.8 * change[1][:80].mean()


def test_strokes_are_as_large_in_a_print_as_in_a_small_picture_of_the_same_painting(photo, painting, vgg16):
    made = Problem(photo, (painting,), Settings(size=192, stroke=1.5), vgg16)
    (found,) = finish(made.print_targets(192))
    larger = images.to_tensor(painting, (240, 288))  # its long side is 1.5 times that of the print
    for layer, F in vgg16.activations(larger, schedule.PRINT_LAYERS):
        assert torch.allclose(found[layer].float(), losses.moments(F), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("colours", ["painting", "luminance", "matched"])
def test_the_16_bits_of_a_print_are_its_picture_in_the_colours_of_any_other(
    colours, photo, painting, vgg16, monkeypatch
):
    woodcut = painting.convert("L").convert("RGB")
    pixels = torch.rand(1, 3, 43, 64, generator=torch.Generator().manual_seed(0))
    made = Problem(photo, (woodcut,), Settings(size=64, colours=colours), vgg16)
    monkeypatch.setattr(problem, "BAND_ROWS", 10)
    deep, flat = (made.finish_print(pixels, whole) for whole in (np.uint16, np.uint8))
    assert (deep.dtype, deep.shape) == (np.uint16, (43, 64, 3))
    assert np.abs(deep / 257 - flat).max() <= 0.51
    assert np.abs(flat - np.asarray(made.finish(pixels), dtype=float)).max() <= 3, "Pillow rounds in between"


def test_a_print_that_memory_does_not_allow_is_refused_with_a_size_that_it_does(run, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4.5e9)
    with pytest.raises(SettingsError, match=r"needs .* GB of memory, and 4\.5 GB are free: choose size ") as error:
        next(run(size=8192))
    assert one_sentence(error.value)
    fits = int(str(error.value).split()[-1].rstrip("."))
    assert 4096 < fits < 8192
    next(run(size=fits))


def test_the_size_that_is_proposed_in_place_of_a_small_print_fits_though_a_picture_at_once_takes_more(
    run, photo, monkeypatch
):
    monkeypatch.setattr(schedule, "MAX_WHOLE_SIZE", 1024)  # as in earnest
    monkeypatch.setattr(memory, "available_bytes", lambda: 1.7e9)
    monkeypatch.setattr(memory, "PRINT_BASE", 1.65e9)
    with pytest.raises(SettingsError, match="choose size ") as error:
        next(run(size=1040))
    fits = int(str(error.value).split()[-1].rstrip("."))
    assert fits >= 256
    next(run(size=fits))


@pytest.mark.slow
def test_the_command_line_saves_a_print_with_16_bits_and_its_resolution(photo, painting, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    painting.save("painting.png")
    flags = "--size 192 --iterations 2 --stages 1 --backbone vgg16 --style-layers conv1_1 --content-layers conv2_1"
    for name, dpi in (("print.png", "240"), ("print.jpg", "150")):
        assert command_line.main(["photo.png", "painting.png", "-o", name, "--dpi", dpi, *flags.split()]) == 0
        assert "This print takes about" in capsys.readouterr().err
        with Image.open(name) as image:
            assert image.size == (192, 128)
            assert image.info["dpi"] == pytest.approx((int(dpi),) * 2, abs=0.1)
            assert image.info["icc_profile"]
    assert (tmp_path / "print.png").read_bytes()[24] == 16, "bits of each channel"
