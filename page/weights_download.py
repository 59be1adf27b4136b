"""The download of VGG-19, which goes on while visitors already paint with VGG-16."""

from __future__ import annotations

import threading

from styletransfer import weights
from styletransfer.errors import WeightsError


class Vgg19Download(threading.Thread):
    """Downloads the weights of VGG-19 in the background.

    `status` is a sentence for the page at any moment, and stays as it is once the download `is_over`.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.is_over = False
        self.status = "Looking for VGG-19 on the network. VGG-16 paints until it is here."

    def run(self) -> None:
        """Download once; the next run finds the file in the cache."""
        try:
            weights.download_vgg19(self._show_progress)
            self.status = "VGG-19 has arrived and will paint the next picture."
        except WeightsError as error:
            self.status = f"VGG-16 paints. {error}"
        self.is_over = True

    def _show_progress(self, done: int, total: int) -> None:
        share = f"{done / total:.0%}" if total else f"{done >> 20} MB"
        self.status = f"VGG-19 is on its way ({share}). VGG-16 paints until it is here."
