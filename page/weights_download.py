"""The download of VGG-19, which goes on while visitors already paint with VGG-16."""

from __future__ import annotations

import logging
import threading

from styletransfer import weights
from styletransfer.errors import WeightsError

log = logging.getLogger(__name__)


class Vgg19Download(threading.Thread):
    """Downloads the weights of VGG-19 in the background.

    `status` is a sentence for the page at any moment, and stays as it is once the download `is_over`.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.is_over = False
        self.status = "The page is ready. It paints with VGG-16, and looks for VGG-19, a larger network."

    def run(self) -> None:
        """Download once; the next run finds the file in the cache."""
        try:
            weights.download_vgg19(self._show_progress)
            self.status = "VGG-19, a larger network, has arrived and paints from the next picture on."
        except WeightsError as error:
            log.warning("%s", error)
            self.status = "The page is ready. It paints with VGG-16: VGG-19, a larger network, could not be fetched."
        self.is_over = True

    def _show_progress(self, done: int, total: int) -> None:
        share = f"{done / total:.0%}" if total else f"{done >> 20} MB"
        self.status = f"The page is ready. It paints with VGG-16 until VGG-19, a larger network, is here ({share})."
