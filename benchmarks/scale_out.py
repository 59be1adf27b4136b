"""What one page can hold, measured and simulated: `python -m benchmarks.scale_out`, with the machine to itself.

Two painters are really Ray's. For more of them there are not enough processors here: they replay a run that was
recorded, so that only the page works, and visitors of another process watch it.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import pickle
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx

import styletransfer
from styletransfer import PRESETS, console

from .report import table
from .simulation import SECONDS_PER_SIGN, Cost, Outcome, Scene, simulate
from .visitors import Visitor, Watched, time_answers

if TYPE_CHECKING:
    from page.worker import Failure, Request, Update

ROOT = Path(__file__).parent.parent
PHOTO, PAINTING = ROOT / "examples/content/chelsea.jpg", ROOT / "examples/style/woodcut.webp"
LOOKING = 30.0  # seconds that a visitor looks at a picture before the next one
SECONDS_PER_PICTURE = 0.6  # seconds between two pictures that are shown of a run, about
CHECKED = (  # painters, seconds of a run, visitors, seconds of looking
    (8, 20.0, 12, 5.0),
    (8, 5.0, 16, 5.0),
    (32, 20.0, 40, 5.0),
    (64, 20.0, 96, 10.0),
)
MAX_WAITING, MAX_FINISHING, MAX_ANSWER = 30.0, 5.0, 0.5  # seconds that visitors bear
RUNS_OF_ONE = 2  # painter, in a round


class Load(NamedTuple):
    """What a scene has cost the page, and what its visitors have seen."""

    outcome: Outcome
    seconds_of_a_run: float  # of a processor
    megabytes_of_a_run: float  # that a visitor downloads


class ReplayPainter:
    """Paints nothing: shows the updates of a recorded run again, spread over so many seconds."""

    def __init__(self, updates: list[Update], seconds: float) -> None:
        self._updates, self._seconds = updates, seconds

    def paint(self, request: Request) -> Iterator[Update | Failure]:
        """Show a run, whatever is asked for."""
        began = time.monotonic()
        for number, update in enumerate(self._updates, 1):
            time.sleep(max(0.0, began + self._seconds * number / len(self._updates) - time.monotonic()))
            yield update._replace(picture=update.picture.copy())


def record_run() -> list[Update]:
    """Paint with the default settings, and return what the page would show."""
    from page.worker import LocalPainter, Request, Update

    with tempfile.TemporaryDirectory() as folder:
        request = Request(str(PHOTO), (str(PAINTING),), PRESETS["balanced"], Path(folder))
        return [update for update in LocalPainter().paint(request) if isinstance(update, Update)]


def count_pictures(recorded: int, seconds: float) -> int:
    """How many pictures are shown of a run that takes so long; a run on a GPU shows fewer."""
    return max(2, min(recorded, round(seconds / SECONDS_PER_PICTURE)))


def serve(recording: Path, painters: int, seconds: float, port: int) -> None:
    """Serve the page with painters that replay a recording."""
    from page import layout, server
    from page.config import ServerConfig
    from page.queue import QUEUE

    updates: list[Update] = pickle.loads(recording.read_bytes())
    count = count_pictures(len(updates), seconds)
    chosen = [updates[(number + 1) * len(updates) // count - 1] for number in range(count)]
    for painter in QUEUE.painters:
        QUEUE.dismiss(painter)
    for _ in range(painters):
        QUEUE.add(ReplayPainter(chosen, seconds))
    QUEUE.max_waiting = 10_000
    page = layout.build(ServerConfig())
    address = {"server_name": "127.0.0.1", "server_port": port, "quiet": True}
    server.launch(page, **layout.LOOK, **address, prevent_thread_lock=True)
    page.block_thread()


@contextmanager
def start_server(recording: Path, painters: int, seconds: float, port: int = 7899) -> Iterator[tuple[str, int]]:
    """Serve in a process of its own; gives the address, and the number of the process."""
    arguments = ["--serve", str(recording), str(painters), str(seconds), str(port)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.scale_out", *arguments], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(httpx.HTTPError):
                httpx.get(f"{url}/health")
                break
            time.sleep(0.3)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def read_processor_seconds(process: int) -> float:
    """How long a process and its ended children, which make films, have had a processor."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


