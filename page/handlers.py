"""A run as a visitor sees it: the picture that forms, the status, the curves; and the hand on it while it runs."""

from __future__ import annotations

import errno
import html
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go
from PIL import Image

from styletransfer import PRESETS, Losses, Settings, StyleTransferError, colour, pictures

from . import run, turn
from .keep import Kept, Lapse
from .run import Order, Refused, View, Wishes

SECONDS_PER_PLOT = 1.5
MOST_KEPT = 24
LONGEST_PAUSE = 120.0  # seconds: others may be waiting
MORE = 20  # evaluations of a press on More
PREVIEW_SIZE = 320  # pixels of the long side
CURVES = {"content": "#3b82c4", "style": "#d9573f", "tv": "#3f9b72", "total": "#8f7bd1"}
PREVIEWING = threading.Lock()  # reading a large picture takes a gigabyte
log = logging.getLogger(__name__)


class Job:
    """What a visitor's buttons and running picture share, and what the visit has made so far."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="painting-")  # goes when the visitor does
        self.wishes = Wishes(self.folder.name)
        self.paused = threading.Event()
        self.running = False
        self.seen = False  # whether there is anything where the result belongs
        self.kept: list[Kept] = []
        self.made = 0  # pictures in all
        self.current: Kept | None = None  # the one that More goes on from

    def __deepcopy__(self, memo: object) -> Job:
        return Job()  # each visitor's own

    def keep(self, kept: Kept) -> None:
        """One picture more, and none too many."""
        self.current = kept
        self.kept.append(kept)
        if len(self.kept) > MOST_KEPT:
            self.kept.pop(0).forget()


def stylize(
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


def paint(photo: str | None, painting: str | None, preset: str = turn.DEFAULT) -> Image.Image:
    """Paint a photo in the manner of a painting and return the finished picture.

    Args:
        photo: The photo to paint.
        painting: The painting to paint it like.
        preset: balanced, quick, best or classic: how long it may take.
    """
    positions = tuple(turn.turn_to(PRESETS[preset]))
    *_, (picture, *_) = _painted(Job(), photo, painting, None, preset, positions)
    return picture


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
    started, outcome, done = time.monotonic(), "refused", 0
    try:
        order = _order(job, photo, painting, second_painting, preset, positions, more)
        yield gr.skip(), told("Looking at the two pictures …"), gr.skip(), gr.skip()
        curves, marks, lapse, plotted = list[Losses](), dict[int, str](), Lapse(), 0.0
        outcome = "left"
        for view in run.paint(order):
            if isinstance(view, Refused):
                outcome = "refused" if view.foreseen else "failed"
                raise gr.Error(view.sentence, title="That does not work", print_exception=False)
            job.seen = True
            curves += view.losses
            marks |= view.marks
            done = view.iteration
            lapse.add(view.picture)
            if view.ended:
                outcome = view.ended.lower()
                settings = replace(view.settings, iterations=turn.chosen(preset, positions).iterations)
                kept, sentence = _saved(job, order, view, lapse, settings)
                said = status(view, view.ended, sentence=sentence)
                yield view.picture, said, figure(curves, marks, view), kept.file if kept else None
                if kept and not job.running:  # a program has taken its file, and has no visit
                    kept.forget()
                return
            plot = gr.skip()
            if time.monotonic() - plotted > SECONDS_PER_PLOT:
                plotted, plot = time.monotonic(), figure(curves, marks, view)
            left = f"about {view.remaining:.0f} s left"
            yield view.picture, status(view, "Painting", left), plot, gr.skip()
            if job.paused.is_set():
                # Not the picture again: Gradio would write its file anew while a browser reads it.
                yield gr.skip(), status(view, "Paused"), figure(curves, marks, view), gr.skip()
                yield from _pause(job)
    except StyleTransferError as error:
        raise gr.Error(str(error), title="That does not work", print_exception=False) from error
    finally:
        facts = positions[0], preset, time.monotonic() - started, done, outcome
        log.info("job size=%s preset=%s seconds=%.1f evaluations=%d outcome=%s", *facts)


def _order(
    job: Job,
    photo: str | None,
    painting: str | None,
    second_painting: str | None,
    preset: str,
    positions: tuple[Any, ...],
    more: bool,
) -> Order:
    """What was asked for; StyleTransferError if it makes no sense."""
    settings = turn.chosen(preset, positions)
    if not photo or not painting:
        raise StyleTransferError(f"Choose a {'painting' if photo else 'photo'} first.")
    for what, path in (("photo", photo), ("painting", painting), ("second painting", second_painting)):
        if path and not Path(path).is_file():  # of yesterday, say
            raise StyleTransferError(f"The {what} is no longer on the server: choose it again.")
    paintings = (painting, second_painting) if second_painting else (painting,)
    if not more:
        return Order(photo, paintings, settings, None, job.folder.name)
    if not job.current:
        raise StyleTransferError("There is no picture to go on from: press Paint first.")
    if job.current.photo != photo:
        raise StyleTransferError("The photo is another one by now: press Paint, or reopen one of its pictures.")
    return Order(photo, paintings, replace(settings, iterations=MORE), job.current.file, job.folder.name)


def _saved(job: Job, order: Order, view: View, lapse: Lapse, settings: Settings) -> tuple[Kept | None, str]:
    """The picture's files, which belong to the visit if there is one; or none, and why."""
    try:
        kept = Kept.of(view.picture, Path(job.folder.name), job.made + 1, order.photo, lapse, settings)
    except (OSError, StyleTransferError) as error:  # no room, or the photo has been tidied away
        job.current = None
        if isinstance(error, OSError):
            why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        else:
            why = str(error).rstrip(".")
        return None, f"The picture could not be saved ({why}): keep it with a right click or a long press."
    job.made += 1
    if job.running:
        job.keep(kept)
    return kept, ""


