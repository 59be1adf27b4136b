"""The door for pictures: what odd files must look like inside, and how bad ones are refused."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, JpegImagePlugin, TiffImagePlugin

from styletransfer import images
from styletransfer.errors import PictureError
from styletransfer.images import fit_size, load, to_image, to_tensor
from tests.data import BAD, ODD, SIZE, animation, encode, exif, flat, noise

# ICC profiles, written by hand from the ICC specification


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(kind, space, connection, tags):
    """An ICC v2 profile of class `kind` from colour space `space` to `connection`, with these tags."""
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size, version = start + len(body), 0x02400000
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"none", version, kind, space, connection, b"acsp")
    return header.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249) + bytes(48) + table + body


def xyz(*numbers):
    return b"XYZ \0\0\0\0" + fixed(*numbers)


WHITE_POINT = xyz(0.9642, 1, 0.8249)
LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)
# Red, green and blue of sRGB as (X, Y, Z), adapted to D50.
SRGB_PRIMARIES = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]


def linear_rgb_profile(red, green, blue):
    """Linear light with these primaries, as (X, Y, Z) at D50."""
    tags = {b"wtpt": WHITE_POINT, b"rXYZ": xyz(*red), b"gXYZ": xyz(*green), b"bXYZ": xyz(*blue)}
    return profile(b"mntr", b"RGB ", b"XYZ ", tags | {b"rTRC": LINEAR, b"gTRC": LINEAR, b"bTRC": LINEAR})


def grey_profile(curve):
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": WHITE_POINT, b"kTRC": curve})


def black_only_cmyk_profile():
    """A strange press: cyan, magenta and yellow leave no trace, and black k gives L* = 100 (1 - k)."""
    corners = bytes([255, 128, 128, 0, 128, 128]) * 8  # as (L*, a*, b*); black varies fastest
    ramp = bytes(range(256))
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lookup = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": WHITE_POINT, b"A2B0": lookup, b"A2B1": lookup})


def srgb_from_linear(light):
    """IEC 61966-2-1: a share of light in [0, 1] as an sRGB value of 0 to 255."""
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


# Odd files


def tagged(image, icc, format="PNG"):
    return encode(image, format, icc_profile=icc)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("source", "colour", "tolerance"), ODD.values(), ids=ODD)
def test_an_odd_file_comes_in_with_its_colours(source, colour, tolerance):
    image, note = load(source)
    assert (image.mode, image.size, image.info, note) == ("RGB", SIZE, {}, "")
    assert np.abs(np.asarray(image, int) - colour).max() <= tolerance, image.getpixel((0, 0))


def test_grey_of_32_bits_and_beyond_white_keeps_its_gradient():
    values = np.linspace(0, 3e9, 400).reshape(20, 20)
    values[0, 0] = -5  # below black
    grey = np.asarray(load(Image.fromarray(values.astype(np.float32))).image)[..., 0]
    assert np.abs(grey - values.clip(0) / 3e9 * 255).max() <= 0.51


@pytest.mark.parametrize(("low", "high"), [(100, 300), (0, 5), (-0.1, 1.3)])
def test_values_that_use_little_of_any_usual_range_go_from_black_to_white_and_a_note_says_so(low, high):
    image, note = load(encode(Image.fromarray(np.linspace(low, high, 400).reshape(20, 20).astype(np.float32)), "TIFF"))
    grey = np.asarray(image)[..., 0]
    assert np.abs(grey.flatten() - np.linspace(0, 255, 400)).max() <= 0.51
    assert note == f"Its values, {low} to {high}, were spread from black to white before painting."


def raster(values, no_data):
    """A GeoTIFF of the array `values` that names its value for no data."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[42113] = no_data
    return encode(Image.fromarray(values), "TIFF", tiffinfo=tags)


def elevations(dtype, hole):
    """Heights of 100 to 300 m, and a hole of 5 of the 20 rows."""
    values = np.linspace(100, 300, 400).reshape(20, 20).astype(dtype)
    values[5:10] = hole
    return values


