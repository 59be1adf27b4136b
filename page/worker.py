"""A run on either side of a process border: an order goes in, views come out, wishes reach it as files.

On a ZeroGPU Space the GPU is in another process, into which an order is pickled, and out of which views are.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from styletransfer import Frame, Losses, Settings, StyleTransferError, record, stylize

SECONDS_PER_VIEW = 0.4  # sending pictures more often costs more than it shows
LONGEST_RUN = 30 * 60.0  # seconds: others may be waiting
ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
COMPUTE = threading.Lock()  # a cancelled job gives its slot away before its last step has ended


class Wishes:
    """What a visitor wants of a run that is on, as files in the visit's folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._stop, self._turned = self._folder / "stop", self._folder / "turned.json"

    def forget(self) -> None:
        """A new run begins."""
        self._stop.unlink(missing_ok=True)
        self._turned.unlink(missing_ok=True)

    def stop(self) -> None:
        """End at the next step."""
        self._stop.touch()

    @property
    def stopped(self) -> bool:
        """Whether to end. The folder goes when the visitor does."""
        return self._stop.exists() or not self._folder.exists()

    def turn(self, settings: Settings) -> None:
        """Go on with these, from the next step."""
        part = self._turned.with_suffix(".part")
        part.write_text(record.text(settings), encoding="utf-8")
        part.replace(self._turned)

    def turned(self) -> Settings | None:
        """What was turned, once."""
        taken = self._turned.with_suffix(".taken")
        with suppress(FileNotFoundError):
            self._turned.replace(taken)
            return record.parse(taken.read_text(encoding="utf-8"))
        return None


class Order(NamedTuple):
    """What to paint, in paths of files, and the folder of the wishes."""

    photo: str
    paintings: tuple[str, ...]
    settings: Settings
    begun: str | None
    folder: str


class View(NamedTuple):
    """What is shown of a run at one moment, and what is new in its curves."""

    picture: Image.Image
    losses: list[Losses]
    marks: dict[int, str]  # by evaluation: a stage began, or a hand turned
    iteration: int
    iterations: int
    size: int
    seconds: float
    remaining: float
    settings: Settings
    backbone: str
    notes: tuple[str, ...]
    ended: str  # "" while it goes on, else Finished or Stopped


class Refused(NamedTuple):
    """Why nothing could be painted, in one sentence, and whether that was foreseen."""

    sentence: str
    foreseen: bool


def seconds_on_gpu(order: Order) -> int:
    """What a run asks of a ZeroGPU: small, for it is checked against the visitor's quota before the run begins."""
    return min(120, 15 + round(order.settings.iterations * order.settings.size**2 * 2e-7))


def views(order: Order) -> Iterator[View | Refused]:
    """Paint; ends with a view that says how it ended, or with the refusal."""
    wishes, started, viewed = Wishes(order.folder), time.monotonic(), 0.0
    longest = seconds_on_gpu(order) - 5.0 if ZERO_GPU else LONGEST_RUN
    losses, marks = list[Losses](), dict[int, str]()
    frame: Frame | None = None
    try:
        frames = stylize(order.photo, order.paintings, order.settings, begun=order.begun)
        ended, note = "", ""
        while not ended:
            wanted = wishes.turned() if frame else None
            with COMPUTE:
                frame, before = frames.send(wanted), frame
            weighted = frame.weighted
            losses.append(weighted if frame.settings.tv_weight else weighted._replace(tv=frame.losses.tv))
            if before and before.settings != frame.settings:
                marks[frame.iteration] = "turned"
            if not before or before.size != frame.size:
                marks[frame.iteration] = f"{frame.size} px"
            now = time.monotonic()
            if frame.iteration == frame.iterations:
                ended = "Finished"
            elif wishes.stopped:
                ended = "Stopped"
            elif now - started > longest:
                ended, note = "Stopped", f"A run may take {longest:.0f} s here, and this one was not done by then."
            if ended or now - viewed > SECONDS_PER_VIEW:
                viewed = now
                yield _view(frame, losses, marks, ended, note)
                losses, marks = [], {}
        frames.close()
    except (StyleTransferError, RuntimeError, MemoryError) as error:  # torch says RuntimeError when memory is short
        ours = isinstance(error, StyleTransferError)
        if not ours:
            logging.getLogger(__name__).exception("a run failed")
        note = str(error) if ours else "This machine could not paint that: choose a smaller size or smaller strokes."
        yield _view(frame, losses, marks, "Stopped", note) if frame else Refused(note, ours)


def _view(frame: Frame, losses: list[Losses], marks: dict[int, str], ended: str, note: str) -> View:
    f = frame
    notes = (note, *f.notes) if note else f.notes
    at = f.iteration, f.iterations, f.size, f.seconds, f.remaining
    return View(f.picture, losses, marks, *at, f.settings, f.backbone, notes, ended)


def on_gpu(task: Callable[[Order], Iterator[Any]]) -> Callable[[Order], Iterator[Any]]:
    """`task` where the GPU is: in another process on a ZeroGPU Space, else right here."""
    if not os.environ.get("SPACE_ID"):
        return task
    try:
        import spaces
    except ImportError:  # a Space with a processor or a GPU of its own
        return task
    there = spaces.GPU(duration=seconds_on_gpu)(task)
    return there if there is task else lambda order: until_lost(there(order))


def until_lost(there: Iterator[View | Refused]) -> Iterator[View | Refused]:
    """The views from a GPU; where it is taken away in the middle of a run, the last of them ends it."""
    last: View | Refused | None = None
    try:
        for last in there:
            yield last
    except Exception as error:
        if isinstance(last, View):
            notes = f"The GPU was taken away before the end ({error}).", *last.notes
            yield last._replace(losses=[], marks={}, notes=notes, ended="Stopped")
        elif isinstance(error, gr.Error):  # the visitor's quota, with a link to more
            raise
        else:
            logging.getLogger(__name__).exception("no GPU")
            yield Refused("No GPU could be had just now: try again in a minute.", foreseen=False)


paint = on_gpu(views)


def warm_up(photo: str, painting: str, settings: Settings) -> None:
    """Load the weights and choose the convolutions' routes before anybody waits for them.

    An evaluation in each stage of `settings`; it ends when a visitor comes, whose run does the same.
    """
    frames = stylize(photo, painting, replace(settings, iterations=settings.stages))
    with suppress(StyleTransferError, StopIteration):  # what does not work is told to who tries it
        while COMPUTE.acquire(blocking=False):
            try:
                next(frames)
            finally:
                COMPUTE.release()
            time.sleep(0.1)  # a lock is not fair: who waits for it gets it now
