"""Saving a painted picture: in one step where that is possible, and somewhere in any case."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import metadata, print_files
from .errors import SettingsError
from .optimize import Frame

WRITE_BITS = 0o222
Picture: TypeAlias = Image.Image | NDArray[np.uint16]
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class SavedPicture(NamedTuple):
    """Where a picture is, and why it is not where it should be."""

    path: Path
    why: str  # empty if it is where it should be


def find_target(path: Path) -> Path:
    """Return the file that a picture is written to as `path`: a link's target, independent of the working folder.

    Raises SettingsError if it could not be written.
    """
    sample = Image.new("RGB", (16, 16))
    with explain_write_errors(path):
        target = Path(os.path.realpath(path))
        if os.path.isdir(target):
            raise SettingsError(f"{path} is a folder: add the name of a picture to it.")
        check_protection(path)
        try:
            with _write_part(target, sample, ""):
                pass
        except OSError:
            if not os.path.isfile(target):
                raise
            with tempfile.TemporaryDirectory() as folder:  # the file itself can be written, if its format can
                _write(sample, Path(folder, target.name), "")
    return target


def check_protection(path: Path) -> None:
    """Raise SettingsError if there is a file that must not be changed. To replace it, its folder alone would do."""
    if not os.path.isfile(path):
        return
    with explain_write_errors(path):
        if not path.stat().st_mode & WRITE_BITS:  # root could write it nevertheless
            raise SettingsError(f"{path} is write-protected: give another name.")
        with path.open("r+b"):
            pass


def save_frame(
    frame: Frame,
    target: Path,
    *,
    dpi: int = metadata.DPI,
    inputs: Mapping[str, str] = metadata.NO_INPUTS,
) -> SavedPicture:
    """Save the picture of a frame, with its record (see metadata.to_json), as save_picture does.

    That of a print has a resolution of `dpi` dots per inch, and 16 bits a channel where the format has them.
    """
    is_deep = frame.is_print and target.suffix.lower() in print_files.SUFFIXES
    record = metadata.to_json(frame.settings, masked=frame.masked, in_regions=frame.in_regions, inputs=inputs)
    picture = frame.deep_picture() if is_deep else frame.picture
    return save_picture(picture, target, record, dpi=dpi if frame.is_print else None)


def save_picture(picture: Picture, target: Path, record: str, *, dpi: int | None = None) -> SavedPicture:
    """Save in one step: a reader sees the old file or the whole new picture. A PNG or JPEG contains the record.

    Pixels of 16 bits, (H, W, 3), are saved as print_files.save does. `dpi` is a print's resolution in dots per inch.

    Where the file cannot be replaced, as in a container that has it mounted, it is written in place. Where that fails
    too, the picture is saved beside it, or else in the temporary folder. Raises SettingsError if all of this fails.
    """
    try:
        with _write_part(target, picture, record, dpi) as part:
            try:
                os.replace(part, target)
                return SavedPicture(target, "")
            except OSError as error:
                if _overwrite(target, part):
                    return SavedPicture(target, "")
                beside = _find_free_name(target)
                os.replace(part, beside)
                return SavedPicture(beside, _reason(error))
    except OSError as error:
        return _save_in_temporary_folder(picture, target, record, dpi, error)


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a SettingsError about `path`."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({_reason(error)}): choose another place.") from error


@contextmanager
def _write_part(path: Path, picture: Picture, record: str, dpi: int | None = None) -> Iterator[Path]:
    """Save beside `path`, in its format, under a temporary name. Raises OSError, or SettingsError for the format."""
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        _write(picture, part, record, dpi, name=path.name)
        yield part
    finally:
        with suppress(OSError):
            part.unlink()


def _write(picture: Picture, path: Path, record: str, dpi: int | None = None, name: str = "") -> None:
    """Save as `path`. Raises OSError, or a SettingsError that calls the file `name`."""
    if isinstance(picture, np.ndarray):
        print_files.save(picture, path, record, dpi or metadata.DPI)
        return
    try:
        options: dict[str, Any] = {"dpi": (dpi, dpi), "icc_profile": metadata.srgb_profile()} if dpi else {}
        options |= {"pnginfo": metadata.png_info(record), "comment": metadata.jpeg_comment(record)}
        picture.save(path, quality=95, **options)  # each format takes what it knows
    except (KeyError, ValueError) as error:  # PIL raises these for a suffix it cannot write
        raise SettingsError(f"{name or path.name} is not named like a picture: use .png, .jpg or .webp.") from error


def _save_in_temporary_folder(
    picture: Picture, target: Path, record: str, dpi: int | None, error: OSError
) -> SavedPicture:
    """Save there; from there to the file itself, if it is `error` that its folder, not its disk, has no room for more.

    Raises SettingsError.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="styletransfer-"))
        rescued = folder / target.name
        _write(picture, rescued, record, dpi)
    except OSError as second:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise SettingsError(
            f"{target} cannot be written ({_reason(error)}), nor can the temporary folder ({_reason(second)}): "
            "the picture is lost, make room for the next."
        ) from error
    # On a full disk the old picture would be destroyed and the new one not be whole.
    if error.errno not in DISK_FULL and _overwrite(target, rescued):
        shutil.rmtree(folder, ignore_errors=True)
        return SavedPicture(target, "")
    return SavedPicture(rescued, _reason(error))


def _overwrite(path: Path, source: Path) -> bool:
    """Write the bytes of `source` into the file that is there. Returns whether that went well."""
    try:
        with source.open("rb") as new, path.open("r+b") as old:
            shutil.copyfileobj(new, old)
            old.truncate()
    except OSError:
        return False
    return True


def _find_free_name(path: Path) -> Path:
    """Return `name-2.png`, or with the first number that is no file yet."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(name for name in names if not os.path.lexists(name))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
