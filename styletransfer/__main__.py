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

from . import backbones, pictures, record, weights
from .backbones import Backbone
from .errors import SettingsError, StyleTransferError
from .loop import Frame, stylize
from .losses import Losses
from .settings import PRESETS, Knob, Settings

LOG_HEADER = ("iteration", "size", "seconds", *Losses._fields)
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# With the delay no bar is drawn before its first step: a run that cannot begin says one line and no more.
_bar = partial(tqdm, delay=0.001, dynamic_ncols=True)


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate. Not an Exception, which a library might swallow."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, by default the process's own; to be called in the main thread.

    Returns the exit code: 0; 2 for what the user can put right, said in one line on stderr; 130 (SIGINT) or
    143 (SIGTERM) for an interrupted run. Whatever ends a run that has begun, its last picture is saved.
    """
    try:
        args = _parser().parse_args(argv)
        with _interruptible():
            return _run(args, _settings(args))
    except StyleTransferError as error:
        _say(error)
        return 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Instead of printing how to call the command, and leaving from within."""
        raise SettingsError(message)


def _parser() -> argparse.ArgumentParser:
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
    add("--preset", choices=PRESETS, default="balanced", help="What the other flags change. [%(default)s]")
    for setting in fields(Settings):
        add("--" + setting.name.replace("_", "-"), **_flag(setting.metadata["knob"], setting.default))
    add("--weights", metavar="FILE", type=Path, help="VGG-19 to use, as published by torchvision or timm.")
    add("--log", metavar="LOSSES.csv", type=Path, default=os.devnull, help="Where to write the losses.")
    add("--quiet", action="store_true", help="No progress bar, and nothing said of success.")
    return parser


def _flag(knob: Knob, default: Any) -> dict[str, Any]:
    """What argparse should know of a setting. A flag not given is None, and the preset's value stays."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "help": knob.help}
    if knob.choices:
        return {"choices": knob.choices, "help": f"{knob.help} [{default}]"}
    if isinstance(default, (int, float)):
        limits = f"{knob.low:.10g} to {knob.high:.10g}; {default:.10g}"
        return {"type": type(default), "metavar": knob.symbol or "N", "help": f"{knob.help} [{limits}]"}
    if default is None:
        return {"type": _numbers, "metavar": "X,X,…", "help": knob.help}
    return {"type": _names, "metavar": "LAYER,…", "help": f"{knob.help} [{','.join(default)}]"}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,0.5,0.5") from None


def _settings(args: argparse.Namespace) -> Settings:
    """The preset, with what was given beside it."""
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
    last: Frame | None = None
    exit_code = 0
    try:
        content, style = _load(args.content), tuple(_load(path) for path in args.style)
        _check_places(args)
        with (
            _log(args.log) as log,
            closing(stylize(content, style, settings, _backbone(args, settings))) as frames,
            _progress(settings.iterations, quiet=args.quiet) as show,
        ):
            for last in frames:
                if last.iteration == 1:
                    _say_notes(last)
                log(last)
                show(last)
    except Interrupted as interruption:
        exit_code = interruption.exit_code
    finally:
        for number in SIGNALS:  # a second Ctrl-C must not lose the picture
            signal.signal(number, signal.SIG_IGN)
        if last:
            _save(last, args.output)
    if not last:
        _say("Interrupted before there was a picture: nothing is saved.")
    elif exit_code:
        _say(f"Interrupted at iteration {last.iteration} of {last.iterations}: saved as {args.output}.")
    elif not args.quiet:
        _say("Saved {} ({}×{} pixels, {:.1f} seconds).".format(args.output, *last.picture.size, last.seconds))
    return exit_code


def _load(path: Path) -> Image.Image:
    image, note = pictures.load(path)
    if note:
        _say(f"{path.name}: {note}")
    return image


def _check_places(args: argparse.Namespace) -> None:
    """SettingsError if what is read would be overwritten, or no picture can be saved where it should be."""
    read = [path for path in (args.content, *args.style, args.weights) if path]
    for written, others in ((args.output, read), (args.log, [*read, args.output])):
        if any(_is_same(written, other) for other in others):
            raise SettingsError(f"{written} is named twice and would be overwritten: give another name.")
    if os.path.isdir(args.output):
        raise SettingsError(f"{args.output} is a folder: add the name of a picture to it.")
    with _saved_beside(args.output, Image.new("RGB", (16, 16)), Settings()):
        pass


def _is_same(a: Path, b: Path) -> bool:
    there = os.path.exists(a) and os.path.exists(b)
    return os.path.samefile(a, b) if there else os.path.realpath(a) == os.path.realpath(b)


def _backbone(args: argparse.Namespace, settings: Settings) -> Backbone | None:
    """The VGG-19 of --weights, or None. One asked for by name that is not on this machine is downloaded."""
    if args.weights:
        return backbones.vgg19(args.weights)
    if settings.backbone == "vgg19" and not weights.cached_vgg19():
        with _bar(desc="VGG-19", unit="B", unit_scale=True, disable=args.quiet, leave=False) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total or None
                bar.update(done - bar.n)

            weights.download_vgg19(show)
    return None


def _say_notes(frame: Frame) -> None:
    for note in frame.notes:
        _say(note)
    if frame.backbone == "vgg16" and frame.settings.backbone == "auto" and not weights.cached_vgg19():
        _say("To download them, add --backbone vgg19.")


@contextmanager
def _progress(iterations: int, quiet: bool) -> Iterator[Callable[[Frame], None]]:
    """A function that shows a frame on the bar, and its time left: a bar's own knows nothing of stages."""
    layout = "{n_fmt}/{total_fmt} {bar}{postfix}"
    with _bar(total=iterations, bar_format=layout, disable=quiet) as bar:

        def show(frame: Frame) -> None:
            left = tqdm.format_interval(frame.remaining)
            bar.total = frame.iterations  # fewer when a stage has ended early
            bar.set_postfix({"left": left, "size": frame.size, **frame.losses._asdict()}, refresh=False)
            bar.update()

        yield show


