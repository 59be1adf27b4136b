"""The command line: `python -m styletransfer CONTENT STYLE -o OUT.png`."""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image
from tqdm import tqdm

from . import tune_process

if __name__ == "__main__":
    tune_process()  # before torch is loaded, which the next imports do

from . import backbones, images, metadata, weights
from .backbones import Backbone
from .errors import SettingsError, StyleTransferError
from .losses import Losses
from .optimize import Frame, stylize
from .settings import PRESETS, Knob, Settings

LOG_HEADER = ("iteration", "size", "seconds", *Losses._fields)
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The delay keeps the bar away until the first step, so that a run that cannot begin prints one line only.
_make_bar = partial(tqdm, delay=0.001, dynamic_ncols=True)


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate. It is no Exception, because a library might swallow one."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, by default the arguments of the process, in the main thread.

    Returns the exit code: 0; 2 for a mistake that the user can mend, described in one line on stderr; 130 (SIGINT) or
    143 (SIGTERM) for an interrupted run. A run that has begun saves its last picture, whatever ends it.
    """
    try:
        args = _build_parser().parse_args(argv)
        with _raise_on_signals():
            return _run(args, _read_settings(args))
    except StyleTransferError as error:
        _print_line(error)
        return 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise SettingsError, where argparse would print the usage and exit."""
        raise SettingsError(message)


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m styletransfer",
        description="Paint a photo in the manner of a painting (Gatys, Ecker & Bethge, CVPR 2016).",
        epilog="Ctrl-C ends the run and saves the picture it had.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", type=Path, help="Photo to paint.")
    add(
        "style", metavar="STYLE", type=Path, nargs="+", help="Painting to paint it like, or two to be mixed: see --mix."
    )
    add("-o", "--output", metavar="OUT.png", type=Path, required=True, help="Where to save the result.")
    add(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="Settings that the other flags change. [%(default)s]",
    )
    for setting in fields(Settings):
        add("--" + setting.name.replace("_", "-"), **_flag_options(setting.metadata["knob"], setting.default))
    add("--keep", metavar="MASK", type=Path, help="Picture that is white where the photo should be kept most.")
    add("--weights", metavar="FILE", type=Path, help="VGG-19 to use, as published by torchvision or timm.")
    add("--log", metavar="LOSSES.csv", type=Path, default=os.devnull, help="Where to write the losses.")
    add("--quiet", action="store_true", help="Print no progress bar and no success message.")
    return parser


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


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _parse_numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,0.5,0.5") from None


def _read_settings(args: argparse.Namespace) -> Settings:
    """Return the preset with the values of the flags that were given."""
    flags = {setting.name: getattr(args, setting.name) for setting in fields(Settings)}
    given = {name: value for name, value in flags.items() if value is not None}
    settings = replace(PRESETS[args.preset], **given)
    if not args.weights:
        return settings
    if settings.backbone == "vgg16":
        raise SettingsError("--weights is for a VGG-19: leave out either it or --backbone vgg16.")
    return replace(settings, backbone="vgg19")


def _run(args: argparse.Namespace, settings: Settings) -> int:
    """Check everything, paint, save; returns the exit code. Raises StyleTransferError."""
    last: Frame | None = None  # with a picture that has been painted on
    exit_code = 0
    try:
        content, style = _load(args.content), tuple(_load(path) for path in args.style)
        keep = _load(args.keep) if args.keep else None
        _check_paths(args)
        with (
            _write_log(args.log) as log,
            closing(stylize(content, style, settings, _load_backbone(args, settings), keep=keep)) as frames,
            _show_progress(settings.iterations, quiet=args.quiet) as show,
        ):
            for frame in frames:
                if frame.iteration == (last.iteration if last else 0):
                    continue  # neighbours are being searched
                last = frame
                if last.iteration == 1:
                    _print_notes(last)
                log(last)
                show(last)
    except Interrupted as interruption:
        exit_code = interruption.exit_code
    finally:
        for number in SIGNALS:  # a second Ctrl-C must not lose the picture
            signal.signal(number, signal.SIG_IGN)
        if last:
            _save(last, args.output, masked=bool(args.keep))
    if not last:
        _print_line("Interrupted before there was a picture: nothing is saved.")
    elif exit_code:
        _print_line(f"Interrupted at iteration {last.iteration} of {last.iterations}: saved as {args.output}.")
    elif not args.quiet:
        _print_line("Saved {} ({}×{} pixels, {:.1f} seconds).".format(args.output, *last.picture.size, last.seconds))
    return exit_code


