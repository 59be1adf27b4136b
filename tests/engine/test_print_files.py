"""Files for prints, read back by Pillow, and a PNG also by its specification."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from styletransfer import Settings, metadata, print_files

SETTINGS = Settings(size=4096, stroke=0.8)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1 << 16, (150, 37, 3), dtype=np.uint16)


def read_png(path: Path) -> np.ndarray:
    """The pixels of a PNG of 16-bit RGB whose rows are filtered by "up"."""
    content, at, data = path.read_bytes(), 8, b""
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        assert zlib.crc32(content[at + 4 : at + 8 + length]) == int.from_bytes(content[at + 8 + length :][:4], "big")
        at += 12 + length
    with Image.open(path) as image:
        rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(image.height, -1)
    assert (rows[:, 0] == 2).all()
    return rows[:, 1:].cumsum(0, dtype=np.uint8).view(">u2").reshape(len(rows), -1, 3)


@pytest.mark.parametrize("name", ["print.png", "print.TIF"])
def test_a_print_keeps_its_16_bits_profile_resolution_and_settings(name, pixels, tmp_path):
    path = tmp_path / name
    print_files.save(pixels, path, metadata.to_json(SETTINGS, masked=True), 240)
    found = read_png(path) if name.endswith("png") else tifffile.imread(path)
    assert np.array_equal(found, pixels)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("PNG" if name.endswith("png") else "TIFF", (37, 150), "RGB")
        assert image.info["dpi"] == pytest.approx((240, 240), abs=0.1)
        assert image.info["icc_profile"] == metadata.srgb_profile()
        assert np.abs(np.asarray(image) - pixels / 257).max() < 1
    assert metadata.read_settings(path) == SETTINGS
    assert metadata.is_masked(path)
