"""The page on the network: what it answers beside Gradio, what it refuses, and how it ends."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import choose, run

MOST_WAITING = 8
LARGEST_FILE = 20 << 20  # bytes
LARGEST_BODY = LARGEST_FILE + (1 << 20)  # a file and what surrounds it
MOST_VISITS = 1000  # kept in memory, 0.15 MB each; beyond, those that were idle longest are forgotten
MOST_STORED = 4 << 30  # bytes
SECONDS_PER_TIDYING = 10.0


class BodyLimit:
    """Refuses a request whose body is longer than LARGEST_BODY, and reads no more of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = f"More than {LARGEST_FILE >> 20} MB: send a smaller file."
        # The connection is closed, or the rest would still be read.
        refusal = PlainTextResponse(said, 413, {"connection": "close"})
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > LARGEST_BODY:
            return await refusal(scope, receive, send)
        read, refused = 0, False

        async def counted() -> Message:
            nonlocal read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST_BODY and not refused:
                refused = True
                await refusal(scope, receive, send)
            # To the application the sender of an endless body has left.
            return {"type": "http.disconnect"} if refused else message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self.app(scope, counted, unless_refused)
        except ClientDisconnect:
            if not refused:
                raise


async def health(_: Request) -> JSONResponse:
    """For a load balancer: the page answers."""
    return JSONResponse({"status": "ok", "painting": run.COMPUTE.locked()})


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page; `options` are those of Gradio's launch."""
    return page.queue(max_size=MOST_WAITING).launch(
        max_file_size=LARGEST_FILE,
        allowed_paths=[str(choose.EXAMPLES)],
        app_kwargs={"routes": [Route("/health", health)], "middleware": [Middleware(BodyLimit)]},
        ssr_mode=False,
        state_session_capacity=MOST_VISITS,
        **options,
    )


def log_to_stderr() -> None:
    """One line for each job, without any picture, address or name in it."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)


@contextmanager
def own_folder() -> Iterator[Path]:
    """One folder for all that visitors bring and take, which never holds more than MOST_STORED and ends with the page.

    It ends on SIGTERM, by which a container is told to stop, too: at once, in the middle of a step if there is one.
    """
    with tempfile.TemporaryDirectory(prefix="photo-to-painting-") as name:
        tempfile.tempdir = name

        def end(number: int, _: object) -> None:
            for worker in multiprocessing.active_children():
                worker.kill()
            shutil.rmtree(name, ignore_errors=True)
            os._exit(128 + number)

        def tidy() -> None:
            while True:
                time.sleep(SECONDS_PER_TIDYING)
                make_room(Path(name), MOST_STORED)

        signal.signal(signal.SIGTERM, end)
        threading.Thread(target=tidy, daemon=True).start()
        yield Path(name)


def make_room(folder: Path, most: int) -> None:
    """Remove the oldest files below `folder` until the others have at most `most` bytes."""
    files = list[tuple[float, int, Path]]()
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # its visitor has just left
            status = path.stat()
            if path.is_file():
                files.append((status.st_mtime, status.st_size, path))
    stored = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if stored <= most:
            break
        path.unlink(missing_ok=True)
        stored -= size