def _load(path: Path) -> Image.Image:
    image, note = images.load(path)
    if note:
        _print_line(f"{path.name}: {note}")
    return image


def _check_paths(args: argparse.Namespace) -> None:
    """Raise SettingsError if an input would be overwritten, or if the picture could not be saved."""
    read = [path for path in (args.content, *args.style, args.keep, args.weights) if path]
    for written, others in ((args.output, read), (args.log, [*read, args.output])):
        if any(_is_same_file(written, other) for other in others):
            raise SettingsError(f"{written} is named twice and would be overwritten: give another name.")
    if os.path.isdir(args.output):
        raise SettingsError(f"{args.output} is a folder: add the name of a picture to it.")
    with _save_beside(args.output, Image.new("RGB", (16, 16)), Settings()):
        pass


def _is_same_file(a: Path, b: Path) -> bool:
    there = os.path.exists(a) and os.path.exists(b)
    return os.path.samefile(a, b) if there else os.path.realpath(a) == os.path.realpath(b)


def _load_backbone(args: argparse.Namespace, settings: Settings) -> Backbone | None:
    """Return the VGG-19 of --weights, or None. Download VGG-19 if it was named and is not on this machine."""
    if args.weights:
        return backbones.vgg19(args.weights, settings.precision)
    if settings.backbone == "vgg19" and not weights.cached_vgg19():
        with _make_bar(desc="VGG-19", unit="B", unit_scale=True, disable=args.quiet, leave=False) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total or None
                bar.update(done - bar.n)

            weights.download_vgg19(show)
    return None


def _print_notes(frame: Frame) -> None:
    for note in frame.notes:
        _print_line(note)
    if frame.backbone == "vgg16" and frame.settings.backbone == "auto" and not weights.cached_vgg19():
        _print_line("To download them, add --backbone vgg19.")


@contextmanager
def _show_progress(iterations: int, quiet: bool) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that shows a frame on the bar. The time left is the frame's: the bar's own ignores stages."""
    layout = "{n_fmt}/{total_fmt} {bar}{postfix}"
    with _make_bar(total=iterations, bar_format=layout, disable=quiet) as bar:

        def show(frame: Frame) -> None:
            left = tqdm.format_interval(frame.remaining)
            bar.total = frame.iterations  # fewer when a stage has ended early
            bar.set_postfix({"left": left, "size": frame.size, **frame.losses._asdict()}, refresh=False)
            bar.update()

        yield show


@contextmanager
def _write_log(path: Path) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that writes a frame's row at once, so that an interrupted run has its rows."""
    with _explain_write_errors(path), path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(frame: Frame) -> None:
            if frame.iteration == 1:
                if file.tell():  # an older log; a run that cannot begin leaves it as it was
                    file.truncate(0)
                writer.writerow(LOG_HEADER)
            writer.writerow((frame.iteration, frame.size, frame.seconds, *frame.losses))
            file.flush()

        yield write


def _save(frame: Frame, path: Path, *, masked: bool) -> None:
    """Save in one step: a reader sees the old file or the whole new picture. Raises SettingsError."""
    with _save_beside(path, frame.picture, frame.settings, masked=masked) as part:
        os.replace(part, path)


@contextmanager
def _save_beside(path: Path, picture: Image.Image, settings: Settings, *, masked: bool = False) -> Iterator[Path]:
    """Save `picture` beside `path`, in its format, under a temporary name. A PNG contains the settings.

    Raises SettingsError.
    """
    part = path.with_name(f".{os.getpid()}-{path.name}")
    with _explain_write_errors(path):
        try:
            if path.suffix.lower() == ".png":
                metadata.save_png(picture, part, settings, masked=masked)
            else:
                picture.save(part, quality=95)
            yield part
        except (KeyError, ValueError) as error:  # PIL raises these for a suffix it cannot write
            raise SettingsError(f"{path} is not named like a picture: use .png, .jpg or .webp.") from error
        finally:
            with suppress(OSError):
                part.unlink()


@contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a SettingsError about `path`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise SettingsError(f"{path} cannot be written ({why}): choose another place.") from error


@contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise Interrupted, wherever the run is."""

    def interrupt(number: int, _: object) -> NoReturn:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_line(message: object) -> None:
    """Print one line to stderr, with odd characters of file names replaced."""
    print("styletransfer:", "".join(c if c.isprintable() else "?" for c in str(message)), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