LOWEST = float(np.finfo(np.float32).min)
RASTERS = {
    "float32": raster(elevations(np.float32, -9999), "-9999"),
    "float32, lowest": raster(elevations(np.float32, LOWEST), "-3.4028234663852886e+38"),
    "float32, highest": raster(elevations(np.float32, 1e30), "1e+30"),
    "float32, nan": raster(elevations(np.float32, np.nan), "nan"),
    "int32": raster(elevations(np.int32, -9999), "-9999"),
    "uint16": raster(elevations(np.uint16, 65535), "65535"),
    "not a number": Image.fromarray(elevations(np.float32, np.nan)),
    "infinite": Image.fromarray(elevations(np.float32, np.inf)),
    "infinitely low": Image.fromarray(elevations(np.float32, -np.inf)),
}


@pytest.mark.parametrize("source", RASTERS.values(), ids=RASTERS)
def test_pixels_without_data_do_not_darken_a_scientific_raster(source):
    image, note = load(source)
    grey = np.asarray(image)[..., 0].astype(float)
    expected = (np.linspace(100, 300, 400).reshape(20, 20) - 100) / 200 * 255
    expected[5:10] = 128
    assert np.abs(grey - expected).max() <= 2
    assert note == "25 % of the picture has no data and was made grey before painting."


def test_a_value_for_no_data_that_is_no_number_is_ignored():
    values = np.full((20, 20), 0.5, np.float32)
    assert load(raster(values, "none")).note == ""
    assert load(raster(values, "none")).image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(
    "source",
    [raster(np.full((20, 20), -9999, np.float32), "-9999"), flat("F", float("nan")), flat("F", float("inf"))],
    ids=["no data", "not a number", "infinite"],
)
def test_a_raster_without_any_data_is_refused(source):
    assert refusal(source) == "The picture has no data in any pixel; choose another picture."


# ICC profiles

LINEAR_SRGB = linear_rgb_profile(*SRGB_PRIMARIES)
SWAPPED = linear_rgb_profile(*SRGB_PRIMARIES[::-1])
LINEAR_GREY = grey_profile(LINEAR)
WEAK_BLACK = grey_profile(b"curv\0\0\0\0" + struct.pack(">IHH", 2, 750, 65535))  # black gives off 1 % of the light
ONLY_BLACK = black_only_cmyk_profile()
LIGHT = (51, 128, 230)
DISPLAYED = tuple(srgb_from_linear(value / 255) for value in LIGHT)
HALF_BLACK = srgb_from_linear(((49.8 + 16) / 116) ** 3)  # the light of L* = 100 (1 - 128 / 255) = 49.8
GREY = 3 * DISPLAYED[:1]

TAGGED = {  # what -> (file, its colour in sRGB)
    "RGB in linear light": (tagged(flat("RGB", LIGHT), LINEAR_SRGB), DISPLAYED),
    "TIFF in linear light": (tagged(flat("RGB", LIGHT), LINEAR_SRGB, "TIFF"), DISPLAYED),
    "red and blue swapped": (tagged(flat("RGB", LIGHT), SWAPPED), DISPLAYED[::-1]),
    "palette": (tagged(flat("RGB", LIGHT).quantize(4), SWAPPED), DISPLAYED[::-1]),
    "alpha over a white that is not of the profile": (tagged(flat("RGBA", (*LIGHT, 0)), SWAPPED), (255,) * 3),
    "grey with a profile for RGB": (tagged(flat("L", LIGHT[0]), LINEAR_SRGB), GREY),
    "grey": (tagged(flat("L", LIGHT[0]), LINEAR_GREY), GREY),
    "grey whose black is to become black": (tagged(flat("L", 0), WEAK_BLACK), (0, 0, 0)),
    "grey with alpha": (tagged(flat("LA", (LIGHT[0], 255)), LINEAR_GREY), GREY),
    "16-bit grey": (tagged(flat("I;16", LIGHT[0] * 257), LINEAR_GREY), GREY),
    "CMYK without black": (tagged(flat("CMYK", (255, 255, 255, 0)), ONLY_BLACK, "TIFF"), (255,) * 3),
    "CMYK JPEG, all black": (tagged(flat("CMYK", (0, 0, 0, 255)), ONLY_BLACK, "JPEG"), (0,) * 3),
    "CMYK, half black": (tagged(flat("CMYK", (99, 0, 0, 128)), ONLY_BLACK, "TIFF"), (HALF_BLACK,) * 3),
}


@pytest.mark.parametrize(("file", "expected"), TAGGED.values(), ids=TAGGED)
def test_a_colour_profile_is_turned_into_srgb(file, expected):
    assert np.abs(np.asarray(load(file).image, float) - expected).max() <= 2


