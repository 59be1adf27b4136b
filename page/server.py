"""The page on the network: what it answers beside Gradio, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any
from urllib.parse import urljoin, urlsplit

import gradio as gr
import httpx
import safehttpx
from gradio import processing_utils
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import choose, disk, run

MOST_WAITING = 8
LARGEST_FILE = 20 << 20  # bytes
LARGEST_BODY = LARGEST_FILE + (1 << 20)  # a file and what surrounds it
MOST_VISITS = 1000  # kept in memory, 0.15 MB each; beyond, those that were idle longest are forgotten
MOST_REDIRECTS = 5
LONGEST_FETCH = 60.0  # seconds


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
        read, refused, more = 0, False, False

        async def counted() -> Message:
            nonlocal read, refused, more
            message = await receive()
            more = message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > LARGEST_BODY and not refused:
                refused = True
                await refusal(scope, receive, send)
            # To the application the sender of an endless body has left.
            return {"type": "http.disconnect"} if refused else message

        async def unless_refused(message: Message) -> None:
            if more and message["type"] == "http.response.start":  # the application has refused it
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            if not refused:
                await send(message)

        try:
            await self.app(scope, counted, unless_refused)
        except ClientDisconnect:
            if not refused:
                raise


class SameOrigin:
    """Refuses what another site's page asks for in a visitor's browser: it would paint, or read, in their name.

    Gradio forbids only the reading, and only where the page itself is on this machine. A browser says where a request
    comes from (Fetch Metadata); an old one, or one without HTTPS, names the origin. Programs say neither.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        foreign = scope["type"] == "http" and self._foreign(scope["method"], Headers(scope=scope))
        refusal = PlainTextResponse("Another site's page may not ask for this.", 403)
        await (refusal if foreign else self.app)(scope, receive, send)

    @staticmethod
    def _foreign(method: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None and method in ("GET", "HEAD"):  # a link to here, or a frame
            return False
        if site := headers.get("sec-fetch-site"):
            return site not in ("same-origin", "none")
        # Without the port, which proxies drop.
        return origin is not None and urlsplit(origin).hostname != urlsplit(f"//{headers.get('host')}").hostname


async def fetch(url: str) -> httpx.Response:
    """What a picture's address gives, if that is public and not too large; Gradio itself would take any length."""
    for _ in range(MOST_REDIRECTS):
        transport = safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(httpx.URL(url).host))
        async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", url) as response:
            if response.has_redirect_location:
                url = urljoin(url, response.headers["location"])
                continue
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_FILE:
                    raise gr.Error(
                        f"What is at this address has more than {LARGEST_FILE >> 20} MB: use a smaller file."
                    )
            response.raise_for_status()
            return httpx.Response(response.status_code, content=bytes(body))
    raise ValueError("too many redirects")


async def fetch_or_say(url: str) -> httpx.Response:
    """The same, or one sentence."""
    try:
        return await asyncio.wait_for(fetch(url), LONGEST_FETCH)
    except gr.Error:
        raise
    except (ValueError, OSError, httpx.HTTPError, asyncio.TimeoutError) as error:
        said = "Nothing could be fetched from the picture's address: save the picture, and send the file."
        raise gr.Error(said, print_exception=False) from error


async def health(_: Request) -> JSONResponse:
    """For a load balancer: the page answers."""
    return JSONResponse({"status": "ok", "painting": run.COMPUTE.locked()})


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page; `options` are those of Gradio's launch."""
    processing_utils.async_ssrf_protected_get = fetch_or_say
    disk.show_without_files()
    return page.queue(max_size=MOST_WAITING).launch(
        max_file_size=LARGEST_FILE,
        allowed_paths=[str(choose.EXAMPLES)],
        app_kwargs={
            "routes": [Route("/health", health)],
            "middleware": [Middleware(SameOrigin), Middleware(BodyLimit), Middleware(disk.FullDisk)],
        },
        ssr_mode=False,
        state_session_capacity=MOST_VISITS,
        **options,
    )


def log_to_stderr() -> None:
    """One line for each job, without any picture, address or name in it."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
