"""Painters on Ray: actors on this machine, or on those of a cluster, that paint for the page.

Only `--painters` imports this, since Ray need not be installed. A run lives in one actor. Ray's streaming generators
cannot be told anything, so a second method of the actor takes the visitor's settings and "stop". Pictures and updates
cross by value: the machines share no disk.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import ray
from PIL import Image
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from styletransfer import Settings, tune_process, weights

from . import worker
from .config import ServerConfig
from .queue import Queue
from .worker import Failure, PainterLostError, Request, RunControl, Update

SECONDS_PER_LOOK = 0.1  # for what the visitor says, and for what the painter has
SECONDS_PER_ROUND = 1.0  # between two looks at the nodes of the cluster
SECONDS_BEFORE_RETRY = 30.0  # after a painter could not be started on a node
MAX_UNREAD = (
    2  # updates that wait for the page; then the painter waits, so that one whose page has gone stops by itself
)
ROUNDING = 1e-9  # 1 / 0.2 is a little less than 5 on some machines
MAX_START_SECONDS = 300.0  # for a painter to load its weights and warm up
FOLDER_PREFIX = "painter-"  # of a painter's temporary folder; the number of its process follows
JPEG_QUALITY = 90  # of the pictures during a run; the last one crosses as PNG
CODE = Path(__file__).parent.parent
log = logging.getLogger(__name__)


class Identity(NamedTuple):
    """What two painters must have in common so that either can go on with what the other has begun."""

    code: str  # digest
    weights: str  # digest of VGG-19's file, or "vgg16" where there is none


class Job(NamedTuple):
    """A Request without its files, and with their bytes."""

    request: Request
    files: dict[str, bytes]  # by the path on the page's machine

    @staticmethod
    def pack(request: Request) -> Job:
        """Read the files of a request. Raises OSError."""
        paths = [*request.files, *filter(None, (request.init_image,))]
        if request.resume:
            paths.append(str(request.resume.picture))
        return Job(request, {path: Path(path).read_bytes() for path in paths})

    def unpack(self, folder: Path) -> Request:
        """Write the files into `folder`, each under its own name, and return the request for this machine."""
        here = dict[str | None, str | None]({None: None})
        for number, (path, data) in enumerate(self.files.items()):
            file = folder / str(number) / Path(path).name
            file.parent.mkdir()
            file.write_bytes(data)
            here[path] = str(file)
        request = self.request
        resume = request.resume
        return request._replace(
            photo=str(here[request.photo]),
            paintings=tuple(str(here[path]) for path in request.paintings),
            folder=folder,
            init_image=here[request.init_image],
            keep=here[request.keep],
            region=here[request.region],
            resume=resume._replace(picture=str(here[str(resume.picture)])) if resume else None,
        )


def pack_update(update: Update | Failure) -> tuple[Update | Failure, bytes]:
    """Return an update without its picture, and the picture as a file."""
    if isinstance(update, Failure):
        return update, b""
    file = io.BytesIO()
    if update.end:
        update.picture.save(file, "PNG", compress_level=1)
    else:
        update.picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return update._replace(picture=Image.new("RGB", (1, 1))), file.getvalue()


def unpack_update(update: Update | Failure, picture: bytes) -> Update | Failure:
    """Return what pack_update was given."""
    if isinstance(update, Failure):
        return update
    image = Image.open(io.BytesIO(picture))
    image.load()
    return update._replace(picture=image.convert("RGB"))


def identify(vgg19_file: Path | None) -> Identity:
    """Return the identity of this machine's painter."""
    code = hashlib.sha256()
    for file in sorted([*(CODE / "styletransfer").rglob("*.py"), CODE / "page" / "worker.py", Path(__file__)]):
        code.update(file.read_bytes())
    file_of_weights = vgg19_file or weights.cached_vgg19()
    return Identity(code.hexdigest(), _digest(file_of_weights) if file_of_weights else "vgg16")


@lru_cache
def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while part := opened.read(1 << 22):
            digest.update(part)
    return digest.hexdigest()


