"""A run as the page sees it: a Request goes to a Painter, Updates come back, and a RunControl steers and stops it.

Here is also the painter of this machine. On a ZeroGPU Space the GPU belongs to another process: the request is pickled
into it, and each update out of it. Painters on other machines are in ray_painters.py.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gradio as gr
from PIL import Image

from styletransfer import Frame, Losses, Resume, Settings, StyleTransferError, backbones, metadata, stylize

from .config import ServerConfig

SECONDS_PER_UPDATE = 0.4  # sending images more often costs more time than it is worth
WATCHED_SIZE = 1024  # pixels of the long side of a picture that is sent while the run goes on
REGION_IGNORED = "The marked region was ignored, since no second painting is chosen."
CHANGED = "changed"  # the mark of a step from which a run has other settings
ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
log = logging.getLogger(__name__)


class RunControl:
    """What a visitor tells a run: to stop, to pause, or to go on with other settings.

    All but the pause is stored as files in `folder`, where a run in another process finds it.
    """

    def __init__(self, folder: Path) -> None:
        self.paused = False
        self.folder = folder
        self._stop_file, self._settings_file = folder / "stop", folder / "settings.json"

    def stop(self) -> None:
        """End the run at its next step."""
        with suppress(FileNotFoundError):  # it has just ended
            self._stop_file.touch()

    @property
    def stopped(self) -> bool:
        """Whether the run should end; it also should when the folder has been deleted together with the session."""
        return self._stop_file.exists() or not self.folder.exists()

    def forget(self) -> None:
        """Delete its files: the run is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, settings: Settings) -> None:
        """Let the run go on with these settings from its next step. Raises OSError."""
        part = self._settings_file.with_suffix(".part")
        part.write_text(metadata.to_json(settings), encoding="utf-8")
        part.replace(self._settings_file)

    def receive(self) -> Settings | None:
        """Return the settings that were sent last, but each only once."""
        taken = self._settings_file.with_suffix(".taken")
        with suppress(FileNotFoundError):
            self._settings_file.replace(taken)
            return metadata.from_json(taken.read_text(encoding="utf-8"))
        return None


class Request(NamedTuple):
    """What to paint. Pictures are paths of files; it can be pickled."""

    photo: str
    paintings: tuple[str, ...]
    settings: Settings
    folder: Path  # of the RunControl
    init_image: str | None = None
    keep: str | None = None  # a mask of the photo, white where it is kept
    region: str | None = None  # a mask of the photo, white where the second painting paints
    resume: Resume | None = None  # where another painter was lost in this run
    config: ServerConfig = ServerConfig()

    @property
    def files(self) -> set[str]:
        """The paths of the pictures that the visitor chose."""
        return {path for path in (self.photo, *self.paintings, self.keep, self.region) if path}

    @property
    def regions(self) -> tuple[None, str] | None:
        """The region of each painting, None for the rest of the photo; None if there is no second painting for it."""
        return (None, self.region) if self.region and len(self.paintings) > 1 else None


class RunEnd(Enum):
    """How a run ended, if it has a picture."""

    FINISHED = auto()
    STOPPED = auto()  # by the visitor, by the time limit, or by an error


class Update(NamedTuple):
    """What the page shows of a run at one moment. It can be pickled."""

    picture: Image.Image
    losses: list[Losses]  # of the steps since the update before
    marks: dict[int, str]  # new labels in the plot, by step: a stage began, or the visitor changed something
    iteration: int
    iterations: int
    size: int
    seconds: float
    remaining: float
    settings: Settings
    backbone: str
    masked: bool  # whether the request's mask says what to keep: a black one says nothing
    in_regions: bool  # whether each of two paintings paints a part: a region may cover nothing, or all of the photo
    notes: tuple[str, ...]
    end: RunEnd | None  # None while the run goes on


class Failure(NamedTuple):
    """Why nothing was painted, in one sentence."""

    message: str
    expected: bool  # whether it is due to the request, and not to this machine


class PainterLostError(Exception):
    """A painter ended in the middle of a run, or before it. Another may go on."""


class Painter(Protocol):
    """What the page asks of whoever paints, one run at a time.

    The visitor's words to the run are in the RunControl of `request.folder`: a painter looks there for settings and for
    "stop" between two steps, or carries them to where it paints.
    """

    def paint(self, request: Request) -> Iterator[Update | Failure]:
        """Paint. The last value says how the run ended, or why it failed. Raises PainterLostError, or gr.Error."""


class LocalPainter:
    """Paints on this machine."""

    def paint(self, request: Request) -> Iterator[Update | Failure]:
        """Paint, in another process where the GPU belongs to one."""
        return run(request)


def gpu_seconds(request: Request) -> int:
    """Return the seconds to ask of a ZeroGPU: few, since it checks them against the visitor's quota before the run."""
    return min(120, 15 + round(request.settings.iterations * request.settings.size**2 * 2e-7))


def reduce_picture(picture: Image.Image) -> Image.Image:
    """Return a picture of the run as it is sent while it goes on: a print would be megabytes, many times."""
    if max(picture.size) <= WATCHED_SIZE:
        return picture
    small = picture.copy()
    small.thumbnail((WATCHED_SIZE, WATCHED_SIZE))
    return small


