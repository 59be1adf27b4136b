"""The page on the network: its limits, the requests that it refuses, its health and its log."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Collection
from typing import Any
from urllib.parse import urljoin, urlsplit

import gradio as gr
import httpx
import safehttpx
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import drop_zones, gradio_patches, link_preview, metrics, storage
from .examples import EXAMPLES
from .queue import QUEUE
from .session import VISITS

MAX_EVENTS = 1000  # that wait in Gradio's queue, which only passes them on: page/queue.py says who may paint
MAX_THREADS = 256  # Gradio has 40; each visitor who watches a run, or waits, has one for half a second at a time
MAX_FILE_BYTES = 20 << 20
MAX_BODY_BYTES = MAX_FILE_BYTES + (1 << 20)  # a file and the form around it
MAX_SESSIONS = 1000  # kept in memory, 0.15 MB each; Gradio then drops the one that has been idle longest
MAX_REDIRECTS = 5
MAX_FETCH_SECONDS = 60.0
MAX_LOGGED_REFUSALS = 100  # different ones: strangers choose their headers, and would fill the log
# Files of Gradio's that are the same for everybody: any page may load them.
STATIC = ("/assets/", "/static/", "/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/manifest.json")

log = logging.getLogger(__name__)


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

    Pages of `allowed_origins` may use the server; "null" means every page without an origin, as in a sandboxed frame.
    A browser says where a request comes from (Fetch Metadata); an old browser, or one without HTTPS, names the origin.
    Programs send neither header. Each refusal is logged once, with its reason.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Collection[str]) -> None:
        self.app = app
        self._allowed_origins = allowed_origins
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        reason = scope["type"] == "http" and self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if not reason:
            return await self.app(scope, receive, send)
        if reason not in self._logged and len(self._logged) < MAX_LOGGED_REFUSALS:
            self._logged.add(reason)
            log.warning("refused with 403: %s", reason)
        return await PlainTextResponse("Pages of other sites may not use this server.", 403)(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Headers) -> str | None:
        """Why a request is refused and what to do about it, or None."""
        origin = headers.get("origin")
        if method in ("GET", "HEAD") and (origin is None or path.startswith(STATIC)):  # a link, a frame, a script
            return None
        if origin in self._allowed_origins:
            return None
        if site := headers.get("sec-fetch-site"):
            if site in ("same-origin", "none"):
                return None
            return (
                f"the browser says that a page elsewhere asks (Sec-Fetch-Site: {site:.20}, Origin: {origin!a:.200}). "
                "If that site may use this page, name it with --allow-origin (docs/deploy.md)."
            )
        if origin is None:
            return None
        # A proxy that replaces Host says in X-Forwarded-Host which one the visitor asked for. A foreign page cannot
        # add that header: its browser would first ask for permission, in a preflight without it, which is refused.
        host = headers.get("host", "")
        forwarded = headers.get("x-forwarded-host", "").split(",")[0].strip()  # the first of several, as Gradio does
        asked = _host_name(origin)
        if asked and asked in (_host_name(f"//{host}"), _host_name(f"//{forwarded}")):
            return None
        return (
            f"a page at {origin!a:.200} asks, but Host is {host!a:.200} and X-Forwarded-Host {forwarded!a:.200}. If "
            "the first is this page's own address, let the proxy pass on Host or X-Forwarded-Host; if it is another "
            "site that may use this page, name it with --allow-origin (docs/deploy.md)."
        )


class CompressPage:
    """Middleware that sends the page compressed: Gradio compresses only what has an ending in its name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compress = GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        is_page = scope["type"] == "http" and scope["path"] in ("/", "/config")
        await (self._compress if is_page else self._app)(scope, receive, send)


def _host_name(address: str) -> str | None:
    """The host in an address, without the port, which some proxies drop; None if there is none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


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
    """Tell a load balancer that the page answers, whether it is painting, and for how many."""
    numbers = {"painters": len(QUEUE.painters), "runs": QUEUE.painting, "waiting": QUEUE.waiting}
    return JSONResponse({"status": "ok", "painting": QUEUE.is_busy, **numbers})


async def tell_visit(request: Request) -> Response:
    """A tab tells that it is being closed, or that it is back; see page.js."""
    token = (await request.body()).decode(errors="replace")
    session = VISITS.find(token)
    for work in (session.run, session.sketches) if session else ():
        if work and request.path_params["what"] == "leave":
            work.expect_end()
        elif work:
            work.expect_watcher()
    return Response(status_code=204)


def reach_without_proxy(*hosts: str) -> None:
    """Let this process and its children reach this machine, and `hosts`, without the proxy that the environment names.

    Gradio asks its own server whether it has started, and its tools for language models call it.
    """
    named = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    if named.strip() != "*":
        names = [*filter(None, named.split(",")), "localhost", "127.0.0.1", "::1", *hosts]
        # Both, since some programs read only one of them; where both are set, the lower case counts.
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(names))


def launch(page: gr.Blocks, allowed_origins: Collection[str] = (), **options: Any) -> tuple[Any, str, str]:
    """Serve the page, also to pages of other sites at `allowed_origins`.

    `options` go to Gradio's launch, and its answer is returned: the app, and two addresses.
    """
    reach_without_proxy((options.get("server_name") or "localhost").strip("[]"))
    gradio_patches.apply_patches(fetch_or_explain)
    gradio_patches.replace_tags(link_preview.describe_link)
    return page.queue(max_size=MAX_EVENTS).launch(
        max_file_size=MAX_FILE_BYTES,
        max_threads=MAX_THREADS,
        allowed_paths=[str(EXAMPLES)],
        app_kwargs={
            "routes": [
                Route("/health", health),
                Route("/metrics", metrics.send_metrics),
                Route("/visit/{what:str}", tell_visit, methods=["POST"]),
                Route("/preview/{name:str}", link_preview.send_picture),
            ],
            "middleware": [
                Middleware(SameOrigin, allowed_origins),
                Middleware(
                    CORSMiddleware,
                    allow_origins=allowed_origins,
                    allow_methods=["*"],
                    allow_headers=["*"],
                    allow_credentials=True,
                ),
                Middleware(BodyLimit),
                Middleware(storage.DiskErrors),
                Middleware(drop_zones.Previews),
                Middleware(CompressPage),
            ],
        },
        ssr_mode=False,
        favicon_path=link_preview.ICON,
        run_history=False,  # it would keep all settings and file names in the browser, for whoever uses it next
        footer_links=["api"],
        state_session_capacity=MAX_SESSIONS,
        **options,
    )


def log_to_stderr() -> None:
    """Log one line for each run, without any picture, address or name in it."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