def delete_left_folders() -> None:
    """Delete what painters have left on this machine that were killed: photos of visitors may be in it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        process = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        if process.isdecimal() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)


class Actor:
    """Paints in a process of its own, one run at a time, and meanwhile takes what the visitor says."""

    def __init__(self, threads: int) -> None:
        tune_process()
        import torch

        torch.set_num_threads(threads)  # Ray has set one
        delete_left_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))

    def prepare(self, page: Identity, requests: Sequence[Job], vgg19_file: Path | None) -> Identity:
        """Load the weights and warm up, if the page has the same code and weights, and say who this is."""
        identity = identify(vgg19_file)
        for number, job in enumerate(requests if identity == page else ()):
            folder = self._folder / f"warm-up-{number}"
            folder.mkdir()
            worker.warm_up([job.unpack(folder)], lambda: False)
            shutil.rmtree(folder)
        return identity

    @ray.method(concurrency_group="painting")
    def paint(self, run: str, job: Job) -> Iterator[tuple[Update | Failure, bytes] | None]:
        """Paint. The first value is None: from then on, `tell` reaches the run."""
        folder = self._folder / run
        folder.mkdir()
        try:
            request = job.unpack(folder)
            yield None
            for update in worker.run_here(request):
                yield pack_update(update)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @ray.method(concurrency_group="telling")
    def tell(self, run: str, settings: Settings | None, stop: bool) -> None:
        """Pass on what the visitor says to a run, which may be over."""
        control = RunControl(self._folder / run)
        if settings:
            with suppress(FileNotFoundError):
                control.send(settings)
        if stop:
            control.stop()

    @ray.method(concurrency_group="living")
    def live(self) -> None:
        """Never return, so that whoever waits for it learns that the process has ended."""
        threading.Event().wait()


class RayPainter:
    """An actor, as the page sees it."""

    def __init__(self, node: str, place: str, actor: Any) -> None:
        self.node, self.place, self.actor = node, place, actor
        self.life = actor.live.remote()

    def paint(self, request: Request) -> Iterator[Update | Failure]:
        """Paint on the actor's machine. Raises PainterLostError."""
        run, control = secrets.token_hex(8), RunControl(request.folder)
        told: Settings | None = None
        try:
            job = Job.pack(request)
        except OSError:
            yield Failure("A file of this picture is no longer on the server: choose it again.", expected=True)
            return
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": MAX_UNREAD}
        updates = self.actor.paint.options(**options).remote(run, job)
        has_begun = was_stopped = False
        try:
            while True:
                ready, _ = ray.wait([updates], timeout=SECONDS_PER_LOOK)
                if has_begun:
                    settings, stop = control.receive(), control.stopped and not was_stopped
                    if settings or stop:
                        self.actor.tell.remote(run, settings, stop)
                        told, was_stopped = settings or told, was_stopped or stop
                if ready:
                    try:
                        found = ray.get(next(updates))
                    except StopIteration:
                        return
                    if found:
                        yield unpack_update(*found)
                    has_begun = True
        except ray.exceptions.RayTaskError as error:  # of the engine: another painter would have it, too
            log.error("a run failed on %s: %s", self.place, error)
            yield Failure("Something went wrong on the server: try once more.", expected=False)
        except ray.exceptions.RayError as error:
            log.warning("the painter on %s was lost: %s", self.place, type(error).__name__)
            if told:
                with suppress(OSError):
                    control.send(told)  # perhaps it never arrived
            raise PainterLostError from error
        finally:  # also where nobody wants the rest of it
            with suppress(ray.exceptions.RayError):
                self.actor.tell.remote(run, None, True)


