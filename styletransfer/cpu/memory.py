"""Memory: the estimate for a run, the amount that is free, and an allocator that reuses freed tensors."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import SettingsError
from ..settings import knobs

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MMAP_THRESHOLD = 30 << 20  # bytes. With 100 MB, a run at 512 px was 4 % faster and took 1.5 GB instead of 1.3
INT_MAX = 2**31 - 1

# Elsewhere (macOS, Windows, musl) the allocator is left as it is.
_glibc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def tune_allocator() -> None:
    """Make glibc reuse the memory of freed tensors, which it would otherwise return to the system page by page.

    An iteration at 512 px took 1.2 s instead of 1.5 (medians of 6). There is one arena, because the heaps of the others
    are too small for a large tensor, which would then go to the system at every free: 1.1 s instead of 1.7 in a thread.
    """
    if _glibc:
        for option, value in ((M_MMAP_THRESHOLD, MMAP_THRESHOLD), (M_TRIM_THRESHOLD, INT_MAX), (M_ARENA_MAX, 1)):
            _glibc.mallopt(option, value)


def trim_heap() -> None:
    """Return the heap's free memory to the system."""
    if _glibc:
        _glibc.malloc_trim(0)


# Bytes, above the figures of benchmarks/RESULTS.md at every size.
BASE, PER_PIXEL, PER_PAINTING_PIXEL = 1.2e9, 2100, 700
# Bytes of a print, where a pixel costs what objective.TiledObjective and lbfgs.LeanLBFGS keep of it.
PRINT_BASE, PER_PRINT_PIXEL = 1.4e9, 95
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def estimate_bytes(pixels: int, painting_pixels: int) -> float:
    """Estimate the bytes of a run on the processor, from the pixels of its last stage and of the painting there."""
    return BASE + max(PER_PIXEL * pixels, PER_PAINTING_PIXEL * painting_pixels)


def available_bytes() -> float:
    """Return the bytes that Linux and the container still allow this process; infinity on other systems."""
    return min(_available_on_machine(), _available_in_container())


def estimate_print_bytes(pixels: int) -> float:
    """Estimate the bytes of the last stage of a print on the processor, from its pixels."""
    return PRINT_BASE + PER_PRINT_PIXEL * pixels


def check_memory(size: int, estimate: Callable[[int], float]) -> None:
    """Raise SettingsError, with a size that would fit, if a run at long side `size` needs more memory than is free.

    `estimate` returns the bytes that a run needs at a size.
    """
    free, needed = available_bytes(), estimate(size)
    if needed <= free:
        return
    least, step = int(knobs()["size"].low), int(knobs()["size"].step)
    smaller = range((size - 1) // step * step, least - 1, -step)
    fits = next((other for other in smaller if estimate(other) <= free), None)
    hint = f"choose size {fits}" if fits else "try again when less is going on here"
    raise SettingsError(f"Size {size} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: {hint}.")


def _available_on_machine() -> float:
    with suppress(OSError, StopIteration):
        return next(
            1024.0 * int(line.split()[1])
            for line in MEMINFO.read_text().splitlines()
            if line.startswith("MemAvailable")
        )
    return math.inf


def _available_in_container() -> float:
    with suppress(OSError, ValueError):  # no such files, or "max"
        limit, current = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return float(limit - current + int(stat.get("inactive_file", 0)))  # the system can drop these
    return math.inf
