"""The page on the network: its limits, the requests that it refuses, its health and its log."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any
from urllib.parse import urljoin, urlsplit

import gradio as gr
import httpx
import safehttpx
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import drop_zones, gradio_patches, storage, worker
from .examples import EXAMPLES

MAX_WAITING = 8
MAX_FILE_BYTES = 20 << 20
MAX_BODY_BYTES = MAX_FILE_BYTES + (1 << 20)  # a file and the form around it
MAX_SESSIONS = 1000  # kept in memory, 0.15 MB each; Gradio then drops the one that has been idle longest
MAX_REDIRECTS = 5
MAX_FETCH_SECONDS = 60.0


class BodyLimit:
    """Middleware that refuses a request whose body is longer than MAX_BODY_BYTES, and reads no more of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        message = f"More than {MAX_FILE_BYTES >> 20} MB: send a smaller file."
        # Close the connection, or the server would still read the rest.
        refusal = PlainTextResponse(message, 413, {"connection": "close"})
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
            return await refusal(scope, receive, send)
        read, refused, more = 0, False, False

        async def receive_counted() -> Message:
            nonlocal read, refused, more
            message = await receive()
            more = message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > MAX_BODY_BYTES and not refused:
                refused = True
                await refusal(scope, receive, send)
            # Tell the application that the client has left, or it would wait for the rest.
            return {"type": "http.disconnect"} if refused else message

        async def send_unless_refused(message: Message) -> None:
            if more and message["type"] == "http.response.start":  # the application answers before it has read all
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive_counted, send_unless_refused)
        except ClientDisconnect:
            if not refused:
                raise


class SameOrigin:
    """Middleware that refuses requests of other sites' pages: they would paint, or read, in the visitor's name.

    Gradio prevents only reading, and only where it runs on the visitor's own machine. A browser says where a request
    comes from (Fetch Metadata); an old browser, or one without HTTPS, names the origin. Programs send neither header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        foreign = scope["type"] == "http" and self._is_foreign(scope["method"], Headers(scope=scope))
        refusal = PlainTextResponse("Pages of other sites may not use this server.", 403)
        await (refusal if foreign else self.app)(scope, receive, send)

    @staticmethod
    def _is_foreign(method: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None and method in ("GET", "HEAD"):  # a link, or a frame
            return False
        if site := headers.get("sec-fetch-site"):
            return site not in ("same-origin", "none")
        # Compare without the port, which some proxies drop.
        return origin is not None and urlsplit(origin).hostname != urlsplit(f"//{headers.get('host')}").hostname


async def fetch(url: str) -> httpx.Response:
    """Download a picture from a public address, and no more than MAX_FILE_BYTES of it.

    Raises gr.Error for a file that is too large; ValueError, OSError or httpx.HTTPError otherwise.
    """
    for _ in range(MAX_REDIRECTS + 1):
        transport = safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(httpx.URL(url).host))
        async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", url) as response:
            if response.has_redirect_location:
                url = urljoin(url, response.headers["location"])
                continue
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_FILE_BYTES:
                    raise gr.Error(
                        f"The file at this address has more than {MAX_FILE_BYTES >> 20} MB: use a smaller file."
                    )
            response.raise_for_status()
            return httpx.Response(response.status_code, content=bytes(body))
    raise ValueError("too many redirects")


async def fetch_or_explain(url: str) -> httpx.Response:
    """Download as `fetch` does, in at most MAX_FETCH_SECONDS. Raises gr.Error with a sentence if that fails.

    It replaces Gradio's own download (see gradio_patches.py), which takes a file of any length.
    """
    try:
        return await asyncio.wait_for(fetch(url), MAX_FETCH_SECONDS)
    except gr.Error:
        raise
    except (ValueError, OSError, httpx.HTTPError, asyncio.TimeoutError) as error:
        message = "The picture could not be downloaded from its address: save the picture, and send the file."
        raise gr.Error(message, print_exception=False) from error


async def health(_: Request) -> JSONResponse:
    """Tell a load balancer that the page answers, and whether it is painting."""
    return JSONResponse({"status": "ok", "painting": worker.COMPUTE_LOCK.locked()})


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page; `options` go to Gradio's launch, and its answer is returned: the app, and two addresses."""
    gradio_patches.apply_patches(fetch_or_explain)
    return page.queue(max_size=MAX_WAITING).launch(
        max_file_size=MAX_FILE_BYTES,
        allowed_paths=[str(EXAMPLES)],
        app_kwargs={
            "routes": [Route("/health", health)],
            "middleware": [
                Middleware(SameOrigin),
                Middleware(BodyLimit),
                Middleware(storage.FullDisk),
                Middleware(drop_zones.Previews),
            ],
        },
        ssr_mode=False,
        state_session_capacity=MAX_SESSIONS,
        **options,
    )


def log_to_stderr() -> None:
    """Log one line for each run, without any picture, address or name in it."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