def icc_of(space):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


BROKEN_ICC = {
    "junk": b"broken",
    "truncated": LINEAR_SRGB[:200],
    "broken tags": LINEAR_SRGB[:130] + b"\xff" * 200,
    "of L*a*b*": icc_of("LAB"),
    "of XYZ": icc_of("XYZ"),
    "text": "text",
    "number": 7,
}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("icc", BROKEN_ICC.values(), ids=BROKEN_ICC)
def test_a_profile_that_is_broken_or_of_another_kind_is_ignored(mode, icc):
    image = flat("RGB", (0, 255, 255)).convert(mode)
    image.info["icc_profile"] = icc
    assert load(image).image.tobytes() == image.convert("RGB").tobytes()


def test_a_profile_for_other_colours_is_ignored():
    assert load(tagged(flat("RGB", LIGHT), ONLY_BLACK)).image.getpixel((0, 0)) == LIGHT
    lab = flat("LAB", (128, 140, 120))
    assert load(tagged(lab, SWAPPED, "TIFF")).image.tobytes() == load(lab).image.tobytes()


# EXIF rotation


def stored_pixel(orientation, x, y, width, height):
    """Where in a stored picture of this size the upright one's pixel (x, y) lies: EXIF 2.3, section 4.6.4 A."""
    right, bottom = width - 1, height - 1
    return {
        1: (x, y),
        2: (right - x, y),
        3: (right - x, bottom - y),
        4: (x, bottom - y),
        5: (y, x),
        6: (y, bottom - x),
        7: (right - y, bottom - x),
        8: (right - y, x),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "PIL"])
def test_a_rotated_photo_comes_in_upright(format, orientation):
    stored = noise()
    if format == "PIL":
        source = stored.copy()
        source.info["exif"] = exif(orientation)
    else:
        lossless = {"lossless": True} if format == "WEBP" else {}
        source = encode(stored, format, exif=exif(orientation), **lossless)
    upright = load(source).image
    assert upright.size == ((24, 40) if orientation >= 5 else (40, 24))
    for x, y in np.ndindex(upright.size):
        assert upright.getpixel((x, y)) == stored.getpixel(stored_pixel(orientation, x, y, *stored.size))


@pytest.mark.parametrize("format", ["JPEG", "HEIF", "AVIF"])
def test_a_rotated_photo_of_a_phone_comes_in_upright(format):
    stored = flat("RGB", "white")
    stored.paste("red", (0, 0, SIZE[0], 9))  # the upper half; orientation 6 says that it belongs to the right
    upright = load(encode(stored, format, quality=95, exif=exif(6))).image
    assert upright.size == SIZE[::-1]
    assert np.abs(np.asarray(upright, int)[:, :6] - (255, 255, 255)).max() < 40
    assert np.abs(np.asarray(upright, int)[:, -6:] - (255, 0, 0)).max() < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("tags", [b"Exif\0\0junk", exif(9), exif(6)[:20], b"", exif(6).replace(b"MM", b"XX")])
def test_broken_exif_leaves_the_picture_as_it_is(tags):
    image = noise()
    assert load(encode(image, "PNG", exif=tags)).image.tobytes() == image.tobytes()


def test_a_saved_picture_is_not_rotated_or_recoloured_again(tmp_path):
    source = encode(noise(), "PNG", exif=exif(6), icc_profile=SWAPPED)
    once = load(source).image
    once.save(tmp_path / "once.png")
    assert load(tmp_path / "once.png").image.tobytes() == once.tobytes()


# Ways in


OPEN_FILES = Path("/proc/self/fd")


