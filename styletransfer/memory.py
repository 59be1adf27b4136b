"""What the C library does with freed memory: kept during a run, given back after it."""

from __future__ import annotations

import ctypes
import platform

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
