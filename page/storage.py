"""The disk: one folder for all that visitors bring and take, kept small; and what still works when a disk is full."""

from __future__ import annotations

import atexit
import base64
import errno
import io
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.mcp
from gradio.data_classes import ImageData
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MOST_STORED = 4 << 30  # bytes
MOST_FILES = 50_000  # looking through so many takes a second
SECONDS_PER_TIDYING = 10.0
OLDEST_EMPTY = 600.0  # seconds, after which no file is on its way into an empty folder any more


@contextmanager
def own_folder() -> Iterator[Path]:
    """One folder for all that visitors bring and take, which is kept small and ends with the page.

    It ends on SIGTERM, by which a container is told to stop, too: at once, in the middle of a step if there is one.
    """
    with tempfile.TemporaryDirectory(prefix="photo-to-painting-") as name:
        tempfile.tempdir = name
        gradio.mcp.DEFAULT_TEMP_DIR = os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "gradio")

        def end(number: int, _: object) -> None:
            for worker in multiprocessing.active_children():
                worker.kill()
            atexit._run_exitfuncs()  # the tunnel of --share, half a download
            shutil.rmtree(name, ignore_errors=True)
            os._exit(128 + number)

        def tidy() -> None:
            while True:
                time.sleep(SECONDS_PER_TIDYING)
                with suppress(OSError):  # a folder that has gone with its visitor
                    make_room(Path(name))

        signal.signal(signal.SIGTERM, end)
        threading.Thread(target=tidy, daemon=True).start()
        yield Path(name)


def make_room(folder: Path) -> None:
    """Remove the oldest files below `folder` while there are too many, or too little would be left of the disk.

    Gradio's folder for each of its files goes with the file.
    """
    files = list[tuple[float, int, str]]()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):  # its visitor has just left
                status = os.stat(path)
                files.append((status.st_mtime, status.st_size, path))
    stored = sum(size for _, size, _ in files)
    most = min(MOST_STORED, (stored + shutil.disk_usage(folder).free) // 2)
    files.sort(reverse=True)
    while files and (stored > most or len(files) > MOST_FILES):
        _, size, path = files.pop()
        with suppress(FileNotFoundError):
            os.unlink(path)
        stored -= size
    for cached in (folder / "gradio").glob("*"):
        with suppress(OSError):  # it holds a file
            if time.time() - cached.stat().st_mtime > OLDEST_EMPTY:
                cached.rmdir()


class FullDisk:
    """Says so where a file cannot be taken in because the disk is full."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            await self.app(scope, receive, send)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            said = "The disk of this server is full: try again later, or use a picture of the page's own."
            await PlainTextResponse(said, 507)(scope, receive, send)


_as_file = gr.Image.postprocess


def _as_file_or_inline(image: gr.Image, value: Any) -> Any:
    """What the browser gets of a picture: where to fetch it or, if no file can be written, the picture itself."""
    try:
        return _as_file(image, value)
    except OSError:
        if not isinstance(value, Image.Image):
            raise
        jpeg = io.BytesIO()
        value.save(jpeg, "JPEG", quality=90)
        return ImageData(url="data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode())


def show_without_files() -> None:
    """From now on a full disk hides no picture.

    No subclass of gr.Image: Gradio would write a stub of it beside this file. No single one: after a gr.skip a visitor
    has another.
    """
    gr.Image.postprocess = _as_file_or_inline  # type: ignore[assignment]
