"""Iterate in a process of its own, so that the plain loop does not profit from what the engine sets for its process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


def iterate_in_subprocess(function: Callable[..., Iterator[T]], *args: Any) -> Iterator[T]:
    """Yield the items of `function(*args)`, computed in a fresh process one at a time: it idles while the caller works.

    Raises RuntimeError if the process fails.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, function, args), daemon=True)
    policy = os.environ.pop("OMP_WAIT_POLICY", None)  # set by styletransfer.tune_process
    process.start()
    if policy is not None:
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
