"""The command line: `python -m styletransfer CONTENT STYLE -o OUT.png`."""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image
from tqdm import tqdm

from . import console, tune_process

if __name__ == "__main__":
    tune_process()  # before torch is loaded, which the next imports do
    console.escape_unprintable()

from . import backbones, images, print_files, saving, weights
from .backbones import Backbone
from .errors import SettingsError, StyleTransferError
from .losses import Losses
from .optimize import Frame, stylize
from .schedule import MAX_WHOLE_SIZE
from .settings import PRESETS, Knob, Settings

MAX_DPI = 9600
LOG_HEADER = ("iteration", "size", "seconds", *Losses._fields)
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")  # some systems lack some
SIGNALS = tuple(getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name))

# The delay keeps the bar away until the first step, so that a run that cannot begin prints one line only.
_make_bar = partial(tqdm, delay=0.001, dynamic_ncols=True, file=console.Stderr())


class Interrupted(BaseException):
    """Ctrl-C, a closed terminal or a request to end. It is no Exception, because a library might swallow one."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, by default the arguments of the process, in the main thread.

    Returns the exit code: 0; 2 for a mistake that the user can mend, described in one line on stderr; 128 and the
    signal's number for an interrupted run, as 130 for SIGINT. A run that has begun saves its last picture, whatever
    ends it.
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
    add("content", metavar="CONTENT", type=_parse_path, help="Photo to paint.")
    add(
        "style",
        metavar="STYLE",
        type=_parse_path,
        nargs="+",
        help="Painting to paint it like, or two to be mixed: see --mix.",
    )
    add("-o", "--output", metavar="OUT.png", type=_parse_path, required=True, help="Where to save the result.")
    add(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="Settings that the other flags change. [%(default)s]",
    )
    for setting in fields(Settings):
        add("--" + setting.name.replace("_", "-"), **_flag_options(setting.metadata["knob"], setting.default))
    add("--keep", metavar="MASK", type=_parse_path, help="Picture that is white where the photo should be kept most.")
    add(
        "--dpi",
        metavar="N",
        type=_parse_dpi,
        default=print_files.DPI,
        help=f"Dots per inch of a print, above {MAX_WHOLE_SIZE} pixels: stored in its file, in PNG and TIFF beside 16 "
        "bits per channel. [%(default)s]",
    )
    add("--weights", metavar="FILE", type=_parse_path, help="VGG-19 to use, as published by torchvision or timm.")
    add("--log", metavar="LOSSES.csv", type=_parse_path, default=os.devnull, help="Where to write the losses.")
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


def _parse_path(text: str) -> Path:
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
    exit_code, ending = 1, "The run broke off"
    try:
        content, style = _load(args.content), tuple(_load(path) for path in args.style)
        keep = _load(args.keep) if args.keep else None
        target = _check_paths(args)
        with (
            _write_log(args.log) as log,
            closing(stylize(content, style, settings, _load_backbone(args, settings), keep=keep)) as frames,
            _show_progress(settings.iterations, quiet=args.quiet) as show,
        ):
            told = False
            for frame in frames:
                if not told:
                    _print_notes(frame)
                    told = True
                if frame.iteration == (last.iteration if last else 0):
                    continue  # neighbours are being searched
                last = frame
                log(last)
                show(last)
        exit_code, ending = 0, ""
    except Interrupted as interruption:
        exit_code, ending = interruption.exit_code, "Interrupted"
    except StyleTransferError as error:
        if not last:
            raise
        exit_code, ending = 2, f"{error} The run ended"
    finally:
        for number in SIGNALS:  # a second Ctrl-C must not lose the picture
            signal.signal(number, signal.SIG_IGN)
        if last:
            saved = _save(last, target, args, ending)
            exit_code = exit_code or (0 if saved else 2)
    if not last:
        _print_line("Interrupted before there was a picture: nothing is saved.")
    return exit_code


def _save(last: Frame, target: Path, args: argparse.Namespace, ending: str) -> bool:
    """Save the picture and say where it is. Returns whether it is where it was asked for. Raises SettingsError.

    `ending` is what ended the run before its last iteration, or empty.
    """
    is_deep = last.is_print and target.suffix.lower() in print_files.SUFFIXES
    picture = last.deep_picture() if is_deep else last.picture
    dpi = args.dpi if last.is_print else None
    path, why = saving.save_picture(picture, target, last.settings, masked=last.masked, dpi=dpi)
    said = []
    if ending:
        said.append(f"{ending} at iteration {last.iteration} of {last.iterations}")
    if why:
        said.append(f"{args.output} cannot be written ({why})")
    if said:
        _print_line(f"{'; '.join(said)}: saved as {path if why else args.output}.")
    elif not args.quiet:
        width, height = last.width_height
        _print_line(f"Saved {args.output} ({width}×{height} pixels, {last.seconds:.1f} seconds).")
    return not why


def _load(path: Path) -> Image.Image:
    image, note = images.load(path)
    if note:
        _print_line(f"{path.name}: {note}")
    return image


def _check_paths(args: argparse.Namespace) -> Path:
    """Return the file to save to. Raises SettingsError if an input would be overwritten or the file not written."""
    read = [path for path in (args.content, *args.style, args.keep, args.weights) if path]
    for written, others in ((args.output, read), (args.log, [*read, args.output])):
        if any(_is_same_file(written, other) for other in others):
            raise SettingsError(f"{written} is named twice and would be overwritten: give another name.")
    saving.check_protection(args.log)
    return saving.find_target(args.output)


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
    with saving.explain_write_errors(path), path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(frame: Frame) -> None:
            if frame.iteration == 1:
                if file.tell():  # an older log; a run that cannot begin leaves it as it was
                    file.truncate(0)
                writer.writerow(LOG_HEADER)
            writer.writerow((frame.iteration, frame.size, frame.seconds, *frame.losses))
            file.flush()

        yield write


@contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Make SIGNALS raise Interrupted, wherever the run is. Under nohup a closed terminal goes on being ignored."""

    def interrupt(number: int, _: object) -> NoReturn:
        raise Interrupted(number)

    hangup = getattr(signal, "SIGHUP", None)
    ignored = {hangup} if hangup and signal.getsignal(hangup) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, interrupt) for number in SIGNALS if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_line(message: object) -> None:
    """Print one line to stderr, with odd characters of file names replaced."""
    line = "".join(c if c.isprintable() else "?" for c in str(message))
    console.Stderr().write(f"styletransfer: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
