"""Work in a process of its own: the plain loop must not profit from what importing the engine sets for its process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


def apart(function: Callable[..., Iterator[T]], *args: Any) -> Iterator[T]:
    """What `function(*args)` yields in a fresh process, in lock step: it stands still while the caller works."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, function, args), daemon=True)
    policy = os.environ.pop("OMP_WAIT_POLICY")  # the engine's choice
    process.start()
    os.environ["OMP_WAIT_POLICY"] = policy
    there.close()
    try:
        while True:
            here.send("next")
            yield here.recv()
    except (EOFError, ConnectionError):
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{function.__name__} failed in its own process") from None
    finally:
        process.terminate()


def _serve(there: Connection, function: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
    iterator = function(*args)
    while there.recv():
        try:
            there.send(next(iterator))
        except StopIteration:
            return