async def visit(url: str, process: int, scene: Scene, *, with_clicks: bool = True) -> Load:
    """Let a scene's visitors come to a page; unless `with_clicks`, nobody tries how soon it answers."""
    runs, answers = list[Watched](), [math.nan]
    async with AsyncExitStack() as stack:
        tabs = (stack.enter_async_context(Visitor(url)) for _ in range(scene.visitors + 1))
        clicking, *visitors = await asyncio.gather(*tabs)
        answering = asyncio.create_task(time_answers(clicking)) if with_clicks else None
        had, began = read_processor_seconds(process), time.monotonic()
        end = began + scene.seconds
        await asyncio.gather(*(_live(visitor, scene, number, end, runs) for number, visitor in enumerate(visitors)))
        had, took = read_processor_seconds(process) - had, time.monotonic() - began
        if answering:
            answering.cancel()
            answers = sorted(await answering)
    outcome = Outcome(
        sum(run.ended < end for run in runs) / scene.seconds * 60,
        statistics.fmean(run.waited for run in runs),
        statistics.fmean(run.painted for run in runs) - scene.painting * (1 - 1 / scene.pictures),
        statistics.fmean(run.pictures for run in runs),
        statistics.median(answers),
        answers[int(0.95 * len(answers))],
        had / took,
    )
    return Load(outcome, had / len(runs), statistics.fmean(run.downloaded for run in runs) / 1e6)


async def _live(visitor: Visitor, scene: Scene, number: int, end: float, runs: list[Watched]) -> None:
    dice = random.Random(number)
    photo, painting = await visitor.upload_file(PHOTO), await visitor.upload_file(PAINTING)
    await asyncio.sleep(dice.uniform(0, scene.thinking + scene.painting))
    while time.monotonic() < end:
        runs.append(await visitor.paint(photo, painting))
        await asyncio.sleep(dice.expovariate(1 / scene.thinking))


def measure_cost(recording: Path, recorded: int) -> Cost:
    """Find out what the page does for its visitors, from runs of two lengths and from visitors who wait."""
    found = []
    for seconds in (5.0, 20.0):
        scene = Scene(4, seconds, count_pictures(recorded, seconds), 4, 5.0, 50.0)
        with start_server(recording, scene.painters, seconds) as (url, process):
            found.append((scene, asyncio.run(visit(url, process, scene, with_clicks=False))))
    (short, of_short), (long, of_long) = found
    picture = (of_long.seconds_of_a_run - of_short.seconds_of_a_run) / (long.pictures - short.pictures)
    with start_server(recording, 1, 1000.0) as (url, process):
        begin, sign, answer = asyncio.run(_measure_waiting(url, process))
    film = statistics.fmean(load.outcome.finishing for _, load in found)
    return Cost(begin, picture, sign, film, answer)


async def _measure_waiting(
    url: str, process: int, visitors: int = 40, seconds: float = 30.0
) -> tuple[float, float, float]:
    async with Visitor(url) as first:
        photo, painting = await first.upload_file(PHOTO), await first.upload_file(PAINTING)
        pressing = []
        for _ in range(20):
            asked = time.monotonic()
            await first.call("start_run", None, photo, painting, None)
            pressing.append(time.monotonic() - asked)
        answering = asyncio.create_task(time_answers(first))
        await asyncio.sleep(5)
        answering.cancel()
        answer = statistics.median(await answering)

        async def wait() -> None:
            async with Visitor(url) as visitor:
                given = await visitor.upload_file(PHOTO), await visitor.upload_file(PAINTING)
                await visitor.paint(*given)

        waiting = [asyncio.create_task(wait()) for _ in range(visitors + 1)]
        await asyncio.sleep(15)
        had = read_processor_seconds(process)
        await asyncio.sleep(seconds)
        had = read_processor_seconds(process) - had
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return 2 * statistics.median(pressing), had / visitors / (seconds / SECONDS_PER_SIGN), answer


def find_capacity(
    painters: int, seconds: float, pictures: int, cost: Cost, films_at_once: int
) -> tuple[Scene, Outcome, str]:
    """Return the most visitors that a page can hold, what they get, and what more of them would wait for."""

    def try_visitors(visitors: int) -> tuple[Scene, Outcome, str]:
        scene = Scene(painters, seconds, pictures, visitors, LOOKING, max(300.0, 10 * seconds))
        outcome = simulate(scene, cost, films_at_once)
        late = {
            "painters": outcome.waiting / MAX_WAITING,
            "films": outcome.finishing / MAX_FINISHING,
            "the page": outcome.slow_answer / MAX_ANSWER,
        }
        worst = max(late, key=lambda what: late[what])
        return scene, outcome, worst if late[worst] > 1 else ""

    low, high = 1, 2
    while not (broken := try_visitors(high))[2]:
        low, high = high, high * 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        tried = try_visitors(middle)
        if tried[2]:
            high, broken = middle, tried
        else:
            low = middle
    scene, outcome, _ = try_visitors(low)
    return scene, outcome, broken[2]