@contextmanager
def _log(path: Path) -> Iterator[Callable[[Frame], None]]:
    """A function that writes a frame's row, at once, so that an interrupted run has its rows."""
    with _can_write(path), path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(frame: Frame) -> None:
            if frame.iteration == 1:
                if file.tell():  # an older log, which a run that cannot begin leaves as it was
                    file.truncate(0)
                writer.writerow(LOG_HEADER)
            writer.writerow((frame.iteration, frame.size, frame.seconds, *frame.losses))
            file.flush()

        yield write


def _save(frame: Frame, path: Path) -> None:
    """In one go: whoever looks sees what was there before, or the whole new picture. Raises SettingsError."""
    with _saved_beside(path, frame.picture, frame.settings) as part:
        os.replace(part, path)


@contextmanager
def _saved_beside(path: Path, picture: Image.Image, settings: Settings) -> Iterator[Path]:
    """`picture` in the folder and the format of `path`, under a passing name; a PNG says its settings.

    Raises SettingsError.
    """
    part = path.with_name(f".{os.getpid()}-{path.name}")
    with _can_write(path):
        try:
            if path.suffix.lower() == ".png":
                record.save_png(picture, part, settings)
            else:
                picture.save(part, quality=95)
            yield part
        except (KeyError, ValueError) as error:  # what PIL raises for a suffix it does not know, or only reads
            raise SettingsError(f"{path} is not named like a picture: use .png, .jpg or .webp.") from error
        finally:
            with suppress(OSError):
                part.unlink()


@contextmanager
def _can_write(path: Path) -> Iterator[None]:
    """What the system refuses, said as a SettingsError about `path`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise SettingsError(f"{path} cannot be written ({why}): choose another place.") from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted, wherever the run is."""

    def interrupt(number: int, _: object) -> NoReturn:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(message: object) -> None:
    """One line on stderr, whatever a file may be called."""
    print("styletransfer:", "".join(c if c.isprintable() else "?" for c in str(message)), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