class Pipe(io.RawIOBase):
    """A stream that can only be read onwards."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.data.readinto(buffer)


def test_every_way_in_gives_the_same_picture(tmp_path):
    data = encode(noise(), "PNG")
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    read_to_its_end = io.BytesIO(data)
    read_to_its_end.read()
    with path.open("rb") as file, Image.open(path) as lazy:
        for source in (path, str(path), data, file, io.BytesIO(data), read_to_its_end, Pipe(data), lazy):
            assert load(source).image.tobytes() == noise().tobytes(), source
        assert not file.closed


def test_a_name_with_a_wrong_extension_does_not_matter(tmp_path):
    path = tmp_path / "really a png.jpg"
    path.write_bytes(encode(noise(), "PNG"))
    assert load(path).image.tobytes() == noise().tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16"])
def test_a_callers_picture_is_neither_changed_nor_shared(mode, monkeypatch):
    mine = noise().convert("L").convert("I").convert("I;16") if mode == "I;16" else noise().convert(mode)
    mine.info = {"exif": exif(6), "dpi": (72, 72)}
    before = mine.mode, mine.size, mine.tobytes(), dict(mine.info)
    load(mine).image.paste("red", (0, 0, 24, 40))
    monkeypatch.setattr(images, "MAX_SIDE", 30)
    load(mine)
    assert (mine.mode, mine.size, mine.tobytes(), mine.info) == before


def test_a_callers_large_jpeg_keeps_its_size(monkeypatch):
    monkeypatch.setattr(images, "MAX_SIDE", 100)
    mine = Image.open(io.BytesIO(encode(noise(400, 300), "JPEG")))
    assert load(mine).image.size == (100, 75)
    assert mine.size == (400, 300)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="counts open files as Linux lists them")
def test_no_file_stays_open(tmp_path):
    files = {
        "good.png": encode(noise(), "PNG"),
        "good.tif": encode(noise(), "TIFF", compression="tiff_lzw"),
        "good.heic": encode(noise(), "HEIF"),
        "animated.gif": animation("GIF"),
        "half.png": encode(noise(), "PNG")[:900],
        "text.jpg": b"no picture",
        "tiny.png": encode(Image.new("L", (2, 2)), "PNG"),
    }
    kept = []  # pictures and tracebacks alike: what they hold on to stays open
    before = len(list(OPEN_FILES.iterdir()))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        try:
            kept.append(load(tmp_path / name))
        except PictureError as error:
            kept.append(error)
    assert len(kept) == len(files)
    assert len(list(OPEN_FILES.iterdir())) == before


# Large pictures


def sentences(text):
    return len(re.findall(r"[.!?](?=\s|$)", text))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_very_large_picture_is_reduced_and_says_so(mode, format, monkeypatch):
    monkeypatch.setattr(images, "MAX_SIDE", 100)
    gradient = Image.linear_gradient("L").resize((600, 300)).convert(mode)
    image, note = load(encode(gradient, format))
    assert image.size == (100, 50)
    assert note == "The picture had 600×300 pixels and was reduced to 100×50 before painting."
    column = np.asarray(image, float)[:, 50, 0]
    assert np.abs(column - (np.arange(50) + 0.5) / 50 * 255).max() < 6


def test_a_large_jpeg_is_decoded_small_to_spare_memory(monkeypatch):
    decoded = []
    real_load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda self: decoded.append(self.size) or real_load(self)
    )
    monkeypatch.setattr(images, "MAX_SIDE", 100)
    load(encode(noise(800, 600), "JPEG"))
    assert set(decoded) == {(100, 75)}


def test_the_note_of_a_large_rotated_photo_gives_upright_sizes(monkeypatch):
    monkeypatch.setattr(images, "MAX_SIDE", 100)
    image, note = load(encode(noise(601, 300), "JPEG", exif=exif(6)))
    assert image.size == (50, 100)
    assert "300×601" in note and "50×100" in note and sentences(note) == 1


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_one_pixel_too_long_is_reduced_in_every_mode(mode):
    image, note = load(Image.new(mode, (images.MAX_SIDE + 1, 16)))
    assert (image.mode, image.size) == ("RGB", (images.MAX_SIDE, 16))
    assert note
    assert load(Image.new(mode, (images.MAX_SIDE, 16))).note == ""


def test_transparent_pixels_do_not_bleed_into_a_reduced_picture(monkeypatch):
    monkeypatch.setattr(images, "MAX_SIDE", 100)
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (200, 0, 400, 400))
    assert load(image).image.getextrema() == ((255, 255),) * 3


def test_extreme_proportions_are_let_in():
    assert load(Image.new("RGB", (16, 4000))).image.size == (16, 4000)
    assert load(Image.new("RGB", (40000, 16))).image.size == (4096, 2)


def test_the_limit_of_pil_is_left_alone_and_does_not_matter(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # PIL itself refuses more than twice that
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(encode(noise(*SIZE), "PNG")).image.size == SIZE
    assert Image.MAX_IMAGE_PIXELS == 50


# Refusals


def refusal(source):
    """The message with which the door refuses, once it is proved to be one plain sentence."""
    with pytest.raises(PictureError) as refused:
        load(source)
    text = str(refused.value)
    assert sentences(text) == 1 and text.endswith("."), text
    assert text.isprintable() and not re.search(r"Traceback|Error|[/\\<>]|0x", text), text
    return text


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(name, tmp_path):
    content, words_of_refusal = BAD[name]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert message.startswith(name + " ") and words_of_refusal in message
    assert words_of_refusal in refusal(content)
    with (tmp_path / name).open("rb") as file:
        assert refusal(file).startswith(name + " ")


def tiff(*directories, order="<"):
    """A TIFF written by hand: the first of `directories` (tag -> number) is its image, the rest are in its SubIFDs."""
    width, height = 160, 120
    pixels = bytes([200, 100, 50]) * width * height
    image = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: 8, 277: 3, 278: height, 279: len(pixels)}
    first = 8 + len(pixels)
    entries = [image | directory for directory in directories]
    sizes = [2 + 12 * (len(found) + (number == 0 and len(entries) > 1)) + 4 for number, found in enumerate(entries)]
    if len(entries) > 1:
        entries[0] = entries[0] | {330: first + sizes[0]}
    body = b""
    for found in entries:
        body += struct.pack(order + "H", len(found))
        body += b"".join(struct.pack(order + "HHII", tag, 4, 1, found[tag]) for tag in sorted(found))
        body += bytes(4)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, first) + pixels + body


RAW = {
    "NEF": tiff({254: 1}, {254: 0, 262: 32803}),
    "big-endian NEF": tiff({254: 1}, {254: 0, 262: 32803}, order=">"),
    "ARW": tiff({254: 1}, {262: 32803}),
    "preview that is not marked as one": tiff({}, {262: 32803}),
    "reduced copy of an image that Pillow cannot read": tiff({254: 1}, {254: 0, 259: 34713}),
    "PEF, sensor data alone": tiff({262: 32803, 277: 1}),
    "DNG": tiff({50706: 0x0401}),
    "linear DNG": tiff({262: 34892, 50706: 0x0401}),
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(40),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(40),
    "ORF": b"IIRO\x08\0\0\0" + bytes(40),
    "old ORF": b"IIRS\x08\0\0\0" + bytes(40),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(40),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(40),
}


@pytest.mark.parametrize("content", RAW.values(), ids=RAW)
def test_a_camera_raw_file_is_refused_and_not_painted_from_its_thumbnail(content, tmp_path):
    path = tmp_path / "DSC_0001.NEF"
    path.write_bytes(content)
    message = "is a camera RAW file: export it as JPEG first, and choose that."
    assert refusal(path) == f"DSC_0001.NEF {message}"
    assert refusal(content) == f"The picture {message}"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("directories", [[{}], [{254: 0}, {254: 1}], [{}, {254: 1}], [{254: 2}], [{254: 1}]])
def test_an_ordinary_or_pyramidal_tiff_is_no_camera_raw_file(directories, order):
    image = load(tiff(*directories, order=order)).image
    assert (image.size, image.getpixel((0, 0))) == ((160, 120), (200, 100, 50))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_with_its_thumbnail_first_is_painted_from_the_picture_itself(order):
    image = load(tiff({254: 1, 256: 40, 257: 30, 278: 30, 279: 3600}, {254: 0}, order=order)).image
    assert (image.size, image.getpixel((0, 0))) == ((160, 120), (200, 100, 50))


PIXELS = np.full((120, 160, 3), (200, 100, 50), np.uint8)
SENSOR = np.zeros((120, 160), np.uint16)
FILTERS = (33421, 3, 2, (2, 2), True)  # CFARepeatPatternDim, as a tag of tifffile
WHOLE, REDUCED = {"photometric": "rgb", "subfiletype": 0}, {"photometric": "rgb", "subfiletype": 1}
COLOUR_FILTER_ARRAY = {"photometric": "cfa", "extratags": [FILTERS]}


def paged_tiff(*pages, big=True, order="<"):
    """A TIFF of these pages, each its pixels and tifffile's options for them."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=big, byteorder=order) as writer:
        for pixels, options in pages:
            writer.write(pixels, **options)
    return stream.getvalue()


