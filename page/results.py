"""The files of a finished picture: the PNG and the JPEG with its settings inside, its film, and the photo beside it."""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from styletransfer import Losses, Settings, images, metadata

from .examples import pair_name, photo_name, style_name
from .film import FilmError, TimeLapse

log = logging.getLogger(__name__)


class Name(NamedTuple):
    """What a picture is called: "Cat · Woodcut 2" where it is shown, cat-woodcut-2 where it is saved."""

    caption: str
    stem: str  # a-z, 0-9 and single hyphens; no other of the same visit has it


def name_result(photo: str, paintings: Sequence[str], taken: Container[str]) -> Name:
    """Name a picture of this photo like these paintings, with a number if its stem is among those `taken`."""
    caption = pair_name(photo, paintings)
    stem = "-".join([_slug(photo_name(photo), "photo"), *(_slug(style_name(path), "my-style") for path in paintings)])
    numbers = ((f"{caption} {number}", f"{stem}-{number}") for number in itertools.count(2))
    return Name(*next(name for name in itertools.chain([(caption, stem)], numbers) if name[1] not in taken))


def _slug(name: str, otherwise: str) -> str:
    """Return a name as one for files on any system, or `otherwise` if its letters are not Latin ones."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall("[a-z0-9]+", plain)) if re.search("[a-z]", plain) else otherwise


class SavedResult(NamedTuple):
    """A finished picture of a visit, as files. A program has only the PNG."""

    file: str  # PNG at full size
    jpeg: str | None  # at full size
    film: str | None  # MP4, or None if none could be made
    film_webp: str | None  # the same as animated WebP
    before: str | None  # the photo at the same size, JPEG
    photo: str  # the photo as the visitor chose it
    paintings: tuple[str, ...]  # one or two, as the visitor chose them
    id: str  # known to the server and the visitor's browser only
    date: float  # seconds since 1970
    keep: str | None  # the mask of what was kept of it
    region: str | None  # the mask of where the second painting was to paint
    settings: Settings
    name: Name
    losses: tuple[Losses, ...]
    marks: dict[int, str]  # labels in the plot of the losses, by step

    @classmethod
    def save(
        cls,
        image: Image.Image,
        *,
        folder: Path,
        name: Name,
        photo: str,
        paintings: tuple[str, ...],
        time_lapse: TimeLapse,
        settings: Settings,
        losses: Sequence[Losses],
        marks: Mapping[int, str],
        only_png: bool,
        keep: str | None = None,
        region: str | None = None,
        in_regions: bool = False,
    ) -> SavedResult:
        """Save a run's last image in `folder`, with the settings that made it.

        The picture comes first: if its film cannot be made, the log says why, and there is none. Raises OSError, or
        PictureError if the photo is no longer there; then it leaves no file behind.
        """
        stem = str(folder / name.stem)
        result = cls(
            file=f"{stem}.png",
            jpeg=f"{stem}.jpg",
            film=f"{stem}.mp4",
            film_webp=f"{stem}.webp",
            before=f"{stem}--photo.jpg",  # no stem has two hyphens
            photo=photo,
            paintings=paintings,
            id=secrets.token_hex(16),
            date=time.time(),
            keep=keep,
            region=region,
            settings=settings,
            name=name,
            losses=tuple(losses),
            marks=dict(marks),
        )
        masks = {"masked": keep is not None, "in_regions": in_regions}
        try:
            metadata.save_png(image, result.file, settings, **masks)
            if only_png:
                return result._replace(jpeg=None, film=None, film_webp=None, before=None)
            metadata.save_jpeg(image, f"{stem}.jpg", settings, **masks)
            images.load(photo).image.resize(image.size).save(f"{stem}--photo.jpg", quality=90)
        except Exception:
            result.delete()
            raise
        try:
            time_lapse.save_mp4(Path(f"{stem}.mp4"), image)
            time_lapse.save_webp(Path(f"{stem}.webp"), image)
        except Exception as error:
            log.warning("no film: %s", error, exc_info=not isinstance(error, FilmError))
            for film in (f"{stem}.mp4", f"{stem}.webp"):
                Path(film).unlink(missing_ok=True)
            return result._replace(film=None, film_webp=None)
        return result

    @property
    def files(self) -> list[str]:
        """The paths of what was saved."""
        return [file for file in (self.file, self.jpeg, self.film, self.film_webp, self.before) if file]

    @property
    def is_whole(self) -> bool:
        """Whether all of these are still there."""
        return all(map(os.path.isfile, self.files))

    def delete(self) -> None:
        """Delete its files."""
        for file in self.files:
            Path(file).unlink(missing_ok=True)
