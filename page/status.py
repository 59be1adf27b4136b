"""What the page says and draws of a run: the status line with its bar, and the plot of the losses."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from styletransfer import Losses, Settings

from .queue import Place
from .worker import Update

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
    if not place:
        return status_html("Reading the two pictures …")
    people = "1 person" if place.before == 1 else f"{place.before} people"
    said = f"{people} before you" if place.before else "You are next"
    if place.seconds is not None:
        minutes, seconds = round(place.seconds / 60), max(1, round(place.seconds))
        said += f" · about {minutes} min" if minutes > 1 else f" · about {seconds} s"
    return status_html(said)


def describe_progress(update: Update, state: str, *details: str, message: str = "") -> str:
    """Return the status of a run: its `state` (Painting, Paused, …) with the figures, then `message` and the notes."""
    figures = [
        f"{update.iteration} of {update.iterations}",
        f"at {update.size} px",
        f"{update.seconds:.0f} s",
        *details,
        update.backbone.upper().replace("VGG", "VGG-"),
    ]
    notes = (message, *update.notes) if message else update.notes
    progress = update.seconds / (update.seconds + update.remaining)
    return status_html(f"{state}: {' · '.join(figures)}", *notes, progress=progress)


def plot_losses(losses: Sequence[Losses], marks: Mapping[int, str], settings: Settings, iterations: int) -> go.Figure:
    """Plot the terms of the loss by step on a logarithmic scale, with a dotted line at each of the `marks`.

    The plot has room for `iterations` steps.
    """
    labels = {"content": "α content", "style": "β style", "tv": "γ smoothness", "total": "total"}
    if not settings.tv_weight:
        labels["tv"] = "smoothness (γ = 0)"
    plot = go.Figure(
        [
            go.Scatter(
                x=list(range(1, len(losses) + 1)),
                y=[getattr(loss, term) or None for loss in losses],  # a logarithmic scale has no zero
                name=labels[term],
                mode="lines",
                line={"color": colour, "width": 3 if term == "total" else 2},
            )
            for term, colour in CURVE_COLOURS.items()
        ]
    )
    for iteration, text in marks.items():
        label = text.replace(" · ", "<br>")  # on a phone three labels side by side would overlap
        plot.add_vline(iteration, line_dash="dot", line_color="rgba(128,128,128,0.6)", annotation_text=label)
    plot.update_layout(
        height=300,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "Loss by step", "range": [0, iterations], "automargin": True},
        yaxis={"type": "log", "exponentformat": "power", "dtick": 1, "automargin": True},
        legend={"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0},
        font={"color": "#808080"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="losses",
    )
    for update_axes in (plot.update_xaxes, plot.update_yaxes):
        update_axes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return plot
