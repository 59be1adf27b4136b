"""Runs in another process, as on a ZeroGPU Space: test_zero_gpu_package.py has the real package."""

from __future__ import annotations

import os
import pickle
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gradio
import pytest
from PIL import Image

from page import controls, examples, worker
from page.session import Session
from page.worker import Request, RunEnd
from styletransfer import PRESETS, Settings, weights
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS


def make_request(folder: Path, **changes: Any) -> Request:
    settings = Settings(**{"size": 64, "iterations": 6, **changes})
    return Request(photo=str(PHOTO), paintings=(str(PAINTING),), settings=settings, folder=folder)


def test_a_request_and_its_updates_can_be_sent_to_another_process(tmp_path: Path) -> None:
    last: Any = None
    for last in worker.run_here(pickle.loads(pickle.dumps(make_request(tmp_path)))):
        again = pickle.loads(pickle.dumps(last))
        assert type(again.picture) is Image.Image
        assert again.losses == last.losses
    assert last.end is RunEnd.FINISHED


def test_the_seconds_asked_of_a_gpu_are_few_and_follow_the_preset(tmp_path: Path) -> None:
    asked = {
        name: worker.gpu_seconds(Request(photo="", paintings=(), settings=settings, folder=tmp_path))
        for name, settings in PRESETS.items()
    }
    assert asked["quick"] < asked["balanced"] < asked["best"]
    assert max(asked.values()) <= 60
    assert worker.gpu_seconds(make_request(tmp_path, size=2048, iterations=2000)) <= 120


def test_without_zero_gpu_the_package_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    assert worker.on_gpu(worker.run_here) is worker.run_here
    import spaces

    assert "spaces" in sys.modules
    assert spaces.GPU(duration=worker.gpu_seconds)(worker.run_here) is worker.run_here


def test_off_spaces_the_package_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert worker.on_gpu(worker.run_here) is worker.run_here
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    assert worker.on_gpu(worker.run_here) is worker.run_here


def bordered(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`task` in a process forked for it, with only pickles across, as the package does on ZeroGPU."""
    fork = get_context("fork")

    def serve(pickled: bytes, out: Any, stop: Any) -> None:
        generator = task(*pickle.loads(pickled))
        for value in generator:
            if stop.is_set():
                generator.close()
                break
            out.send_bytes(pickle.dumps(("value", value, os.getpid())))
        out.send_bytes(pickle.dumps(("end", None, os.getpid())))

    def here(*args: Any) -> Iterator[Any]:
        receiving, sending = fork.Pipe(duplex=False)
        stop = fork.Event()
        process = fork.Process(target=serve, args=(pickle.dumps(args), sending, stop), daemon=True)
        process.start()
        sending.close()
        try:
            while True:
                kind, value, pid = pickle.loads(receiving.recv_bytes())
                assert pid != os.getpid()
                if kind == "end":
                    return
                yield value
        finally:
            stop.set()
            receiving.close()
            process.join(20)
            assert not process.is_alive()

    return here


@pytest.fixture
def zero_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A simulated ZeroGPU; gives the durations that were asked for."""
    asked: list[int] = []

    def GPU(duration: Callable[..., int]) -> Callable[..., Any]:
        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def on_gpu(*args: Any) -> Iterator[Any]:
                asked.append(duration(*args))
                yield from bordered(task)(*args)

            return on_gpu

        return decorate

    package: Any = types.ModuleType("spaces")
    package.GPU = GPU
    monkeypatch.setitem(sys.modules, "spaces", package)
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    monkeypatch.setattr(worker, "ZERO_GPU", True)
    monkeypatch.setattr(worker, "SECONDS_PER_UPDATE", -1)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)
    monkeypatch.setattr(worker, "run", worker.on_gpu(worker.run_here))
    return asked


def painted(session: Session, iterations: int, photo: Path = PHOTO) -> Iterator[Any]:
    session.is_open = True
    HANDLERS.start_more(session)
    values = controls.slider_values(Settings(size=64, iterations=iterations)).values()
    return HANDLERS.stylize(session, {"path": str(photo)}, {"path": str(PAINTING)}, "best", *values)


@pytest.mark.slow
def test_a_run_in_another_process_is_shown_and_saved(zero_gpu: list[int]) -> None:
    session = Session()
    *_, last = painted(session, 12)
    assert "Step 12 of 12" in last[COMPONENTS.status]
    assert max(Image.open(last[COMPONENTS.download]).size) == 64
    assert zero_gpu == [15]


@pytest.mark.slow
def test_sketches_are_painted_in_another_process_each_in_a_call_of_its_own(
    zero_gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.sketches.SKETCH_SIZE", 64)
    monkeypatch.setattr("page.handlers.styles", lambda: examples.styles()[:2])
    session = Session(is_open=True)
    values = controls.slider_values(Settings()).values()
    HANDLERS.try_styles(session, {"path": str(PHOTO)}, None, "balanced", *values, None, None)
    *_, last = HANDLERS.watch_sketches(session)
    assert session.sketches
    assert all(picture and Path(picture).is_file() for picture in session.sketches.wall.pictures)
    assert [tile["waits"] for tile in last[COMPONENTS.wall]["tiles"]] == [False, False]
    assert zero_gpu == [15, 15]


def test_a_change_reaches_a_run_in_another_process(zero_gpu: list[int]) -> None:
    session = Session()
    updates = painted(session, 600)
    next(updates), next(updates)
    changed = controls.slider_values(Settings(size=64, iterations=600, style_weight=1e9)).values()
    HANDLERS.steer(session, "best", *changed)
    while session.run and "changed" not in session.run.marks.values():
        next(updates)
    HANDLERS.stop_run(session)
    *_, _last = updates
    assert session.results[0].settings.style_weight == 1e9


def test_stop_reaches_a_run_in_another_process(zero_gpu: list[int]) -> None:
    session = Session()
    updates = painted(session, 2000)
    next(updates), next(updates)
    HANDLERS.stop_run(session)
    *_, last = updates
    assert "Stopped" in last[COMPONENTS.status]
    assert Path(last[COMPONENTS.download]).is_file()


def test_a_visitor_who_leaves_ends_the_run_in_another_process(zero_gpu: list[int]) -> None:
    updates = painted(Session(), 2000)
    next(updates), next(updates)
    started = time.monotonic()
    updates.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_a_refusal_keeps_its_sentence_from_another_process(zero_gpu: list[int], tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(gradio.Error, match=r"notes\.jpg is not in a readable format"):
        list(painted(Session(), 4, tmp_path / "notes.jpg"))


@pytest.mark.slow
def test_where_no_gpu_is_available_the_page_says_so(zero_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(request: Request) -> Iterator[Any]:
        raise RuntimeError("/schedule error")
        yield

    monkeypatch.setattr(worker, "run", lambda request: worker.end_with_last_update(refused(request)))
    with pytest.raises(gradio.Error, match="No GPU is available right now"):
        list(painted(Session(), 12))


def test_a_used_up_quota_is_reported_in_the_packages_words() -> None:
    def refused() -> Iterator[Any]:
        raise gradio.Error("You have exceeded your quota.")
        yield

    with pytest.raises(gradio.Error, match="exceeded your quota"):
        list(worker.end_with_last_update(refused()))
