"""The work across the border of a process: simulated, and by the real package with a stand-in for its scheduler."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gradio
import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from page import controls, layout, worker
from page.config import ServerConfig
from page.handlers import Handlers
from page.session import Session
from page.worker import Request, RunEnd
from styletransfer import PRESETS, Settings, weights
from tests.data import PAINTING, PHOTO, ROOT

with gradio.Blocks():
    COMPONENTS = layout.create_components(ServerConfig())
HANDLERS = Handlers(COMPONENTS, ServerConfig())


def make_request(folder: Path, **changes: Any) -> Request:
    settings = Settings(**{"size": 64, "iterations": 6, **changes})
    return Request(photo=str(PHOTO), paintings=(str(PAINTING),), settings=settings, folder=folder)


def test_a_request_and_its_updates_cross_a_process_border(tmp_path: Path) -> None:
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


def test_the_real_package_without_its_gpu_leaves_the_work_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
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
    HANDLERS.start_run(session)
    values = controls.slider_values(Settings(size=64, iterations=iterations)).values()
    return HANDLERS.stylize(session, {"path": str(photo)}, {"path": str(PAINTING)}, "best", *values)


def test_a_run_across_the_border_is_shown_and_saved(zero_gpu: list[int]) -> None:
    session = Session()
    *_, last = painted(session, 12)
    assert "Finished: 12 of 12" in last[COMPONENTS.status]
    assert max(Image.open(last[COMPONENTS.download]).size) == 64
    assert zero_gpu == [15]


def test_what_is_changed_reaches_a_run_across_the_border(zero_gpu: list[int]) -> None:
    session = Session()
    updates = painted(session, 600)
    next(updates), next(updates)
    changed = controls.slider_values(Settings(size=64, iterations=600, style_weight=1e9)).values()
    HANDLERS.steer(session, "best", *changed)
    for _ in range(400):
        plot = next(updates).get(COMPONENTS.plot)
        if plot and any(mark.text == "changed" for mark in plot.layout.annotations):
            break
    HANDLERS.stop_run(session)
    *_, _last = updates
    assert session.results[0].settings.style_weight == 1e9


def test_stop_reaches_a_run_across_the_border(zero_gpu: list[int]) -> None:
    session = Session()
    updates = painted(session, 2000)
    next(updates), next(updates)
    HANDLERS.stop_run(session)
    *_, last = updates
    assert "Stopped" in last[COMPONENTS.status]
    assert Path(last[COMPONENTS.download]).is_file()


def test_a_visitor_who_leaves_ends_the_run_across_the_border(zero_gpu: list[int]) -> None:
    updates = painted(Session(), 2000)
    next(updates), next(updates)
    started = time.monotonic()
    updates.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 15


def test_a_refusal_keeps_its_sentence_across_the_border(zero_gpu: list[int], tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(gradio.Error, match=r"notes\.jpg is not in a readable format"):
        list(painted(Session(), 4, tmp_path / "notes.jpg"))


def test_where_no_gpu_is_available_the_page_says_so(zero_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(request: Request) -> Iterator[Any]:
        raise RuntimeError("/schedule error")
        yield

    monkeypatch.setattr(worker, "run", lambda request: worker.end_with_last_update(refused(request)))
    with pytest.raises(gradio.Error, match="No GPU is available right now"):
        list(painted(Session(), 12))


def test_a_quota_that_is_used_up_is_said_in_the_packages_own_words() -> None:
    def refused() -> Iterator[Any]:
        raise gradio.Error("You have exceeded your quota.")
        yield

    with pytest.raises(gradio.Error, match="exceeded your quota"):
        list(worker.end_with_last_update(refused()))


# The real package

# This machine has no CUDA: nothing of it is emulated, and the worker paints on the processor.
WITHOUT_CUDA = """
import spaces.zero.torch as side
side.unpatch()
for name in ("unpatch", "init", "move", "enter_mode"):
    setattr(side, name, lambda *_, **__: None)
