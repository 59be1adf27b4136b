"""Try all styles: a quick sketch of one photo in each of them, one after the other, each in a turn of its own."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from styletransfer import PRESETS, Settings

from . import metrics
from .config import ServerConfig
from .queue import DURATIONS, QUEUE, Entry, Place
from .run import OUTCOMES, SECONDS_PER_LOOK, Watched, log_job
from .worker import Failure, Painter, PainterLostError, Request, RunControl, RunEnd, Update

SKETCH = "sketch"  # in place of a preset's name, in the log and in estimates
SKETCH_SIZE = 384  # pixels of the long side: at 256, woodcut and mosaic cannot be told from their photo
TASTE = ("content_weight", "colours", "stroke", "faces", "mix")  # what a sketch has from the visitor's own settings
log = logging.getLogger(__name__)


def sketch_settings(settings: Settings, config: ServerConfig) -> Settings:
    """Return the settings of a sketch of what `settings` would paint."""
    taste = {name: getattr(settings, name) for name in TASTE}
    return config.limit_size(replace(PRESETS["quick"], size=SKETCH_SIZE, **taste))


class Wall(NamedTuple):
    """What there is to see of the sketches."""

    pictures: tuple[str | None, ...]  # paths of JPEG files, in the order of the styles; None: not painted
    painting: int = 0  # the index of the one that is being painted, or waits for its turn

    @property
    def painted(self) -> int:
        """How many have been painted."""
        return sum(picture is not None for picture in self.pictures)


class Sketches(Watched[Wall]):
    """Sketches of a photo in the manner of each of `paintings`, as files in `folder`. Pictures are given as paths.

    Where there is a `second_painting`, it is mixed in, or paints the `region`, as it would in full. Before each,
    everybody who waits in the queue goes first. Any number of connections may watch; `grace` seconds after the last one
    has gone, it ends.
    """

    def __init__(
        self,
        photo: str,
        paintings: Sequence[str],
        settings: Settings,
        *,
        second_painting: str | None = None,
        keep: str | None,
        region: str | None = None,
        folder: Path,
        control: RunControl,
        config: ServerConfig,
        grace: float,
    ) -> None:
        super().__init__(grace)
        self.photo, self.paintings, self.control = photo, tuple(paintings), control
        self.second_painting, self.keep, self.region = second_painting, keep, region
        self.end = ""  # a sentence that says why it has ended before the last one
        self.wall = Wall((None,) * len(paintings))
        self._settings, self._folder, self._config = sketch_settings(settings, config), folder, config
        self._name = secrets.token_hex(8)  # a browser keeps files by their names
        self._remaining: float | None = None  # seconds of the sketch that is being painted
        self._entry: Entry | None = None

    def take_over(self, before: Sketches) -> bool:
        """Take over what `before` has painted, if it would be painted alike; returns whether any was."""
        alike = ("photo", "paintings", "second_painting", "keep", "region", "_settings")
        if any(getattr(self, part) != getattr(before, part) for part in alike):
            return False
        self.wall = Wall(tuple(path if path and Path(path).is_file() else None for path in before.wall.pictures))
        return self.wall.painted > 0

    def start(self) -> None:
        """Begin in the background. Raises QueueFullError."""
        self._entry = QUEUE.join(lambda: self._remaining or DURATIONS.estimate(SKETCH, self._settings))
        self.expect_watcher()
        # Where the GPU is shared, the visitor's quota is found by the context of the call.
        threading.Thread(target=copy_context().run, args=(self._paint_all,), daemon=True).start()

    def stop(self, why: str) -> None:
        """End before the next sketch, and say `why`; the ones that are painted stay."""
        if not self.is_over:
            self.end = self.end or why
            self.control.stop()

    @property
    def place(self) -> Place | None:
        """Where it waits in the queue, or None if it does not."""
        return self._entry.place if self._entry else None

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the seconds for those that are not painted yet, without those of other people's turns."""
        each = DURATIONS.estimate(SKETCH, self._settings)
        return each * (len(self.paintings) - self.wall.painted) if each else None

    @property
    def files(self) -> set[str]:
        """The files that the wall needs: the photo, its masks, the second painting and the sketches."""
        return {self.photo, *filter(None, (self.second_painting, self.keep, self.region, *self.wall.pictures))}

    def delete(self) -> None:
        """Delete the sketches."""
        for picture in filter(None, self.wall.pictures):
            Path(picture).unlink(missing_ok=True)

    def _paint_all(self) -> None:
        assert self._entry
        try:
            missing = [number for number, picture in enumerate(self.wall.pictures) if not picture]
            for number in missing:
                self.wall = self.wall._replace(painting=number)
                if number != missing[0]:
                    self._entry.go_behind()
                self._paint_in_turn(self._entry, number)
                if self._must_end():
                    return
        except gr.Error as error:  # it has its sentence
            self.end = str(error.message)
        except OSError:
            self.end = "The disk of this server is full: there was no room for another sketch."
        except Exception:
            log.exception("the sketches failed")
            self.end = "Something went wrong on the server: try once more."
        finally:
            self._entry.leave()
            self.control.forget()
            self._end()

    def _paint_in_turn(self, entry: Entry, number: int) -> None:
        """Paint one of them when the turn has come, unless it must end first. Raises gr.Error or OSError."""
        while not self._must_end():
            if entry.wait_for_turn(SECONDS_PER_LOOK):
                try:
                    self._paint(entry.painter, number, self.paintings[number])
                    return
                except PainterLostError:
                    metrics.PAINTERS_LOST.inc()
                    entry.change_painter()

    def _paint(self, painter: Painter, number: int, painting: str) -> None:
        """Paint one of them. Raises gr.Error, PainterLostError, or OSError if it cannot be saved."""
        began, outcome, steps = time.monotonic(), "failed", 0
        folder = self.control.folder
        paintings = (painting, self.second_painting) if self.second_painting else (painting,)
        request = Request(
            self.photo,
            paintings,
            self._settings,
            folder,
            keep=self.keep,
            region=self.region,
            config=self._config,
        )
        try:
            for update in painter.paint(request):
                if isinstance(update, Failure):
                    outcome = "refused" if update.expected else "failed"
                    if self.control.stopped:  # before its first step
                        return
                    raise gr.Error(update.message, print_exception=False)
                self._remaining, steps = update.remaining, update.iteration
                if self._must_end():
                    self.control.stop()
                if update.end:
                    outcome = OUTCOMES[update.end]
                if update.end is RunEnd.FINISHED and not self.control.stopped:
                    self._hang(number, update)
        finally:
            self._remaining = None
            seconds = time.monotonic() - began
            log_job(self._settings.size, SKETCH, seconds, steps, outcome)
            if outcome == "finished":
                DURATIONS.add(SKETCH, self._settings, seconds)

    def _hang(self, number: int, update: Update) -> None:
        """Save a sketch and put it on the wall. Raises OSError."""
        file = self._folder / f"sketch-{self._name}-{number}.jpg"
        try:
            update.picture.save(file, quality=88)
        except OSError:
            with suppress(OSError):
                file.unlink()
            raise
        pictures = (*self.wall.pictures[:number], str(file), *self.wall.pictures[number + 1 :])
        self.wall = Wall(pictures, number)
        self._show(self.wall)

    def _must_end(self) -> bool:
        if self.is_abandoned:
            self.stop("Ended, since this page was away.")
        return self.control.stopped
