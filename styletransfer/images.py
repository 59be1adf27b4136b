"""Images in and out: files, bytes and PIL images become upright sRGB, and tensors become PIL images.

Importing this module registers the HEIC format with Pillow.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin
from pillow_heif import register_heif_opener

from .errors import PictureError

MIN_SIDE = 16  # pixels
MAX_SIDE = 4096  # pixels; a picture with a longer side is reduced
MAX_PIXELS = 120_000_000  # lets a phone's 108 megapixels in and keeps decompression bombs out

# The formats people keep pictures in. Every further decoder is one more target for a hostile file.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")

# How a camera RAW file begins: (place, bytes). NEF, ARW and DNG begin like any TIFF: see _inspect_tiff.
RAW_HEADS = (
    (8, b"CR\x02"),  # Canon CR2
    (4, b"ftypcrx "),  # Canon CR3
    (0, b"IIRO"),  # Olympus ORF, and the next two
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # Panasonic RW2
    (0, b"FUJIFILMCCD-RAW"),  # Fujifilm RAF
)
IMAGE_DESCRIPTION = 270  # TIFF tags: this and the next
NEW_SUBFILE_TYPE, COMPRESSION, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 259, 262, 330, 50706  # TIFF tags
SENSOR_DATA = (32803, 34892)  # values of PHOTOMETRIC: a colour filter array, and its linear values
MAX_SUB_IFDS = 8  # the most that are looked at
LONG8, IFD8 = 16, 18  # types of a value in a BigTIFF: an integer of 64 bits, and one that is the place of a directory
BIG_ENDIAN_BIG_TIFF = b"MM\0+"
GDAL_NODATA = 42113  # a TIFF tag: the value, as text, of pixels that were not measured
NO_DATA_GREY = 128  # what such pixels become
DARKEST_PEAK = 16  # a range of which only this part is used is not the picture's own

register_heif_opener()


class _Directory(TiffImagePlugin.ImageFileDirectory_v2):
    """A directory of a TIFF, also where it refers to others by IFD8, which Pillow skips as unknown."""

    _load_dispatch = {  # noqa: RUF012  # as the base class declares it
        **TiffImagePlugin.ImageFileDirectory_v2._load_dispatch,
        IFD8: TiffImagePlugin.ImageFileDirectory_v2._load_dispatch[LONG8],
    }


Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image"


class LoadedImage(NamedTuple):
    """An image that is safe to work with, and what the user should know about it."""

    image: Image.Image  # mode RGB, upright, sRGB, no alpha, no side over MAX_SIDE
    note: str  # what the user should know, a sentence each, or empty


def load(source: Source) -> LoadedImage:
    """Load a picture from a path, a file's bytes, an open binary file (read from its start) or a PIL image.

    An animation gives its first frame. Transparency is composited on white. A PIL image of the caller stays as it is.
    Raises PictureError for what cannot be read, has a side under MIN_SIDE or more than MAX_PIXELS pixels.
    """
    name = _name_source(source)
    try:
        with _open_image(source, name) as image:
            return _convert(image, name, owned_by_caller=image is source)
    except PictureError:
        raise
    except PermissionError as error:
        raise PictureError(f"{name} may not be read; check its permissions.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a frame or tile of it
        raise PictureError(f"{name} has too many pixels; make it smaller first.") from error
    except Exception as error:  # decoders meet bad data with nearly any exception there is
        raise PictureError(f"{name} is damaged or incomplete; save or download it again.") from error


def read_text(source: Source, name: str) -> str:
    """Return the text called `name` in a PNG's header, or an empty one. No pixel is decoded.

    A JPEG's comment and a TIFF's description have no name: there it is what follows "`name`: ". Raises PictureError,
    or nearly anything for a damaged file.
    """
    with _open_image(source, _name_source(source)) as image:
        if image.format in ("JPEG", "TIFF"):
            described = getattr(image, "tag_v2", {}).get(IMAGE_DESCRIPTION, "")
            said, _, text = (image.info.get("comment", b"").decode() or described).partition(": ")
            return text if said == name else ""
        return str(image.info.get(name, ""))


def read_format(source: Source) -> str | None:
    """Return the name of a picture's format, as in FORMATS, or None for a PIL image of none. No pixel is decoded.

    Raises PictureError, or nearly anything for a damaged file.
    """
    with _open_image(source, _name_source(source)) as image:
        return image.format


def fit_size(image: Image.Image, size: int, *, square: bool = False) -> tuple[int, int]:
    """Return the (width, height) in pixels with `size` on the long side and the image's proportions, or a square."""
    if square:
        return size, size
    longest = max(image.size)
    return max(1, round(image.width * size / longest)), max(1, round(image.height * size / longest))


