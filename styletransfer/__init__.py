"""Neural style transfer after Gatys, Ecker & Bethge (CVPR 2016), as a generator of images and losses.

from styletransfer import Settings, stylize

for frame in stylize(photo, painting, Settings(size=512)):
    print(frame.iteration, frame.losses.total)
frame.picture.save("painting.png")

docs/develop.md says where to begin reading.

Importing the package changes nothing in the process and does not load torch, which comes with the first use of
`stylize`, `Frame` or `Losses`. One exception: the module `images` registers the HEIC format with Pillow.

Once a process has painted, a child that it forks hangs in `stylize`: torch's threads are not in the child, which waits
for them (pytorch issue 91547). Start children by `multiprocessing.get_context("spawn")`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .cpu import memory
from .errors import PictureError, SettingsError, StyleTransferError, WeightsError
from .settings import PRESETS, Settings

if TYPE_CHECKING:
    from .losses import Losses
    from .optimize import Frame, stylize
    from .problem import Resume

_NEED_TORCH = {"Frame": "optimize", "Losses": "losses", "Resume": "problem", "stylize": "optimize"}

__all__ = [
    "PRESETS",
    "Frame",
    "Losses",
    "PictureError",
    "Resume",
    "Settings",
    "SettingsError",
    "StyleTransferError",
    "WeightsError",
    "stylize",
    "tune_process",
]


def tune_process() -> None:
    """Make this process faster at painting: idle threads sleep, and freed memory is kept for the next tensor.

    Call it before torch is loaded, which reads OMP_WAIT_POLICY then. A value that the environment already has stays.
    One iteration is hundreds of short parallel regions. Beside busy neighbours on the same two cores, spinning threads
    took 4 to 9 s for one at 512 px, sleeping ones 2.5 s (1.5 s either way on an idle machine, one run each).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    memory.tune_allocator()


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NEED_TORCH[name]}", __name__), name)