class RayPainters:
    """Keeps a painter wherever the cluster has room for one, and gives it to the queue."""

    def __init__(
        self,
        queue: Queue,
        *,
        cpus: int | None,
        gpus: float,
        config: ServerConfig,
        requests: Sequence[Request] = (),
    ) -> None:
        self._queue, self._cpus, self._gpus, self._config = queue, cpus, gpus, config
        self._requests = requests
        self._starting: dict[RayPainter, tuple[Any, float]] = {}  # the answer of `prepare`, and when it was asked
        self._painters: list[RayPainter] = []
        self._refused: dict[str, float] = {}  # when to try again, by node
        self._ended = threading.Event()

    def start(self) -> None:
        """Look after the painters, in the background, for as long as the process lives."""
        for painter in self._queue.painters:
            self._queue.dismiss(painter)
        threading.Thread(target=self._look_after, daemon=True).start()

    def end(self) -> None:
        """Start no more painters."""
        self._ended.set()

    @cached_property
    def _jobs(self) -> list[Job]:
        return [Job.pack(request) for request in self._requests]

    def _look_after(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:  # the cluster may be away for a moment
                log.exception("the cluster does not answer")
                time.sleep(SECONDS_PER_ROUND)

    def look(self) -> None:
        """Give work to painters that are ready, dismiss those that are lost, and start one where there is room."""
        lives = [painter.life for painter in (*self._painters, *self._starting)]
        ended, _ = ray.wait(lives, timeout=SECONDS_PER_ROUND) if lives else ([], [])
        if not lives:
            time.sleep(SECONDS_PER_ROUND)
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for painter in [*self._painters, *self._starting]:
            if painter.life in ended or painter.node not in nodes:
                self._dismiss(painter)
        for painter, (answer, asked) in list(self._starting.items()):
            if ray.wait([answer], timeout=0)[0]:
                try:
                    self._admit(painter, ray.get(answer))
                except ray.exceptions.RayError as error:  # other code, or no memory: the other nodes go on
                    self._refuse(painter, f"it could not be prepared: {str(error).strip().splitlines()[-1]}")
            elif time.monotonic() - asked > MAX_START_SECONDS:
                self._refuse(painter, f"it was not ready after {MAX_START_SECONDS:g} s")
        for node, facts in nodes.items():
            if time.monotonic() > self._refused.get(node, 0.0):
                here = sum(painter.node == node for painter in (*self._painters, *self._starting))
                room, cpus = self.divide(facts["Resources"])
                for _ in range(room - here):
                    self._begin(node, facts["NodeManagerAddress"], cpus)

    def divide(self, resources: dict[str, float]) -> tuple[int, int]:
        """How many painters a node with such resources has room for, and the cores of each."""
        cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if not self._gpus:
            each = self._cpus or max(1, cores)
            return cores // each, each
        # Several share one GPU, but none has parts of two: 0.6 of one leaves 0.4 for nobody.
        room = gpus * int(1 / self._gpus + ROUNDING) if self._gpus < 1 else int(gpus / self._gpus + ROUNDING)
        each = self._cpus or max(1, cores // max(1, room))
        return min(room, cores // each), each

    def _begin(self, node: str, place: str, cpus: int) -> None:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        actor_class = ray.remote(concurrency_groups={"painting": 1, "telling": 1, "living": 1})(Actor)
        actor = actor_class.options(
            num_cpus=cpus,
            num_gpus=self._gpus,
            scheduling_strategy=strategy,
            runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(cpus)}},
        ).remote(cpus)
        own = identify(self._config.vgg19_file)
        answer = actor.prepare.remote(own, self._jobs, self._config.vgg19_file)
        self._starting[RayPainter(node, place, actor)] = answer, time.monotonic()

    def _admit(self, painter: RayPainter, identity: Identity) -> None:
        own = identify(self._config.vgg19_file)
        for what, theirs, ours in zip(("code", "weights"), identity, own, strict=True):
            if theirs != ours:
                again = "bring it up to date" if what == "code" else "give it the same VGG-19, or give it to both"
                self._refuse(painter, f"it has other {what} than the page: {again}, and start it again")
                return
        del self._starting[painter]
        self._painters.append(painter)
        self._queue.add(painter)
        log.info("a painter on %s has come: %d now", painter.place, len(self._queue.painters))

    def _refuse(self, painter: RayPainter, why: str) -> None:
        log.warning("the painter on %s is refused, since %s", painter.place, why)
        self._refused[painter.node] = time.monotonic() + SECONDS_BEFORE_RETRY
        del self._starting[painter]
        ray.kill(painter.actor)

    def _dismiss(self, painter: RayPainter) -> None:
        self._queue.dismiss(painter)
        if painter in self._starting:
            try:
                ray.get(painter.life, timeout=0)
                why = "it ended"
            except ray.exceptions.RayError as error:
                why = str(error).strip().splitlines()[-1]
            log.warning("the painter on %s could not be started: %s", painter.place, why)
            self._refused[painter.node] = time.monotonic() + SECONDS_BEFORE_RETRY
            del self._starting[painter]
        else:
            self._painters.remove(painter)
            log.warning("the painter on %s is lost: %d left", painter.place, len(self._queue.painters))


def connect(address: str) -> None:
    """Start Ray on this machine if `address` is "ray", else join the cluster there, as one of its nodes.

    Raises ConnectionError with what is wrong.
    """
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.WARNING}
    if address == "ray":
        ray.init("local", _node_ip_address="127.0.0.1", include_dashboard=False, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConnectionError(f"no cluster answers at {address}") from error
