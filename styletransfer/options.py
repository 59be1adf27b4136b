"""The options that a single picture and a folder of them share, and what they name: settings, pictures, a network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Container
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from . import backbones, console, images, metadata, weights
from .backbones import Backbone
from .errors import SettingsError
from .schedule import MAX_WHOLE_SIZE
from .settings import PRESETS, Knob, Settings

MAX_DPI = 9600


class Parser(argparse.ArgumentParser):
    """A parser that raises SettingsError for a mistake, and knows options by their full names only."""

    def __init__(self, **texts: Any) -> None:
        super().__init__(allow_abbrev=False, **texts)

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError, where argparse would print the usage and exit."""
        raise SettingsError(message)


def add_options(parser: argparse.ArgumentParser, without: Container[str] = ()) -> None:
    """Add the options for preset, settings, mask, weights and output; no setting whose name is in `without`."""
    add = parser.add_argument
    add(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="Settings that the other flags change. [%(default)s]",
    )
    for setting in fields(Settings):
        if setting.name not in without:
            flag = "--" + setting.name.replace("_", "-")
            add(flag, **_flag_options(setting.metadata["knob"], setting.default))
    add("--keep", metavar="MASK", type=parse_path, help="Picture that is white where the photo should be kept most.")
    add(
        "--dpi",
        metavar="N",
        type=_parse_dpi,
        default=metadata.DPI,
        help=f"Dots per inch of a print, above {MAX_WHOLE_SIZE} pixels: stored in its file, in PNG and TIFF beside 16 "
        "bits per channel. [%(default)s]",
    )
    add("--weights", metavar="FILE", type=parse_path, help="VGG-19 to use, as published by torchvision or timm.")
    add("--quiet", action="store_true", help="Print no progress bar and no success message.")


def _flag_options(knob: Knob, default: Any) -> dict[str, Any]:
    """Return argparse's options for a setting. A flag that is not given is None, and the preset's value stays."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "help": knob.help}
    if knob.choices:
        return {"choices": knob.choices, "help": f"{knob.help} [{default}]"}
    if isinstance(default, (int, float)):
        limits = f"{knob.low:.10g} to {knob.high:.10g}; {default:.10g}"
        return {"type": type(default), "metavar": knob.symbol or "N", "help": f"{knob.help} [{limits}]"}
    if default is None:
        return {"type": _parse_numbers, "metavar": "X,X,…", "help": knob.help}
    return {"type": _parse_names, "metavar": "LAYER,…", "help": f"{knob.help} [{','.join(default)}]"}


def parse_path(text: str) -> Path:
    """Return the path with ~ expanded, as a shell does where it is not quoted, unless a file is named so."""
    return Path(text if os.path.lexists(text) else os.path.expanduser(text))


def _parse_dpi(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_DPI:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_DPI}, not {text!r}")
    return int(text)


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _parse_numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,0.5,0.5") from None


def read_settings(args: argparse.Namespace) -> Settings:
    """Return the preset with the values of the flags that were given. Raises SettingsError."""
    flags = {setting.name: getattr(args, setting.name, None) for setting in fields(Settings)}
    given = {name: value for name, value in flags.items() if value is not None}
    settings = replace(PRESETS[args.preset], **given)
    if not args.weights:
        return settings
    if settings.backbone == "vgg16":
        raise SettingsError("--weights is for a VGG-19: leave out either it or --backbone vgg16.")
    return replace(settings, backbone="vgg19")


def load_picture(path: Path) -> Image.Image:
    """Load a picture, and print what the user should know about it. Raises PictureError."""
    image, note = images.load(path)
    if note:
        console.print_line(f"{path.name}: {note}")
    return image


def load_backbone(args: argparse.Namespace, settings: Settings) -> Backbone | None:
    """Return the VGG-19 of --weights, or None. Download VGG-19 if it was named and is not on this machine.

    Raises WeightsError.
    """
    if args.weights:
        return backbones.vgg19(args.weights, settings.precision)
    if settings.backbone == "vgg19" and not weights.cached_vgg19():
        with console.make_bar(desc="VGG-19", unit="B", unit_scale=True, disable=args.quiet, leave=False) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total or None
                bar.update(done - bar.n)

            weights.download_vgg19(show)
    return None


def suggest_download(backbone: str, settings: Settings) -> None:
    """Say how to get VGG-19, if the backbone of this name has been taken for the want of it."""
    if backbone == "vgg16" and settings.backbone == "auto" and not weights.cached_vgg19():
        console.print_line("To download them, add --backbone vgg19.")
