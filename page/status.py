"""What the page says and draws of a run: the status line with its bar, and the plot of the losses."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradio.components.plot import PlotData

from styletransfer import Losses, Settings

from .queue import Place
from .sketches import Sketches
from .worker import CHANGED, Update

PLOT_HEIGHT, PLOT_WIDTH = 300, 270  # pixels: of all of it, and between its axes on the narrowest phone
LABEL_SIZE, LETTER_WIDTH, LABEL_HEIGHT, LABEL_ROWS = 11, 6.6, 16, 3  # the first three in pixels
GAP, CLOSE = 4, 24  # pixels: between a line and its label, and between marks that share one
MAX_TICKS = 7  # of the axis of the losses, about
LEAVE_QUEUE = "Stop leaves the queue."
NOTHING_PAINTED = '<p class="nothing-painted">Nothing painted yet.</p>'
CURVE_COLOURS = {"content": "#3b82c4", "style": "#d9573f", "tv": "#3f9b72", "total": "#8f7bd1"}


def status_html(*sentences: str, progress: float | None = None, is_error: bool = False) -> str:
    """Return the sentences as a paragraph each, below a bar if `progress`, from 0 to 1, is given."""
    bar = ""
    if progress is not None:
        bar = f'<progress value="{progress:.3f}" max="1" aria-label="Painted so far"></progress>'
    start = '<p role="alert">' if is_error else "<p>"
    return bar + "".join(f"{start}{html.escape(sentence)}</p>" for sentence in sentences)


def describe_place(place: Place | None) -> str:
    """Return the status of a run that has no picture yet: its place in the queue, or that it begins."""
    said = status_html(_say_place(place), LEAVE_QUEUE) if place else status_html("Reading the two pictures …")
    return f'<div class="waiting">{said}</div>'


def _say_place(place: Place) -> str:
    people = "1 person" if place.before == 1 else f"{place.before} people"
    said = f"{people} before you" if place.before else "You are next"
    return said if place.seconds is None else f"{said} · {_say_seconds(place.seconds)}"


def _say_seconds(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes > 1 else f"about {max(1, round(seconds))} s"


def describe_sketches(sketches: Sketches, names: Sequence[str]) -> str:
    """Return what is said of sketches: how many of the styles, whose `names` these are, have been painted, and why not
    all of them."""
    wall, total = sketches.wall, len(names)
    if sketches.is_over:
        done = f"{wall.painted} of {total} sketches" if wall.painted < total else f"{total} sketches"
        how = ": press one to paint it in full" if wall.painted else ""
        return status_html(f"{sketches.end} {done}{how}.".lstrip())
    said = f"Sketch {wall.painting + 1} of {total}: {names[wall.painting]}"
    if sketches.place:
        said += f" · {_say_place(sketches.place)}"
    elif sketches.seconds_left:
        said += f" · {_say_seconds(sketches.seconds_left)} left"
    return status_html(said, progress=wall.painted / total)


def describe_progress(update: Update, state: str, *messages: str) -> str:
    """Return the status of a run: its `state` (Painting, Paused, …) and time, messages, the notes, and the figures."""
    time = f"about {max(1, round(update.remaining))} s left" if state == "Painting" else f"{update.seconds:.0f} s"
    backbone = update.backbone.upper().replace("VGG", "VGG-")
    figures = f"Step {update.iteration} of {update.iterations} · {update.size} px · {backbone}"
    progress = update.seconds / (update.seconds + update.remaining)
    return status_html(f"{state}: {time}", *filter(None, messages), *update.notes, figures, progress=progress)


class MarkLabel(NamedTuple):
    """The label of a mark in the plot of the losses, or of several that are close to one another."""

    steps: tuple[int, ...]  # of its marks, in order
    text: str
    details: str  # shown while a pointer is on it
    x: float  # where its `side` is, as a step
    side: str  # left or right
    start: float  # what it covers, in pixels from the left axis, in a plot of PLOT_WIDTH
    end: float
    row: int = 0  # the highest


def label_marks(marks: Mapping[int, str], iterations: int) -> list[MarkLabel]:
    """Return labels that neither cover one another nor leave the plot, if it is at least PLOT_WIDTH wide.

    Stages have their whole text if there is room to the right of their lines, and else their size. Marks that are too
    close for a label each share one.
    """
    for is_short in (False, True):
        labels: list[MarkLabel] = []
        has_room = True
        for step in sorted(marks):
            together = [step]
            if labels and (step - labels[-1].steps[0]) / iterations * PLOT_WIDTH < CLOSE:
                together = [*labels.pop().steps, step]
            while (row := _free_row(labels, label := _make_label(marks, together, iterations, is_short))) is None:
                together = [*labels.pop().steps, *together]
                has_room = False
            has_room = has_room and label.side == "left"
            labels.append(label._replace(row=row))
        if has_room:
            break
    return labels


def _make_label(marks: Mapping[int, str], steps: Sequence[int], iterations: int, is_short: bool) -> MarkLabel:
    stages = {step: marks[step] for step in steps if marks[step] != CHANGED}
    changes = [step for step in steps if marks[step] == CHANGED]
    said = [text.split(" · ")[0] if is_short else text for text in stages.values()]
    details = [f"step {step}: {text}" for step, text in stages.items()]
    if len(changes) == 1:
        said.append(CHANGED)
        details.append(f"step {changes[0]}: {CHANGED}")
    elif changes:
        said.append(f"{len(changes)} changes")
        details.append(f"steps {changes[0]} to {changes[-1]}: {len(changes)} changes")
    text = ", ".join(said)
    width, x = len(text) * LETTER_WIDTH + GAP, steps[0]
    if x / iterations * PLOT_WIDTH + width <= PLOT_WIDTH:
        side, start = "left", x / iterations * PLOT_WIDTH
    else:
        side = "right"
        if x / iterations * PLOT_WIDTH < width:  # there is too little room on either side of the line
            x = iterations
        start = x / iterations * PLOT_WIDTH - width
    return MarkLabel(tuple(steps), text, "<br>".join(details), x, side, start, start + width)


def _free_row(labels: Sequence[MarkLabel], label: MarkLabel) -> int | None:
    """Return the highest row with room for the label beside the other labels, or None."""
    covered = {other.row for other in labels if label.start < other.end and other.start < label.end}
    return next((row for row in range(LABEL_ROWS) if row not in covered), None)


def plot_losses(losses: Sequence[Losses], marks: Mapping[int, str], settings: Settings, iterations: int) -> PlotData:
    """Plot the terms of the loss by step on a logarithmic scale, with a dotted line at each of the `marks`.

    The plot has room for `iterations` steps. It cannot be zoomed: a finger on it scrolls the page.
    """
    names = {"content": "α content", "style": "β style", "tv": "γ smoothness", "total": "total"}
    if not settings.tv_weight:
        names["tv"] = "smooth (γ = 0)"  # on a phone, a longer name would need a row for each
    curves = [
        {
            "type": "scatter",
            "x": list(range(1, len(losses) + 1)),
            "y": [getattr(loss, term) or None for loss in losses],  # a logarithmic scale has no zero
            "name": names[term],
            "mode": "lines",
            "line": {"color": colour, "width": 3 if term == "total" else 2},
        }
        for term, colour in CURVE_COLOURS.items()
    ]
    values = [value for loss in losses for value in loss if value > 0]
    decades = math.log10(max(values) / min(values)) if values else 0.0
    labels = label_marks(marks, iterations)
    rows = 1 + max((label.row for label in labels), default=-1)
    lined = {label.steps[0] for label in labels} | {step for step, text in marks.items() if text != CHANGED}
    line = {"type": "line", "line": {"dash": "dot", "color": "rgba(128,128,128,0.6)"}}
    span = {"type": "rect", "line": {"width": 0}, "fillcolor": "rgba(128,128,128,0.15)"}
    across = {"y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "fixedrange": True, "automargin": True}
    layout = {
        "height": PLOT_HEIGHT,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "shapes": [
            *({**span, **across, "x0": label.steps[0], "x1": label.steps[-1]} for label in labels),
            *({**line, **across, "x0": step, "x1": step} for step in lined),
        ],
        "annotations": [
            {
                "text": label.text,
                "hovertext": label.details,
                "x": label.x,
                "xanchor": label.side,
                "xshift": GAP if label.side == "left" else -GAP,
                "y": 1,
                "yref": "paper",
                "yanchor": "top",
                "yshift": -LABEL_HEIGHT * label.row,
                "font": {"size": LABEL_SIZE},
                "borderpad": 0,
                "showarrow": False,
            }
            for label in labels
        ],
        "xaxis": {**axis, "title": {"text": "Loss by step"}, "range": [0, iterations]},
        "yaxis": {
            **axis,
            "type": "log",
            "exponentformat": "power",
            "dtick": max(1, math.ceil(decades / MAX_TICKS)),
            "domain": [0, 1 - 1.5 * rows * LABEL_HEIGHT / PLOT_HEIGHT],  # the legend and the title take a third
        },
        "legend": {"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0, "font": {"size": LABEL_SIZE}},
        "font": {"color": "#808080", "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "uirevision": "losses",  # a curve that was hidden stays so
    }
    # Written as the browser's Plotly reads it. Plotly's package takes 20 ms to build it, and many may watch.
    return PlotData(type="plotly", plot=json.dumps({"data": curves, "layout": layout}))
