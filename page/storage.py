"""The temporary folder for everything that visitors upload and get, which is kept small and deleted at the end."""

from __future__ import annotations

import atexit
import errno
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_STORED_BYTES = 4 << 30
MAX_FILES = 50_000  # listing this many takes a second
MAX_AGE = 24 * 3600.0  # seconds; the page promises it
SECONDS_PER_CLEANUP = 10.0
VISIT_PREFIX = "visit-"  # of the folders of visits, among those of uploads
MAX_EMPTY_FOLDER_AGE = 600.0  # seconds; by then no file is on its way into an empty folder any more
log = logging.getLogger(__name__)


@contextmanager
def create_folder() -> Iterator[Path]:
    """Create the folder, make it that of `tempfile` and Gradio, and delete it at the end.

    Enter it before Gradio is imported, which reads $GRADIO_TEMP_DIR at that moment. SIGTERM, which tells a container
    to stop, ends the process at once, in the middle of a step if need be, and deletes the folder, too.
    """
    with tempfile.TemporaryDirectory(prefix="photo-to-painting-", ignore_cleanup_errors=True) as name:
        tempfile.tempdir = name
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "gradio")

        # Raising KeyboardInterrupt, which Gradio handles, would not do: Gradio then waits five seconds for connected
        # visitors. By then the container may have been killed, and nothing is deleted.
        def terminate(number: int, _: object) -> None:
            for worker in multiprocessing.active_children():
                worker.kill()
            atexit._run_exitfuncs()  # these close the tunnel of --share and delete half a download
            shutil.rmtree(name, ignore_errors=True)
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, terminate)
        yield Path(name)


def keep_room(folder: Path, find_needed: Callable[[], AbstractSet[str]]) -> None:
    """Make room in the background from now on; `find_needed` returns the files that visitors need."""

    def clean_up() -> None:
        while True:
            time.sleep(SECONDS_PER_CLEANUP)
            try:
                make_room(folder, find_needed())
            except OSError:
                pass  # a folder was deleted meanwhile, together with its session
            except Exception:
                log.exception("a cleanup failed")  # the next one may go well

    threading.Thread(target=clean_up, daemon=True).start()


def make_room(folder: Path, needed: AbstractSet[str] = frozenset()) -> None:
    """Delete files below `folder` that are a day old, and the oldest ones while there are too many or the disk is full.

    Of the others, those that are `needed` go last. Gradio stores each upload in a folder of its own; empty ones are
    deleted as well.
    """
    files = list[tuple[bool, float, int, str]]()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):  # its session has just ended
                status = os.stat(path)
                if time.time() - status.st_ctime > MAX_AGE:  # since it came here: a copy may have an older mtime
                    os.unlink(path)
                else:
                    files.append((path in needed, status.st_mtime, status.st_size, path))
    stored = sum(size for *_, size, _ in files)
    max_stored = min(MAX_STORED_BYTES, (stored + shutil.disk_usage(folder).free) // 2)
    files.sort(reverse=True)
    while files and (stored > max_stored or len(files) > MAX_FILES):
        *_, size, path = files.pop()
        with suppress(FileNotFoundError):
            os.unlink(path)
        stored -= size
    for cached in (folder / "gradio").glob("*"):
        with suppress(OSError):  # it is not empty
            if cached.name.startswith(VISIT_PREFIX):
                continue  # it is deleted together with its session
            if time.time() - cached.stat().st_mtime > MAX_EMPTY_FOLDER_AGE:
                cached.rmdir()


class DiskErrors:
    """Middleware that answers 507 with a sentence where an upload fails because the disk is full.

    It answers 404 where a file was deleted just when it was to be sent, as when the server is being stopped.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        async def answer(sentence: str, status: int) -> None:
            if not has_begun:  # else the browser has the head of another answer, and sees that it breaks off
                await PlainTextResponse(sentence, status)(scope, receive, send)

        try:
            await self.app(scope, receive, send_on)
        except FileNotFoundError:
            await answer("This file is no longer on the server.", 404)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            await answer("The disk of this server is full: try again later, or use one of the page's examples.", 507)