def to_tensor(image: Image.Image, width_height: tuple[int, int]) -> torch.Tensor:
    """Resample an RGB image to (W, H), and return it as float32 of shape (1, 3, H, W) in [0, 1]."""
    resized = image.resize(width_height, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(resized))  # (H, W, 3)
    return pixels.permute(2, 0, 1)[None].contiguous().float() / 255


def to_image(tensor: torch.Tensor) -> Image.Image:
    """Convert a float tensor (1, 3, H, W), clamped to [0, 1], to 8-bit RGB."""
    pixels = tensor.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _name_source(source: object) -> str:
    """Return the name that a message gives the picture: its file name without folders, or "The picture"."""
    path = source
    if not isinstance(source, (str, os.PathLike)):
        path = getattr(source, "filename", getattr(source, "name", None))
    name = Path(os.fsdecode(path)).name if isinstance(path, (str, bytes, os.PathLike)) else ""
    return "".join(c if c.isprintable() else "?" for c in name) or "The picture"


@contextmanager
def _open_image(source: Any, name: str) -> Iterator[Image.Image]:
    """Open the picture and read its header only. A file opened here is closed on leaving."""
    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, (str, os.PathLike)):
        path = Path(os.fsdecode(source))
        if path.is_dir():
            raise PictureError(f"{name} is a folder; choose a picture file.")
        if not path.is_file():  # or it is a named pipe, which may never answer
            path = Path(os.path.expanduser(path))
        if not path.is_file():
            raise PictureError(_explain_missing(os.fsdecode(source), name))
        with path.open("rb") as file:
            yield _identify(file, name)
    elif isinstance(source, bytes):
        yield _identify(io.BytesIO(source), name)
    elif hasattr(source, "read"):
        with suppress(AttributeError, OSError):  # a stream that cannot go back is read from where it stands
            source.seek(0)
        yield _identify(io.BytesIO(source.read()), name)
    else:
        kind = type(source).__name__
        raise PictureError(f"A picture cannot be of type {kind}; give a path, bytes, a file or a PIL image.")


