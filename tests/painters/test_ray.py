"""Painters on Ray: a cluster of several nodes on this machine, and runs of the page on them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from page import metrics, run
from page.config import ServerConfig
from page.queue import Durations, Place, Queue
from page.run import PAINTER_LOST, RETURN_SECONDS, Run
from page.worker import CHANGED, Request, RunControl, RunEnd, Update
from styletransfer import Settings
from tests.data import PAINTING, PHOTO

if find_spec("ray"):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_health_check_initial_delay_ms", "0")
    os.environ.setdefault("RAY_health_check_period_ms", "500")
    import ray
    from ray.cluster_utils import Cluster

    from page import ray_painters
    from page.ray_painters import Identity, RayPainter, RayPainters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("ray") and not os.environ.get("CI"), reason="no Ray: requirements-ray.txt has it"),
]
ROOT = Path(__file__).parent.parent.parent
LONG = Settings(size=512, stages=1, iterations=400, objective="moments", tolerance=0)  # its steps take 0.3 to 1 s


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head paints nothing, and which this process has joined."""
    if not find_spec("ray"):
        pytest.fail("Ray is missing, and CI may not do without: pip install -r requirements-ray.txt")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Scene:
    """A queue, the painters that get its work, and the runs in it."""

    def __init__(self, cluster: Any, queue: Queue, folder: Path, stack: ExitStack) -> None:
        self.cluster, self.queue, self._folder, self._stack = cluster, queue, folder, stack
        self.keeper: RayPainters | None = None
        self.saved: list[Update] = []
        self._nodes: list[Any] = []

    def add_node(self) -> Any:
        """A machine with one core, which has room for a painter, joins the cluster."""
        node = self.cluster.add_node(num_cpus=1)
        self._nodes.append(node)
        self._stack.callback(self._remove, node)
        return node

    def remove_node(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)
        self._nodes.remove(node)

    def _remove(self, node: Any) -> None:
        if node in self._nodes:
            self.remove_node(node)

    def wait_for_painters(self, number: int, seconds: float = 180.0) -> None:
        wait_until(lambda: len(self.queue.painters) == number, seconds)

    def begin(self, settings: Settings = LONG, photo: Path = PHOTO, grace: float = 60.0) -> Run:
        folder = self._folder / secrets.token_hex(4)
        folder.mkdir()
        request = Request(str(photo), (str(PAINTING),), settings, folder)

        def save(_: Run, update: Update) -> str:
            self.saved.append(update)
            return ""

        painted = Run(request, RunControl(folder), save, preset="balanced", grace=grace)
        painted.start()
        self._stack.callback(painted.control.stop)
        return painted


