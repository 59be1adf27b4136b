"""What each button and slider of the page does."""

from __future__ import annotations

import errno
import html
import logging
import os
import random
import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from styletransfer import Settings, StyleTransferError, colour, images, metadata
from styletransfer.settings import LIKENESS, knobs

from . import share_link
from .config import DEFAULT_PRESET, ServerConfig
from .controls import CONTROLS, LABELS, find_preset, get_preset, slider_values, to_settings
from .drop_zones import READING, File, file_path
from .examples import (
    FIRST_EXAMPLE,
    example_name,
    examples,
    pair_name,
    random_style,
    sample_photos,
    style_name,
    style_tiles,
    styles,
)
from .paintings import PICTURES, Record, make_record, read_event, read_record
from .photo_editor import Changes, PhotoEditor
from .results import SavedResult, name_result
from .run import GRACE_SECONDS, Run, log_job
from .session import MAX_RESULTS, VISITS, Desk, Session
from .sketches import Sketches
from .status import NOTHING_PAINTED, describe_place, describe_progress, describe_sketches, plot_losses, status_html
from .tiles import Tile, tiles_value
from .viewer import show_example, show_painting, show_result, show_small
from .worker import Request, RunControl, RunEnd, Update

SECONDS_PER_PLOT = 1.5
STEPS_OF_MORE = 20
PRINT = "print"  # in place of a preset's name, in the log and in estimates
PREVIEW_SIZE = 320  # pixels of the long side
SHOWN_ENDS = {RunEnd.FINISHED: "Finished", RunEnd.STOPPED: "Stopped"}
RESTARTED = (
    "The server was restarted since this page was opened, or the page was left for too long. Save what you want to "
    "keep, then reload the page."
)
FULL_DISK_FOR_ZIP = "The disk of this server is full: save the pictures one by one."
FULL_DISK = "The disk of this server is full: your change could not be applied."
CHOOSE_SECOND = '<a href="#second-part">Choose a second painting</a>'
CHOOSE_PHOTO = "Choose a photo first, or take one of the samples."
BUSY_VISIT = "A picture of this visit is on, perhaps in another tab: stop it first, or wait for it."
LOST_PLACE = "Your place in the queue was lost while this page was away: press Paint again."
KEPT = "The picture before is kept in “Your paintings”."
SETTINGS_LEFT_OUT = "Some of them are not on this page and were left out; the command line has them all."
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Components:
    """The components that handlers read or change; layout.py says where they are on the page."""

    session: gr.State
    token: gr.Textbox  # of the tab, never shown
    is_reload: gr.Checkbox  # never shown
    link_query: gr.Textbox  # never shown
    returned: gr.Textbox  # changes when a tab has found its visit again; never shown
    go: gr.Textbox  # changes when a run may begin; never shown
    examples: gr.HTML
    samples: gr.HTML
    photo: gr.Image
    painting: gr.Image
    second_painting: gr.Image
    second_styles: gr.HTML
    second_toggle: gr.Button  # shows the part with these two, or hides it
    several_photos: gr.UploadButton
    save_all: gr.Button  # as ZIP
    zip_file: gr.DownloadButton  # never shown
    try_styles: gr.Button
    wall_part: gr.Column
    stop_sketches: gr.Button
    wall_text: gr.HTML
    wall: gr.HTML  # of sketches
    uploads: Mapping[gr.Image, gr.UploadButton]  # of the drop zones
    notices: Mapping[gr.Image, gr.Markdown]  # below the drop zones
    start: gr.Button
    styles: gr.HTML
    offer: gr.Row  # to paint another style next, or now
    offer_text: gr.Markdown
    paint_next: gr.Button
    paint_now: gr.Button
    cancel_next: gr.Button
    second_line: gr.Row  # says what the second painting does, beside Paint
    second_text: gr.HTML
    remove_second: gr.Button
    surprise: gr.Button
    likeness: gr.Radio
    preset: gr.Dropdown
    controls: Mapping[str, gr.Slider | gr.Radio | gr.Checkbox]  # by the name of their setting, in the order of CONTROLS
    preview: gr.Image
    viewer: gr.HTML
    result: gr.Image  # of /stylize, never shown
    status: gr.HTML
    pause: gr.Button
    stop: gr.Button
    more: gr.Button
    enlarge: gr.Button
    save_jpeg: gr.DownloadButton
    download: gr.DownloadButton  # of the PNG
    save_film: gr.DownloadButton
    plot: gr.Plot
    film_part: gr.Column
    film: gr.Video
    save_webp: gr.DownloadButton
    strip: gr.HTML  # the visitor's paintings
    link: gr.Textbox
    link_note: gr.Markdown
    link_turn: gr.Number  # changes when the link that is shown is out of date; never shown
    share: gr.Button
    named_likeness: gr.Radio  # of the endpoints, never shown; the dial of the page moves α
    keep: gr.Image  # a mask of the photo, never shown
    region: gr.Image  # a mask of the photo for the second painting, never shown
    photo_editor: PhotoEditor
    finished_picture: gr.Image  # of /paint, never shown


NAMING = threading.Lock()  # results: a program may have several runs, which end at the same time


@contextmanager
def explain_refusal(size: Any, preset: str) -> Iterator[None]:
    """Log a request that is refused, and turn its StyleTransferError into a message on the page."""
    try:
        yield
    except StyleTransferError as error:
        log_job(size, preset, 0.0, 0, "refused")
        raise gr.Error(str(error), title="Cannot paint this", print_exception=False) from error


def _describe_painting(record: Record) -> str:
    """What the status says of a picture that was reopened: what is no longer on the server, and what to do."""
    missing = " and the ".join(record.missing)
    them = "it" if len(record.missing) == 1 else "them"
    if record.result:
        lost = f"The {missing} {'is' if them == 'it' else 'are'} no longer on the server: choose {them} again."
        is_whole = not (missing or record.lost_mask or record.lost_region)
        told = [lost] if missing else ["Press More steps to continue it."] * is_whole
        sentences = [f"{record.result.name.caption}.", *told]
    else:
        again = f"choose the {missing} again, then press Paint" if missing else "press Paint"
        same = " with the same settings" if record.settings else ""
        sentences = [f"The full picture is no longer on the server; {again} to paint it again{same}."]
    if record.lost_mask:
        sentences.append("The parts that were marked to keep are gone, too: mark them again.")
    if record.lost_region:
        sentences.append("The parts that were marked for its second painting are gone, too: mark them again.")
    return " ".join(sentences)


