"""A run as a visitor sees it: the picture that forms, the status, the curves; and the hand on it while it runs."""

from __future__ import annotations

import html
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from styletransfer import Frame, Losses, Settings, StyleTransferError, stylize

from . import turn
from .keep import Kept, Lapse

SECONDS_PER_VIEW = 0.4  # sending pictures more often costs more than it shows
SECONDS_PER_PLOT = 1.5
MOST_KEPT = 24
LONGEST_PAUSE = 120.0  # seconds: others may be waiting
MORE = 20  # evaluations of a press on More
CURVES = {"content": "#3b82c4", "style": "#d9573f", "tv": "#3f9b72", "total": "#8f7bd1"}
COMPUTE = threading.Lock()  # a cancelled job gives its slot away before its last step has ended


class Job:
    """What a visitor's buttons and running picture share, and what the visit has made so far."""

    def __init__(self) -> None:
        self.stopped, self.paused = threading.Event(), threading.Event()
        self.running = False
        self.wanted: deque[Settings] = deque(maxlen=1)  # turned during the run, and not yet in effect
        self.folder = tempfile.TemporaryDirectory(prefix="painting-")  # goes when the visitor does
        self.kept: list[Kept] = []
        self.made = 0  # pictures in all
        self.current: Kept | None = None  # the one that More goes on from

    def __deepcopy__(self, memo: object) -> Job:
        return Job()  # each visitor's own

    def take(self) -> Settings | None:
        """What was turned, once."""
        return self.wanted.popleft() if self.wanted else None

    def keep(self, kept: Kept) -> None:
        """One picture more, and none too many."""
        self.current = kept
        self.kept.append(kept)
        if len(self.kept) > MOST_KEPT:
            self.kept.pop(0).forget()


