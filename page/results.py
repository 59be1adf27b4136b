"""What a visitor takes along: the picture with its settings inside, how it formed, before and after."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from styletransfer import PictureError, Settings, pictures, record

LONGEST_LAPSE = 48  # pictures
LAPSE_SIZE = 480  # pixels of the long side


class Lapse:
    """How a picture formed: some of its states, evenly spread over the run however long it is."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []
        self._every = self._seen = 0

    def add(self, picture: Image.Image) -> None:
        """One more state; when there are too many, every other one goes."""
        self._seen += 1
        if self._seen % 2**self._every:
            return
        self.pictures.append(picture.resize(pictures.fit(picture, min(LAPSE_SIZE, max(picture.size)))))
        if len(self.pictures) > LONGEST_LAPSE:
            self.pictures = self.pictures[::2]
            self._every += 1

    def save(self, file: Path, last: Image.Image) -> None:
        """As an animated WebP that ends on `last` and stays there for two seconds."""
        states = [*self.pictures, last.resize(self.pictures[0].size)]
        durations = [100] * (len(states) - 1) + [2000]
        states[0].save(file, save_all=True, append_images=states[1:], duration=durations, loop=0, quality=75, method=0)


class Kept(NamedTuple):
    """A picture of this visit."""

    file: str  # PNG at full size
    lapse: str  # WebP
    before: str  # the photo at the same size, JPEG
    photo: str  # as it was chosen
    settings: Settings
    caption: str

    @classmethod
    def of(cls, picture: Image.Image, folder: Path, number: int, photo: str, lapse: Lapse, settings: Settings) -> Kept:
        """Save a run's last picture as the `number`th of the visit, with the settings that it was made with.

        Raises OSError, or PictureError if there is no such photo any more, with none of its files left.
        """
        file, moving, before = (folder / f"painting-{number}{suffix}" for suffix in (".png", ".webp", ".jpg"))
        caption = f"{number}: {max(picture.size)} px, β {settings.style_weight:.0e}, {settings.colours}"
        kept = cls(str(file), str(moving), str(before), photo, settings, caption)
        try:
            record.save_png(picture, file, settings)
            lapse.save(moving, picture)
            pictures.load(photo).image.resize(picture.size).save(before, quality=90)
            if shutil.disk_usage(folder).free < 2 * sum(written.stat().st_size for written in (file, moving, before)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # Gradio sends copies of them
        except (OSError, PictureError):
            kept.forget()
            raise
        return kept

    def forget(self) -> None:
        """Remove its files."""
        for file in (self.file, self.lapse, self.before):
            Path(file).unlink(missing_ok=True)
