"""Whatever a caller has set in torch, a run gives the same losses, breaks no later run, and changes no setting."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from PIL import Image

from styletransfer import Frame, Settings, backbones, stylize, targets
from styletransfer.cpu import convolution, precision
from tests.data import PAINTING, PHOTO, ROOT

# Neighbours, then moments: both kinds of targets, and every layer.
SETTINGS = Settings(size=96, iterations=3, stages=2, precision="float32", faces=False, backbone="vgg16")

Setter = Callable[[], AbstractContextManager[object]]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: dict[str, Setter] = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "meta device by default": lambda: default_device("meta"),
    "meta device around it": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic algorithms": deterministic,
}


def state() -> tuple[object, ...]:
    return (
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
    )


def forget_everything() -> None:
    """Make the next run the first of its process."""
    backbones._vgg16.cache_clear()
    targets._content_cache.clear()
    targets._style_cache.clear()
    convolution.usable_routes.cache_clear()


@pytest.fixture
def paint(
    photo: Image.Image, painting: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Iterator[Frame]]]:
    """A run by one route, so that two runs give the same bits; nothing is cached before, or left after it."""
    monkeypatch.setattr(convolution, "_pinned", "winograd")
    forget_everything()
    yield lambda: stylize(photo, painting, SETTINGS)
    forget_everything()


@pytest.fixture
def expected(paint: Callable[[], Iterator[Frame]]) -> list[tuple[float, ...]]:
    """The losses of a run in a process that has set nothing."""
    losses = losses_of(paint())
    forget_everything()
    return losses


def losses_of(frames: Iterator[Frame]) -> list[tuple[float, ...]]:
    return [tuple(frame.losses) for frame in frames if frame.iteration]


QUICK = ("inference mode",)  # the others are slow tests
SOME_STATES = [
    pytest.param(enter, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, enter in STATES.items()
]


@pytest.mark.parametrize("enter", SOME_STATES)
def test_a_state_of_the_callers_changes_no_run_and_poisons_no_later_one(enter, paint, expected):
    with enter():
        set_by_caller = state()
        found = []
        for frame in paint():
            assert state() == set_by_caller
            assert frame.picture.size == (96, 64)
            if frame.iteration:
                found.append(tuple(frame.losses))
        assert state() == set_by_caller
    assert found == expected
    assert losses_of(paint()) == expected


@pytest.mark.slow
def test_a_state_that_changes_between_two_steps_does_not_matter(paint, expected):
    frames = paint()
    found = []
    with contextlib.suppress(StopIteration):
        while True:
            for enter in STATES.values():
                with enter():
                    frame = next(frames)
                if frame.iteration:
                    found.append(tuple(frame.losses))
    assert found == expected


def test_closing_a_run_halfway_leaves_the_callers_state(paint):
    with torch.inference_mode():
        frames = paint()
        next(frames)
        before = state()
        frames.close()
        assert state() == before


@pytest.mark.parametrize("enter", SOME_STATES)
def test_the_choice_of_precision_is_made_in_any_state(enter, monkeypatch):
    monkeypatch.setattr(precision, "has_instructions", lambda: True)
    choose = precision.fastest_precision.__wrapped__
    with enter():
        assert choose() in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("route", ["direct", "nnpack", "winograd"])
@pytest.mark.parametrize("enter", STATES.values(), ids=STATES)
def test_a_layer_first_used_in_any_state_still_computes_later(enter, route, monkeypatch):
    if route not in convolution.usable_routes():
        pytest.skip("this build has no NNPACK")
    monkeypatch.setattr(convolution, "_pinned", route)
    weight, x = torch.linspace(-1, 1, 16 * 16 * 9).view(16, 16, 3, 3), torch.linspace(-1, 1, 16 * 64).view(1, 16, 8, 8)
    layer, fresh = (convolution.Conv3x3(weight, torch.zeros(16)) for _ in range(2))
    with enter(), contextlib.suppress(RuntimeError):  # a layer alone computes in the state of its caller
        layer(x)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    (expected,) = torch.autograd.grad(fresh(x).sum(), x)
    assert torch.equal(gradient, expected)


@pytest.mark.slow
def test_a_package_that_is_imported_in_a_strange_state_paints_in_and_after_it():
    script = f"""
import json, torch
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
def paint():
    from styletransfer import Settings, stylize
    settings = Settings(size=96, iterations=3, stages=2, precision="float32", faces=False, backbone="vgg16")
    return [frame.losses for frame in stylize({str(PHOTO)!r}, {str(PAINTING)!r}, settings) if frame.iteration]
with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
    first = paint()
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
print(json.dumps([first, paint()]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, later = json.loads(done.stdout)
    here = losses_of(stylize(PHOTO, PAINTING, SETTINGS))
    for found in (first, later):
        for theirs, ours in zip(found, here, strict=True):
            assert theirs == pytest.approx(ours, rel=1e-2)
