"""Neural style transfer after Gatys, Ecker & Bethge (CVPR 2016), as a generator of pictures and losses.

from styletransfer import Settings, stylize

for frame in stylize(photo, painting, Settings(size=512)):
    print(frame.iteration, frame.losses.total)
frame.picture.save("painting.png")
"""

import os

# Idle threads sleep instead of spinning: an evaluation is hundreds of short parallel regions, and a busy neighbour on
# the same cores (a browser, another visitor) otherwise makes it two to three times slower. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .errors import PictureError, SettingsError, StyleTransferError, WeightsError
from .loop import Frame, stylize
from .losses import Losses
from .settings import PRESETS, Settings

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
