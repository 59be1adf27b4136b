"""Many visitors at once: who is served, who waits, and what is left when they go."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.client import Job
from PIL import Image

from benchmarks import soak
from benchmarks.visitors import Visitor, Watched, time_answers
from page import worker
from page.queue import QUEUE
from page.worker import Request, RunEnd, Update
from styletransfer import Losses
from styletransfer.cpu import memory
from tests.data import PAINTING, PHOTO
from tests.page.helpers import save_plain_photo, small_request


def status(job: Job) -> str:
    """What the status says last of a job of /stylize."""
    shown = job.outputs()
    return str(shown[-1][1]) if shown else ""


@pytest.mark.slow
def test_of_twenty_programs_at_once_eight_wait_and_are_served_in_order_and_the_others_are_told_so(
    url: str, connect: Callable[[str], Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [connect(url) for _ in range(20)]
    photos = [save_plain_photo(tmp_path, number) for number in range(20)]
    clients[0].predict(**small_request())  # what an estimate is made from
    painted, run = list[str](), worker.run
    monkeypatch.setattr(worker, "run", lambda request: painted.append(Path(request.photo).stem) or run(request))
    first = clients[0].submit(**small_request(size=128, iterations=2000))
    while "Painting" not in status(first):  # the place is taken, so that nobody is served before all have come
        time.sleep(0.1)
    jobs = [clients[n].submit(**small_request(photo=handle_file(photos[n]))) for n in range(1, 20)]
    deadline = time.monotonic() + 60
    while sum(job.done() for job in jobs) < 11 and time.monotonic() < deadline:
        time.sleep(0.1)
    refused = [job for job in jobs if job.done()]
    assert len(refused) == 11
    assert {str(job.exception()) for job in refused} == {
        "This page is busy, and 8 people wait already: try again in a minute."
    }
    waiting = [job for job in jobs if job not in refused]
    while not all("about" in status(job) for job in waiting) and time.monotonic() < deadline:
        time.sleep(0.1)
    said = {next(iter(re.findall(r"\d+(?= pe)", status(job))), "0"): job for job in waiting}
    assert sorted(said) == [str(before) for before in range(8)]
    assert all("about" in status(job) for job in waiting), "seconds"
    first.cancel()
    for job in waiting:
        number = jobs.index(job) + 1
        with Image.open(job.result(timeout=60)[3]) as picture, Image.open(photos[number]) as photo:
            off = np.asarray(picture.convert("RGB"), float).mean((0, 1)) - np.asarray(photo, float).mean((0, 1))
        assert np.abs(off).max() < 6, "another visitor's picture"
    assert painted[1:] == [str(jobs.index(said[str(before)]) + 1) for before in range(8)]


@pytest.mark.slow
def test_stop_and_start_fifty_times_never_computes_twice_at_once_and_leaves_no_thread_and_no_open_file(
    client: Client, evaluations: Counter[str]
) -> None:
    def count() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    for number in range(50):  # the memory is measured in test_process.py, where the server is alone in its process
        job = client.submit(**small_request(iterations=2000))
        next(iter(job))
        job.cancel()
        if number == 10:
            threads, files = count()
    assert client.predict(**small_request())[3]
    assert evaluations["most"] == 1
    threads_later, files_later = count()
    assert threads_later < threads + 10
    assert files_later < files + 10


def wait_for_end(evaluations: Counter[str]) -> bool:
    """Whether the work ends soon."""
    for _ in range(50):
        before = evaluations["all"]
        time.sleep(0.5)
        if evaluations["all"] == before:
            return True
    return False


@pytest.mark.slow
def test_a_visitor_who_leaves_ends_the_work_and_one_who_leaves_the_queue_never_starts_it(
    url: str, client: Client, connect: Callable[[str], Client], evaluations: Counter[str]
) -> None:
    one, two = connect(url), connect(url)
    running = one.submit(**small_request(iterations=2000))
    next(iter(running))
    queued = two.submit(**small_request(iterations=2000))
    while "You are next" not in status(queued):
        assert not queued.done(), queued.exception() or status(queued)
        time.sleep(0.05)
    queued.cancel()
    two.close()
    running.cancel()
    one.close()
    assert wait_for_end(evaluations)
    assert client.predict(**small_request())[3]


@pytest.mark.slow
def test_a_program_that_hangs_up_while_it_waits_is_not_painted_for(
    url: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "page")
    running = client.submit(**small_request(size=128, iterations=2000))
    while "Painting" not in status(running):
        assert not running.done(), running.exception() or status(running)
        time.sleep(0.05)
    pictures = [{"path": upload(url, file), "meta": {"_type": "gradio.FileData"}} for file in (PHOTO, PAINTING)]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": [*pictures, "quick", *[None] * 4]}).json()
    with httpx.stream("GET", f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 20
    while "outcome" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "evaluations=0 outcome=left" in caplog.text
    running.cancel()


def upload(url: str, file: Path) -> str:
    """The path at which the server has a file now."""
    return str(httpx.post(f"{url}gradio_api/upload", files={"files": file.open("rb")}).json()[0])


TABS, WAITING, PAINTERS = 200, 50, 8


class PlainPainter:
    """One of eight, which are elsewhere: here it takes four seconds to show the photo itself."""

    def paint(self, request: Request) -> Iterator[Update]:
        with Image.open(request.photo) as photo:
            picture = photo.convert("RGB")
        for step in range(1, 11):
            time.sleep(0.4)
            yield Update(
                picture=picture.copy(),
                losses=[Losses(1.0, 1.0, 1.0, 3.0)],
                marks={},
                iteration=step,
                iterations=10,
                size=max(picture.size),
                seconds=0.4 * step,
                remaining=4 - 0.4 * step,
                settings=request.settings,
                backbone="vgg16",
                masked=False,
                in_regions=False,
                notes=(),
                end=RunEnd.FINISHED if step == 10 else None,
            )


@pytest.fixture
def eight_painters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before, added = QUEUE.painters, [PlainPainter() for _ in range(PAINTERS)]
    monkeypatch.setattr(QUEUE, "max_waiting", WAITING)
    for painter in before:
        QUEUE.dismiss(painter)
    for painter in added:
        QUEUE.add(painter)
    yield
    for painter in added:
        QUEUE.dismiss(painter)
    for painter in before:
        QUEUE.add(painter)


async def paint_at_once(visitors: list[Visitor], photos: list[Path]) -> list[Watched]:
    painting = await asyncio.gather(*(visitor.upload_file(PAINTING) for visitor in visitors))
    given = await asyncio.gather(*(visitor.upload_file(photo) for visitor, photo in zip(visitors, photos, strict=True)))
    return list(await asyncio.gather(*map(Visitor.paint, visitors, given, painting)))


@pytest.mark.slow
@pytest.mark.usefixtures("eight_painters")
def test_with_two_hundred_tabs_and_fifty_waiting_the_page_answers_and_everybody_gets_their_own_picture(
    url: str, tmp_path: Path, folder: Path
) -> None:
    photos = [save_plain_photo(tmp_path, number) for number in range(PAINTERS + WAITING)]

    async def visit() -> tuple[list[list[Watched]], list[float], int, list[soak.State]]:
        async with AsyncExitStack() as stack:
            tabs = [await stack.enter_async_context(Visitor(url)) for _ in range(TABS)]
            answering = asyncio.create_task(time_answers(tabs[-1]))
            seen, states, most = list[list[Watched]](), list[soak.State](), 0
            for wave in range(2):
                painting = asyncio.create_task(paint_at_once(tabs[: len(photos)], photos))
                while not painting.done():
                    most = max(most, QUEUE.waiting)
                    await asyncio.sleep(0.05)
                seen.append(await painting)
                gc.collect()
                memory.trim_heap()  # what is free, or only waits to be collected, has not grown
                states.append(soak.measure_state(wave, os.getpid(), folder))
            answering.cancel()
            return seen, await answering, most, states

    with ThreadPoolExecutor(1) as pool:  # in this thread a browser's loop may be running
        seen, answers, most_waiting, (early, late) = pool.submit(asyncio.run, visit()).result()
    assert most_waiting >= WAITING - PAINTERS
    assert statistics.median(answers) < 0.5
    for wave in seen:
        for watched, photo in zip(wave, photos, strict=True):
            assert watched.last, watched.said
            with Image.open(io.BytesIO(watched.last)) as picture, Image.open(photo) as own:
                off = np.asarray(picture.convert("RGB"), float).mean((0, 1)) - np.asarray(own, float).mean((0, 1))
            assert np.abs(off).max() < 6, "another visitor's picture"
    assert late.memory - early.memory < soak.MAX_GROWTH
    assert late.open_files - early.open_files < 10
