"""The door for pictures: files, bytes and PIL images come in as upright sRGB; tensors go out as pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from pillow_heif import register_heif_opener

from .errors import PictureError

MIN_SIDE = 16  # pixels
MAX_SIDE = 4096  # pixels; a picture with a longer side is reduced
MAX_PIXELS = 120_000_000  # lets a phone's 108 megapixels in and keeps decompression bombs out

# Only what people keep pictures in: every further decoder is one more way in for a hostile file.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")

register_heif_opener()


Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image"


class Picture(NamedTuple):
    """What the door lets in."""

    image: Image.Image  # mode RGB, upright, sRGB, no alpha, no side over MAX_SIDE
    note: str  # empty, or one sentence for the user


def load(source: Source) -> Picture:
    """Let in a picture: a path, a file's bytes, an open binary file (read from its start) or a PIL image.

    An animation gives its first frame. Transparency is laid over white. A caller's PIL image is not changed.
    Raises PictureError for what cannot be read, has a side under MIN_SIDE or more than MAX_PIXELS pixels.
    """
    name = _name(source)
    try:
        with _opened(source, name) as image:
            return _let_in(image, name, callers=image is source)
    except PictureError:
        raise
    except PermissionError as error:
        raise PictureError(f"{name} may not be read; check its permissions.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a frame or tile of it
        raise PictureError(f"{name} has too many pixels; make it smaller first.") from error
    except Exception as error:  # decoders meet bad data with nearly any exception there is
        raise PictureError(f"{name} is damaged or incomplete; save or download it again.") from error


def text(source: Source, name: str) -> str:
    """The text of that name in a PNG's header, or an empty one; nothing is decoded.

    Raises PictureError, or nearly anything for a damaged file.
    """
    with _opened(source, _name(source)) as image:
        return str(image.info.get(name, ""))


def fit(image: Image.Image, size: int, *, square: bool = False) -> tuple[int, int]:
    """The (width, height) with `size` pixels on the long side and the picture's proportions, or a square."""
    if square:
        return size, size
    longest = max(image.size)
    return max(1, round(image.width * size / longest)), max(1, round(image.height * size / longest))


def to_tensor(image: Image.Image, width_height: tuple[int, int]) -> torch.Tensor:
    """An RGB picture, resampled to (W, H), as float32 of shape (1, 3, H, W) in [0, 1]."""
    resized = image.resize(width_height, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(resized))  # (H, W, 3)
    return pixels.permute(2, 0, 1)[None].contiguous().float() / 255


def to_image(tensor: torch.Tensor) -> Image.Image:
    """A float tensor (1, 3, H, W), clamped to [0, 1], as 8-bit RGB."""
    pixels = tensor.detach()[0].float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _name(source: object) -> str:
    """What a message calls the picture: its file's name without the folders, if it has one."""
    path = source
    if not isinstance(source, (str, os.PathLike)):
        path = getattr(source, "filename", getattr(source, "name", None))
    name = Path(os.fsdecode(path)).name if isinstance(path, (str, bytes, os.PathLike)) else ""
    return "".join(c if c.isprintable() else "?" for c in name) or "The picture"


@contextmanager
def _opened(source: Any, name: str) -> Iterator[Image.Image]:
    """The picture with only its header read; a file that was opened for it is closed on leaving."""
    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, (str, os.PathLike)):
        path = Path(os.fsdecode(source))
        if path.is_dir():
            raise PictureError(f"{name} is a folder; choose a picture file.")
        if not path.is_file():  # or it is a named pipe, which may never answer
            raise PictureError(f"{name} was not found; check where the picture is.")
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


def _identify(file: BinaryIO, name: str) -> Image.Image:
    """Image.open without its limit on pixels, which belongs to the whole process and only warns at first."""
    Image.init()
    head = file.read(16)
    if not head:
        raise PictureError(f"{name} is empty; save or download it again.")
    plugins = [Image.OPEN[known] for known in FORMATS]
    # An opener whose decoder is missing answers with a text in place of True.
    openers = [opener for opener, accepts in plugins if accepts and accepts(head) is True]
    if not openers:
        raise PictureError(f"{name} is not in a readable format; use JPEG, PNG, WebP, HEIC, TIFF or GIF.")
    for opener in openers:  # heads can be alike: only the opener of AVIF can tell a HEIC file from its own
        with suppress(SyntaxError):
            file.seek(0)
            return opener(file, "")
    raise SyntaxError(f"none of {openers} can open it")


def _let_in(image: Image.Image, name: str, *, callers: bool) -> Picture:
    width, height = image.size  # as the header declares it: nothing is decoded yet
    has = f"{name} has {width}×{height} pixels"
    if width * height > MAX_PIXELS:
        raise PictureError(f"{has}, over the limit of {MAX_PIXELS // 10**6} million; make it smaller first.")
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"{has}; choose one with at least {MIN_SIDE} on each side.")
    reduce = max(width, height) > MAX_SIDE
    if reduce and not callers:
        image.draft(None, fit(image, MAX_SIDE))  # JPEG then decodes to 1/2, 1/4 or 1/8, which saves memory
    image.load()
    plain = _eight_bit(image)
    if reduce:
        plain = plain.resize(fit(plain, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    upright = plain
    with suppress(Exception):  # broken EXIF is no reason to refuse a picture that is whole
        upright = ImageOps.exif_transpose(plain)
    rgb = _over_white(upright)
    rgb.info = {}  # what it says of profile and rotation is done, yet PIL would save it with the picture
    if not reduce:
        return Picture(rgb, "")
    if upright.size != plain.size:
        width, height = height, width
    before, after = f"{width}×{height}", f"{rgb.width}×{rgb.height}"
    return Picture(rgb, f"The picture had {before} pixels and was reduced to {after} before painting.")


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same colours in a mode that can be resampled and colour-managed: L, LA, RGB, RGBA, CMYK or LAB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    if image.mode in ("L", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or float, scaled to 8 bits; PIL's own conversion would cut off above 255.

    32 bits and float do not say what white is: the least of 1, 255, 65535 and the peak that holds all values.
    """
    values = np.asarray(image).astype(np.float32)
    white = 65535.0
    if image.mode in ("I", "F"):
        peak = float(values[np.isfinite(values)].max(initial=0))
        white = next((usual for usual in (1.0, 255.0, 65535.0) if peak <= usual), peak)
    scaled = np.nan_to_num(values.clip(0, white)) * (255 / white)
    grey = Image.fromarray(scaled.round().astype(np.uint8))
    grey.info = image.info.copy()
    return grey


def _over_white(image: Image.Image) -> Image.Image:
    """What _eight_bit gives, in sRGB and without alpha."""
    if image.mode not in ("LA", "RGBA"):
        return _to_srgb(image)
    colour = _to_srgb(image.convert(image.mode.removesuffix("A")))
    return Image.composite(colour, Image.new("RGB", image.size, "white"), image.getchannel("A"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """L, RGB, CMYK or LAB through its profile; plainly if there is none, or it is broken or does not fit."""
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