def _explain_missing(source: str, name: str) -> str:
    """Say why there is no file of the name `source`. A Path has only one of a URL's two slashes."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", source, re.IGNORECASE):
        return f"{name} is an address on the internet; download the picture, and give the name of its file."
    if source == "-":
        return "A picture is not read from standard input; give the name of a file."
    return f"{name} was not found; check where the picture is."


def _identify(file: BinaryIO, name: str) -> Image.Image:
    """Image.open without its limit on pixels, which belongs to the whole process and only warns at first."""
    Image.init()
    head = file.read(16)
    if not head:
        raise PictureError(f"{name} is empty; save or download it again.")
    if head.startswith(BIG_ENDIAN_BIG_TIFF):  # Pillow takes it for an ordinary TIFF
        raise PictureError(f"{name} is a big-endian BigTIFF; save it as an ordinary TIFF or as PNG.")
    full, is_raw = _inspect_tiff(file, head)
    if is_raw or any(head.startswith(magic, place) for place, magic in RAW_HEADS):
        raise PictureError(f"{name} is a camera RAW file: export it as JPEG first, and choose that.")
    plugins = [Image.OPEN[known] for known in FORMATS]
    # An opener whose decoder is missing answers with a text in place of True.
    openers = [opener for opener, accepts in plugins if accepts and accepts(head) is True]
    if not openers:
        raise PictureError(f"{name} is not in a readable format; use JPEG, PNG, WebP, HEIC, TIFF or GIF.")
    for opener in openers:  # heads can be alike: only the opener of AVIF can tell a HEIC file from its own
        with suppress(SyntaxError):
            file.seek(0)
            return opener(_begin_tiff_at(full, file.read()) if full else file, "")
    raise SyntaxError(f"none of {openers} can open it")


def _inspect_tiff(file: BinaryIO, head: bytes) -> tuple[int, bool]:
    """Look where Pillow does not: into the directories that a TIFF's first one refers to (its SubIFDs), and into that
    of the second page if the first is marked as a reduced copy.

    Returns the place of the directory of the picture itself, where the first has only a reduced copy of it, or 0; and
    whether the file holds sensor data, of which Pillow would open a small preview. Then it is a DNG, or has a colour
    filter array, or its picture is one that Pillow cannot read.
    """
    full, is_preview = 0, False
    with suppress(Exception):  # a damaged directory is for the opener to judge
        directory = _Directory(head if head[2] == 43 else head[:8])  # 43: BigTIFF
        file.seek(directory.next)
        directory.load(file)
        found = directory.get(SUB_IFDS, ())
        places = found[:MAX_SUB_IFDS] if isinstance(found, tuple) else (found,)
        is_reduced = bool(directory.get(NEW_SUBFILE_TYPE, 0) & 1)
        is_preview = is_reduced and bool(places)
        if DNG_VERSION in directory or directory.get(PHOTOMETRIC) in SENSOR_DATA:
            return 0, True
        if is_reduced and directory.next:
            places = *places, directory.next
        for place in places:
            file.seek(place)
            directory.load(file)
            if directory.get(PHOTOMETRIC) in SENSOR_DATA:
                return 0, True
            is_whole = not directory.get(NEW_SUBFILE_TYPE, 0) & 1
            if is_reduced and is_whole and directory.get(COMPRESSION, 1) in TiffImagePlugin.COMPRESSION_INFO:
                full = full or place
    return full, is_preview and not full


def _begin_tiff_at(place: int, content: bytes) -> BinaryIO:
    """Return the TIFF as a file whose first directory is the one at `place`."""
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"
    at, size = (8, 8) if 43 in content[2:4] else (4, 4)  # 43: BigTIFF
    return io.BytesIO(content[:at] + place.to_bytes(size, order) + content[at + size :])


def _convert(image: Image.Image, name: str, *, owned_by_caller: bool) -> LoadedImage:
    width, height = image.size  # as the header declares it: nothing is decoded yet
    has = f"{name} has {width}×{height} pixels"
    if width * height > MAX_PIXELS:
        raise PictureError(f"{has}, over the limit of {MAX_PIXELS // 10**6} million; make it smaller first.")
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"{has}; choose one with at least {MIN_SIDE} on each side.")
    reduce = max(width, height) > MAX_SIDE
    if reduce and not owned_by_caller:
        image.draft(None, fit_size(image, MAX_SIDE))  # JPEG then decodes to 1/2, 1/4 or 1/8, which saves memory
    image.load()
    plain, note = _to_eight_bits(image, name)
    if reduce:
        plain = plain.resize(fit_size(plain, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    upright = plain
    with suppress(Exception):  # broken EXIF is no reason to refuse a picture that is whole
        upright = ImageOps.exif_transpose(plain)
    rgb = _composite_on_white(upright)
    rgb.info = {}  # profile and rotation are applied by now, yet PIL would save them with the image
    if not reduce:
        return LoadedImage(rgb, note)
    if upright.size != plain.size:
        width, height = height, width
    before, after = f"{width}×{height}", f"{rgb.width}×{rgb.height}"
    reduced = f"The picture had {before} pixels and was reduced to {after} before painting."
    return LoadedImage(rgb, f"{reduced} {note}".rstrip())


def _to_eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, str]:
    """Convert to a mode that can be resampled and colour-managed (L, LA, RGB, RGBA, CMYK or LAB), with a note or ""."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_deep_grey(image, name)
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"), ""
    if image.mode in ("L", "CMYK", "LAB"):
        return image, ""
    return image.convert("L" if image.mode == "1" else "RGB"), ""


