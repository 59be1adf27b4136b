"""The command line: `python -m styletransfer CONTENT STYLE -o OUT.png`, and what `batch` and its options do."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from . import console, tune_process

if __name__ == "__main__":
    tune_process()  # before torch is loaded, which the next imports do
    console.escape_unprintable()

from . import batch, saving
from .console import make_bar, print_line
from .errors import SettingsError, StyleTransferError
from .interruption import Interrupted, ignore_signals, raise_on_signals
from .losses import Losses
from .optimize import Frame, stylize
from .options import Parser, add_options, load_backbone, load_picture, parse_path, read_settings, suggest_download
from .settings import Settings

LOG_HEADER = ("iteration", "size", "seconds", *Losses._fields)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, by default the arguments of the process, in the main thread.

    Returns the exit code: 0; 2 for a mistake that the user can mend, described in one line on stderr; 128 and the
    signal's number for an interrupted run, as 130 for SIGINT. A run that has begun saves its last picture, whatever
    ends it.
    """
    given = sys.argv[1:] if argv is None else argv
    is_batch = given[:1] == ["batch"]
    try:
        args = batch.build_parser().parse_args(given[1:]) if is_batch else _build_parser().parse_args(given)
        with raise_on_signals():
            return (batch.run if is_batch else _run)(args, read_settings(args))
    except StyleTransferError as error:
        print_line(error)
        return 2


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m styletransfer",
        description="Paint a photo in the manner of a painting (Gatys, Ecker & Bethge, CVPR 2016).",
        epilog="Ctrl-C ends the run and saves the picture it had. For folders: python -m styletransfer batch --help.",
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", type=parse_path, help="Photo to paint.")
    add(
        "style",
        metavar="STYLE",
        type=parse_path,
        nargs="+",
        help="Painting to paint it like; two to be mixed, see --mix; or up to four, see --region.",
    )
    add(
        "--region",
        metavar="PAINTING=MASK",
        action="append",
        default=[],
        help="Where this one of the paintings paints: a picture that is white there. Give a region for each, or for "
        "all but one, which paints the rest.",
    )
    add("-o", "--output", metavar="OUT.png", type=parse_path, required=True, help="Where to save the result.")
    add_options(parser)
    add("--log", metavar="LOSSES.csv", type=parse_path, default=os.devnull, help="Where to write the losses.")
    return parser


def _run(args: argparse.Namespace, settings: Settings) -> int:
    """Check everything, paint, save; returns the exit code. Raises StyleTransferError."""
    last: Frame | None = None  # with a picture that has been painted on
    exit_code, ending = 1, "The run broke off"
    try:
        content, style = load_picture(args.content), tuple(load_picture(path) for path in args.style)
        keep = load_picture(args.keep) if args.keep else None
        masks = _find_regions(args)
        regions = [path and load_picture(path) for path in masks] if args.region else None
        target = _check_paths(args, [path for path in masks if path])
        with (
            _write_log(args.log) as log,
            closing(
                stylize(content, style, settings, load_backbone(args, settings), keep=keep, regions=regions)
            ) as frames,
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
        ignore_signals()  # a second Ctrl-C must not lose the picture
        if last:
            saved = _save(last, target, args, ending)
            exit_code = exit_code or (0 if saved else 2)
    if not last:
        print_line("Interrupted before there was a picture: nothing is saved.")
    return exit_code


def _save(last: Frame, target: Path, args: argparse.Namespace, ending: str) -> bool:
    """Save the picture and say where it is. Returns whether it is where it was asked for. Raises SettingsError.

    `ending` is what ended the run before its last iteration, or empty.
    """
    path, why = saving.save_frame(last, target, dpi=args.dpi)
    said = []
    if ending:
        said.append(f"{ending} at iteration {last.iteration} of {last.iterations}")
    if why:
        said.append(f"{args.output} cannot be written ({why})")
    if said:
        print_line(f"{'; '.join(said)}: saved as {path if why else args.output}.")
    elif not args.quiet:
        print_line("Saved {} ({}×{} pixels, {:.1f} seconds).".format(args.output, *last.width_height, last.seconds))
    return not why


def _find_regions(args: argparse.Namespace) -> list[Path | None]:
    """Return the mask of each painting, or None. Raises SettingsError for a region of no painting that was given."""
    found: list[Path | None] = [None] * len(args.style)
    for text in args.region:
        for split in (k for k, character in enumerate(text) if character == "="):
            painting = parse_path(text[:split])
            number = next((k for k, path in enumerate(args.style) if _is_same_file(painting, path)), None)
            if number is not None and text[split + 1 :]:
                break
        else:
            raise SettingsError(
                f"--region {text}: write PAINTING=MASK, with one of the paintings {', '.join(map(str, args.style))}."
            )
        if found[number]:
            raise SettingsError(f"{painting} is given two regions: draw both in one mask.")
        found[number] = parse_path(text[split + 1 :])
    return found


def _check_paths(args: argparse.Namespace, masks: Sequence[Path]) -> Path:
    """Return the file to save to. Raises SettingsError if an input would be overwritten or the file not written."""
    read = [path for path in (args.content, *args.style, args.keep, args.weights, *masks) if path]
    for written, others in ((args.output, read), (args.log, [*read, args.output])):
        if any(_is_same_file(written, other) for other in others):
            raise SettingsError(f"{written} is named twice and would be overwritten: give another name.")
    saving.check_protection(args.log)
    return saving.find_target(args.output)


def _is_same_file(a: Path, b: Path) -> bool:
    there = os.path.exists(a) and os.path.exists(b)
    return os.path.samefile(a, b) if there else os.path.realpath(a) == os.path.realpath(b)


def _print_notes(frame: Frame) -> None:
    for note in frame.notes:
        print_line(note)
    suggest_download(frame.backbone, frame.settings)


@contextmanager
def _show_progress(iterations: int, quiet: bool) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that shows a frame on the bar. The time left is the frame's: the bar's own ignores stages."""
    layout = "{n_fmt}/{total_fmt} {bar}{postfix}"
    with make_bar(total=iterations, bar_format=layout, disable=quiet) as bar:

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


if __name__ == "__main__":
    sys.exit(main())
