"""The signals that end a run: Ctrl-C, a closed terminal, a request to end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")  # some systems lack some
SIGNALS = tuple(getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name))


class Interrupted(BaseException):
    """Ctrl-C, a closed terminal or a request to end. It is no Exception, because a library might swallow one."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Make SIGNALS raise Interrupted, wherever the run is. Under nohup a closed terminal goes on being ignored."""

    def interrupt(number: int, _: object) -> NoReturn:
        raise Interrupted(number)

    with _handle_signals(interrupt):
        yield


@contextmanager
def delay_signals() -> Iterator[None]:
    """Let SIGNALS wait for the end of the block, and raise Interrupted then: what is in it is done as a whole."""
    waiting: list[int] = []
    try:
        with _handle_signals(lambda number, _: waiting.append(number)):
            yield
    finally:
        if waiting:
            raise Interrupted(waiting[0])


def ignore_signals() -> None:
    """Let nothing disturb what is left to do after an interruption, such as a second Ctrl-C."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handle_signals(handler: Callable[[int, object], object]) -> Iterator[None]:
    hangup = getattr(signal, "SIGHUP", None)
    ignored = {hangup} if hangup and signal.getsignal(hangup) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, handler) for number in SIGNALS if number not in ignored}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