def paint(
    job: Job,
    photo: str | None,
    painting: str | None,
    preset: str,
    size: float,
    iterations: float,
    style_weight_power_of_ten: float,
    content_weight: float,
    tv_weight: float,
    colours: str,
    stroke: float,
    mix: float,
    second_painting: str | None = None,
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Paint the photo in the manner of the painting; gives the picture, the status, the curves and a PNG file.

    Args:
        photo: The photo to paint.
        painting: The painting to paint it like.
        preset: quick, balanced, best or classic.
        size: Long side of the result in pixels.
        iterations: Evaluations of the loss, at most.
        style_weight_power_of_ten: Strength of the style: 7.3 stands for 2e7.
        content_weight: Likeness to the photo.
        tv_weight: Smoothness.
        colours: painting, luminance or matched.
        stroke: Size of the strokes.
        mix: Share of the second painting, if there is one.
        second_painting: A painting to mix in.
    """
    positions = (size, iterations, style_weight_power_of_ten, content_weight, tv_weight, colours, stroke, mix)
    yield from _painted(job, photo, painting, second_painting, preset, positions)


def paint_more(
    job: Job, photo: str | None, painting: str | None, preset: str, *positions: Any
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Go on from the last picture of this visit."""
    *turned, second_painting = positions
    yield from _painted(job, photo, painting, second_painting, preset, tuple(turned), more=True)


def _painted(
    job: Job,
    photo: str | None,
    painting: str | None,
    second_painting: str | None,
    preset: str,
    positions: tuple[Any, ...],
    more: bool = False,
) -> Iterator[tuple[Any, Any, Any, Any]]:
    curves, marks, lapse = list[Losses](), dict[int, str](), Lapse()
    viewed = plotted = 0.0
    frame: Frame | None = None
    note = ""
    try:
        settings = turn.chosen(preset, positions)
        if not photo or not painting:
            raise StyleTransferError(f"Choose a {'painting' if photo else 'photo'} first.")
        begun = None
        if more:
            if not job.current:
                raise StyleTransferError("There is no picture to go on from: press Paint first.")
            if job.current.photo != photo:
                raise StyleTransferError("The photo is another one by now: press Paint, or reopen one of its pictures.")
            begun = job.current.file
        yield gr.skip(), told("Looking at the two pictures …"), gr.skip(), gr.skip()
        both = (painting, second_painting) if second_painting else painting
        frames = stylize(photo, both, replace(settings, iterations=MORE) if more else settings, begun=begun)
        while True:
            wanted = job.take() if frame else None
            with COMPUTE:
                frame, before = frames.send(wanted), frame
            curves.append(frame.weighted if frame.settings.tv_weight else frame.weighted._replace(tv=frame.losses.tv))
            if before and before.settings != frame.settings:
                marks[frame.iteration] = "turned"
            if not before or before.size != frame.size:
                marks[frame.iteration] = f"{frame.size} px"
            if frame.iteration == frame.iterations or job.stopped.is_set():
                break
            now = time.monotonic()
            if now - viewed > SECONDS_PER_VIEW:
                viewed, plot = now, gr.skip()
                if now - plotted > SECONDS_PER_PLOT:
                    plotted, plot = now, figure(curves, marks, frame)
                lapse.add(frame.picture)
                left = f"about {frame.remaining:.0f} s left"
                yield frame.picture, status(frame, "Painting", left), plot, gr.skip()
            if job.paused.is_set():
                yield frame.picture, status(frame, "Paused"), figure(curves, marks, frame), gr.skip()
                yield from _pause(job)
        frames.close()
    except (StyleTransferError, RuntimeError, MemoryError) as error:  # torch says RuntimeError when memory is short
        ours = isinstance(error, StyleTransferError)
        note = str(error) if ours else "This machine could not paint that: choose a smaller size or smaller strokes."
        if not frame:
            raise gr.Error(note, title="That does not work", print_exception=not ours) from error
    ended = "Stopped" if frame.iteration < frame.iterations else "Finished"
    lapse.add(frame.picture)
    said = status(frame, ended, *([note] if note else []))
    job.made += 1
    settings = replace(frame.settings, iterations=settings.iterations)
    with tempfile.TemporaryDirectory() as passing:  # a program's: it has no visit
        kept = Kept.of(frame, Path(job.folder.name if job.running else passing), job.made, str(photo), lapse, settings)
        if job.running:
            job.keep(kept)
        yield frame.picture, said, figure(curves, marks, frame), kept.file


def _pause(job: Job) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Wait until the visitor goes on or leaves; a pause that is too long ends the run, with its picture kept."""
    end = time.monotonic() + LONGEST_PAUSE
    while job.paused.is_set() and not job.stopped.is_set() and time.monotonic() < end:
        time.sleep(0.2)
        yield gr.skip(), gr.skip(), gr.skip(), gr.skip()  # a closed tab is noticed here
    if job.paused.is_set():
        job.stopped.set()


def status(frame: Frame, what: str, *more: str) -> str:
    """Where the run is, as a bar and a line, and below what the visitor should know of it."""
    now = [
        f"{frame.iteration} of {frame.iterations}",
        f"at {frame.size} px",
        f"{frame.seconds:.0f} s",
        *more,
        frame.backbone.upper().replace("VGG", "VGG-"),
    ]
    return told(f"{what}: {' · '.join(now)}", *frame.notes, share=frame.iteration / frame.iterations)


def told(*sentences: str, share: float | None = None) -> str:
    """Sentences, a paragraph each, below a bar of what is done."""
    bar = "" if share is None else f'<progress value="{share:.3f}" max="1" aria-label="Painted so far"></progress>'
    return bar + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def figure(curves: list[Losses], marks: dict[int, str], frame: Frame) -> go.Figure:
    """The terms of the loss by step, on one logarithmic scale; dotted lines where a stage began or a hand turned."""
    labels = {"content": "α content", "style": "β style", "tv": "γ smoothness", "total": "total"}
    if not frame.settings.tv_weight:
        labels["tv"] = "smoothness (γ = 0)"
    plot = go.Figure(
        [
            go.Scatter(
                x=list(range(1, len(curves) + 1)),
                y=[getattr(losses, term) or None for losses in curves],  # a logarithmic scale has no zero
                name=labels[term],
                mode="lines",
                line={"color": colour, "width": 3 if term == "total" else 2},
            )
            for term, colour in CURVES.items()
        ]
    )
    for iteration, text in marks.items():
        plot.add_vline(iteration, line_dash="dot", line_color="rgba(128,128,128,0.6)", annotation_text=text)
    plot.update_layout(
        height=300,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "Loss by step", "range": [0, frame.iterations], "automargin": True},
        yaxis={"type": "log", "exponentformat": "power", "dtick": 1, "automargin": True},
        legend={"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0},
        font={"color": "#808080"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="losses",
    )
    for update in (plot.update_xaxes, plot.update_yaxes):
        update(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return plot


def steer(job: Job, preset: str, *positions: Any) -> None:
    """Something was turned: a run of this visitor's that is on follows at its next step."""
    with suppress(StyleTransferError, TypeError, ValueError, OverflowError):  # a number that is being typed
        if job.running:
            job.wanted.append(turn.chosen(preset, positions))


def begin(job: Job) -> tuple[Any, ...]:
    """Paint or More was pressed: until a place is free, the page says so."""
    job.stopped.clear()
    job.paused.clear()
    job.wanted.clear()
    job.running = True
    off = gr.update(interactive=False)
    return off, off, off, *_while(True), told("Waiting for a free place …")


def end(job: Job) -> tuple[Any, ...]:
    """The run is over: Paint, Surprise me, More, Pause, Stop."""
    job.running = False
    on = gr.update(interactive=True)
    return on, on, gr.update(interactive=bool(job.current)), *_while(False)


def fail(job: Job) -> tuple[Any, ...]:
    """The run could not begin, and a message on the page has said why."""
    return *end(job), told("Nothing was painted this time.")


def _while(running: bool) -> tuple[Any, Any]:
    return gr.update(interactive=running, value="Pause"), gr.update(interactive=running)


def stop(job: Job) -> None:
    """End the run at its next step, and keep its picture."""
    job.stopped.set()


def pause(job: Job) -> str:
    """Pause, or go on; gives the button its other name."""
    if job.paused.is_set():
        job.paused.clear()
        return "Pause"
    job.paused.set()
    return "Continue"
