"""The benchmark measures what it says: an independent plain loop, alone in its process, and a fair evaluation."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image, ImageFilter

from benchmarks import measure
from benchmarks.quality import Evaluator
from benchmarks.subprocess_iter import iterate_in_subprocess
from examples import plain
from styletransfer import Settings, weights
from styletransfer.backbones import Backbone
from styletransfer.optimize import Objective
from tests.data import PAINTING, PHOTO, ROOT


@pytest.fixture(scope="module")
def network() -> plain.Network:
    return plain.Network(weights.bundled_vgg16())


def test_the_plain_loop_and_the_engine_minimise_the_same_loss(network, photo, painting, vgg16: Backbone):
    P, S = plain.to_tensor(plain.resize(photo, 64)), plain.to_tensor(plain.resize(painting, 64))
    x = (P + 0.1 * torch.randn(P.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    settings = Settings(size=64, content_weight=2, style_weight=3e6)
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


def test_the_plain_loop_paints_from_the_photo(network, photo, painting):
    P, S = plain.to_tensor(plain.resize(photo, 64)), plain.to_tensor(plain.resize(painting, 64))
    steps = list(plain.paint(network, P, S, 1, 1e7, 30))
    assert [step.iteration for step in steps] == list(range(1, 31))
    assert torch.equal(steps[0].x, P)
    assert min(step.total for step in steps) < 0.5 * steps[0].total


def test_the_plain_loop_runs_by_itself_from_any_folder(tmp_path):
    command = [sys.executable, ROOT / "examples/plain.py", PHOTO, PAINTING, "-o", "out.png", "--size", "64"]
    done = subprocess.run([*command, "--iterations", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2: L_total" in done.stdout
    assert max(Image.open(tmp_path / "out.png").size) == 64


def test_the_evaluator_ranks_the_photo_and_the_painting(network, photo, painting):
    evaluator = Evaluator(network, photo, painting, 128, 1, 1e7)
    own = evaluator.evaluate(evaluator.photo)
    assert (own.style, own.content_similarity) == pytest.approx((1, 1), abs=1e-4)
    as_painting = evaluator.evaluate(painting.resize(evaluator.photo.size))
    assert as_painting.style < 0.7
    assert as_painting.content_similarity < 0.7
    blurred = evaluator.evaluate(evaluator.photo.filter(ImageFilter.GaussianBlur(3)))
    assert as_painting.content_similarity < blurred.content_similarity < 1


def test_the_evaluator_takes_a_picture_of_another_size(network, photo, painting):
    evaluator = Evaluator(network, photo, painting, 96, 1, 1e7)
    assert evaluator.evaluate(photo.resize((192, 128), Image.Resampling.LANCZOS)).content_similarity > 0.9


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
