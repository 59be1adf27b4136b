"""How one run grows with its size, in a process of its own: `python -m benchmarks.growth photo painting size`."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from styletransfer import Settings, stylize
from styletransfer.lbfgs import LBFGS

EVALUATIONS = 30  # 5 of them at the full size


class Growth(NamedTuple):
    """What a run at one size costs."""

    size: int
    pixels: int
    seconds: float  # for one evaluation at that size, median
    measured: int  # bytes at the peak, above the imported process
    memory: int  # the same, with what L-BFGS still adds until its history is full


def measure(photo: Path, painting: Path, size: int) -> Growth:
    """Paint in a fresh process, for a few evaluations in each stage."""
    command = [sys.executable, "-m", "benchmarks.growth", str(photo), str(painting), str(size)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return Growth(**json.loads(done.stdout))


def peak() -> int:
    """The most memory this process has had, in bytes.

    getrusage comes second, since on Linux a fresh process takes over its parent's peak there.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run(photo: str, painting: str, size: int) -> Growth:
    before = peak()
    seconds, last = [], time.perf_counter()
    for frame in stylize(photo, painting, Settings(size=size, iterations=EVALUATIONS, backbone="vgg16")):
        if frame.size == size:
            seconds.append(time.perf_counter() - last)
        last = time.perf_counter()
    measured = peak() - before
    width, height = frame.picture.size
    missing = max(0, LBFGS.HISTORY - len(seconds) + 1)
    history = missing * 2 * 3 * 4 * width * height  # a step and a gradient each, three channels, float32
    # the first evaluation of a stage also prepares its targets
    return Growth(size, width * height, statistics.median(seconds[1:] or seconds), measured, measured + history)


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], sys.argv[2], int(sys.argv[3]))._asdict()))