THUMBNAIL = PIXELS[::4, ::4].copy()
BIG_RAW = {
    "NEF": [(THUMBNAIL, REDUCED | {"subifds": 1}), (SENSOR, COLOUR_FILTER_ARRAY)],
    "second page is sensor data": [(THUMBNAIL, REDUCED), (SENSOR, COLOUR_FILTER_ARRAY)],
    "sensor data alone": [(SENSOR, COLOUR_FILTER_ARRAY)],
    "DNG": [(PIXELS, WHOLE | {"extratags": [(50706, 1, 4, (1, 4, 0, 0), True)]})],
}
BIG = {
    "one page": [(PIXELS, WHOLE)],
    "tiles": [(PIXELS, WHOLE | {"tile": (64, 64)})],
    "deflated": [(PIXELS, WHOLE | {"compression": "zlib"})],
    "two pages": [(PIXELS, WHOLE), (THUMBNAIL, WHOLE)],
    "pyramid": [(PIXELS, WHOLE | {"subifds": 1}), (THUMBNAIL, REDUCED)],
    "thumbnail first": [(THUMBNAIL, REDUCED | {"subifds": 1}), (PIXELS, WHOLE)],
    "thumbnail first, deflated": [(THUMBNAIL, REDUCED | {"subifds": 1}), (PIXELS, WHOLE | {"compression": "zlib"})],
    "thumbnail on a page of its own": [(THUMBNAIL, REDUCED), (PIXELS, WHOLE)],
}


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("pages", BIG_RAW.values(), ids=BIG_RAW)
def test_a_camera_raw_file_that_tifffile_wrote_is_refused_also_as_a_bigtiff(pages, big):
    assert "is a camera RAW file" in refusal(paged_tiff(*pages, big=big))


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("pages", BIG.values(), ids=BIG)
def test_a_tiff_that_tifffile_wrote_is_painted_from_its_whole_picture_also_as_a_bigtiff(pages, big):
    image = load(paged_tiff(*pages, big=big)).image
    assert (image.size, image.getpixel((0, 0)), image.getpixel((159, 119))) == ((160, 120), *2 * [(200, 100, 50)])