def measure_throughput(rounds: int) -> tuple[float, float]:
    """Return the seconds for each picture with one painter of Ray's, and with two, each on a processor of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listens on loopback
    import ray

    from page import ray_painters, run
    from page.config import ServerConfig
    from page.queue import Queue

    ray_painters.connect("ray")
    run.QUEUE = queue = Queue(max_waiting=10)
    keeper = ray_painters.RayPainters(queue, cpus=1, gpus=0, config=ServerConfig())
    keeper.start()
    while len(queue.painters) < 2:
        time.sleep(0.1)
    keeper.end()
    both = list(queue.painters)
    for number, painter in enumerate(both):
        ray.get(painter.actor.__ray_call__.remote(_pin, number))  # type: ignore[attr-defined]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count in seconds:
            for painter in both[count:]:
                queue.dismiss(painter)
            seconds[count].append(_paint_many(count * RUNS_OF_ONE) / (count * RUNS_OF_ONE))
            for painter in both[count:]:
                queue.add(painter)
    ray.shutdown()
    return statistics.median(seconds[1]), statistics.median(seconds[2])


def _pin(_: object, processor: int) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {processor})


def _paint_many(count: int) -> float:
    from page.run import Run
    from page.worker import Request, RunControl

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for number in range(count):
            own = Path(folder) / str(number)
            own.mkdir()
            request = Request(str(PHOTO), (str(PAINTING),), PRESETS["balanced"], own)
            runs.append(Run(request, RunControl(own), lambda run, update: "", preset="balanced", grace=3600.0))
            runs[-1].start()
        for run in runs:
            for _ in run.watch():
                pass
    return time.monotonic() - began


def main() -> None:
    """Print the tables."""
    console.escape_unprintable()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of one and two painters, in turn; 0 needs no Ray")
    parser.add_argument(
        "--serve", nargs=4, metavar=("RECORDING", "PAINTERS", "SECONDS", "PORT"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    styletransfer.tune_process()
    if args.serve:
        recording, painters, seconds, port = args.serve
        serve(Path(recording), int(painters), float(seconds), int(port))
        return
    if args.rounds:
        one, two = measure_throughput(args.rounds)
        print(f"{one:.1f} s for a picture with one painter, {two:.1f} s with two: {one / two:.2f} times as many\n")
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording"
        updates = record_run()
        recording.write_bytes(pickle.dumps(updates))
        cost = measure_cost(recording, len(updates))
        head = ("processor time of the page for a", *Cost._fields)
        print(table(head, [("", *(f"{1000 * part:.1f} ms" for part in cost))]), "\n")
        films = max(1, (os.cpu_count() or 1) - 1)
        rows = []
        for painters, seconds, visitors, thinking in CHECKED:
            scene = Scene(painters, seconds, count_pictures(len(updates), seconds), visitors, thinking, 60.0)
            with start_server(recording, painters, seconds) as (url, process):
                load = asyncio.run(visit(url, process, scene))
            name = f"{painters} painters, {seconds:g} s, {visitors} visitors"
            rows.append((name, "measured", *_show(load.outcome)))
            rows.append(("", "simulated", *_show(simulate(scene, cost, films))))
            print(name, f"{load.seconds_of_a_run:.2f} s, {load.megabytes_of_a_run:.2f} MB for a run", flush=True)
        print("", table(("scene", "", *Outcome._fields), rows), sep="\n")
    rows = []
    for cores in (os.cpu_count() or 1, 8):
        for painters in (8, 64, 512):
            for seconds in (20.0, 2.5):
                pictures = count_pictures(len(updates), seconds)
                scene, outcome, broken = find_capacity(painters, seconds, pictures, cost, max(1, cores - 1))
                rows.append((cores, painters, f"{seconds:g} s", scene.visitors, *_show(outcome), broken))
    head = ("cores of the page", "painters", "a picture takes", "visitors", *Outcome._fields, "more wait for")
    print("", table(head, rows), sep="\n")


def _show(outcome: Outcome) -> tuple[str, ...]:
    return tuple(f"{figure:.2f}" if figure < 10 else f"{figure:.0f}" for figure in outcome)


if __name__ == "__main__":
    main()