@pytest.fixture
def scene(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A cluster without a painter, and an empty queue."""
    with ExitStack() as stack:
        queue = Queue()
        monkeypatch.setattr(run, "QUEUE", queue)
        monkeypatch.setattr(run, "DURATIONS", Durations())
        scene = Scene(cluster, queue, tmp_path, stack)
        scene.keeper = keeper = RayPainters(queue, cpus=1, gpus=0, config=ServerConfig())
        keeper.start()
        yield scene
        for left_over in list(run.RUNS):
            left_over.control.stop()
        wait_until(lambda: not run.RUNS, 60)
        keeper.end()
        for painter in queue.painters:
            ray.kill(painter.actor)  # type: ignore[attr-defined]


def wait_until(is_so: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def latest(painted: Run) -> Update | None:
    return painted._latest


def wait_for_step(painted: Run, step: int) -> Update:
    wait_until(lambda: (update := latest(painted)) and update.iteration >= step)
    update = latest(painted)
    assert update
    return update


def kill_painter(painter: Any) -> None:
    assert isinstance(painter, RayPainter)
    with suppress(ray.exceptions.RayError):
        ray.get(painter.actor.__ray_call__.remote(lambda _: os.kill(os.getpid(), signal.SIGKILL)), timeout=5)


def test_two_visitors_are_painted_for_at_once_a_third_waits_and_each_gets_its_own_picture(
    scene: Scene, tmp_path: Path
) -> None:
    scene.add_node(), scene.add_node()
    scene.wait_for_painters(2)
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for number, photo in enumerate(photos):
        Image.new("RGB", (96, 64), [(200, 30, 30), (30, 200, 30), (30, 30, 200)][number]).save(photo)
    small = Settings(size=256, stages=1, iterations=12, objective="moments", content_weight=9.0, tolerance=0)
    runs = [scene.begin(small, photo) for photo in photos]
    assert [painted.place for painted in runs] == [None, None, Place(0, None)]
    wait_until(lambda: all(painted.is_over for painted in runs), 120)
    for number, painted in enumerate(runs):
        update = latest(painted)
        assert update and update.end is RunEnd.FINISHED
        assert len(painted.losses) == 12
        assert np.asarray(update.picture).mean((0, 1)).argmax() == number, "another visitor's picture"
    assert not scene.queue.is_busy


def test_a_slider_reaches_the_run_within_two_of_its_steps(scene: Scene) -> None:
    scene.add_node()
    scene.wait_for_painters(1)
    painted = scene.begin()
    seen = wait_for_step(painted, 3)
    other = Settings(**{**vars(seen.settings), "content_weight": 8.0})
    painted.control.send(other)
    wait_until(lambda: (update := latest(painted)) and update.settings.content_weight == 8.0)
    changed = next(step for step, what in painted.marks.items() if what == CHANGED)
    # One step was already on when the slider moved, and others may have ended that this process had not seen yet.
    assert changed <= seen.iteration + 2 + 4


def test_stop_ends_a_run_whose_picture_is_kept_and_frees_its_painter(scene: Scene) -> None:
    scene.add_node()
    scene.wait_for_painters(1)
    painted = scene.begin()
    wait_for_step(painted, 2)
    painted.control.stop()
    wait_until(lambda: painted.is_over, 30)
    assert scene.saved[-1].end is RunEnd.STOPPED
    assert max(scene.saved[-1].picture.size) == 512
    next_one = scene.begin(Settings(size=128, iterations=4))
    wait_until(lambda: next_one.is_over)
    assert scene.saved[-1].end is RunEnd.FINISHED


def test_a_tab_that_is_closed_frees_its_painter_within_two_seconds(scene: Scene) -> None:
    scene.add_node()
    scene.wait_for_painters(1)
    painted = scene.begin(Settings(size=256, stages=1, iterations=2000, objective="moments", tolerance=0))
    watcher = painted.watch()
    wait_for_step(painted, 2)
    next(watcher)
    painted.expect_end()  # the tab says so, and then its connection ends
    watcher.close()
    said = time.monotonic()
    wait_until(lambda: not scene.queue.is_busy, 30)
    assert time.monotonic() - said < RETURN_SECONDS + 8, "two seconds on a machine that is not busy, and not the grace"


def test_a_run_whose_painter_is_killed_goes_on_on_another_from_its_last_picture(scene: Scene) -> None:
    scene.add_node(), scene.add_node()
    scene.wait_for_painters(2)
    lost_before = metrics.PAINTERS_LOST._value.get()
    painted = scene.begin(Settings(size=256, stages=2, iterations=100, objective="moments", tolerance=0))
    seen = wait_for_step(painted, 12)
    others = Settings(**{**vars(seen.settings), "content_weight": 2.0})
    painted.control.send(others)
    wait_until(lambda: (update := latest(painted)) and update.settings.content_weight == 2.0)
    entry = painted._entry
    assert entry
    first = entry.painter
    at_least = latest(painted)
    kill_painter(first)
    wait_until(lambda: painted.is_over or first not in scene.queue.painters, 30)
    wait_until(lambda: painted.is_over, 120)
    end = latest(painted)
    assert end and at_least and end.end is RunEnd.FINISHED
    assert end.iteration == end.iterations == seen.iterations == len(painted.losses), "it counts on"
    assert end.settings.content_weight == 2.0
    assert PAINTER_LOST in end.notes
    assert painted.losses[-1].total < painted.losses[at_least.iteration].total < painted.losses[0].total
    assert metrics.PAINTERS_LOST._value.get() == lost_before + 1
    scene.wait_for_painters(2)  # the node has room for another


def test_a_run_survives_its_machine_and_waits_for_one_that_joins(scene: Scene) -> None:
    node = scene.add_node()
    scene.wait_for_painters(1)
    painted = scene.begin(Settings(size=256, stages=1, iterations=40, objective="moments", tolerance=0))
    shown = wait_for_step(painted, 5)
    waiting = scene.begin(Settings(size=128, iterations=4))
    scene.remove_node(node)
    scene.wait_for_painters(0, 30)
    wait_until(lambda: painted.place == Place(0, None), 30)
    assert waiting.place == Place(1, None), "whoever has lost a painter is first"
    still = latest(painted)
    assert still and still.iteration >= shown.iteration, "the picture stays"
    scene.add_node()
    wait_until(lambda: painted.is_over and waiting.is_over, 120)
    assert [update.end for update in scene.saved] == [RunEnd.FINISHED] * 2
    assert scene.saved[0].iteration == 40


def test_a_painter_that_joins_takes_work_while_another_is_busy(scene: Scene) -> None:
    scene.add_node()
    scene.wait_for_painters(1)
    busy, waiting = scene.begin(), scene.begin(Settings(size=128, iterations=4))
    wait_for_step(busy, 1)
    assert waiting.place == Place(0, latest(busy).remaining)  # type: ignore[union-attr]
    scene.add_node()
    wait_until(lambda: waiting.is_over, 90)
    assert not busy.is_over


@pytest.mark.parametrize(
    ("cpus", "gpus", "node", "painters", "cores"),
    [
        (None, 0, {"CPU": 16}, 1, 16),
        (4, 0, {"CPU": 16}, 4, 4),
        (4, 0, {"CPU": 2}, 0, 4),
        (None, 0, {}, 0, 1),  # the page's own node
        (None, 1, {"CPU": 16, "GPU": 4}, 4, 4),
        (None, 0.5, {"CPU": 16, "GPU": 4}, 8, 2),
        (None, 0.2, {"CPU": 20, "GPU": 1}, 5, 4),
        (None, 0.6, {"CPU": 16, "GPU": 4}, 4, 4),
        (2, 1, {"CPU": 4, "GPU": 4}, 2, 2),
        (None, 1, {"CPU": 16}, 0, 16),
    ],
)
def test_a_machine_has_as_many_painters_as_its_cores_and_gpus_allow(
    cpus: int | None, gpus: float, node: dict[str, float], painters: int, cores: int
) -> None:
    keeper = RayPainters(Queue(), cpus=cpus, gpus=gpus, config=ServerConfig())
    assert keeper.divide(node) == (painters, cores)


@pytest.mark.parametrize("what", ["code", "weights"])
def test_a_painter_with_other_code_or_weights_is_refused_with_a_sentence(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    own = ray_painters.identify(None)
    monkeypatch.setattr(ray_painters, "identify", lambda _: Identity(**{**own._asdict(), what: "other"}))
    scene.add_node()
    wait_until(lambda: "refused" in caplog.text)
    assert f"is refused, since it has other {what} than the page" in caplog.text
    assert not scene.queue.painters


def test_a_machine_that_cannot_prepare_its_painter_keeps_no_other_from_work(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    own = ray_painters.identify(None)
    monkeypatch.setattr(ray_painters, "identify", lambda _: own)  # here, and not in the painter's process
    keeper = RayPainters(Queue(), cpus=1, gpus=0, config=ServerConfig(vgg19_file=tmp_path / "missing.pth"))
    assert scene.keeper
    scene.keeper.end()
    scene.add_node()
    scene.add_node()
    keeper.start()
    try:
        wait_until(lambda: caplog.text.count("is refused, since it could not be prepared: FileNotFoundError") == 2)
    finally:
        keeper.end()


def test_what_a_killed_painter_has_left_is_deleted_by_the_next_one_and_no_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"painter-{ended.pid}-x", f"painter-{os.getpid()}-x", "painter-other", "others"):
        (tmp_path / name).mkdir()
    ray_painters.delete_left_folders()
    assert {path.name for path in tmp_path.iterdir()} == {f"painter-{os.getpid()}-x", "painter-other", "others"}


def is_painting() -> bool:
    """Whether any painter is at work on this machine, or Ray has a process ready for one."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            name = file.read_bytes()
            if name.startswith(b"ray::") and b"Agent" not in name:  # Ray's own agents end later
                return True
    return False


def test_the_page_is_served_on_this_machine_alone_and_leaves_nothing_at_work_when_it_is_killed(tmp_path: Path) -> None:
    wait_until(lambda: not is_painting() or ray.is_initialized(), 30)
    if ray.is_initialized():
        ray.shutdown()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "app.py", "--port", "7899", "--painters", "ray", "--painter-cpus", "1"]
    with (tmp_path / "log").open("w") as log:
        page = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:

        def count() -> int:
            time.sleep(1)  # whoever asks all the time keeps a busy machine from starting painters
            with suppress(httpx.HTTPError):
                return int(httpx.get("http://127.0.0.1:7899/health").json()["painters"])
            return 0

        try:
            wait_until(lambda: count() or page.poll() is not None, 2 * ray_painters.MAX_START_SECONDS)
        except AssertionError:
            pytest.fail(f"no painter has come: {(tmp_path / 'log').read_text()}")
        assert page.poll() is None, (tmp_path / "log").read_text()
        listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout.splitlines()
        open_to_all = [
            line for line in listening if "127.0.0.1" not in line.split()[3] and ("ray" in line or "gcs" in line)
        ]
        assert not open_to_all
    finally:
        page.kill()
        page.wait()
    wait_until(lambda: not is_painting(), 20)
