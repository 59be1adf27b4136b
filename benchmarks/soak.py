"""Send many visitors one after another, some of them broken, to a page on this machine: `python -m benchmarks.soak`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from styletransfer import console

ROOT = Path(__file__).parent.parent
PHOTO, PAINTING = ROOT / "examples/content/chelsea.jpg", ROOT / "examples/style/woodcut.webp"
WARM_UP_VISITS = 10  # after these, everything that is loaded only once is loaded
MAX_GROWTH = 50  # MB


class State(NamedTuple):
    """What the server holds at one moment."""

    visits: int
    memory: float  # MB resident
    open_files: int
    temporary_files: int
    temporary: float  # MB


def measure_state(visits: int, process: int, folder: Path) -> State:
    """The state of a process and the folder of its temporary files, after so many visits."""
    status = Path(f"/proc/{process}/status").read_text()
    memory = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    return State(visits, memory, len(os.listdir(f"/proc/{process}/fd")), len(files), size)


def visit(url: str, number: int, folder: Path) -> str:
    """Visit the page with a photo of one's own: most paint, every fifth leaves, every seventh sends a broken file.

    Returns the outcome in words.
    """
    with ExitStack() as stack:
        client = Client(url, verbose=False)
        stack.callback(client.close)
        photo, broken = folder / "photo.jpg", number % 7 == 6
        Image.open(PHOTO).rotate(number).save(photo)
        if broken:
            photo.write_bytes(photo.read_bytes()[:3000])
        given = {"size": 96, "iterations": 12, "api_name": "/stylize"}
        job = client.submit(handle_file(photo), handle_file(PAINTING), "quick", **given)
        if number % 5 == 4 and not broken:
            next(iter(job))
            job.cancel()
            return "left"
        try:
            job.result(timeout=120)
        except AppError as error:
            return "refused" if broken and "Traceback" not in str(error) else f"failed: {error}"
        return "failed: a broken file was painted" if broken else "painted"


@contextmanager
def start_server(temporary: Path) -> Iterator[tuple[str, int]]:
    """Start the page as a process of its own, with its temporary files in a folder, and end it.

    Yields its address, once it answers, and the number of its process.
    """
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-u", "app.py"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = next(found[0] for line in server.stdout or () if (found := re.findall(r"http://\S+", line)))
        Client(url, verbose=False).close()
        yield url, server.pid
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()


def soak(visits: int) -> tuple[float, Counter[str], list[State]]:
    """Start a server and visit it, one visit after another.

    Returns the seconds until its page was usable, how often each outcome occurred, and the server's state after the
    first WARM_UP_VISITS, after half of the visits and after all.
    """
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "temporary"
        temporary.mkdir()
        started = time.monotonic()
        with start_server(temporary) as (url, process):
            cold = time.monotonic() - started
            counts, states = Counter[str](), []
            for number in range(visits):
                counts[visit(url, number, Path(folder))] += 1
                if number + 1 in (WARM_UP_VISITS, visits // 2, visits):
                    time.sleep(2)
                    states.append(measure_state(number + 1, process, temporary))
            return cold, counts, states


def table(counts: Counter[str], states: list[State]) -> str:
    """Outcomes and states in Markdown."""
    rows = [
        f"| {s.visits} | {s.memory:.0f} | {s.open_files} | {s.temporary_files} | {s.temporary:.1f} |" for s in states
    ]
    head = "| visits | memory, MB | open files | temporary files | temporary files, MB |\n" + "| ---: " * 5 + "|"
    return "\n".join([", ".join(f"{count} {what}" for what, count in sorted(counts.items())), "", head, *rows])


def main() -> int:
    """Print the table. Returns 1 if a visit failed or the memory grew by more than MAX_GROWTH."""
    console.escape_unprintable()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--visits", type=int, default=200, help="default: %(default)s")
    cold, counts, states = soak(parser.parse_args().visits)
    print(f"The page was usable {cold:.1f} s after the command.\n")
    print(table(counts, states))
    grown = states[-1].memory - states[0].memory
    failures = sum(count for what, count in counts.items() if what.startswith("failed"))
    print(f"\n{failures} failures, {grown:+.0f} MB since visit {states[0].visits}")
    return int(failures > 0 or grown > MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
