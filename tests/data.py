"""What tests of several folders share: the repository, two example pictures, and odd and bad picture files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "content" / "chelsea.jpg"
PAINTING = ROOT / "examples" / "style" / "woodcut.webp"

SIZE = (20, 18)


def one_sentence(error: Exception) -> bool:
    """Whether an error says what a person can read: no traceback, and not too long."""
    text = str(error)
    return "Traceback" not in text and 10 < len(text) < 400 and text.rstrip().endswith((".", "!"))


def flat(mode, colour):
    return Image.new(mode, SIZE, colour)


def encode(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(width=40, height=24, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour_type, row, *extra):
    """A PNG written by hand: every row is `row`."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + row) * min(height, 100)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def palette(transparency=None):
    image = flat("P", 1)
    image.putpalette([255, 0, 0, 0, 0, 200])
    return encode(image, "PNG") if transparency is None else encode(image, "PNG", transparency=transparency)


def keyed_png(colour, transparent, colour_type):
    """A PNG of 8 bits that names one colour as transparent."""
    key = np.array(transparent, dtype=">u2").tobytes()
    return png(*SIZE, 8, colour_type, np.array(colour, dtype=np.uint8).tobytes() * SIZE[0], chunk(b"tRNS", key))


def words(*values):
    return struct.pack(f">{len(values)}H", *values) * SIZE[0]


def animation(format, **options):
    frames = [flat("RGB", colour) for colour in ("blue", "lime", "red")]
    return encode(frames[0], format, save_all=True, append_images=frames[1:], **options)


HEIC = encode(flat("RGB", (200, 100, 50)), "HEIF", quality=100)

ODD = {  # what -> (file or PIL image, its colour as RGB, tolerance)
    "1-bit": (encode(flat("1", 1), "PNG"), (255, 255, 255), 0),
    "grey": (encode(flat("L", 77), "PNG"), (77, 77, 77), 0),
    "grey with alpha": (encode(flat("LA", (100, 128)), "PNG"), (177, 177, 177), 1),
    "palette": (palette(), (0, 0, 200), 0),
    "palette with one transparent index": (palette(1), (255, 255, 255), 0),
    "palette with half-transparent index": (palette(bytes([255, 51])), (204, 204, 244), 1),
    "transparent black": (encode(flat("RGBA", (0, 0, 0, 0)), "PNG"), (255, 255, 255), 0),
    "half-transparent red": (encode(flat("RGBA", (255, 0, 0, 51)), "PNG"), (255, 204, 204), 1),
    "transparent WebP": (encode(flat("RGBA", (0, 0, 0, 0)), "WEBP", lossless=True), (255, 255, 255), 0),
    "PNG with a transparent grey": (keyed_png(64, 64, 0), (255, 255, 255), 0),
    "PNG with another grey transparent": (keyed_png(64, 65, 0), (64, 64, 64), 0),
    "PNG with a transparent colour": (keyed_png((16, 32, 48), (16, 32, 48), 2), (255, 255, 255), 0),
    "16-bit grey PNG": (png(*SIZE, 16, 0, words(0x8080)), (128, 128, 128), 0),
    "16-bit dark grey PNG": (png(*SIZE, 16, 0, words(200)), (1, 1, 1), 0),
    "16-bit RGB PNG": (png(*SIZE, 16, 2, words(65535, 32896, 257)), (255, 128, 1), 1),
    "16-bit RGBA PNG": (png(*SIZE, 16, 6, words(65535, 0, 0, 13107)), (255, 204, 204), 1),
    "16-bit TIFF": (encode(flat("I;16", 40000), "TIFF"), (156, 156, 156), 0),
    "16-bit big-endian TIFF": (encode(flat("I;16B", 40000), "TIFF"), (156, 156, 156), 0),
    "32-bit integers of 16 bits": (flat("I", 40000), (156, 156, 156), 0),
    "32-bit integers of 8 bits": (flat("I", 200), (200, 200, 200), 0),
    "float TIFF from 0 to 1": (encode(flat("F", 0.5), "TIFF"), (128, 128, 128), 0),
    "float from 0 to 255": (flat("F", 99.6), (100, 100, 100), 0),
    "CMYK TIFF": (encode(flat("CMYK", (255, 0, 0, 0)), "TIFF"), (0, 255, 255), 0),
    "CMYK JPEG": (encode(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0), 3),
    "YCbCr": (flat("YCbCr", (76, 85, 255)), (254, 0, 0), 2),
    "L*a*b* grey TIFF": (encode(flat("LAB", (128, 128, 128)), "TIFF"), (119, 119, 119), 2),
    "L*a*b* red TIFF": (encode(flat("LAB", (138, 209, 198)), "TIFF"), (255, 0, 0), 6),
    "HSV": (flat("HSV", (85, 255, 255)), (0, 255, 0), 3),
    "premultiplied grey": (flat("LA", (100, 128)).convert("La"), (177, 177, 177), 2),
    "premultiplied colour": (flat("RGBA", (255, 0, 0, 51)).convert("RGBa"), (255, 204, 204), 2),
    "palette with alpha": (flat("RGBA", (0, 0, 0, 0)).convert("PA"), (255, 255, 255), 0),
    "padded RGB": (flat("RGB", (1, 2, 3)).convert("RGBX"), (1, 2, 3), 0),
    "animated GIF": (animation("GIF"), (0, 0, 255), 0),
    "animated WebP": (animation("WEBP", lossless=True), (0, 0, 255), 0),
    "animated PNG": (animation("PNG"), (0, 0, 255), 0),
    "TIFF of many pages": (animation("TIFF"), (0, 0, 255), 0),
    "MPO of a camera": (animation("MPO"), (0, 0, 254), 2),
    "HEIC": (HEIC, (200, 100, 50), 4),
    "HEIC that looks like AVIF": (HEIC[:8] + b"mif1" + HEIC[12:], (200, 100, 50), 4),
    "AVIF": (encode(flat("RGB", (200, 100, 50)), "AVIF", quality=100), (200, 100, 50), 4),
    "JPEG 2000": (encode(flat("RGB", (200, 100, 50)), "JPEG2000"), (200, 100, 50), 1),
    "BMP": (encode(flat("RGB", (200, 100, 50)), "BMP"), (200, 100, 50), 0),
    "PPM": (encode(flat("RGB", (200, 100, 50)), "PPM"), (200, 100, 50), 0),
}


