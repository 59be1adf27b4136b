"""Neural style transfer after Gatys, Ecker & Bethge (CVPR 2016), as a generator of pictures and losses.

from styletransfer import Settings, stylize

for frame in stylize(photo, painting, Settings(size=512)):
    print(frame.iteration, frame.losses.total)
frame.picture.save("painting.png")
"""

import os

# Idle threads sleep instead of spinning: an evaluation is hundreds of short parallel regions, and beside busy
# neighbours on the same two cores one at 512 px took 4 to 9 s instead of 2.5 (1.5 either way when alone; a run each).
# It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import memory
from .errors import PictureError, SettingsError, StyleTransferError, WeightsError
from .loop import Frame, stylize
from .losses import Losses
from .settings import PRESETS, Settings

memory.keep_freed()

__all__ = [
    "PRESETS",
    "Frame",
    "Losses",
    "PictureError",
    "Settings",
    "SettingsError",
    "StyleTransferError",
    "WeightsError",
    "stylize",
]
