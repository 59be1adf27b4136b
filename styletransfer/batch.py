"""Every photo by every painting: `python -m styletransfer batch PHOTO... --by PAINTING... -o FOLDER`."""

from __future__ import annotations

import argparse
import glob
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from . import backbones, images, metadata, saving
from .backbones import Backbone
from .console import make_bar, print_line
from .errors import PictureError, SettingsError, StyleTransferError
from .interruption import Interrupted, delay_signals, ignore_signals
from .optimize import Frame, stylize
from .options import Parser, add_options, load_backbone, load_picture, parse_path, suggest_download
from .settings import Settings

MAX_STEM_BYTES = 100  # of each of the two in a name, for which most systems allow 255 bytes
NOT_IN_NAMES = r'[<>:"/\\|?*]'  # on some systems; the results may be copied to them


def build_parser() -> Parser:
    """Build the parser of `batch`. Of a single picture's options it lacks --mix, --region and --log."""
    parser = Parser(
        prog="python -m styletransfer batch",
        description="Paint every photo in the manner of every painting.",
        epilog="A folder stands for the pictures in it, and not for those in its subfolders, which a quoted pattern "
        "such as 'photos/**/*.jpg' finds. What is there already, of the same files with the same settings, is not "
        "painted again: after Ctrl-C, the same command goes on.",
    )
    add = parser.add_argument
    add("photos", metavar="PHOTO", type=parse_path, nargs="+", help="Photos: files, folders and patterns.")
    add(
        "--by",
        metavar="PAINTING",
        type=parse_path,
        nargs="+",
        action="extend",
        required=True,
        help="Paintings to paint them like: files, folders and patterns.",
    )
    add(
        "-o",
        "--output",
        metavar="FOLDER",
        type=parse_path,
        required=True,
        help="Where to save the results, each as PHOTO--PAINTING-DIGITS.png.",
    )
    add_options(parser, without=("mix",))
    return parser


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Paint what is missing, and say at the end what failed and why.

    Returns the exit code: 0 if every picture is there; 2 if one failed; 128 and the signal's number for an interrupted
    call, which leaves no picture half done. Raises StyleTransferError for a mistake that concerns all pictures.
    """
    batch, exit_code = None, 0
    try:
        batch = _prepare(args, settings)
        batch.paint_all()
    except Interrupted as interruption:
        ignore_signals()
        exit_code = interruption.exit_code
        print_line("Interrupted: the same command goes on with what is missing.")
    if batch:
        batch.report()
        exit_code = exit_code or (2 if batch.reasons else 0)
    return exit_code


def find_pictures(named: Sequence[Path], output: Path) -> list[Path]:
    """Return the picture files that files, folders and patterns name, each once.

    Results of earlier calls in the folder `output` are left out. Prints a line for whatever is left out.
    Raises PictureError if one of the names stands for no picture.
    """
    found = [path for name in named for path in _expand(name)]
    pictures = [path for path in found if not _is_result(path, output)]
    if len(pictures) < len(found):
        print_line(f"Left out {len(found) - len(pictures)} results of earlier calls in {output}.")
    if not pictures:
        raise PictureError(f"All pictures named are results of earlier calls in {output}: name others.")
    once = {os.path.realpath(path): path for path in reversed(pictures)}  # of several names, the first
    if len(once) < len(pictures):
        print_line(f"Left out {len(pictures) - len(once)} that are the same file as another.")
    return list(reversed(once.values()))


def name_result(photo: Path, painting: Path, inputs: Mapping[str, str]) -> str:
    """Return PHOTO--PAINTING-DIGITS.png, with digits from the content of the two files: see metadata.read_inputs.

    It is the same in every call, and that of no other pair, however many files are called alike.
    """
    stems = []
    for path in (photo, painting):
        plain = "".join(c if c.isprintable() else "_" for c in re.sub(NOT_IN_NAMES, "_", path.stem))
        stems.append(plain.encode()[:MAX_STEM_BYTES].decode(errors="ignore"))
    digits = _hash((inputs["photo"] + inputs["painting"]).encode())[:8]
    return f"{'--'.join(stems)}-{digits}.png"


def _expand(name: Path) -> list[Path]:
    """Return the pictures that one file, folder or pattern stands for, sorted. Raises PictureError if there is none."""
    if os.path.isfile(name):
        return [name]
    is_folder = os.path.isdir(name)
    if not is_folder and not glob.has_magic(str(name)):
        images.load(name)  # says what is wrong: that it is missing, or an address on the internet
    pattern = os.path.join(glob.escape(str(name)), "*") if is_folder else str(name)
    matches = sorted(glob.glob(pattern, recursive=True))
    # A link to nothing counts, so that somebody hears of it; a named pipe, which may never answer, does not.
    files = [Path(match) for match in matches if os.path.isfile(match) or not os.path.exists(match)]
    pictures = [file for file in files if _is_named_like_picture(file)]
    if others := [file.name for file in files if not _is_named_like_picture(file)]:
        print_line(f"{name}: left out {', '.join(others[:3])}{', …' * (len(others) > 3)}, not named like a picture.")
    if not pictures:
        raise PictureError(f"There are no pictures in {name}." if is_folder else f"{name} matches no picture.")
    return pictures


def _is_named_like_picture(path: Path) -> bool:
    """Whether the name ends like one of a readable format. Those of cameras' RAW files do not."""
    return Image.registered_extensions().get(path.suffix.lower()) in images.FORMATS


