"""Memory: what a run will need and what there is; what is freed is kept during a run, and given back after it."""

from __future__ import annotations

import ctypes
import math
import platform
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
KEPT = 30 << 20  # bytes. With 100, a run at 512 px was 4 % faster and took 1.5 GB instead of 1.3
MOST = 2**31 - 1

# Elsewhere (macOS, Windows, musl) the allocator is left as it is.
_glibc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed() -> None:
    """Reuse the memory of freed tensors instead of handing it to the system and page by page back at once.

    An evaluation at 512 px took 1.2 s instead of 1.5 (medians of 6). One arena, since a large tensor of any other
    than the main thread's would still go to the system: 1.1 s instead of 1.7 in a thread.
    """
    if _glibc:
        for option, value in ((M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, MOST), (M_ARENA_MAX, 1)):
            _glibc.mallopt(option, value)


def give_back() -> None:
    """Hand what is kept and not in use to the system: a run has ended."""
    if _glibc:
        _glibc.malloc_trim(0)


BASE, PER_PIXEL, PER_PAINTING_PIXEL = 1.2e9, 2100, 700  # bytes: above those of benchmarks/RESULTS.md at every size
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def needed(pixels: int, painting_pixels: int) -> float:
    """Bytes for a run on the processor whose last stage has so many pixels, and looks at so many of a painting."""
    return BASE + max(PER_PIXEL * pixels, PER_PAINTING_PIXEL * painting_pixels)


def available() -> float:
    """Bytes that this process may still take, by Linux and by the container it is in; elsewhere no limit is known."""
    return min(_of_machine(), _of_container())


def _of_machine() -> float:
    with suppress(OSError, StopIteration):
        return next(
            1024.0 * int(line.split()[1])
            for line in MEMINFO.read_text().splitlines()
            if line.startswith("MemAvailable")
        )
    return math.inf


def _of_container() -> float:
    with suppress(OSError, ValueError):  # no such files, or "max"
        limit, current = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return float(limit - current + int(stat.get("inactive_file", 0)))  # which the system drops when it must
    return math.inf
