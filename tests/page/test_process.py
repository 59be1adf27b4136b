"""The server as a process: its start, its end, and its memory after many visits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from benchmarks import soak
from page import run, worker
from page.examples import EXAMPLES
from page.queue import QUEUE, Entry
from page.worker import Request
from styletransfer import Settings
from tests.data import PAINTING, PHOTO, ROOT
from tests.page.helpers import small_request


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.slow
def test_sigterm_during_a_run_ends_the_process_within_five_seconds(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STYLETRANSFER_VGG19": "", "TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-u", "app.py"]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        found = (re.findall(r"http://\S+", line) for line in server.stdout or ())
        client = Client(next(match[0] for match in found if match), verbose=False)
        job = client.submit(**small_request(size=512, iterations=2000))
        next(iter(job))
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.killpg(server.pid, 0)
        assert not list(tmp_path.glob("photo-to-painting-*")), "what visitors brought goes too"
    finally:
        server.kill()


@pytest.mark.slow
def test_visits_in_a_row_leave_the_memory_flat() -> None:
    _, counts, states = soak.soak(21)  # `python -m benchmarks.soak` has 200
    assert not [what for what in counts if what.startswith("failed")], counts
    assert min(counts["painted"], counts["left"], counts["refused"]) >= 3
    assert states[-1].memory - states[0].memory < soak.MAX_GROWTH
    assert states[-1].open_files <= states[0].open_files + 10


@pytest.mark.slow
def test_runs_that_are_begun_and_stopped_leave_the_memory_flat(tmp_path: Path) -> None:
    with soak.start_server(tmp_path) as (url, process):
        client, states = Client(url, verbose=False), list[soak.State]()
        for number in range(1, 51):
            job = client.submit(**small_request(iterations=2000))
            next(iter(job))
            job.cancel()
            if number in (10, 50):
                assert client.predict(**small_request())[3]
                states.append(soak.measure_state(number, process, tmp_path))
        client.close()
    early, late = states
    assert late.memory - early.memory < soak.MAX_GROWTH
    assert late.open_files < early.open_files + 10


def warm_up(painting: Path) -> None:
    settings = Settings(size=192, stages=2)
    run.warm_up(Request(photo=str(PHOTO), paintings=(str(painting),), settings=settings, folder=Path()))


def test_the_first_visitor_does_not_wait_for_the_weights(evaluations: Counter[str]) -> None:
    warm_up(EXAMPLES / "style" / "waves.webp")
    assert evaluations["all"] == 2, "one in each stage"


def test_warming_up_does_not_keep_a_visitor_waiting(evaluations: Counter[str]) -> None:
    visitor = QUEUE.join(lambda: None)
    warm_up(PAINTING)
    visitor.leave()
    assert evaluations["all"] == 0


def test_warming_up_ends_when_a_visitor_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    visitors: list[Entry] = []

    def steps(*_: Any, **__: Any) -> Iterator[None]:
        while len(visitors) < 3:
            visitors.append(QUEUE.join(lambda: None))
            yield

    monkeypatch.setattr(worker, "stylize", steps)
    warm_up(PAINTING)
    assert len(visitors) == 1, "after the step that was on"
    assert visitors[0].wait_for_turn(0)
    visitors[0].leave()