def _pause(job: Job) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Wait until the visitor goes on or leaves; a pause that is too long ends the run, with its picture kept."""
    end = time.monotonic() + LONGEST_PAUSE
    while job.paused.is_set() and not job.wishes.stopped and time.monotonic() < end:
        time.sleep(0.2)
        yield gr.skip(), gr.skip(), gr.skip(), gr.skip()  # a closed tab is noticed here
    if job.paused.is_set():
        job.wishes.stop()


def status(view: View, what: str, *more: str, sentence: str = "") -> str:
    """Where the run is, as a bar and a line, and below what the visitor should know of it."""
    now = [
        f"{view.iteration} of {view.iterations}",
        f"at {view.size} px",
        f"{view.seconds:.0f} s",
        *more,
        view.backbone.upper().replace("VGG", "VGG-"),
    ]
    notes = (sentence, *view.notes) if sentence else view.notes
    return told(f"{what}: {' · '.join(now)}", *notes, share=view.seconds / (view.seconds + view.remaining))


def told(*sentences: str, share: float | None = None) -> str:
    """Sentences, a paragraph each, below a bar of the share of the time that has passed."""
    bar = "" if share is None else f'<progress value="{share:.3f}" max="1" aria-label="Painted so far"></progress>'
    return bar + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def figure(curves: list[Losses], marks: dict[int, str], view: View) -> go.Figure:
    """The terms of the loss by step, on one logarithmic scale; dotted lines where a stage began or a hand turned."""
    labels = {"content": "α content", "style": "β style", "tv": "γ smoothness", "total": "total"}
    if not view.settings.tv_weight:
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
        xaxis={"title": "Loss by step", "range": [0, view.iterations], "automargin": True},
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
    if not job.running:
        return
    try:
        job.wishes.turn(turn.chosen(preset, positions))
    except (StyleTransferError, TypeError, ValueError, OverflowError):
        pass  # a number that is being typed
    except OSError as error:
        raise gr.Error(
            "The disk of this server is full: what you turn does not count.", print_exception=False
        ) from error


def begin(job: Job) -> tuple[Any, ...]:
    """Paint or More was pressed: until a place is free, the page says so."""
    job.wishes.forget()
    job.paused.clear()
    job.running = True
    off = gr.update(interactive=False)
    return off, off, off, *_while(True), told("Waiting for a free place …"), gr.update(visible=True)


def end(job: Job) -> tuple[Any, ...]:
    """The run is over: Paint, Surprise me, More, Pause, Stop."""
    job.running = False
    on = gr.update(interactive=True)
    return on, on, gr.update(interactive=bool(job.current)), *_while(False)


def fail(job: Job) -> tuple[Any, ...]:
    """The run could not begin, and a message on the page has said why."""
    return *end(job), told("Nothing was painted this time."), gr.update(visible=job.seen)


def _while(running: bool) -> tuple[Any, Any]:
    return gr.update(interactive=running, value="Pause"), gr.update(interactive=running)


def stop(job: Job) -> None:
    """End the run at its next step, and keep its picture."""
    job.wishes.stop()


def pause(job: Job) -> str:
    """Pause, or go on; gives the button its other name."""
    if job.paused.is_set():
        job.paused.clear()
        return "Pause"
    job.paused.set()
    return "Continue"


def preview(job: Job, photo: str | None, painting: str | None, colours: str) -> Image.Image | None:
    """The last picture of this photo, or the photo itself, in about the colours that were chosen."""
    if not photo or not painting:
        return None
    with suppress(StyleTransferError), PREVIEWING:
        photo_image, painting_image = (pictures.load(path).image for path in (photo, painting))
        ours = job.current and job.current.photo == photo
        shown = pictures.load(job.current.file).image if job.current and ours else photo_image.copy()
        shown.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
        return colour.preview(shown, photo_image, painting_image, colours)
    return None