def _scale_deep_grey(image: Image.Image, name: str) -> tuple[Image.Image, str]:
    """Scale grey of 16 or 32 bits or float to 8 bits. PIL's own conversion would clip above 255.

    Files of 32 bits and float do not define white. It is the least of 1, 255, 65535 and the peak that holds all values.
    If that left nearly all of the range unused, the values go from black to white instead, and a note says so.
    A raster of measurements, which names a value for no data or has pixels that are no finite number, instead goes
    from black at its least value to white at its largest. Pixels without data become NO_DATA_GREY, and a note says so.
    Raises PictureError if no pixel has data.
    """
    values = np.asarray(image)
    no_data = _read_no_data(image)
    missing = ~np.isfinite(values)
    if no_data is not None:
        with np.errstate(over="ignore"):
            missing |= values == (np.float32(no_data) if image.mode == "F" else no_data)
    if missing.all():
        raise PictureError(f"{name} has no data in any pixel; choose another picture.")
    measured = values[~missing].astype(np.float32)
    black, white, notes = 0.0, 65535.0, []
    if no_data is not None or missing.any():
        black, white = float(measured.min()), float(measured.max())
    elif image.mode in ("I", "F"):
        peak = float(measured.max(initial=0))
        white = next((usual for usual in (1.0, 255.0, 65535.0) if peak <= usual), peak)
        if white > 1 and peak <= white / DARKEST_PEAK:
            black, white = float(measured.min()), peak
            notes.append(f"Its values, {black:.4g} to {white:.4g}, were spread from black to white before painting.")
    scaled = np.full(values.shape, NO_DATA_GREY, np.uint8)
    scaled[~missing] = ((measured.clip(black, white) - black) * (255 / ((white - black) or 1.0))).round()
    grey = Image.fromarray(scaled)
    grey.info = image.info.copy()
    if missing.any():
        notes.append(f"{100 * missing.mean():.2g} % of the picture has no data and was made grey before painting.")
    return grey, " ".join(notes)


def _read_no_data(image: Image.Image) -> float | None:
    """Return the value of pixels without data that a GeoTIFF names, or None."""
    with suppress(TypeError, ValueError):
        return float(getattr(image, "tag_v2", {}).get(GDAL_NODATA, "").strip("\0 "))
    return None


def _composite_on_white(image: Image.Image) -> Image.Image:
    """Convert an image from _to_eight_bits to sRGB without alpha."""
    if image.mode not in ("LA", "RGBA"):
        return _to_srgb(image)
    colour = _to_srgb(image.convert(image.mode.removesuffix("A")))
    return Image.composite(colour, Image.new("RGB", image.size, "white"), image.getchannel("A"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert L, RGB, CMYK or LAB through its profile, or plainly if that is missing, broken or unfit."""
    if icc := image.info.get("icc_profile"):
        with suppress(OSError, TypeError, ValueError, ImageCms.PyCMSError):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if image.mode == "L" and profile.profile.xcolor_space == "RGB ":
                image = image.convert("RGB")
            transform = ImageCms.ImageCmsTransform(
                profile,
                ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
                image.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return transform.apply(image)
    return image.convert("RGB")