def test_a_reduced_page_without_its_whole_picture_is_painted_as_it_is():
    image = load(paged_tiff((PIXELS, REDUCED), (THUMBNAIL, REDUCED))).image
    assert image.size == (160, 120)


def test_a_big_endian_bigtiff_is_refused_by_what_it_is_and_not_as_damaged():
    assert "is a big-endian BigTIFF; save it as an ordinary TIFF" in refusal(paged_tiff((PIXELS, WHOLE), order=">"))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert "11000×11000" in refusal(BAD["over.png"][0])


def test_the_whole_range_of_phone_cameras_is_let_in():
    assert images.MAX_PIXELS >= 12000 * 9000


def test_paths_that_lead_to_no_file_are_refused(tmp_path):
    assert refusal(tmp_path / "gone.png").startswith("gone.png was not found")
    assert refusal(str(tmp_path / "no" / "gone.png")).startswith("gone.png was not found")
    assert refusal(tmp_path).startswith(f"{tmp_path.name} is a folder")
    assert "folder" in refusal("")
    assert "not found" in refusal("nul\0.png")


def test_an_address_and_a_dash_are_no_files_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for address in ("https://example.com/photo.jpg", "HTTP://example.com/photo.jpg", Path("ftp://x/photo.jpg")):
        assert refusal(address).startswith("photo.jpg is an address on the internet; download")
    assert "standard input" in refusal("-")
    Image.new("RGB", (70, 40)).save(tmp_path / "home" / "photo.png")
    assert images.load("~/photo.png").image.size == (70, 40)
    assert "not found" in refusal("~/gone.png")
    Image.new("RGB", (50, 40)).save("-", "PNG")
    assert images.load("-").image.size == (50, 40), "a file of that name is one"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_hang_the_program(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "not found" in refusal(tmp_path / "pipe.png")


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(noise(), "PNG"))

    def forbidden(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(PictureError, match=r"^secret\.png may not be read; check its permissions\.$"):
        load(path)


@pytest.mark.parametrize("name", ["tab\there.png", "line\nbreak.png", "bell\x1b[31m.png", b"latin-\xe9.png"])
def test_a_strange_name_cannot_break_the_line_it_is_printed_on(name, tmp_path):
    path = tmp_path / os.fsdecode(name)
    assert refusal(path).encode("utf-8").endswith(b"check where the picture is.")


@pytest.mark.parametrize(
    ("source", "kind"),
    [(np.zeros((32, 32, 3)), "ndarray"), (torch.zeros(1, 3, 32, 32), "Tensor"), (None, "NoneType"), (3, "int")],
)
def test_what_is_no_picture_is_refused_by_its_type(source, kind):
    assert f"type {kind};" in refusal(source)


def test_a_pil_picture_that_cannot_be_used_is_refused(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(BAD["half.png"][0])
    with Image.open(path) as lazy:
        assert refusal(lazy).startswith("half.png is damaged")
    with Image.open(io.BytesIO(encode(noise(), "PNG"))) as closed:
        pass
    closed.close()
    assert refusal(closed).startswith("The picture is damaged")
    assert "8×20" in refusal(Image.new("RGB", (8, 20)))
    assert "0×0" in refusal(Image.new("RGB", (0, 0)))


def test_a_pil_picture_with_too_many_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    assert "40×26" in refusal(Image.new("RGB", (40, 26)))
    assert load(Image.new("RGB", (40, 25))).image.size == (40, 25)


def test_a_file_opened_as_text_is_refused(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("hello", encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        assert refusal(file).startswith("words.txt is damaged")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "JPEG2000", "AVIF", "HEIF"])
def test_mutated_files_end_as_a_picture_or_a_refusal(format):
    chance = random.Random(format)
    whole = encode(noise(), format)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 4, 16])):
            data[chance.randrange(chance.choice([60, len(data)]))] = chance.randrange(256)
        try:
            image = load(bytes(data)).image
        except PictureError:
            continue
        assert image.mode == "RGB" and max(image.size) <= images.MAX_SIDE