side.pack = side.size = lambda: 0
import app
app.main()
"""
STARTED = """
import gradio
import app
gradio.Blocks.block_thread = lambda page: None
app.main()
import spaces.zero.torch as side
from styletransfer import backbones
print(backbones.load()[0].device, side.size())
"""


class Space:
    """A page that was started as on a ZeroGPU Space, and what it asked of the scheduler."""

    def __init__(self, tmp_path: Path) -> None:
        asked = self.asked = list[tuple[str, dict[str, str]]]()

        class Scheduler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                url = urlsplit(self.path)
                asked.append((url.path, {key: value for key, (value, *_) in parse_qs(url.query).items()}))
                given = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
                body = json.dumps(given if url.path == "/schedule" else {}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.scheduler = ThreadingHTTPServer(("127.0.0.1", 0), Scheduler)
        threading.Thread(target=self.scheduler.serve_forever, daemon=True).start()
        self.environment = {
            **os.environ, "SPACE_ID": "anna/demo", "SPACES_ZERO_GPU": "true", "GRADIO_SERVER_NAME": "0.0.0.0",
            "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{self.scheduler.server_port}",
            "ZEROGPU_OFFLOAD_DIR": str(tmp_path / "offload"), "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(tmp_path), "TORCH_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def start(self) -> None:
        command = [sys.executable, "-u", "-c", WITHOUT_CUDA]
        self.page = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True)
        found = (re.findall(r"http://\S+?:(\d+)", line) for line in self.page.stdout or ())
        self.url = f"http://127.0.0.1:{next(match[0] for match in found if match)}/"
        threading.Thread(target=lambda: list(self.page.stdout or ()), daemon=True).start()
        self.client = Client(self.url, verbose=False, headers={"X-IP-Token": "a.e30.c"})

    def submit(self, iterations: int) -> Any:
        given = {"size": 64, "iterations": iterations, "api_name": "/stylize"}
        return self.client.submit(handle_file(PHOTO), handle_file(PAINTING), "best", **given)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.page.pid}/task").glob("*/children")
        return [int(child) for file in children for child in file.read_text().split()]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    space = Space(tmp_path_factory.mktemp("space"))
    space.start()
    yield space
    space.client.close()
    space.page.kill()
    space.scheduler.shutdown()


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ZeroGPU is Linux")


@linux
def test_a_space_starts_without_pause_and_paints_in_the_packages_own_worker(space: Space) -> None:
    config = httpx.get(f"{space.url}config").json()
    pause = next(part for part in config["components"] if part["props"].get("elem_id") == "pause")
    assert not pause["props"]["visible"]
    assert set(httpx.get(f"{space.url}gradio_api/mcp/schema").text.split('"')) >= {"paint", "stylize"}
    space.asked.clear()
    for _ in range(2):
        picture, status, _, png = space.submit(4).result()
        assert "Finished: 4 of 4" in status
        assert Image.open(picture).size == Image.open(png).size
    paths = [path for path, _ in space.asked]
    assert paths.count("/schedule") == paths.count("/release") == 2
    assert paths.count("/allow") == 1, "the second picture has the worker of the first"
    schedule = next(said for path, said in space.asked if path == "/schedule")
    assert schedule["durationSeconds"] == "15"
    assert schedule["token"] == "a.e30.c", "else every visitor has the quota of an anonymous one"


@linux
def test_a_visitor_who_leaves_a_space_gives_the_gpu_back(space: Space) -> None:
    job = space.submit(2000)
    next(iter(job))
    next(iter(job))
    space.asked.clear()
    job.cancel()
    for _ in range(100):
        if any(path == "/release" for path, _ in space.asked):
            break
        time.sleep(0.1)
    assert ("/release", {"allowToken": "token", "fail": "false"}) in space.asked
    assert "Finished" in space.submit(2).result()[1]


@linux
def test_a_worker_that_is_killed_in_the_middle_costs_no_picture(space: Space) -> None:
    job = space.submit(2000)
    for update in job:
        if "Painting" in update[1]:
            break
    for process in space.workers():
        os.kill(process, signal.SIGKILL)
    picture, status, _, png = job.result()
    assert "Stopped" in status
    assert "The GPU was taken away before the end" in status
    assert Image.open(picture).size == Image.open(png).size
    assert "Finished" in space.submit(2).result()[1]


@linux
def test_a_space_that_is_told_to_end_leaves_no_worker(space: Space) -> None:
    job = space.submit(2000)
    next(iter(job))
    next(iter(job))
    (process,) = space.workers()
    space.page.send_signal(signal.SIGTERM)
    assert space.page.wait(5) == 128 + signal.SIGTERM
    for _ in range(50):
        if not Path(f"/proc/{process}").exists():
            return
        time.sleep(0.1)
    pytest.fail("an orphan")


@linux
def test_the_backbone_is_handed_to_the_package_before_the_page_opens(tmp_path: Path) -> None:
    space = Space(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=ROOT, env=space.environment, capture_output=True, text=True
    )
    space.scheduler.shutdown()
    assert done.returncode == 0, done.stderr
    device, packed = done.stdout.split()[-2:]
    numbers = sum(tensor.numel() for tensor in weights.bundled_vgg16().tensors.values())
    assert device == "cuda"
    assert int(packed) >= 2 * numbers, "bytes, in bfloat16"
