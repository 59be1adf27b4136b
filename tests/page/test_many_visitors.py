"""Many visitors at once: who is served, who waits, and what is left when they go."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from benchmarks import soak
from tests.page.helpers import save_plain_photo, small_request


@pytest.mark.slow
def test_of_twenty_visitors_at_once_eight_are_served_in_order_and_the_others_are_told_so(
    url: str, connect: Callable[[str], Client], tmp_path: Path
) -> None:
    clients = [connect(url) for _ in range(20)]
    photos = [save_plain_photo(tmp_path, number) for number in range(20)]
    clients[0].predict(**small_request())  # what an estimate is made from
    first = clients[0].submit(**small_request(size=128, iterations=2000))
    next(iter(first))  # the place is taken, so that nobody is served before all have come
    jobs = [clients[n].submit(**small_request(photo=handle_file(photos[n]))) for n in range(1, 20)]
    deadline = time.monotonic() + 60
    while sum(job.done() for job in jobs) < 11 and time.monotonic() < deadline:
        time.sleep(0.1)
    refused = [job for job in jobs if job.done()]
    assert len(refused) == 11
    assert all("full" in str(job.exception()) for job in refused)
    waiting = [job for job in jobs if job not in refused]
    while None in [job.status().rank for job in waiting] and time.monotonic() < deadline:
        time.sleep(0.1)
    places = {job.status().rank: job for job in waiting}
    assert sorted(places) == list(range(8))
    estimates = [places[rank].status().eta for rank in range(8)]
    assert all(early < late for early, late in itertools.pairwise(estimates)), "seconds, more for those behind"
    served: list[Any] = []
    for job in waiting:
        job.add_done_callback(served.append)
    first.cancel()
    for job in waiting:
        number = jobs.index(job) + 1
        with Image.open(job.result(timeout=60)[3]) as painted, Image.open(photos[number]) as photo:
            off = np.asarray(painted.convert("RGB"), float).mean((0, 1)) - np.asarray(photo, float).mean((0, 1))
        assert np.abs(off).max() < 6, "another visitor's picture"
    assert served == [places[rank].future for rank in range(8)]


@pytest.mark.slow
def test_stop_and_start_fifty_times_never_computes_twice_at_once_and_grows_nothing(
    client: Client, evaluations: Counter[str], folder: Path
) -> None:
    for number in range(50):
        job = client.submit(**small_request(iterations=2000))
        next(iter(job))
        job.cancel()
        if number == 10:
            threads, early = threading.active_count(), soak.measure_state(number, os.getpid(), folder)
    assert client.predict(**small_request())[3]
    assert evaluations["most"] == 1
    assert threading.active_count() < threads + 10
    late = soak.measure_state(50, os.getpid(), folder)
    assert late.memory - early.memory < soak.MAX_GROWTH
    assert late.open_files - early.open_files < 10


def wait_for_end(evaluations: Counter[str]) -> bool:
    """Whether the work ends soon."""
    for _ in range(50):
        before = evaluations["all"]
        time.sleep(0.3)
        if evaluations["all"] == before:
            return True
    return False


def test_a_visitor_who_leaves_ends_the_work_and_one_who_leaves_the_queue_never_starts_it(
    url: str, client: Client, connect: Callable[[str], Client], evaluations: Counter[str]
) -> None:
    one, two = connect(url), connect(url)
    running = one.submit(**small_request(iterations=2000))
    next(iter(running))
    queued = two.submit(**small_request(iterations=2000))
    while queued.status().rank is None:
        time.sleep(0.05)
    queued.cancel()
    two.close()
    running.cancel()
    one.close()
    assert wait_for_end(evaluations)
    assert client.predict(**small_request())[3]