def _is_result(path: Path, output: Path) -> bool:
    """Whether a picture is in `output` because an earlier call has painted it."""
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(output))
    return inside and bool(metadata.read_inputs(path))


class _FileError(PictureError):
    """One file of a pair cannot be used, and with no other either."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(str(reason))
        self.path = path


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _FileError(path, f"It cannot be read ({error.strerror}).") from error


def _load(path: Path, content: bytes) -> images.LoadedImage:
    try:
        return images.load(content)
    except PictureError as error:
        raise _FileError(path, error) from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _prepare(args: argparse.Namespace, settings: Settings) -> _Batch:
    """Load what is the same for all pictures, and make the folder. Raises StyleTransferError."""
    photos, paintings = (find_pictures(named, args.output) for named in (args.photos, args.by))
    keep = load_picture(args.keep) if args.keep else None
    backbone, fallback = load_backbone(args, settings), ""
    if not backbone:
        backbone, fallback = backbones.load(settings.backbone, precision=settings.precision)
    backbone.check(settings.layers)
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise SettingsError(f"{args.output} is no folder: give the name of one for the results.")
    with saving.explain_write_errors(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.output).close()
    if fallback:
        print_line(fallback)
        suggest_download(backbone.name, settings)
    given = {"keep": args.keep, "weights": args.weights}
    count = len(photos) * len(paintings)
    return _Batch(
        photos=photos,
        paintings=paintings,
        output=args.output,
        settings=settings,
        backbone=backbone,
        keep=keep,
        inputs={use: _hash(_read_file(path)) for use, path in given.items() if path},
        dpi=args.dpi,
        quiet=args.quiet,
        bar=make_bar(
            total=count,
            desc=f"0/{count}",
            bar_format="{desc} {bar}{postfix}",
            delay=0,
            leave=False,
            disable=args.quiet,
        ),
    )


@dataclass
class _Batch:
    """The pictures of one call: what they are painted from, how many are done, and what failed."""

    photos: Sequence[Path]
    paintings: Sequence[Path]
    output: Path
    settings: Settings
    backbone: Backbone
    keep: Image.Image | None
    inputs: Mapping[str, str]  # of every picture, beside photo and painting: see metadata.read_inputs
    dpi: int  # of prints
    quiet: bool
    bar: tqdm
    counts: Counter[str] = field(default_factory=Counter)  # of pictures: painted, there, failed
    seconds: float = 0.0  # that the pictures painted have taken
    reasons: dict[str, str] = field(default_factory=dict)  # why a file, or a pair of them, failed

    def paint_all(self) -> None:
        """Paint by one painting after the other, so that its targets, once made, are found again: see targets.py."""
        with self.bar:
            for painting in self.paintings:
                for photo in self.photos:
                    try:
                        self.paint(photo, painting)
                    except _FileError as error:
                        self.note_failure(str(error.path), str(error))
                    except StyleTransferError as error:
                        self.note_failure(f"{photo} by {painting}", str(error))
                    except (RuntimeError, MemoryError) as error:  # torch raises RuntimeError when memory is short
                        reason = str(error).partition("\n")[0]
                        self.note_failure(f"{photo} by {painting}", f"This machine cannot paint it ({reason}).")

    def paint(self, photo: Path, painting: Path) -> None:
        """Paint and save one picture, unless it is there, and say so. Raises StyleTransferError."""
        contents = {"photo": _read_file(photo), "painting": _read_file(painting)}
        inputs = {**{use: _hash(content) for use, content in contents.items()}, **self.inputs}
        path = self.output / name_result(photo, painting, inputs)
        if self.is_there(path, inputs):
            self.counts["there"] += 1
            self.print_result(f"{path} is there already.")
            return
        target = saving.find_target(path)
        content, style = _load(photo, contents["photo"]), _load(painting, contents["painting"])
        last, notes = self.stylize_pair(content.image, style.image)
        with delay_signals():
            saved = saving.save_frame(last, target, dpi=self.dpi, inputs=inputs)
            if saved.why:
                raise SettingsError(f"{path} cannot be written ({saved.why}): saved as {saved.path}.")
            self.counts["painted"] += 1
        self.seconds += last.seconds
        size = "{}×{}".format(*last.width_height)
        self.print_result(
            f"Saved {path} ({size} pixels, {last.seconds:.1f} seconds).",
            *(f"{file.name}: {loaded.note}" for file, loaded in ((photo, content), (painting, style)) if loaded.note),
            *notes,
        )

    def stylize_pair(self, content: Image.Image, style: Image.Image) -> tuple[Frame, Sequence[str]]:
        """Return the last frame of a run, and what the user should know of it. Raises StyleTransferError."""
        notes: Sequence[str] = ()
        with closing(stylize(content, style, self.settings, self.backbone, keep=self.keep)) as frames:
            for frame in frames:
                if frame.iteration == 1:
                    notes = frame.notes
                if frame.iteration:  # in 0 the first neighbours are being searched
                    self.show_progress(frame)
        return frame, notes

    def is_there(self, path: Path, inputs: Mapping[str, str]) -> bool:
        """Whether the picture has been painted from these inputs with these settings, and its file is whole."""
        if metadata.read_inputs(path) != inputs or metadata.read_settings(path) != self.settings:
            return False
        try:
            images.load(path)
        except PictureError:
            return False
        return True

    def show_progress(self, frame: Frame) -> None:
        """Show a frame on the bar, and the time left for all pictures if each takes as long as those so far."""
        seconds = self.seconds + frame.seconds + frame.remaining
        later = self.bar.total - self.counts.total() - 1
        left = frame.remaining + later * seconds / (self.counts["painted"] + 1)
        self.bar.set_postfix(left=tqdm.format_interval(left), size=frame.size, refresh=False)
        self.bar.update(self.counts.total() + frame.iteration / frame.iterations - self.bar.n)

    def print_result(self, success: str, *notes: str) -> None:
        """Print one line for a picture that has been counted. --quiet leaves out the success, and never the notes."""
        self.bar.clear()
        if said := " ".join(notes if self.quiet else (success, *notes)):
            print_line(said)
        self.bar.update(self.counts.total() - self.bar.n)
        self.bar.set_description_str(f"{self.counts.total()}/{self.bar.total}")

    def note_failure(self, what: str, why: str) -> None:
        """Count a picture that failed because of a file, or of a pair of them; print the reason once."""
        self.counts["failed"] += 1
        self.print_result(f"{what}: {why}" if what not in self.reasons else "")
        self.reasons[what] = why

    def report(self) -> None:
        """Print how many pictures are painted, and what failed and why."""
        if not self.quiet or self.reasons:
            painted, there, failed = (self.counts[outcome] for outcome in ("painted", "there", "failed"))
            print_line(f"{painted} painted, {there} there already, {failed} failed, of {self.bar.total}.")
        for what, why in self.reasons.items():
            print_line(f"{what}: {why}")
