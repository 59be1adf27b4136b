"""Files for prints: PNG and TIFF of 16 bits a channel, with an sRGB profile, a resolution and the settings inside.

Pillow writes no RGB of 16 bits. tifffile does, for TIFF. PNG is written here: of the libraries that write it, pypng
takes no profile, OpenCV no text, and libvips brings 50 MB.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import putchunk

from . import metadata

SUFFIXES = (".png", ".tif", ".tiff")
METRE = 39.37  # inches
ROWS = 64  # are compressed at once
LEVEL = 4  # of zlib. At 6 a file is 2 % smaller and takes twice as long


def save(pixels: NDArray[np.uint16], path: Path, record: str, dpi: int = metadata.DPI) -> None:
    """Save RGB of 16 bits, (H, W, 3), as PNG or TIFF, as the suffix of `path` says. Raises OSError.

    `record` is that of metadata.to_json, and `dpi` the resolution in dots per inch.
    """
    write = _save_png if path.suffix.lower() == ".png" else _save_tiff
    write(pixels, path, record, dpi)


def _save_png(pixels: NDArray[np.uint16], path: Path, record: str, dpi: int) -> None:
    """Write the chunks of a PNG (W3C, third edition), whose rows are filtered by "up": the difference to that above."""
    height, width, _ = pixels.shape
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    per_metre = round(dpi * METRE).to_bytes(4, "big")
    compressor = zlib.compressobj(LEVEL)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        putchunk(file, b"IHDR", size, bytes([16, 2, 0, 0, 0]))  # bits, RGB, deflate, filters, not interlaced
        putchunk(file, b"iCCP", b"sRGB\0\0", zlib.compress(metadata.srgb_profile()))
        putchunk(file, b"pHYs", per_metre, per_metre, b"\1")
        putchunk(file, b"tEXt", metadata.KEY.encode(), b"\0", record.encode())
        above = np.zeros(6 * width, np.uint8)
        for top in range(0, height, ROWS):
            rows = pixels[top : top + ROWS].astype(">u2").view(np.uint8).reshape(-1, 6 * width)
            differences = rows - np.vstack([above, rows[:-1]])
            filtered = np.insert(differences, 0, 2, axis=1)  # 2: the filter "up"
            putchunk(file, b"IDAT", compressor.compress(filtered.tobytes()))
            above = rows[-1]
        putchunk(file, b"IDAT", compressor.flush())
        putchunk(file, b"IEND", b"")


def _save_tiff(pixels: NDArray[np.uint16], path: Path, record: str, dpi: int) -> None:
    import tifffile  # 0.2 s, so not when this package is imported

    options: dict[str, Any] = {"compression": "adobe_deflate", "predictor": True, "metadata": None, "software": False}
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        resolution=(dpi, dpi),
        resolutionunit="INCH",
        iccprofile=metadata.srgb_profile(),
        description=f"{metadata.KEY}: {record}",
        **options,
    )
