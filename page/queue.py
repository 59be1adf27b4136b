"""Whose turn it is: painters are handed out to visitors in the order in which they came."""

from __future__ import annotations

import heapq
import statistics
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from styletransfer import Settings, StyleTransferError

from .config import MAX_WAITING
from .worker import LocalPainter, Painter

RECENT_RUNS = 32  # remembered for estimates
RUNS_PER_ESTIMATE = 5


class QueueFullError(StyleTransferError):
    """Too many wait already."""


class Place(NamedTuple):
    """Where in the queue somebody waits."""

    before: int  # how many wait before; those who are painted for are not among them
    seconds: float | None  # until the turn comes, or None where nothing is known


class Entry:
    """Somebody in the queue: one who waits, or who has a painter."""

    def __init__(self, queue: Queue, seconds_left: Callable[[], float | None]) -> None:
        self.seconds_left = seconds_left
        self._queue = queue

    @property
    def place(self) -> Place | None:
        """Where it waits; None if it has its turn, or has left."""
        return self._queue.find_place(self)

    @property
    def painter(self) -> Painter:
        """Who paints for it. It must have its turn."""
        return self._queue.find_painter(self)

    def wait_for_turn(self, seconds: float) -> bool:
        """Wait for so long at most; returns whether it has its turn."""
        return self._queue.wait_for_turn(self, seconds)

    def go_behind(self) -> None:
        """Let all others go first, and then have another turn."""
        self._queue.move(self, to_end=True)

    def change_painter(self) -> None:
        """The painter is lost: it gets no more work, and another comes before anybody who waits has one."""
        self._queue.dismiss(self.painter)
        self._queue.move(self, to_end=False)

    def leave(self) -> None:
        """Give up the place, or the turn. A second time it does nothing."""
        self._queue.remove(self)


class Queue:
    """Hands out painters in the order in which visitors came. There may be more or fewer of them at any time.

    At most `max_waiting` wait.
    """

    def __init__(self, *painters: Painter, max_waiting: int = MAX_WAITING) -> None:
        self.max_waiting = max_waiting
        self._painters = list(painters)
        self._painting: dict[Entry, Painter] = {}
        self._waiting: list[Entry] = []
        self._changed = threading.Condition()

    def join(self, seconds_left: Callable[[], float | None], *, has_had_turn: bool = False) -> Entry:
        """Enter at the end. Raises QueueFullError, but not for one who `has_had_turn` and has more to be painted.

        `seconds_left` estimates how much of the entry's turn is to come, all of it while it waits; None: not known.
        """
        entry = Entry(self, seconds_left)
        with self._changed:
            if not has_had_turn and len(self._waiting) >= self.max_waiting + len(self._idle()):
                people = "1 person waits" if self.max_waiting == 1 else f"{self.max_waiting} people wait"
                raise QueueFullError(f"This page is busy, and {people} already: try again in a minute.")
            self._waiting.append(entry)
            self._hand_out()
        return entry

    def add(self, painter: Painter) -> None:
        """Give work to a painter that has come, also while others are busy."""
        with self._changed:
            self._painters.append(painter)
            self._hand_out()

    def dismiss(self, painter: Painter) -> None:
        """Give a painter no more work. What it is painting goes on."""
        with self._changed:
            if painter in self._painters:
                self._painters.remove(painter)

    @property
    def painters(self) -> tuple[Painter, ...]:
        """Those that get work."""
        return tuple(self._painters)

    @property
    def is_busy(self) -> bool:
        """Whether anybody has a turn, or waits for one."""
        return bool(self._painting or self._waiting)

    @property
    def painting(self) -> int:
        """How many are painted for."""
        return len(self._painting)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def find_place(self, entry: Entry) -> Place | None:
        """Return where an entry waits; None if it has its turn, or has left."""
        with self._changed:
            if entry not in self._waiting:
                return None
            before = self._waiting[: self._waiting.index(entry)]
            painting = [other for other, painter in self._painting.items() if painter in self._painters]
        seconds = [other.seconds_left() for other in painting], [other.seconds_left() for other in before]
        return Place(len(before), estimate_wait(*seconds))

    def find_painter(self, entry: Entry) -> Painter:
        """Return who paints for an entry that has its turn."""
        return self._painting[entry]

    def wait_for_turn(self, entry: Entry, seconds: float) -> bool:
        """Wait for so long at most; returns whether the entry has its turn."""
        with self._changed:
            return self._changed.wait_for(lambda: entry in self._painting, seconds)

    def move(self, entry: Entry, *, to_end: bool) -> None:
        """Put an entry that has its turn among those who wait again: first, or behind all others."""
        with self._changed:
            del self._painting[entry]
            self._waiting.insert(len(self._waiting) if to_end else 0, entry)
            self._hand_out()

    def remove(self, entry: Entry) -> None:
        """Take an entry out, if it is still there."""
        with self._changed:
            if entry in self._waiting:
                self._waiting.remove(entry)
            self._painting.pop(entry, None)
            self._hand_out()

    def _idle(self) -> list[Painter]:
        return [painter for painter in self._painters if painter not in self._painting.values()]

    def _hand_out(self) -> None:
        for painter in self._idle()[: len(self._waiting)]:
            self._painting[self._waiting.pop(0)] = painter
        self._changed.notify_all()


def estimate_wait(painting: Sequence[float | None], before: Sequence[float | None]) -> float | None:
    """Return the seconds until one who waits has a turn, or None where one of the others is unknown.

    The others take so many seconds each: the ones `painting`, one for each painter, and the ones who wait `before`.
    """
    free_in = [seconds for seconds in painting if seconds is not None]
    turns = [seconds for seconds in before if seconds is not None]
    if not free_in or len(free_in) < len(painting) or len(turns) < len(before):
        return None
    heapq.heapify(free_in)
    for seconds in turns:
        heapq.heapreplace(free_in, free_in[0] + seconds)
    return free_in[0]


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


QUEUE = Queue(LocalPainter())
DURATIONS = Durations()
