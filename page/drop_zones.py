"""The drop zones, in which a visitor chooses a photo and a painting, of any format that the engine reads.

Gradio's own refuse what the system does not call a picture, often HEIC and TIFF, and show what the browser cannot
decode as a torn picture. Here each drop zone has an upload, a component of its own. drop_zones.js
gives the files to it, and `Handlers.take_picture` puts those that can be read into the drop zone. What the drop zone
holds is the file as it was uploaded; where its format is one that browsers lack, `Previews` shows it as a JPEG.
"""

from __future__ import annotations

import io
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from styletransfer import images

READING = threading.Lock()  # reading a large picture takes 1 GB
NOT_IN_BROWSERS = ("HEIF", "TIFF", "JPEG2000", "PPM")  # the other formats that the engine reads can be shown
PREVIEW_SIZE = 1024  # pixels of the long side
SECONDS_IN_BROWSER = 86400  # the address of an upload has a hash of the file in it
ENDINGS = sorted(ending for ending, format in Image.registered_extensions().items() if format in images.FORMATS)
ACCEPTED = ",".join(["image/*", *ENDINGS])
"""What a file chooser offers: many systems do not count HEIC and TIFF as image/*, and would grey them out."""
GIVE_FILES_TO_UPLOADS = f"({Path(__file__).with_suffix('.js').read_text('utf-8')})({json.dumps(ACCEPTED)});"
"""JavaScript for the head of the page, so that no file comes before it."""


File = dict[str, Any] | None
"""What a drop zone or an upload holds, without preprocessing: see `file_path`."""


def drop_zone(label: str, *, webcam: bool = False, visible: Any = True) -> gr.Image:
    """Build a drop zone.

    Events that read it need `preprocess=False`, and `file_path` for its value: the engine reads the file as it was
    uploaded, and explains a broken one better than Gradio.
    """
    sources: list[Any] = ["upload", "clipboard", *(["webcam"] if webcam else [])]
    look: dict[str, Any] = {"elem_id": label.lower().replace(" ", "-"), "elem_classes": "drop-zone"}
    placeholder = f"Tap to choose a {label.lower()}, or drop one here"
    return gr.Image(
        label=label, sources=sources, height=220, buttons=[], placeholder=placeholder, visible=visible, **look
    )


def upload_of(zone_id: str) -> gr.UploadButton:
    """Build the upload of a drop zone, which is never seen: drop_zones.js says in the zone that a file is on its way.

    A gr.File would have to be emptied after each file, and lose one that came at that moment.
    """
    return gr.UploadButton(f"Upload: {zone_id}", visible="hidden", elem_id=f"{zone_id}-upload")


def file_path(value: File) -> str | None:
    """Return the path of the file in a drop zone or an upload, given its value without preprocessing; None if empty."""
    return value["path"] if value else None


def make_preview(path: str) -> bytes | None:
    """Return a picture as JPEG, or None if browsers can show the file as it is, or nothing can."""
    with suppress(Exception):  # decoders raise nearly any exception on bad data
        if images.read_format(path) in NOT_IN_BROWSERS:
            with READING:
                picture = images.load(path).image
            picture.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
            jpeg = io.BytesIO()
            picture.save(jpeg, "JPEG", quality=90)
            return jpeg.getvalue()
    return None


class Previews:
    """Middleware that sends a browser which asks for a picture to show a JPEG, if it could not show the file itself.

    Gradio decides first whether the visitor may have the file. Programs and downloads do not ask for a picture, but
    for a file of any type, and get the file.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        path = scope["path"].partition("/gradio_api/file=")[2] if scope["type"] == "http" else ""
        if not (path and scope["method"] == "GET" and Headers(scope=scope).get("accept", "").startswith("image/")):
            await self.app(scope, receive, send)
            return
        replaced = False

        async def send_preview(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 200:
                preview = await run_in_threadpool(make_preview, path)
                if preview:
                    replaced = True
                    kept = {"cache-control": f"private, max-age={SECONDS_IN_BROWSER}", "vary": "accept"}
                    await Response(preview, 200, kept, "image/jpeg")(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_preview)