def gif(width, height):
    """A GIF of 20×20 pixels whose only frame claims to be width×height."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 20, 20, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"


BAD = {  # name -> (content, words of the refusal)
    "empty.png": (b"", "empty"),
    "notes.jpg": (b"Dear diary, this is not a picture.", "format"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>", "format"),
    "page.pdf": (b"%PDF-1.7\n", "format"),
    "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "format"),
    "one-byte.png": (b"\x89", "format"),
    "only-head.png": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "half.png": (encode(noise(), "PNG")[:900], "damaged"),
    "half.jpg": (encode(noise(), "JPEG")[:900], "damaged"),
    "half.gif": (encode(noise(), "GIF")[:900], "damaged"),
    "half.webp": (encode(noise(), "WEBP")[:500], "damaged"),
    "half.tif": (encode(noise(), "TIFF")[:900], "damaged"),
    "half.bmp": (encode(noise(), "BMP")[:900], "damaged"),
    "half.heic": (encode(noise(), "HEIF")[:500], "damaged"),
    "half.avif": (encode(noise(), "AVIF")[:500], "damaged"),
    "half.jp2": (encode(noise(), "JPEG2000")[:900], "damaged"),
    "flipped.png": (encode(noise(), "PNG")[:200] + b"\xff" * 50 + encode(noise(), "PNG")[250:], "damaged"),
    "narrow.png": (encode(Image.new("RGB", (15, 300)), "PNG"), "15×300"),
    "dot.gif": (encode(Image.new("L", (1, 1)), "GIF"), "1×1"),
    "huge.png": (png(2**31 - 1, 2**31 - 1, 8, 2, b""), "2147483647×2147483647"),
    "over.png": (png(11000, 11000, 1, 0, bytes(1375)), "11000×11000"),
    "over.bmp": (b"BM" + struct.pack("<8xIIiiHH24x", 54, 40, 60000, 60000, 1, 24), "60000×60000"),
    "over.ppm": (b"P6 100000 100000 255\n", "100000×100000"),
    "frame.gif": (gif(65535, 65535), "pixels"),
}
