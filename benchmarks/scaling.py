"""How the cost of a run grows with its size: `python -m benchmarks.scaling PHOTO PAINTING SIZE` in a fresh process.

This file loads torch only in that process, after styletransfer.tune_process.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import styletransfer

ITERATIONS = 30  # 5 of them at the full size


class Cost(NamedTuple):
    """What a run at one size costs."""

    size: int  # long side, pixels
    pixels: int
    seconds: float  # for one iteration at that size, median
    measured: int  # bytes at the peak, above the imported process
    memory: int  # bytes: `measured`, and what L-BFGS still adds until its history is full
    resident: int  # bytes at the peak, in all
    said_seconds: float  # by a print before it starts, else NaN
    took_seconds: float  # from then on
    longest_wait: float  # seconds between two frames, after the first two


def measure(photo: Path, painting: Path, size: int) -> Cost:
    """Paint in a fresh process, for a few iterations in each stage."""
    command = [sys.executable, "-m", "benchmarks.scaling", str(photo), str(painting), str(size)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout))


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes.

    getrusage is only the second choice: on Linux a fresh process inherits its parent's peak there.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run(photo: str, painting: str, size: int) -> Cost:
    """Paint in this process. A print goes on from the photo at half its size, since only its last stage counts."""
    from styletransfer import Settings, images, stylize
    from styletransfer.lbfgs import LBFGS
    from styletransfer.schedule import MAX_WHOLE_SIZE

    is_print = size > MAX_WHOLE_SIZE
    picture = images.load(photo).image
    init_image = picture.resize(images.fit_size(picture, size // 2)) if is_print else None
    settings = Settings(size=size, iterations=ITERATIONS, backbone="vgg16")
    before = peak_memory()
    seconds, started, iteration, said, gaps = [], time.perf_counter(), 0, math.nan, [0.0]
    last_iteration = last_frame = started
    for frame in stylize(photo, painting, settings, init_image=init_image):
        gaps.append(time.perf_counter() - last_frame)
        last_frame = time.perf_counter()
        if is_print and math.isnan(said):
            said, started = frame.remaining, last_frame
        if frame.iteration == iteration:
            continue  # neighbours are searched, or a tile of a print is done
        if frame.size == size:
            seconds.append(last_frame - last_iteration)
        iteration, last_iteration = frame.iteration, last_frame
    measured = peak_memory() - before
    width, height = frame.width_height
    missing = 0 if is_print else max(0, LBFGS.HISTORY - len(seconds) + 1)
    history = missing * 2 * 3 * 4 * width * height  # a step and a gradient each, three channels, float32
    return Cost(
        size=size,
        pixels=width * height,
        seconds=statistics.median(seconds[1:] or seconds),  # the first iteration of a stage also prepares its targets
        measured=measured,
        memory=measured + history,
        resident=peak_memory(),
        said_seconds=said,
        took_seconds=last_frame - started,
        longest_wait=max(gaps[2:]),
    )


if __name__ == "__main__":
    styletransfer.tune_process()
    print(json.dumps(_run(sys.argv[1], sys.argv[2], int(sys.argv[3]))._asdict()))
