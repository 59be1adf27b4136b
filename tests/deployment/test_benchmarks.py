"""The benchmark measures what it says: an independent plain loop, alone in its process, and a fair evaluation."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from benchmarks import measure, pictures, report
from benchmarks.quality import Evaluator, Quality
from benchmarks.simulation import Cost, Scene, simulate
from benchmarks.subprocess_iter import iterate_in_subprocess
from examples import plain
from styletransfer import Settings, weights
from styletransfer.backbones import Backbone
from styletransfer.objective import Objective
from tests.data import PAINTING, PHOTO, ROOT


@pytest.fixture(scope="module")
def network() -> plain.Network:
    return plain.Network(weights.bundled_vgg16())


@pytest.mark.slow
def test_the_plain_loop_and_the_engine_minimise_the_same_loss(network, photo, painting, vgg16: Backbone):
    P, S = plain.to_tensor(plain.resize(photo, 64)), plain.to_tensor(plain.resize(painting, 64))
    x = (P + 0.1 * torch.randn(P.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    settings = Settings(size=64, content_weight=2, style_weight=3e6, tv_weight=0, objective="gram")
    ours, gradient = Objective(vgg16, settings, P, S)(x)
    y = x.clone().requires_grad_()
    loss = plain.Loss(network, P, S, 2, 3e6)(y)
    loss.backward()
    assert ours.total == pytest.approx(loss.item(), rel=1e-3)
    assert y.grad is not None
    assert (gradient - y.grad).norm() < 2e-2 * y.grad.norm()


@pytest.mark.slow
def test_the_plain_loop_does_not_profit_from_the_engines_settings(monkeypatch):
    script = "import sys, benchmarks.plain_loop, benchmarks.subprocess_iter; sys.exit('styletransfer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert list(iterate_in_subprocess(map, os.getenv, ["OMP_WAIT_POLICY"])) == [None]
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_iterating_in_a_subprocess_gives_every_item_and_notices_a_failure():
    assert list(iterate_in_subprocess(iter, [1, 2, 3])) == [1, 2, 3]
    with pytest.raises(RuntimeError, match="failed in its own process"):
        list(iterate_in_subprocess(next, iter([])))


@pytest.mark.slow
def test_the_plain_loop_paints_from_the_photo(network, photo, painting):
    P, S = plain.to_tensor(plain.resize(photo, 64)), plain.to_tensor(plain.resize(painting, 64))
    steps = list(plain.paint(network, P, S, 1, 1e7, 30))
    assert [step.iteration for step in steps] == list(range(1, 31))
    assert torch.equal(steps[0].x, P)
    assert min(step.total for step in steps) < 0.5 * steps[0].total


@pytest.mark.slow
def test_the_plain_loop_runs_by_itself_from_any_folder(tmp_path):
    command = [sys.executable, ROOT / "examples/plain.py", PHOTO, PAINTING, "-o", "out.png", "--size", "64"]
    done = subprocess.run([*command, "--iterations", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2: L_total" in done.stdout
    assert max(Image.open(tmp_path / "out.png").size) == 64
    refused = subprocess.run([*command, "--iterations", "0"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--iterations must be at least 1" in refused.stderr


def as_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image) / 255


def every_window(array: np.ndarray, size: int, step: int) -> np.ndarray:
    """All windows of size×size of (H, W, …), every `step`, each flat."""
    windows = np.lib.stride_tricks.sliding_window_view(array, (size, size), axis=(0, 1))[::step, ::step]
    return windows.reshape(windows.shape[0] * windows.shape[1], -1)


def roughness(image: Image.Image) -> np.ndarray:
    grey = as_array(image).mean(axis=2)
    padded = np.pad(grey, 4, mode="reflect")
    smooth = every_window(padded, 9, 1).mean(axis=1).reshape(grey.shape)
    return np.sqrt((every_window(grey - smooth, 32, 16) ** 2).mean(axis=1))


def patch_distance(a: Image.Image, b: Image.Image) -> float:
    total = 0
    for scale in (1, 2, 4):
        p, q = (every_window(as_array(image.reduce(scale)), 7, 2) for image in (a, b))
        distances = np.stack([np.linalg.norm(q - patch, axis=1) for patch in p])
        total += distances.min(axis=0).mean() + distances.min(axis=1).mean()
    return total


def alike(image: Image.Image, reference) -> np.ndarray:
    F = reference.activations(plain.to_tensor(image).double())["conv4_2"].flatten(2)[0].numpy()
    F = F - F.mean(axis=1, keepdims=True)
    F /= np.linalg.norm(F, axis=0)
    return F.T @ F


def test_the_four_figures_are_those_of_their_definitions(network, photo, painting, reference):
    """Recomputed in NumPy, and on the reference network; the pictures are so small that every patch is compared."""
    picture = pictures.add_noise(Image.blend(photo, painting.resize(photo.size), 0.4), 8)
    found = Evaluator(network, photo, painting, 96).evaluate(picture)
    rough, painted = roughness(picture), roughness(painting)
    assert found.unpainted == pytest.approx((rough < np.quantile(painted, 0.05)).mean())
    assert found.grainy == pytest.approx((rough > np.quantile(painted, 0.99)).mean())
    assert found.patches == pytest.approx(patch_distance(picture, painting) / patch_distance(photo, painting), rel=5e-3)
    same_parts = np.corrcoef(alike(picture, reference).ravel(), alike(photo, reference).ravel())[0, 1]
    assert found.structure == pytest.approx(same_parts, abs=2e-3)


@pytest.mark.slow
def test_the_photo_and_the_painting_are_the_ends_of_the_scale(network):
    painting = plain.resize(Image.open(PAINTING).convert("RGB"), 256)
    photo = ImageOps.fit(Image.open(PHOTO).convert("RGB"), painting.size)
    evaluator = Evaluator(network, photo, painting, 256)
    own = evaluator.evaluate(photo)
    assert (own.patches, own.structure) == pytest.approx((1, 1), abs=1e-4)
    copied = evaluator.evaluate(painting)
    assert copied.unpainted == pytest.approx(0.05, abs=0.02)
    assert copied.grainy == pytest.approx(0.01, abs=0.01)
    assert copied.patches < 0.6
    assert copied.structure < 0.5


def test_a_flat_sky_is_unpainted_and_noise_is_no_paint(network):
    photo = plain.resize(Image.open(PHOTO).convert("RGB"), 192)
    photo.paste((120, 160, 220), (0, 0, photo.width, photo.height // 2))
    evaluator = Evaluator(network, photo, Image.open(ROOT / "examples/style/impasto.webp").convert("RGB"), 192)
    assert evaluator.evaluate(photo).unpainted > 0.4
    noisy = evaluator.evaluate(pictures.hide_behind_noise(photo, evaluator))
    assert pictures.meets("unpainted", noisy.unpainted)
    assert noisy.patches > 1.05
    assert evaluator.evaluate(pictures.add_noise(photo, 60)).grainy > 0.9


def test_a_picture_of_another_size_is_judged_at_the_photos(network, photo, painting):
    larger = photo.resize((192, 128), Image.Resampling.LANCZOS)
    assert Evaluator(network, photo, painting, 96).evaluate(larger).structure > 0.9


@pytest.mark.slow
def test_the_score_prefers_what_the_plain_loop_has_painted(network, photo, painting):
    score = measure.Score(network, photo, painting, 128, 1, 1e7)
    P, S = plain.to_tensor(score.photo), plain.to_tensor(plain.resize(painting, 128))
    *_, last = plain.paint(network, P, S, 1, 1e7, 8)
    assert score(plain.to_image(last.x)) < score(photo)


def test_every_example_pair_is_painted_in_five_ways():
    assert [pair.name for pair in pictures.read_pairs()][::7] == [
        "astronaut × van-gogh-cafe-terrace-at-night",
        "chelsea × pointillism",
    ]
    assert list(pictures.WAYS) == ["classic", "a1a8776", "default", "repaint", "keep my photo"]
    # What that commit's default was, whatever today's is.
    assert pictures.WAYS["a1a8776"] == Settings(
        objective="gram", iterations=75, tv_weight=0, faces=False, precision="float32", backbone="vgg16"
    )


def test_the_requirements_are_met_or_not():
    quality = Quality(unpainted=0.02, grainy=0.06, patches=0.7, structure=0.6)
    before = quality._replace(patches=0.8)
    galleries = [
        pictures.Gallery(pair, pair.open()[0], pair.open()[1], {}, {"default": quality, "a1a8776": before})
        for pair in pictures.read_pairs()[:2]
    ]
    found = pictures.summarize(galleries, "default")
    assert found["patches, relative"] == pytest.approx(0.875)
    assert [figure for figure, value in found.items() if not pictures.meets(figure, value)] == ["grainy"]
    assert not pictures.meets("structure", found["structure"], "keep my photo")
    section = report.pictures_section(galleries, 512)
    assert "| grainy | ≤ 0.05 | **0.060** | **0.060** |" in section
    assert "| structure | ≥ 0.50 | 0.600 | 0.600 |" in section


@pytest.mark.parametrize(
    ("totals", "wasted"),
    [([5, 4, 3], 0), ([5, 9, 8, 4], 2), ([5, 4, 4, 3], 1), ([5, math.nan, 4], 1), ([5], 0)],
)
def test_wasted_iterations_are_counted(totals, wasted):
    assert measure.count_wasted(totals) == wasted


@pytest.mark.parametrize(("target", "seconds"), [(10, 1.0), (4, 3.0), (3, 4.0), (2, None)])
def test_the_time_to_beat_a_score_is_that_of_the_first_better_picture(target, seconds):
    scores = [9, 5, 3.5, 2.5, 2.2]
    assert measure.find_time_to_beat(target, [1.0, 2.0, 3.0, 4.0, 5.0], scores.__getitem__) == seconds


def test_simulated_visitors_wait_for_what_there_is_too_little_of() -> None:
    nothing = Cost(0.0, 0.0, 0.0, 0.0, 0.0)
    enough = simulate(Scene(4, 10.0, 10, 4, 5.0, 3000.0), nothing, 1)
    assert enough.waiting == 0
    assert enough.pictures == 10
    assert enough.runs_per_minute == pytest.approx(4 * 60 / (10 + 5), rel=0.1)
    few_painters = simulate(Scene(2, 10.0, 10, 40, 5.0, 3000.0), nothing, 1)
    assert few_painters.runs_per_minute == pytest.approx(2 * 60 / 10, rel=0.01)
    assert few_painters.waiting > 100
    slow_films = simulate(Scene(8, 10.0, 10, 8, 5.0, 3000.0), nothing._replace(film=3.0), 1)
    assert slow_films.runs_per_minute == pytest.approx(60 / 3.0, rel=0.02)
    slow_page = simulate(Scene(20, 10.0, 10, 20, 5.0, 1000.0), nothing._replace(picture=0.2, answer=0.01), 1)
    assert slow_page.busy == pytest.approx(1, abs=0.02)
    assert slow_page.pictures < 9, "newer ones take the place of those that nobody has seen"
    assert slow_page.slow_answer > 1