# Sizes and tensors


@pytest.mark.parametrize(
    ("size", "wanted", "expected"),
    [
        ((600, 400), 300, (300, 200)),
        ((400, 600), 300, (200, 300)),
        ((512, 512), 256, (256, 256)),
        ((1000, 335), 300, (300, 100)),  # 100.5, rounded to even
        ((1999, 1001), 512, (512, 256)),
        ((100, 60), 512, (512, 307)),
        ((4000, 16), 64, (64, 1)),
    ],
)
def test_fit_keeps_proportions(size, wanted, expected):
    assert fit_size(Image.new("1", size), wanted) == expected


def test_fit_squashes_to_a_square_only_when_asked():
    assert fit_size(Image.new("1", (600, 400)), 512, square=True) == (512, 512)


def test_a_tensor_has_channels_rows_columns_and_values_up_to_one():
    image = noise(40, 24)
    tensor = to_tensor(image, image.size)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((1, 3, 24, 40), torch.float32, True)
    for x, y in [(0, 0), (39, 0), (0, 23), (39, 23), (17, 5)]:
        assert tensor[0, :, y, x].mul(255).tolist() == pytest.approx(image.getpixel((x, y)), abs=1e-4)


@pytest.mark.parametrize("size", [(40, 24), (1, 1), (17, 300)])
def test_a_picture_survives_the_way_to_a_tensor_and_back(size):
    image = noise(*size)
    assert to_image(to_tensor(image, size)).tobytes() == image.tobytes()


def test_every_grey_level_survives_the_way_to_a_tensor_and_back():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    assert to_image(to_tensor(ramp, ramp.size)).tobytes() == ramp.tobytes()


def test_a_fine_pattern_turns_grey_and_not_into_moire_when_made_smaller():
    board = Image.fromarray((np.indices((120, 160)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    tensor = to_tensor(board, (40, 30))
    assert tensor.shape == (1, 3, 30, 40)
    assert (tensor - 0.5).abs().max() < 0.02


def test_a_tensor_may_change_without_changing_the_picture():
    image = noise()
    to_tensor(image, image.size).zero_()
    assert image.tobytes() == noise().tobytes()


def test_values_are_clamped_and_rounded_on_the_way_out():
    values = torch.tensor([-3.0, 0.4 / 255, 0.6 / 255, 99.6 / 255, 1.0, 7.0])
    assert np.asarray(to_image(values.expand(1, 3, 1, 6)))[0, :, 0].tolist() == [0, 0, 1, 100, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_tensor_under_optimisation_can_be_seen(dtype):
    tensor = torch.full((1, 3, 4, 6), 0.2, dtype=dtype, requires_grad=True)
    image = to_image(tensor)
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert image.getextrema() == ((51, 51),) * 3
