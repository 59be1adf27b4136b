"""Whose turn it is to paint: one at a time, in the order in which they came."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from styletransfer import Settings, StyleTransferError

MAX_WAITING = 8
RECENT_RUNS = 32  # remembered for estimates
RUNS_PER_ESTIMATE = 5


class QueueFullError(StyleTransferError):
    """Too many wait already."""


class Place(NamedTuple):
    """Where in the queue somebody waits."""

    before: int  # how many wait before; the one that paints is not among them
    seconds: float | None  # until the turn comes, or None where nothing is known


class Entry:
    """Somebody in the queue: one who waits, or whose turn it is."""

    def __init__(self, queue: Queue, seconds_left: Callable[[], float | None]) -> None:
        self.seconds_left = seconds_left
        self._queue = queue

    @property
    def place(self) -> Place | None:
        """Where it waits; None if it has its turn, or has left."""
        return self._queue.find_place(self)

    def wait_for_turn(self, seconds: float) -> bool:
        """Wait for so long at most; returns whether it has its turn."""
        return self._queue.wait_for_turn(self, seconds)

    def go_behind(self) -> None:
        """Let all others go first, and then have another turn."""
        self._queue.move_to_end(self)

    def leave(self) -> None:
        """Give up the place, or the turn. A second time it does nothing."""
        self._queue.remove(self)


class Queue:
    """One has its turn; at most MAX_WAITING others wait for theirs."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []  # the first has its turn
        self._changed = threading.Condition()

    def join(self, seconds_left: Callable[[], float | None]) -> Entry:
        """Enter at the end. Raises QueueFullError.

        `seconds_left` estimates how much of the entry's turn is to come, all of it while it waits; None: not known.
        """
        entry = Entry(self, seconds_left)
        with self._changed:
            if len(self._entries) > MAX_WAITING:
                raise QueueFullError(f"This page is busy, and {MAX_WAITING} wait already: try again in a minute.")
            self._entries.append(entry)
        return entry

    @property
    def is_busy(self) -> bool:
        """Whether somebody has the turn."""
        return bool(self._entries)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits."""
        return len(self._entries) > 1

    def find_place(self, entry: Entry) -> Place | None:
        """Return where an entry waits; None if it has its turn, or has left."""
        with self._changed:
            before = self._entries[: self._entries.index(entry)] if entry in self._entries else []
        if not before:
            return None
        known = [seconds for other in before if (seconds := other.seconds_left()) is not None]
        return Place(len(before) - 1, sum(known) if len(known) == len(before) else None)

    def wait_for_turn(self, entry: Entry, seconds: float) -> bool:
        """Wait for so long at most; returns whether the entry has its turn."""
        with self._changed:
            return self._changed.wait_for(lambda: self._entries[:1] == [entry], seconds)

    def move_to_end(self, entry: Entry) -> None:
        """Put an entry behind all others."""
        with self._changed:
            self._entries.remove(entry)
            self._entries.append(entry)
            self._changed.notify_all()

    def remove(self, entry: Entry) -> None:
        """Take an entry out, if it is still there."""
        with self._changed:
            if entry in self._entries:
                self._entries.remove(entry)
                self._changed.notify_all()


class Durations:
    """How long runs have taken lately, from which it is estimated how long others will take."""

    def __init__(self) -> None:
        self._recent = deque[tuple[str, int, float]](maxlen=RECENT_RUNS)  # preset, size, seconds for a pixel's step

    def add(self, preset: str, settings: Settings, seconds: float) -> None:
        """Remember a run that has finished."""
        self._recent.append((preset, settings.size, seconds / _pixel_steps(settings)))

    def estimate(self, preset: str, settings: Settings) -> float | None:
        """Return the seconds that a run may take, by those most like it, or None if there was none."""
        recent = list(self._recent)
        alike = [rate for *kind, rate in recent if kind == [preset, settings.size]]
        of_preset = [rate for name, _, rate in recent if name == preset]
        rates = alike or of_preset or [rate for *_, rate in recent]
        return statistics.median(rates[-RUNS_PER_ESTIMATE:]) * _pixel_steps(settings) if rates else None


def _pixel_steps(settings: Settings) -> int:
    return settings.iterations * settings.size**2


QUEUE = Queue()
DURATIONS = Durations()
