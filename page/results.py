"""The files of a finished picture: the PNG with its settings inside, the time-lapse, and the photo for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from styletransfer import Losses, PictureError, Settings, images, metadata

MAX_TIME_LAPSE_FRAMES = 48
TIME_LAPSE_SIZE = 480  # pixels of the long side


class TimeLapse:
    """Images of a picture as it forms, evenly spread over the run however long it is."""

    def __init__(self) -> None:
        self.images: list[Image.Image] = []
        self._halvings = self._seen = 0

    def add(self, image: Image.Image) -> None:
        """Add an image; when there are too many, drop every other one and from then on take half as many."""
        self._seen += 1
        if self._seen % 2**self._halvings:
            return
        size = images.fit_size(image, min(TIME_LAPSE_SIZE, max(image.size)))
        self.images.append(image.resize(size))
        if len(self.images) > MAX_TIME_LAPSE_FRAMES:
            self.images = self.images[::2]
            self._halvings += 1

    def save(self, file: Path, last: Image.Image) -> None:
        """Save an animated WebP that ends on `last` and stays there for two seconds. Raises OSError."""
        frames = [*self.images, last.resize(self.images[0].size)]
        durations = [100] * (len(frames) - 1) + [2000]  # milliseconds
        frames[0].save(file, save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=75, method=0)


class SavedResult(NamedTuple):
    """A finished picture of a visit, as files."""

    file: str  # PNG at full size
    time_lapse: str  # WebP
    before: str  # the photo at the same size, JPEG
    photo: str  # the photo as the visitor chose it
    settings: Settings
    caption: str
    losses: tuple[Losses, ...]
    marks: dict[int, str]  # labels in the plot of the losses, by step

    @classmethod
    def save(
        cls,
        image: Image.Image,
        *,
        folder: Path,
        number: int,
        photo: str,
        time_lapse: TimeLapse,
        settings: Settings,
        losses: Sequence[Losses],
        marks: Mapping[int, str],
    ) -> SavedResult:
        """Save a run's last image in `folder`, as the `number`th of the visit, with the settings that made it.

        Raises OSError, or PictureError if the photo is no longer there; then it leaves no file behind.
        """
        png, webp, jpeg = (folder / f"painting-{number}{suffix}" for suffix in (".png", ".webp", ".jpg"))
        result = cls(
            file=str(png),
            time_lapse=str(webp),
            before=str(jpeg),
            photo=photo,
            settings=settings,
            caption=f"{number}: {max(image.size)} px, β {settings.style_weight:.0e}, {settings.colours}",
            losses=tuple(losses),
            marks=dict(marks),
        )
        try:
            metadata.save_png(image, png, settings)
            time_lapse.save(webp, image)
            images.load(photo).image.resize(image.size).save(jpeg, quality=90)
        except (OSError, PictureError):
            result.delete()
            raise
        return result

    @property
    def files(self) -> tuple[str, str, str]:
        """The paths of what was saved."""
        return self.file, self.time_lapse, self.before

    def delete_extras(self) -> None:
        """Delete what only the page shows, and a program does not get."""
        for file in (self.time_lapse, self.before):
            Path(file).unlink()

    def delete(self) -> None:
        """Delete its files."""
        for file in self.files:
            Path(file).unlink(missing_ok=True)