def _picture_paths(
    session: Session, photo: File, painting: File, second_painting: File, keep: File, region: File
) -> dict[str, str | None]:
    """The paths of what the drop zones hold, by what they are, and of the masks, if they are of this photo."""
    return {
        "photo": file_path(photo),
        "painting": file_path(painting),
        "second painting": file_path(second_painting),
        "mask": _mask_path(session, photo, keep),
        "region": _mask_path(session, photo, region),
    }


def _mask_path(session: Session, photo: File, mask: File) -> str | None:
    """The path of a mask, or None if it is one of another photo.

    The photo was changed a moment ago then, and the page has not yet removed its mask.
    """
    photo_path, path = file_path(photo), file_path(mask)
    return path if path and session.masks.get(path, photo_path) == photo_path else None


@dataclass(frozen=True, eq=False)
class Handlers:
    """The functions behind the page's events, which return the new values of its components."""

    components: Components
    config: ServerConfig

    # Painting

    def paint_on_page(self, session: Session, *inputs: Any) -> Iterator[Changes]:
        """Paint as `stylize` does, into the viewer."""
        yield from self._show_on_page(session, self.stylize(session, *inputs))

    def continue_on_page(self, session: Session, *inputs: Any) -> Iterator[Changes]:
        """Go on as `continue_painting` does, in the viewer."""
        yield from self._show_on_page(session, self.continue_painting(session, *inputs))

    def enlarge_on_page(self, session: Session) -> Iterator[Changes]:
        """Paint the current picture as large as this server does, for printing, in the viewer."""
        yield from self._show_on_page(session, self._enlarge(session))

    def _show_on_page(self, session: Session, updates: Iterator[Changes]) -> Iterator[Changes]:
        """Show a run in the viewer; a refusal stands in the status until the next run."""
        c, control = self.components, session.beginning
        try:
            for changes in updates:
                changes.pop(c.download, None)  # for programs: the page offers all files together
                if c.result in changes:
                    changes[c.viewer] = show_painting(changes.pop(c.result))
                yield changes
        except gr.Error as error:
            if error.print_exception:  # not a sentence of ours
                raise
            if session.run and session.run.is_over:  # the page says why, once
                session.run = None
            if session.photo_count:
                name = Path(session.desk.photo or "").name
                session.failures.append(error.message if name in error.message else f"{name}: {error.message}")
            yield {c.status: status_html(error.message, is_error=True)}
        finally:
            if session.beginning is control:  # it was refused
                session.beginning = None

    def stylize(
        self,
        session: Session,
        photo: File,
        painting: File,
        preset: str,
        size: float,
        iterations: float,
        objective: str,
        faces: bool,
        style_weight_power_of_ten: float,
        content_weight: float,
        tv_weight: float,
        colours: str,
        stroke: float,
        mix: float,
        second_painting: File = None,
        likeness: str | None = None,
        keep: File = None,
        region: File = None,
    ) -> Iterator[Changes]:
        """Paint the photo in the manner of the painting; yields the picture, the status, the curves and a PNG file.

        Args:
            photo: The photo to paint.
            painting: The painting to paint it like.
            preset: quick, balanced, best or classic.
            size: Long side of the result in pixels.
            iterations: Number of steps, at most.
            objective: auto, neighbours, moments or gram.
            faces: Whether to keep faces more like the photo than the rest.
            style_weight_power_of_ten: Strength of the style: 7.3 stands for 2e7.
            content_weight: Likeness to the photo.
            tv_weight: Smoothness.
            colours: painting, luminance or matched.
            stroke: Size of the strokes.
            mix: Share of the second painting, if there is one and no region.
            second_painting: A painting to mix in, or to paint the region.
            likeness: repaint, between or keep my photo. Where it is given, it takes the place of content_weight.
            keep: A mask of the photo, as a picture: what is white stays more like the photo, what is black does not.
            region: A mask of the photo, as a picture: the second painting paints what is white, and the first what is
                black.
        """
        values = {
            "size": size,
            "iterations": iterations,
            "objective": objective,
            "faces": faces,
            "style_weight": style_weight_power_of_ten,
            "content_weight": self._read_likeness(likeness, content_weight),
            "tv_weight": tv_weight,
            "colours": colours,
            "stroke": stroke,
            "mix": mix,
        }
        self.check_ranges(preset, values)
        session.desk = session.desk._replace(preset=preset, values=values)
        with explain_refusal(size, preset):
            settings = to_settings(preset, values)
            request = self._make_request(session, settings, photo, painting, second_painting, keep, region)
        session.desk = session.desk._replace(keep=request.keep, region=request.region)
        yield from self._paint(session, request, preset, request.settings.iterations)

    def paint(
        self,
        photo: File,
        painting: File,
        preset: str = DEFAULT_PRESET,
        likeness: str | None = None,
        keep: File = None,
        region: File = None,
        second_painting: File = None,
    ) -> Iterator[Any]:
        """Paint a photo in the manner of a painting and return the finished picture.

        Args:
            photo: The photo to paint.
            painting: The painting to paint it like.
            preset: balanced, quick, best or classic: how long it may take.
            likeness: repaint, between or keep my photo, in place of what the preset says.
            keep: A mask of the photo, as a picture: what is white stays more like the photo, what is black does not.
            region: A mask of the photo, as a picture: the second painting paints what is white, and the first what is
                black.
            second_painting: The painting for the region; without a region, it is mixed in.
        """
        self.check_ranges(preset, {})
        settings = self.config.limit_size(get_preset(preset))
        settings = replace(settings, content_weight=self._read_likeness(likeness, settings.content_weight))
        session = Session()
        with explain_refusal(settings.size, preset):
            request = self._make_request(session, settings, photo, painting, second_painting, keep, region)
        picture = None
        for changes in self._paint(session, request, preset, request.settings.iterations):
            picture = changes.get(self.components.result, picture)
            yield gr.skip()  # here Gradio notices that the program has left
        yield picture

    def continue_painting(
        self, session: Session, photo: File, painting: File, preset: str, *values_and_second_painting: Any
    ) -> Iterator[Changes]:
        """Go on from the current picture of this visit, with the same masks of its photo."""
        *in_order, second_painting = values_and_second_painting
        values = dict(zip(CONTROLS, in_order, strict=True))
        self.check_ranges(preset, values)
        session.desk = session.desk._replace(preset=preset, values=values)
        with explain_refusal(values["size"], preset):
            settings = to_settings(preset, values)
            request = self._make_request(session, settings, photo, painting, second_painting)
            if not session.current:
                raise StyleTransferError("There is no picture to continue: press Paint first.")
            if session.current.photo != request.photo:
                raise StyleTransferError("The photo has changed: press Paint, or reopen one of its pictures.")
            if not Path(session.current.file).is_file():
                raise StyleTransferError("The picture is no longer on the server: press Paint to paint it again.")
            keep, region = session.current.keep, session.current.region
            for what, mask in (("mask", keep), ("region", region)):
                if mask and not Path(mask).is_file():
                    raise StyleTransferError(f"The {what} of this picture is no longer on the server: press Paint.")
            short = replace(settings, iterations=STEPS_OF_MORE)
            request = request._replace(settings=short, init_image=session.current.file, keep=keep, region=region)
        yield from self._paint(session, request, preset, settings.iterations)

    def _enlarge(self, session: Session) -> Iterator[Changes]:
        current = session.current
        with explain_refusal(self.config.max_size, PRINT):
            if not current:
                raise StyleTransferError("There is no picture to enlarge: press Paint first.")
            settings = replace(current.settings, size=self.config.max_size)
            if current.settings.size >= settings.size:
                raise StyleTransferError(f"This picture is as large as this server paints: {settings.size} pixels.")
            if current.settings.objective == "gram":
                raise StyleTransferError(
                    "A picture painted with Gram matrices cannot be enlarged: paint it with another objective first."
                )
            needed = current.file, current.photo, *current.paintings, current.keep, current.region
            if not all(map(os.path.isfile, filter(None, needed))):
                raise StyleTransferError(
                    "A file of this picture is no longer on the server: press Paint to paint it again."
                )
            request = Request(
                photo=current.photo,
                paintings=current.paintings,
                settings=settings,
                folder=self._control_folder(session),
                init_image=current.file,
                keep=current.keep,
                region=current.region,
                config=self.config,
            )
        yield from self._paint(session, request, PRINT, settings.iterations)

    def check_ranges(self, preset: str, values: Mapping[str, Any]) -> None:
        """Raise gr.Error if a value is one that its component cannot have.

        Events that read a drop zone have `preprocess=False`, so that Gradio does not check the other inputs either.
        Unchecked, a power of ten of 1e9 would keep the processor busy for hours.
        """
        self.components.preset.preprocess(preset)
        for name, value in values.items():
            self._check_range(name, value)

    def _check_range(self, name: str, value: Any) -> None:
        try:
            self.components.controls[name].preprocess(value)
        except TypeError as error:
            raise gr.Error(f"{LABELS[name]} must be a number, not {value!r}.", print_exception=False) from error

    def _read_likeness(self, name: str | None, content_weight: float) -> float:
        """Return the weight that a position of the likeness dial stands for, or `content_weight` if none is given.

        Raises gr.Error if there is no such position.
        """
        return LIKENESS[str(self.components.named_likeness.preprocess(name))] if name else content_weight

    def _make_request(
        self,
        session: Session,
        settings: Settings,
        photo: File,
        painting: File,
        second_painting: File = None,
        keep: File = None,
        region: File = None,
    ) -> Request:
        """Build a request. Raises StyleTransferError if a picture is missing."""
        files = _picture_paths(session, photo, painting, second_painting, keep, region)
        for what in ("photo", "painting"):
            if not files[what]:
                raise StyleTransferError(f"Choose a {what} first.")
        for what, path in files.items():
            if path and not Path(path).is_file():  # it was uploaded yesterday, say
                raise StyleTransferError(f"The {what} is no longer on the server: choose it again.")
        if files["region"] and not files["second painting"] and not session.is_open:  # the page's visitor is told
            raise StyleTransferError("A region needs a second painting, which paints it.")
        keep_path, region_path = files.pop("mask"), files.pop("region")
        named: dict[str, Any] = {what.replace(" ", "_"): path for what, path in files.items()}
        session.desk = session.desk._replace(**named)
        photo_path, *paintings = (path for path in files.values() if path)
        return Request(
            photo=photo_path,
            paintings=tuple(paintings),
            settings=settings,
            folder=self._control_folder(session),
            keep=keep_path,
            region=region_path,
            config=self.config,
        )

    def _control_folder(self, session: Session) -> Path:
        """Return where the run that begins finds what the visitor tells it."""
        # A program has pressed no button; of two tabs of a visit that wait, the first has used the last one's.
        if not session.is_open or not session.control.folder.exists():
            session.renew_control()
        return session.control.folder

    def _paint(self, session: Session, request: Request, preset: str, iterations: int) -> Iterator[Changes]:
        """Start a run for the request, and show how it goes.

        `iterations` is what the visitor's slider says; it is saved in the picture and may be more than this run has.
        """
        self._check_is_free(session)

        def save(run: Run, update: Update) -> str:
            settings = replace(update.settings, iterations=iterations)
            return self._save_result(session, run, update, settings)

        # Nobody comes back to the run of a program, which may have several at a time.
        grace = GRACE_SECONDS if session.is_open else 0.0
        control = session.control if session.is_open else RunControl(request.folder)
        run = Run(request, control, save, preset=preset, grace=grace)
        try:
            with explain_refusal(request.settings.size, preset):
                run.start(has_had_turn=len(session.photos) + 1 < session.photo_count)
        finally:
            session.beginning = None
        session.run = run
        yield from self._show_run(session, run)

    def _show_run(self, session: Session, run: Run) -> Iterator[Changes]:
        """Show how a run goes, until it is over."""
        c = self.components
        last_plot, latest, was_paused, said = 0.0, None, False, ""
        number = session.photo_count - len(session.photos)
        which = f"Photo {number} of {session.photo_count}" if session.photo_count else KEPT if session.follows else ""
        for update in run.watch():
            is_paused = run.control.paused
            # A copy, since saving a picture changes it for a moment, and others save the same one in other threads.
            picture = update.picture.copy() if update else None
            if update and update.end:
                yield {
                    c.result: picture,
                    c.status: describe_progress(update, SHOWN_ENDS[update.end], which, run.message),
                    c.plot: plot_losses(run.losses, run.marks, update.settings, update.iterations),
                    c.download: run.result.file if run.result else None,  # None if it could not be saved
                }
            elif update:
                changes: Changes = {
                    c.result: picture,
                    c.status: describe_progress(update, "Painting", which),
                }
                if time.monotonic() - last_plot > SECONDS_PER_PLOT:
                    last_plot = time.monotonic()
                    changes[c.plot] = plot_losses(run.losses, run.marks, update.settings, update.iterations)
                yield changes
            elif not latest and said != describe_place(run.place):
                said = describe_place(run.place)
                yield {c.status: said}
            elif latest and is_paused and not was_paused:
                # Without the picture, whose file Gradio would write again while a browser reads it.
                plot = plot_losses(run.losses, run.marks, latest.settings, latest.iterations)
                yield {c.status: describe_progress(latest, "Paused", which), c.plot: plot}
            else:
                yield gr.skip()  # here Gradio notices that the tab has been closed
            was_paused = is_paused and not update
            latest = update or latest
        if not run.has_begun and session.run is run:
            session.run = None
            said = status_html("You left the queue. Nothing was painted.")
            yield {c.status: status_html(LOST_PLACE, is_error=True) if run.was_abandoned else said}

    def _save_result(self, session: Session, run: Run, update: Update, settings: Settings) -> str:
        """Save the picture's files for the visit; if one of them cannot be, return a sentence that says so."""
        try:
            with NAMING:
                name = name_result(run.request.photo, run.request.paintings, session.stems)
                session.stems.add(name.stem)
            result = SavedResult.save(
                update.picture,
                folder=session.folder,
                name=name,
                photo=run.request.photo,
                paintings=run.request.paintings,
                keep=run.request.keep if update.masked else None,
                # Also if it covers all of the photo: without it, More would mix the two paintings.
                region=run.request.region if run.request.regions else None,
                in_regions=update.in_regions,
                time_lapse=run.time_lapse,
                settings=settings,
                losses=run.losses,
                marks=run.marks,
                only_png=not session.is_open,
            )
            session.add(result)
            run.result = result
        except Exception as error:  # whatever it is, the picture stays shown
            session.current = None
            if isinstance(error, OSError):
                why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
            elif isinstance(error, StyleTransferError):  # the photo has been deleted, say
                why = str(error).rstrip(".")
            else:
                log.exception("a picture could not be saved")
                why = "an error of this server, which is in its log"
            return f"The picture could not be saved ({why}): save it with a right click or a long press."
        if session.run is run:
            session.run = None
            session.running = False
        if session.is_open and not result.film:
            return "The picture is saved, but no film of it could be made."
        return ""

    # Before, during and after a run

    def start_run(self, session: Session, photo: File, painting: File, second_painting: File = None) -> Changes:
        """Paint was pressed: say which picture is missing, or let the run begin. Raises gr.Error if it cannot."""
        c = self.components
        missing = {
            c.photo: "" if photo else CHOOSE_PHOTO,
            c.painting: "" if painting else "Choose a style first.",
            c.second_painting: "",
        }
        for zone, picture in zip(missing, (photo, painting, second_painting), strict=True):
            if picture and not Path(picture["path"]).is_file():  # it was uploaded yesterday, say
                missing[zone] = "This picture is no longer on the server: choose it again."
        notices = {
            part: change for zone, sentence in missing.items() for part, change in self._notify(zone, sentence).items()
        }
        return notices if any(missing.values()) else {**notices, **self._begin(session), c.go: secrets.token_hex(4)}

    def start_more(self, session: Session) -> Changes:
        """More, or Large for printing, was pressed. Raises gr.Error if the run cannot begin."""
        return self._begin(session)

    def _begin(self, session: Session) -> Changes:
        """Say that a run waits for its turn. Raises gr.Error if it cannot begin."""
        self._check_is_open(session)
        self._check_is_free(session)
        if session.run:
            session.run.control.stop()
        try:
            session.renew_control()
        except OSError as error:
            raise gr.Error(FULL_DISK, print_exception=False) from error
        if session.sketches:
            session.sketches.stop("Ended, since you began to paint.")
        session.beginning = session.control
        session.running, session.wants_next, session.follows, session.offered = True, False, False, ""
        VISITS.keep(session)
        return {
            **self._enable_buttons(running=True),
            **self._show_offer(session),
            self.components.status: describe_place(None),
        }

    def surprise(self, session: Session, photo: File, painting: File, second_painting: File) -> Changes:
        """Surprise me was pressed: paint the visitor's photo, or a sample, in another style."""
        c = self.components
        photo_path, style = file_path(photo) or random.choice(sample_photos()), random_style(file_path(painting))
        started = self.start_run(session, {"path": photo_path}, {"path": style}, second_painting)
        return {**started, c.photo: photo_path, c.painting: style}

    def _check_is_open(self, session: Session) -> None:
        if not session.is_open:
            raise gr.Error(RESTARTED, print_exception=False)

    def _check_is_free(self, session: Session) -> None:
        """Raise gr.Error if a run of the visit is on, and watched. A program may have several."""
        if session.is_open and session.run and session.run.is_watched:
            raise gr.Error(BUSY_VISIT, print_exception=False)

    def finish_run(self, session: Session) -> Changes:
        """The run is over: enable the buttons, or begin the one that was asked for meanwhile."""
        is_on = session.run and not session.run.is_over
        session.running = bool(is_on or session.beginning)  # one that was begun meanwhile
        VISITS.keep(session)
        if session.wants_next and not session.running:
            changes = {**self._begin(session), self.components.go: secrets.token_hex(4)}
            session.follows = session.current is not None
            return changes
        if session.photos and not session.running:
            return self._begin_next_photo(session)
        said = self._notify(self.components.photo, " ".join(session.failures)) if session.failures else {}
        session.photo_count, session.failures = 0, []
        buttons = self._enable_buttons(session.running, can_continue=bool(session.current))
        return {**buttons, **self._show_offer(session), **said}

    def paint_photos(self, session: Session, uploads: list[File] | None, painting: File) -> Changes:
        """Several photos were chosen: paint one after the other, each in a turn of its own.

        Raises gr.Error if that cannot begin.
        """
        c = self.components
        if not painting:
            return self._notify(c.painting, "Choose a style first, then the photos.")
        self._check_is_open(session)
        self._check_is_free(session)
        session.photos = [str(file_path(upload)) for upload in uploads or ()]
        session.failures = []
        if len(session.photos) > MAX_RESULTS:
            session.failures = [
                f"{len(session.photos)} photos are too many at once: the first {MAX_RESULTS} are painted."
            ]
            session.photos = session.photos[:MAX_RESULTS]
        session.photo_count = len(session.photos)
        return {**self._begin_next_photo(session), **self._notify(c.painting, "")} if session.photos else gr.skip()

    def _begin_next_photo(self, session: Session) -> Changes:
        c, photo = self.components, session.photos.pop(0)
        said = self._notify(c.photo, " ".join(session.failures))
        return {**self._begin(session), **said, c.photo: photo, c.go: secrets.token_hex(4)}

    def fail_run(self, session: Session) -> Changes:
        """The run could not start, and a message on the page has said why."""
        c = self.components
        session.wants_next = False
        if session.photo_count:
            session.failures.append(f"{Path(session.desk.photo or '').name} could not be painted.")
        changes = self.finish_run(session)
        return changes if c.go in changes else {**changes, c.status: status_html("Nothing was painted this time.")}

    def _enable_buttons(self, running: bool, can_continue: bool = False, paused: bool = False) -> Changes:
        """Enable the buttons that make sense; what is to be saved is enabled with its files (`_offer_files`)."""
        c = self.components
        saving = (c.save_jpeg, c.download, c.save_film) if running else ()
        return {
            **{button: gr.update(interactive=False) for button in saving},
            c.start: gr.update(interactive=not running),
            c.surprise: gr.update(interactive=not running),
            **self._offer_to_go_on(can_continue and not running),
            c.pause: gr.update(interactive=running, value="Continue" if paused else "Pause"),
            c.stop: gr.update(interactive=running),
            c.try_styles: gr.update(interactive=not running),
            c.several_photos: gr.update(interactive=not running),
        }

    def stop_run(self, session: Session) -> None:
        """End the run at its next step; its picture is kept. Raises gr.Error if the server was restarted."""
        self._check_is_open(session)
        session.photos.clear()
        session.control.stop()

    def toggle_pause(self, session: Session) -> str:
        """Pause the run, or let it go on; returns the new label of the button.

        Raises gr.Error if the server was restarted.
        """
        self._check_is_open(session)
        session.control.paused = not session.control.paused
        return "Continue" if session.control.paused else "Pause"

    # Trying all styles

    def try_styles(
        self,
        session: Session,
        photo: File,
        keep: File,
        preset: str,
        *values_and_second_painting: Any,
    ) -> Changes:
        """Sketch the photo in every style, with the second painting, or go on with those that are missing.

        The last two inputs are the second painting and its region. Raises gr.Error if it cannot begin.
        """
        *values, second_painting, region = values_and_second_painting
        c = self.components
        self._check_is_open(session)
        if session.sketches and not session.sketches.is_over:  # from another tab of the visit
            return self._show_sketches(session, session.sketches)
        path = file_path(photo)
        if not path or not Path(path).is_file():
            said = "This photo is no longer on the server: choose it again." if path else CHOOSE_PHOTO
            return self._notify(c.photo, said)
        self._check_is_free(session)
        second_path = file_path(second_painting)
        if second_path and not Path(second_path).is_file():
            return self._notify(c.second_painting, "This picture is no longer on the server: choose it again.")
        named = dict(zip(CONTROLS, values, strict=True))
        self.check_ranges(preset, named)
        try:
            before = session.sketches
            sketches = Sketches(
                path,
                [style for style, _ in styles()],
                to_settings(preset, named),
                second_painting=second_path,
                keep=_mask_path(session, photo, keep),
                region=_mask_path(session, photo, region) if second_path else None,
                folder=session.folder,
                control=RunControl(Path(tempfile.mkdtemp(dir=session.folder))),
                config=self.config,
                grace=GRACE_SECONDS,
            )
            goes_on = bool(before and sketches.take_over(before))
            sketches.start()
        except OSError as error:
            raise gr.Error(FULL_DISK, print_exception=False) from error
        except StyleTransferError as error:  # too many wait
            return {c.wall_part: gr.update(visible=True), c.wall_text: status_html(str(error), is_error=True)}
        if before and not goes_on:
            before.delete()
        session.sketches = sketches
        VISITS.keep(session)
        return {**self._show_sketches(session, sketches), **self._notify(c.photo, "")}

    def stop_sketches(self, session: Session) -> None:
        """End the sketches; the ones that are painted stay. Raises gr.Error if the server was restarted."""
        self._check_is_open(session)
        if session.sketches:
            session.sketches.stop("Stopped.")

    def watch_sketches(self, session: Session) -> Iterator[Changes]:
        """Show how the wall fills, until it is full or the visitor stops it."""
        sketches = session.sketches
        said: Changes = {}
        yield gr.skip()  # of a generator that yields nothing, Gradio empties all outputs
        if not sketches:
            return
        for _ in sketches.watch():
            if session.sketches is not sketches:  # it was forgotten
                return
            shown = self._show_sketches(session, sketches)
            yield shown if shown != said else gr.skip()  # where Gradio notices that the tab has been closed
            said = shown
        VISITS.keep(session)
        if session.sketches is sketches:
            yield self._show_sketches(session, sketches)

    def _show_sketches(self, session: Session, sketches: Sketches) -> Changes:
        c, names = self.components, style_tiles()
        painted = [path if path and Path(path).is_file() else None for path in sketches.wall.pictures]
        tiles = [
            Tile(path or style.picture, style.name, is_waiting=not path)
            for path, style in zip(painted, names, strict=False)
        ]
        return {
            c.wall_part: gr.update(visible=True),
            c.wall: tiles_value(tiles),
            c.wall_text: describe_sketches(sketches, [tile.name for tile in tiles]),
            c.try_styles: gr.update(interactive=sketches.is_over and not session.running),
            c.stop_sketches: gr.update(visible=not sketches.is_over),
        }

    def choose_sketch(self, session: Session, photo: File, second_painting: File, event: gr.SelectData) -> Changes:
        """A sketch was pressed: paint its photo in its style, or offer to while a run is on."""
        c, sketches = self.components, session.sketches
        if not sketches:  # of a page from before a restart
            raise gr.Error(RESTARTED, print_exception=False)
        style = sketches.paintings[event.index]
        chosen = {c.painting: style, **self._notify(c.painting, "")}
        if file_path(photo) != sketches.photo:
            chosen[c.photo] = sketches.photo
            masks = sketches.keep, sketches.region
            keep, region = (mask if mask and Path(mask).is_file() else None for mask in masks)
            session.desk = session.desk._replace(keep=keep, region=region)
            chosen |= {c.keep: keep, c.region: region}  # with its marks
        if session.running:
            return {**chosen, **self._offer_style(session, sketches.photo, style)}
        return {**self.start_run(session, {"path": sketches.photo}, {"path": style}, second_painting), **chosen}

    def steer(self, session: Session, preset: str, *values: Any) -> None:
        """A control was moved: this visitor's run, if there is one, follows at its next step."""
        try:
            named = dict(zip(CONTROLS, values, strict=True))
            self.check_ranges(preset, named)
            settings = to_settings(preset, named)
            session.desk = session.desk._replace(preset=preset, values=named)
            if session.running:
                session.control.send(settings)
        except FileNotFoundError:
            pass  # the run has just ended
        except OSError as error:
            raise gr.Error(FULL_DISK, print_exception=False) from error
        except (gr.Error, StyleTransferError, TypeError, ValueError, OverflowError):
            pass  # the visitor is still typing the number

    def show_results(self, session: Session) -> Changes:
        """The run is over: offer its files, compare before and after, and send its record to the strip."""
        c, last = self.components, session.current
        shown = {c.viewer: show_result(last.jpeg or last.file, last.before)} if last else {}
        records = []
        unsent, session.unsent = session.unsent, []
        for result in [*(other for other in unsent if other is not last), *([last] if last else [])]:
            with suppress(StyleTransferError):  # its file has just been deleted, to make room
                records.append(make_record(result))
        return {
            **self._offer_files(last, session.running),
            **shown,
            c.strip: {"records": records},
            c.save_all: gr.update(visible=len(session.results) > 1),
        }

    def pack_results(self, session: Session) -> Changes:
        """Pack all pictures of the visit that are still on the server, as PNG files, into one ZIP file."""
        file = session.folder / "paintings.zip"
        part = file.with_suffix(f".{secrets.token_hex(4)}")  # the one before may be on its way to the browser
        try:
            with zipfile.ZipFile(part, "w") as packed:  # stored, since a PNG is compressed
                for result in session.results:
                    if Path(result.file).is_file():
                        packed.write(result.file, Path(result.file).name)
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise gr.Error(FULL_DISK_FOR_ZIP, print_exception=False) from error
        return {self.components.zip_file: str(file)}

    def _offer_to_go_on(self, can_continue: bool) -> Changes:
        """Enable the buttons that go on from the current picture, or disable them."""
        return dict.fromkeys((self.components.more, self.components.enlarge), gr.update(interactive=can_continue))

    def _offer_files(self, result: SavedResult | None, running: bool = False) -> Changes:
        """Offer the files of a result, unless the next picture is already shown, and show its film; else none."""
        c = self.components
        files: Changes = dict.fromkeys((c.save_jpeg, c.download, c.save_film, c.save_webp))
        if result:
            files = {
                c.save_jpeg: result.jpeg,
                c.download: result.file,
                c.save_film: result.film,
                c.save_webp: result.film_webp,
            }
        film = files[c.save_film]
        return {
            **{button: gr.update(value=file, interactive=bool(file) and not running) for button, file in files.items()},
            c.film_part: gr.update(visible=bool(film)),
            c.film: film,
        }

    # Choosing

    def show_example(self, session: Session, event: gr.SelectData) -> Changes:
        """An example was pressed, which the page has taken by itself; unless a run is on, show settings and result."""
        c, example = self.components, examples()[event.index]
        if session.running:
            return gr.skip()
        session.current, settings = None, get_preset(DEFAULT_PRESET)
        session.desk = session.desk._replace(preset=DEFAULT_PRESET, values=self._slider_values(settings))
        return {
            c.preset: DEFAULT_PRESET,
            **self._move_controls(settings),
            c.viewer: show_example(example),
            c.status: status_html("A finished result of this pair. Press Paint to watch it form."),
            c.plot: None,
            **self._offer_files(None),
            **self._offer_to_go_on(False),
        }

    def clear_notice(self, zone: gr.Image) -> Changes:
        """A tile was pressed, whose picture the page has put into the zone: what was said of the one before is over."""
        return self._notify(zone, "")

    def choose_style(
        self, session: Session, photo: File, painting: File, second_painting: File, event: gr.SelectData
    ) -> Changes:
        """A style was pressed, which the page has taken by itself; paint with it if the visitor has painted before.

        A run that waits for its turn will be painted with it. While one is on, offer to paint with it next, or now.
        """
        c, tile = self.components, style_tiles(session.own_painting)[event.index]
        path = tile.files[0]
        chosen = self._notify(c.painting, "")
        if session.run and session.run.change_painting(path):
            return chosen
        if session.running:
            return {**chosen, **self._offer_style(session, file_path(photo), path)}
        if session.current and photo:
            return {**self.start_run(session, photo, {"path": path}, second_painting), **chosen}
        return chosen

    def _offer_style(self, session: Session, photo: str | None, painting: str) -> Changes:
        session.offered = style_name(painting)
        if photo and session.run and session.run.request.photo != photo:
            session.offered = pair_name(photo, [painting])
        return self._show_offer(session)

    def _show_offer(self, session: Session) -> Changes:
        """Offer the style that was pressed during a run, or say that it is next; after the run, offer to paint it."""
        c, name = self.components, session.offered
        if not name:
            return {c.offer: gr.update(visible=False)}
        if not session.running:
            said = f"**{name}** is chosen."
        elif session.wants_next:
            said = f"Next: **{name}**"
        else:
            said = f"**{name}**: your picture is still being painted."
        is_next = session.running and session.wants_next
        return {
            c.offer: gr.update(visible=True),
            c.offer_text: said,
            c.paint_next: gr.update(visible=not is_next, value="Paint it next" if session.running else "Paint it"),
            c.paint_now: gr.update(visible=session.running),
            c.cancel_next: gr.update(visible=is_next),
        }

    def renew_offer(self, session: Session, photo: File, painting: File) -> Changes:
        """The page has another photo or painting: offer to paint that. After a run, the offer goes."""
        if not session.offered or (session.wants_next and not session.running):  # then it is about to begin
            return gr.skip()
        photo_path, painting_path = file_path(photo), file_path(painting)
        if session.running and photo_path and painting_path:
            return self._offer_style(session, photo_path, painting_path)
        return self._withdraw_offer(session)

    def _withdraw_offer(self, session: Session) -> Changes:
        session.wants_next, session.offered = False, ""
        return self._show_offer(session)

    def describe_second_painting(self, session: Session, photo: File, second_painting: File, region: File) -> Changes:
        """Say beside Paint what the second painting does; a share means nothing where a part is marked for it."""
        c = self.components
        path, is_marked = file_path(second_painting), bool(_mask_path(session, photo, region))
        session.desk = session.desk._replace(second_painting=path)
        name = html.escape(style_name(path)) if path else ""
        said = ""
        if path:
            what = "for the part you marked" if is_marked else "mixed in"
            said = f'Second painting: <a href="#second-part">{name}</a>, {what}'
        elif is_marked:
            said = f"You marked a part for a second painting. Without one, the mark is ignored. {CHOOSE_SECOND}"
        help = "Not used while a part is marked: the second painting paints just that part." if is_marked else None
        return {
            c.second_line: gr.update(visible=bool(said)),
            c.second_text: said,
            c.remove_second: gr.update(visible=bool(path)),
            c.controls["mix"]: gr.update(interactive=not is_marked, info=help or knobs()["mix"].help),
        }

    def remove_second_painting(self, session: Session) -> Changes:
        """Take the second painting away; what is marked for it stays."""
        session.desk = session.desk._replace(second_painting=None)
        return {self.components.second_painting: None, **self._notify(self.components.second_painting, "")}

    def mark_style(self, session: Session, painting: File) -> dict[str, Any]:
        """The painting has changed: return the styles with a ring around it."""
        path = file_path(painting)
        name = example_name(path, "style")
        if path and not name:
            session.own_painting = path
        session.desk = session.desk._replace(painting=path)
        tiles = style_tiles(session.own_painting)
        chosen = next((i for i, tile in enumerate(tiles) if tile.picture and Path(tile.picture).stem == name), None)
        return tiles_value(tiles, len(tiles) - 1 if path and not name else chosen)

    def paint_next(self, session: Session, photo: File, painting: File, second_painting: File) -> Changes:
        """Paint with the other style when the run has ended, or at once if it has."""
        if not session.running:
            return self.start_run(session, photo, painting, second_painting)
        session.wants_next = True
        return self._show_offer(session)

    def cancel_next(self, session: Session) -> Changes:
        """Do not paint the other style: the one of the run is chosen again."""
        shown = {self.components.painting: session.run.request.paintings[0]} if session.run else {}
        return {**self._withdraw_offer(session), **shown}

    def paint_now(self, session: Session) -> Changes:
        """End the run, whose picture is kept, and paint with the other style.

        Raises gr.Error if the server was restarted.
        """
        self._check_is_open(session)
        session.wants_next = True
        session.control.stop()
        return self._show_offer(session)

    def take_picture(self, zone: gr.Image, upload: dict[str, Any]) -> Changes:
        """A file was chosen for a drop zone: show it there and restore its settings, or say why it cannot be read."""
        path = upload["path"]
        try:
            with READING:
                images.load(path)
        except StyleTransferError as error:
            return self._notify(zone, str(error))
        if zone is self.components.second_painting:
            return {zone: path, **self._notify(zone, "")}
        return {zone: path, **self.restore_settings(zone, upload)}

    def choose_preset(self, name: str) -> Changes:
        """A preset was chosen: move the sliders to its settings."""
        return self._move_controls(get_preset(name))

    def reopen_painting(self, session: Session, event: gr.EventData) -> Changes:
        """A picture of the strip was pressed: show it again, with its photo, its painting and its settings.

        A drop zone whose picture is no longer on the server stays as it is, and a sentence says so.
        """
        c = self.components
        if session.running:
            return {c.strip: {"sentence": "A picture is being painted: let it finish, or stop it, and press again."}}
        record = read_record(read_event(event, "record"), session)
        session.current = record.result
        changes: Changes = {}
        for what, zone, path in zip(
            PICTURES,
            (c.photo, c.painting, c.second_painting),
            (record.photo, record.painting, record.second_painting),
            strict=True,
        ):
            if what in record.missing:
                changes |= self._notify(
                    zone, f"The {what} of this picture is no longer on the server: choose it again."
                )
            else:
                changes |= {zone: path, **self._notify(zone, "")}
                named: dict[str, Any] = {what.replace(" ", "_"): path}
                session.desk = session.desk._replace(**named)
        if record.photo:  # and with it its masks
            masks = (record.result.keep, record.result.region) if record.result else (None, None)
            keep, region = (mask if mask and Path(mask).is_file() else None for mask in masks)
            session.masks |= {mask: record.photo for mask in (keep, region) if mask}
            session.desk = session.desk._replace(keep=keep, region=region)
            changes |= {c.keep: keep, c.region: region}
        if record.settings:
            preset = find_preset(record.settings)
            changes |= self._restore(record.settings)
            shown_preset = preset or session.desk.preset or self.config.preset
            session.desk = session.desk._replace(preset=shown_preset, values=self._slider_values(record.settings))
            if said := self._describe_restored(record.settings):
                changes[c.strip] = {"sentence": " ".join(["Its settings were restored.", *said])}
        if record.result:
            shown = self._show_result(record.result)
        else:
            small = show_small(record.picture, record.photo)
            shown = {c.viewer: small, c.plot: None, **self._offer_files(None)}
        has_all = "photo" not in record.missing and not record.lost_mask and not record.lost_region
        return {
            c.strip: {},
            **changes,
            **shown,
            **self._withdraw_offer(session),
            c.status: status_html(_describe_painting(record)),
            **self._offer_to_go_on(bool(record.result) and has_all),
        }

    def forget_paintings(self, session: Session, event: gr.EventData) -> Changes:
        """Paintings are to be forgotten: delete them from the server, too, and if all are, show none of the visit's."""
        ids = read_event(event, "ids")
        VISITS.forget_results({id for id in ids if isinstance(id, str)} if isinstance(ids, list) else set(), session)
        c = self.components
        if not read_event(event, "all"):
            # Another tab may have forgotten it before this one.
            shows_it = session.has_forgotten_current and not session.running
            return self._show_nothing(session) if shows_it else gr.skip()
        no_wall = {c.wall_part: gr.update(visible=False), c.try_styles: gr.update(interactive=not session.running)}
        if session.sketches:
            session.sketches.stop("Forgotten.")
            session.sketches.delete()
            session.sketches = None
        return no_wall if session.running else {**no_wall, **self._show_nothing(session)}

    def _show_nothing(self, session: Session) -> Changes:
        """Show the page as it was before anything was painted."""
        c = self.components
        session.current, session.has_forgotten_current = None, False
        return {
            c.save_all: gr.update(visible=len(session.results) > 1),
            **self._offer_files(None),
            c.viewer: show_example(examples()[FIRST_EXAMPLE]),
            c.status: NOTHING_PAINTED,
            c.plot: None,
            **self._offer_to_go_on(False),
        }

    def _show_result(self, result: SavedResult) -> Changes:
        c = self.components
        return {
            c.viewer: show_result(result.jpeg or result.file, result.before),
            c.status: status_html(f"{result.name.caption}. Press More steps to continue it."),
            c.plot: plot_losses(result.losses, result.marks, result.settings, len(result.losses)),
            **self._offer_files(result),
        }

    def restore_settings(self, zone: gr.Image, picture: File) -> Changes:
        """A picture was uploaded: if it was painted here, restore the settings inside it."""
        path = file_path(picture)
        settings = metadata.read_settings(path) if path else None
        if not settings:
            return self._notify(zone, "")
        said = ["Settings restored from this picture.", *self._describe_restored(settings)]
        if metadata.is_masked(str(path)):
            said.append("Parts of it were marked to keep: the marks are not in the file.")
        if metadata.is_in_regions(str(path)):
            said.append("Parts of it were marked for a second painting: the marks are not in the file.")
        return {**self._restore(settings), **self._notify(zone, " ".join(said))}

    def follow_link(self, session: Session, query: str) -> Changes:
        """The page was opened by a link: show what it asks for."""
        c, link = self.components, share_link.decode(query)
        values = self._slider_values(link.settings)
        said = [f"Ignored in this link: {', '.join(link.ignored)}."] if link.ignored else []
        said += self._describe_size(link.settings)
        said += [share_link.describe_marks(link.marks)] if link.marks else []
        session.desk = Desk(link.photo, link.painting, link.second_painting, preset=link.preset, values=values)
        return {
            c.photo: link.photo,
            c.painting: link.painting,
            c.second_painting: link.second_painting,
            c.preset: link.preset,
            **self._move_controls(link.settings),
            **self._notify(c.photo, " ".join(said)),
        }

    # Coming back

    def open_visit(self, session: Session, token: str, query: str, is_reload: bool) -> Changes:
        """The page was opened, perhaps once more in the same tab: find the visit again, or begin one.

        `query` is that of a link. A page that is loaded again shows what it showed, and not the link once more.
        """
        found = VISITS.open(token, session)
        changes: Changes = {}
        if found is not session:  # Gradio lets a state that was set expire
            changes[self.components.session] = found
        if query and not (is_reload and found.desk.photo):
            found.leave_run()
            if found.sketches:
                found.sketches.stop("Ended, since a link was opened.")
            changes[self.components.link_query] = query
        elif found is not session:
            changes[self.components.returned] = secrets.token_hex(8)  # a change, each time
        return changes or gr.skip()

    def return_to_visit(self, session: Session) -> Changes:
        """The page of a visit was loaded again: show what it showed."""
        c, desk, current = self.components, session.desk, session.current
        was_lost = session.lost_place = session.running and not session.run
        session.running, session.beginning = bool(session.run and not session.run.is_over), None
        VISITS.keep(session)
        # A file may have been deleted meanwhile, to make room.
        session.results = [result for result in session.results if result.is_whole]
        pictures: Changes = {
            c.photo: desk.photo,
            c.painting: desk.painting,
            c.second_painting: desk.second_painting,
            c.keep: desk.keep,
            c.region: desk.region,
        }
        changes: Changes = {
            **{zone: path for zone, path in pictures.items() if path and Path(path).is_file()},
            **self._enable_buttons(session.running, bool(current), session.control.paused),
            **self._show_offer(session),
            c.save_all: gr.update(visible=len(session.results) > 1),
        }
        if desk.preset and desk.values:
            changes[c.preset] = desk.preset
            changes |= {c.controls[name]: value for name, value in desk.values.items()}
        if current and current.is_whole and not session.running:
            changes |= self._show_result(current)
        if session.sketches:
            changes |= self._show_sketches(session, session.sketches)
        if session.running:
            changes[c.status] = status_html("Looking for your picture …")
        elif was_lost:
            changes[c.status] = status_html(LOST_PLACE, is_error=True)
        return changes

    def watch_again(self, session: Session) -> Iterator[Changes]:
        """The page of a visit was loaded again: show how its run goes on, if there is one."""
        c = self.components
        yield gr.skip()
        if session.current and not session.run and not session.running:  # its run may just have ended
            shown = self._show_result(session.current)
            if session.lost_place:
                shown[c.status] = status_html(LOST_PLACE, is_error=True)
            yield {part: shown[part] for part in (c.viewer, c.status, c.plot)}
        elif session.run:
            yield from self._show_on_page(session, self._show_run(session, session.run))

    def make_link(
        self,
        session: Session,
        address: str,
        photo: File,
        painting: File,
        second_painting: File,
        keep: File,
        region: File,
        preset: str,
        *values: Any,
    ) -> Changes:
        """Show a link to what the page, which is at `address`, is set to, and say what the link does not carry."""
        named = dict(zip(CONTROLS, values, strict=True))
        self.check_ranges(preset, named)
        pictures = _picture_paths(session, photo, painting, second_painting, keep, region)
        return {
            self.components.link: gr.update(
                value=f"{address}?{share_link.encode(pictures, preset, named)}", visible=True
            ),
            self.components.link_note: gr.update(value=share_link.describe_limits(pictures), visible=True),
        }

    def renew_link(self, *inputs: Any) -> Changes:
        """What the page is set to has changed: make the link that is shown once more, from the inputs of make_link."""
        try:
            return self.make_link(*inputs)
        except (gr.Error, StyleTransferError, TypeError, ValueError):
            return gr.skip()  # the visitor is still typing the number

    def preview_colours(self, session: Session, photo: File, painting: File, colours: str) -> Image.Image | None:
        """Return the current picture of this photo, or the photo itself, in about the colours that were chosen."""
        photo_path, painting_path = file_path(photo), file_path(painting)
        if not photo_path or not painting_path:
            return None
        self._check_range("colours", colours)
        session.desk = session.desk._replace(photo=photo_path, painting=painting_path)
        current = session.current
        with suppress(StyleTransferError), READING:
            photo_image, painting_image = (images.load(path).image for path in (photo_path, painting_path))
            is_of_photo = current and current.photo == photo_path
            image = images.load(current.file).image if current and is_of_photo else photo_image.copy()
            image.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
            return colour.preview(image, photo_image, painting_image, colours)
        return None

    def turn_likeness(self, name: str) -> float:
        """The likeness dial was turned: return α."""
        return LIKENESS[name]

    def _move_controls(self, settings: Settings) -> Changes:
        return {self.components.controls[name]: value for name, value in self._slider_values(settings).items()}

    def _slider_values(self, settings: Settings) -> dict[str, Any]:
        return slider_values(self.config.limit_size(settings))

    def _describe_restored(self, settings: Settings) -> list[str]:
        """Return a sentence for all that the page cannot show of these settings."""
        return [*([] if find_preset(settings) else [SETTINGS_LEFT_OUT]), *self._describe_size(settings)]

    def _describe_size(self, settings: Settings) -> list[str]:
        """Return a sentence if these settings have a size that the server does not paint."""
        most = self.config.max_size
        return [f"Its size was {settings.size} pixels; this server paints {most} at most."] * (settings.size > most)

    def _restore(self, settings: Settings) -> Changes:
        """Move the sliders, and choose the preset if one fits."""
        preset = find_preset(settings)
        return {**({self.components.preset: preset} if preset else {}), **self._move_controls(settings)}

    def _notify(self, zone: gr.Image, message: str) -> Changes:
        return {self.components.notices[zone]: gr.update(value=message, visible=bool(message))}
