"""A page on the real package of ZeroGPU Spaces, with a stand-in for its scheduler."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from styletransfer import weights
from tests.data import PAINTING, PHOTO, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ZeroGPU is Linux"),
]

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


def test_a_space_has_no_pause_button_and_paints_in_the_packages_worker(space: Space) -> None:
    config = httpx.get(f"{space.url}config").json()
    pause = next(part for part in config["components"] if part["props"].get("elem_id") == "pause")
    assert not pause["props"]["visible"]
    assert set(httpx.get(f"{space.url}gradio_api/mcp/schema").text.split('"')) >= {"paint", "stylize"}
    space.asked.clear()
    for _ in range(2):
        picture, status, _, png = space.submit(4).result()
        assert "Step 4 of 4" in status
        assert Image.open(picture).size == Image.open(png).size
    paths = [path for path, _ in space.asked]
    assert paths.count("/schedule") == paths.count("/release") == 2
    assert paths.count("/allow") == 1, "the second picture has the worker of the first"
    schedule = next(said for path, said in space.asked if path == "/schedule")
    assert schedule["durationSeconds"] == "15"
    assert schedule["token"] == "a.e30.c", "else every visitor has the quota of an anonymous one"


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


def test_a_space_that_ends_leaves_no_worker(space: Space) -> None:
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
