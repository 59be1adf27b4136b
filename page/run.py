"""A run in a thread of its own, so that it outlives the connection over which its visitor watches it."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, Generic, TypeVar

import gradio as gr

from styletransfer import Losses, Resume

from . import metrics, worker
from .film import TimeLapse
from .queue import DURATIONS, QUEUE, Entry, Place
from .results import SavedResult
from .worker import Failure, PainterLostError, Request, RunControl, RunEnd, Update

GRACE_SECONDS = 20.0  # how long a run goes on when its connection is lost
RETURN_SECONDS = 1.5  # how long it goes on when its tab says that it is closed; it may only be reloading
MAX_PAUSE_SECONDS = 120.0  # other visitors may be waiting
SECONDS_PER_LOOK = 0.1  # whether one that waits was stopped or left
SECONDS_PER_SIGN = 0.5  # a watcher gets something at least this often, and Gradio then notices who has left
RUNS: set[Run] = set()  # those that are on, or wait for their turn
SAVING = threading.Semaphore(max(1, (os.cpu_count() or 1) - 1))  # films at once; the page answers meanwhile
PAINTER_LOST = "The machine that painted this was lost; another went on from its last picture."
OUTCOMES = {RunEnd.FINISHED: "finished", RunEnd.STOPPED: "stopped"}
log = logging.getLogger(__name__)
Shown = TypeVar("Shown")


def log_job(size: Any, preset: str, seconds: float, evaluations: int, outcome: str) -> None:
    """Count a run, or a request that is refused, and write the one line that the log has for it."""
    metrics.count_run(outcome, seconds)
    facts = size, preset, seconds, evaluations, outcome
    log.info("job size=%s preset=%s seconds=%.1f evaluations=%d outcome=%s", *facts)


def go_on_from(update: Update, request: Request) -> Request:
    """Return a request for what was still to be painted of another after its last update.

    The picture of a print is sent reduced, so its larger sizes begin again from that.
    """
    file = str(request.folder / "last.png")
    update.picture.save(file, compress_level=1)
    if update.size > max(update.picture.size):
        return request._replace(init_image=file, settings=update.settings, resume=None)
    remaining = max(1, update.iterations - update.iteration)
    return request._replace(settings=update.settings, resume=Resume(file, update.size, update.iteration, remaining))


class Watched(Generic[Shown]):
    """Work in a thread of its own, at which any number of connections look, and which outlives them by `grace` seconds.

    Then it `is_abandoned`, and should end.
    """

    def __init__(self, grace: float) -> None:
        self.is_over = False
        self._latest: Shown | None = None
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._grace = grace
        self._watchers = 0
        self._deadline = math.inf  # of those who may come back

    def watch(self) -> Iterator[Shown | None]:
        """Yield the latest of what is shown whenever it is new, and None when half a second has brought nothing new.

        If there is nothing yet, it begins with None, at once. It ends with the work. Raises gr.Error, or whatever else
        has ended the work.
        """
        seen: Shown | None = None
        patience = 0.0
        with self._changed:
            self._watchers += 1
            self._deadline = math.inf
        try:
            while True:
                with self._changed:
                    if self._latest is seen and not self.is_over:
                        self._changed.wait(patience)
                    latest, is_over = self._latest, self.is_over
                patience = SECONDS_PER_SIGN
                if latest is not seen:
                    seen = latest
                    yield latest
                elif not is_over:
                    yield None
                elif self._error:
                    raise self._error
                else:
                    return
        finally:
            with self._changed:
                self._watchers -= 1
                # A tab that is closed says so before its connection ends, and it may be one of two.
                soonest = min(self._deadline, time.monotonic() + self._grace)
                self._deadline = math.inf if self._watchers else soonest

    def expect_end(self) -> None:
        """The visitor's tab says that it is being closed: stop soon, unless it comes back or another tab watches."""
        with self._changed:
            if self._watchers <= 1:
                self._deadline = min(self._deadline, time.monotonic() + RETURN_SECONDS)

    def expect_watcher(self) -> None:
        """The visitor's tab is back, and will watch when it has loaded the page."""
        self._deadline = time.monotonic() + self._grace

    @property
    def is_watched(self) -> bool:
        """Whether it is on and somebody sees it."""
        return not self.is_over and self._watchers > 0

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody watches any more, nor is expected back."""
        return not self._watchers and time.monotonic() > self._deadline

    def _show(self, value: Shown) -> None:
        with self._changed:
            self._latest = value
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self.is_over = True
            self._changed.notify_all()


class Run(Watched[Update]):
    """One run, from the request to the saved picture.

    Any number of connections may watch it. While none does, it goes on for `grace` seconds; then it is stopped, and its
    picture is saved as if the visitor had stopped it. One that still waits for its turn leaves the queue instead, and
    nothing is painted. `save` gets the last update, and returns a sentence if it fails.
    """

    def __init__(
        self,
        request: Request,
        control: RunControl,
        save: Callable[[Run, Update], str],
        *,
        preset: str,
        grace: float,
    ) -> None:
        super().__init__(grace)
        self.control = control
        self.losses: list[Losses] = []
        self.marks: dict[int, str] = {}
        self.time_lapse = TimeLapse()
        self.message = ""  # why the picture could not be saved
        self.result: SavedResult | None = None
        self.has_begun = False  # its turn has come
        self.was_abandoned = False  # before its turn came
        self._was_paused_for_long = False
        self._notes: list[str] = []  # of its own; a painter has others
        self.request = request
        self._save, self._preset = save, preset
        self._outcome = "failed"
        self._entry: Entry | None = None
        self._began = math.inf

    def start(self, *, has_had_turn: bool = False) -> None:
        """Begin in the background, as soon as its turn comes. Raises QueueFullError: see Queue.join."""
        self._entry = QUEUE.join(self._estimate_seconds_left, has_had_turn=has_had_turn)
        RUNS.add(self)
        # Where the GPU is shared, the visitor's quota is found by the context of the call.
        threading.Thread(target=copy_context().run, args=(self._paint,), daemon=True).start()

    def change_painting(self, painting: str) -> bool:
        """Paint like another painting, given its path, if the turn has not come yet; returns whether it will."""
        with self._changed:
            if self.has_begun or self.is_over:
                return False
            self.request = self.request._replace(paintings=(painting, *self.request.paintings[1:]))
            return True

    @property
    def place(self) -> Place | None:
        """Where it waits in the queue, or None if it does not."""
        return self._entry.place if self._entry else None

    def _paint(self) -> None:
        assert self._entry
        try:
            if not self._wait_for_turn():
                self._leave_unpainted()
                return
            with self._changed:
                self.has_begun, self._began = True, time.monotonic()
            request: Request | None = self.request
            while request:
                request = self._paint_until_lost(request, self._entry)
        except Exception as error:
            if not isinstance(error, gr.Error):  # it has its sentence
                log.exception("a run failed")
            self._error = error
        finally:
            self._entry.leave()
            RUNS.discard(self)
            steps = self._latest.iteration if self._latest else 0
            log_job(self.request.settings.size, self._preset, self._seconds, steps, self._outcome)
            self.control.forget()
            self._end()

    def _leave_unpainted(self) -> None:
        """It has no picture and no turn any more: the visitor has stopped it, or left."""
        self.has_begun, self.was_abandoned = False, self.is_abandoned
        self._outcome = "left" if self.was_abandoned else "stopped"

    def _wait_for_turn(self) -> bool:
        """Wait for a painter; returns False if the visitor stops or leaves first."""
        assert self._entry
        while not self._entry.wait_for_turn(SECONDS_PER_LOOK):
            self._stop_if_abandoned()
            if self.control.stopped:
                return False
        return True

    def _paint_until_lost(self, request: Request, entry: Entry) -> Request | None:
        """Paint; returns what is left to be painted if the painter is lost and another is there to go on."""
        last: Update | Failure | None = None
        try:
            for update in entry.painter.paint(request):
                if isinstance(update, Failure) or update.end:
                    last = update
                    continue
                self._take(update)
                self._stop_if_abandoned()
                self._wait_while_paused()
        except PainterLostError:
            metrics.PAINTERS_LOST.inc()
            if not last:
                return self._find_another_painter(request, entry)
        except gr.Error:  # it has its sentence
            raise
        except Exception:  # what it has painted so far is saved
            log.exception("a run failed")
            last = Failure("Something went wrong on the server: try once more.", expected=False)
        if last:
            self._end_with(last)
        return None

    def _find_another_painter(self, request: Request, entry: Entry) -> Request | None:
        """Wait for a painter; returns what it is to paint, or None if the visitor stops or leaves first."""
        entry.change_painter()
        has_turn, latest = self._wait_for_turn(), self._latest
        if not latest and not has_turn:
            self._leave_unpainted()
            return None
        if not latest:
            return request
        if has_turn:
            try:
                rest = go_on_from(latest, request)
                self._notes.append(PAINTER_LOST)
                return rest
            except OSError:
                self._notes.append("The machine that painted this was lost, and no other can go on: the disk is full.")
        self._end_with(latest._replace(losses=[], marks={}, end=RunEnd.STOPPED))
        return None

    def _take(self, update: Update) -> None:
        """Add what is new to what watchers see."""
        # New objects, since a watcher may be drawing the old ones.
        self.losses = [*self.losses, *update.losses]
        self.marks = {**self.marks, **update.marks}
        self.time_lapse.add(update.picture)
        self._show_with_notes(update)

    def _show_with_notes(self, update: Update) -> None:
        self._show(update._replace(notes=tuple(dict.fromkeys((*self._notes, *update.notes)))))

    def _end_with(self, last: Update | Failure) -> None:
        """Let the next one paint, and save the last picture before watchers see that it is the last."""
        assert self._entry
        self._entry.leave()
        if isinstance(last, Failure) and self._latest:  # of a painter that was to go on with it
            self._notes.append(last.message)
            last = self._latest._replace(losses=[], marks={}, end=RunEnd.STOPPED)
        if isinstance(last, Failure):
            self._outcome = "refused" if last.expected else "failed"
            self._error = gr.Error(last.message, title="Cannot paint this", print_exception=False)
            return
        if last.end is RunEnd.STOPPED and self._was_paused_for_long:
            pause = f"{MAX_PAUSE_SECONDS / 60:g} minutes"
            self._notes.append(
                f"Stopped after a pause of {pause}, since others may be waiting: press More steps to go on."
            )
        assert last.end
        self._outcome = "left" if self.is_abandoned else OUTCOMES[last.end]
        if self._outcome == "finished":
            DURATIONS.add(self._preset, self.request.settings, self._seconds)
        self._take(last._replace(end=None))  # it is seen while its files, of which the film takes longest, are written
        with SAVING:
            self.message = self._save(self, last)
        self._show_with_notes(last)

    @property
    def _seconds(self) -> float:
        """How long it has been painted."""
        return max(time.monotonic() - self._began, 0.0)

    def _estimate_seconds_left(self) -> float | None:
        latest = self._latest
        return latest.remaining if latest else DURATIONS.estimate(self._preset, self.request.settings)

    def _stop_if_abandoned(self) -> None:
        if self.is_abandoned:
            self.control.stop()

    def _wait_while_paused(self) -> None:
        """Wait until the visitor goes on, stops or leaves; a pause that is too long ends the run with its picture."""
        deadline = time.monotonic() + MAX_PAUSE_SECONDS
        while self.control.paused and not self.control.stopped:
            if time.monotonic() > deadline:
                self._was_paused_for_long = True
                self.control.stop()
            time.sleep(0.1)
            self._stop_if_abandoned()


def warm_up(*requests: Request) -> None:
    """Warm up this machine in a turn of its own, which ends when somebody waits: a visitor's run does the same."""
    turn = QUEUE.join(lambda: None)
    try:
        worker.warm_up(requests, lambda: QUEUE.waiting > 0)
    finally:
        turn.leave()
