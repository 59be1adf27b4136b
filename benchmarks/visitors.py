"""Visitors of a page, many in one process: each sends what a browser sends, and reads all that comes back."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

TIMEOUT = 120.0  # seconds
PICTURE = re.compile(r'"data:image/jpeg;base64,([^"]+)"')


class Watched(NamedTuple):
    """What a visitor has seen of a run."""

    waited: float  # seconds from Paint until the run began
    painted: float  # seconds from then until the finished picture
    ended: float  # when that was, in time.monotonic()
    pictures: int
    downloaded: int  # bytes
    last: bytes  # the last picture, a JPEG; empty if there was none
    said: tuple[str, ...]  # what the status said, each thing once


class Visitor:
    """A tab, as the server sees it. Open it with `async with`."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # the page closes idle ones
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)
        self._session = secrets.token_hex(8)
        self.downloaded = 0

    async def __aenter__(self) -> Visitor:
        page, config = await asyncio.gather(self._http.get("/"), self._http.get("/config"))
        self.downloaded += page.num_bytes_downloaded  # a browser finds the configuration in the page
        found = config.json()
        self._functions = {function["api_name"]: function for function in found["dependencies"]}
        self._values = {part["id"]: part["props"].get("value") for part in found["components"]}
        await self.call("open_visit", None, secrets.token_hex(16), "", False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, name: str, *data: Any) -> list[Any]:
        """Call one of the page's functions that answer at once."""
        body = {"data": data, "fn_index": self._functions[name]["id"], "session_hash": self._session}
        answer = await self._http.post("/gradio_api/run/predict", json=body)
        answer.raise_for_status()
        self.downloaded += answer.num_bytes_downloaded
        return list(answer.json()["data"])

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """Send a file; returns what the page's functions take for it."""
        answer = await self._http.post("/gradio_api/upload", files={"files": (name, data)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    async def upload_file(self, file: Path) -> dict[str, Any]:
        """Send a file from this machine's disk."""
        return await self.upload(file.name, file.read_bytes())

    async def paint(self, photo: dict[str, Any], painting: dict[str, Any]) -> Watched:
        """Press Paint, with the page's own settings, and watch the run to its end."""
        before, pressed = self.downloaded, time.monotonic()
        await self.call("start_run", None, photo, painting, None)
        function = self._functions["paint_on_page"]
        data = [self._values[part] for part in function["inputs"]]
        data[1:3] = [photo, painting]
        body = {"data": data, "fn_index": function["id"], "session_hash": self._session}
        (await self._http.post("/gradio_api/queue/join", json=body)).raise_for_status()
        began, pictures, last, said = pressed, 0, "", dict[str, None]()
        stream = self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session})
        async with stream as events:
            async for line in events.aiter_lines():
                for status in re.findall(r"<p[^>]*>([^<]*)", line):
                    said[status] = None
                if "process_generating" not in line:
                    continue
                if found := PICTURE.search(line):
                    began = began if pictures else time.monotonic()
                    pictures, last = pictures + 1, found[1]
            self.downloaded += events.num_bytes_downloaded
        ended = time.monotonic()
        await self.call("finish_run", None)
        await self.call("show_results", None)
        downloaded = self.downloaded - before
        return Watched(began - pressed, ended - began, ended, pictures, downloaded, base64.b64decode(last), tuple(said))


async def time_answers(visitor: Visitor, seconds_between: float = 0.2) -> list[float]:
    """Time how long the page takes to answer a click, again and again, until cancelled."""
    answers = list[float]()
    try:
        while True:
            asked = time.monotonic()
            await visitor.call("turn_likeness", "between")
            answers.append(time.monotonic() - asked)
            await asyncio.sleep(seconds_between)
    except asyncio.CancelledError:
        return answers