def run_here(request: Request) -> Iterator[Update | Failure]:
    """Paint in this process. The last value says how the run ended, or why it failed."""
    control = RunControl(request.folder)
    started, last_update = time.monotonic(), 0.0
    max_seconds = gpu_seconds(request) - 5.0 if ZERO_GPU else request.config.max_run_seconds
    losses, marks = list[Losses](), dict[int, str]()
    frame: Frame | None = None
    end: RunEnd | None = None
    searching = False  # for neighbours, or in the tiles of a print: the frame before comes again
    was_announced = False  # how long a print takes
    notes: tuple[str, ...] = ()
    first = request.resume.iteration if request.resume else 0

    def make_update(frame: Frame, end: RunEnd | None, message: str = "") -> Update:
        return Update(
            picture=frame.picture if end else reduce_picture(frame.picture),
            losses=losses,
            marks=marks,
            iteration=frame.iteration,
            iterations=frame.iterations,
            size=frame.size,
            seconds=frame.seconds,
            remaining=frame.remaining,
            settings=frame.settings,
            backbone=frame.backbone,
            masked=frame.masked,
            in_regions=frame.in_regions,
            notes=tuple(note for note in (message, *notes, *frame.notes) if note),
            end=end,
        )

    try:
        settings = request.settings
        backbone, fallback = backbones.load(settings.backbone, request.config.vgg19_file, settings.precision)
        notes = (fallback, REGION_IGNORED if request.region and not request.regions else "")
        frames = stylize(
            request.photo,
            request.paintings,
            request.settings,
            backbone=backbone,
            init_image=request.init_image,
            keep=request.keep,
            regions=request.regions,
            resume=request.resume,
        )
        while not end:
            found = frames.send(control.receive() if frame or searching else None)
            searching = found.iteration == (frame.iteration if frame else first)
            if searching and not frame:
                if control.stopped:
                    raise StyleTransferError("Stopped before the first step.")
                if found.is_print and not was_announced:
                    was_announced = True
                    yield make_update(found, None)
                continue
            frame, previous = found, frame
            if not searching:
                weighted = frame.weighted
                losses.append(weighted if frame.settings.tv_weight else weighted._replace(tv=frame.losses.tv))
            if previous and previous.settings != frame.settings:
                marks[frame.iteration] = CHANGED
            if not previous or previous.size != frame.size:
                marks[frame.iteration] = f"{frame.size} px · {frame.style_loss}"
            now, message = time.monotonic(), ""
            if frame.iteration == frame.iterations:
                end = RunEnd.FINISHED
            elif control.stopped:
                end = RunEnd.STOPPED
            elif now - started > max_seconds:
                end, message = RunEnd.STOPPED, f"Stopped at the limit of {max_seconds:.0f} s."
            if end or now - last_update > SECONDS_PER_UPDATE:
                last_update = now
                yield make_update(frame, end, message)
                losses, marks = [], {}
        frames.close()
    except (StyleTransferError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError when memory is short
        expected = isinstance(error, StyleTransferError)
        if not expected:
            log.exception("a run failed")
        message = (
            str(error) if expected else "This machine cannot paint this: choose a smaller size or smaller strokes."
        )
        yield make_update(frame, RunEnd.STOPPED, message) if frame else Failure(message, expected)


def warm_up(requests: Sequence[Request], should_end: Callable[[], bool]) -> None:
    """Load the weights and time the convolutions' routes by one step in each stage, so that no visitor waits for it."""
    for request in requests:
        settings = replace(request.settings, iterations=request.settings.stages)
        with suppress(StyleTransferError):  # whoever tries it again will see the error
            backbone, _ = backbones.load(settings.backbone, request.config.vgg19_file, settings.precision)
            frames = stylize(request.photo, request.paintings, settings, backbone=backbone)
            while not should_end() and next(frames, None):
                pass


def on_gpu(task: Callable[[Request], Iterator[Any]]) -> Callable[[Request], Iterator[Any]]:
    """Return `task` as it is run where the GPU is: in another process on a ZeroGPU Space, in this one elsewhere."""
    if not os.environ.get("SPACE_ID"):
        return task
    try:
        import spaces
    except ImportError:  # a Space with a processor, or a GPU of its own
        return task
    remote = spaces.GPU(duration=gpu_seconds)(task)
    return remote if remote is task else lambda request: end_with_last_update(remote(request))


def end_with_last_update(updates: Iterator[Update | Failure]) -> Iterator[Update | Failure]:
    """Yield the updates from a GPU; if it is taken away in the middle of a run, the last update ends the run."""
    last: Update | Failure | None = None
    try:
        for last in updates:
            yield last
    except Exception as error:
        if isinstance(last, Update):
            notes = f"The GPU was taken away before the end ({error}).", *last.notes
            yield last._replace(losses=[], marks={}, notes=notes, end=RunEnd.STOPPED)
        elif isinstance(error, gr.Error):  # the visitor's quota is used up; the message links to more
            raise
        else:
            log.exception("no GPU")
            yield Failure("No GPU is available right now: try again in a minute.", expected=False)


run = on_gpu(run_here)
