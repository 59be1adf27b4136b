"""What each button and slider of the page does."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from styletransfer import Losses, Settings, StyleTransferError, colour, images, metadata

from . import share_link, worker
from .config import DEFAULT_PRESET, ServerConfig
from .controls import CONTROLS, LABELS, find_preset, get_preset, slider_values, to_settings
from .drop_zones import READING, file_path
from .examples import examples, styles
from .results import SavedResult, TimeLapse
from .session import Session
from .status import describe_progress, plot_losses, status_html
from .worker import Failure, Request, RunEnd

SECONDS_PER_PLOT = 1.5
MAX_PAUSE_SECONDS = 120.0  # other visitors may be waiting
STEPS_OF_MORE = 20
PREVIEW_SIZE = 320  # pixels of the long side
SHOWN_ENDS = {RunEnd.FINISHED: "Finished", RunEnd.STOPPED: "Stopped"}
LOGGED_ENDS = {RunEnd.FINISHED: "finished", RunEnd.STOPPED: "stopped"}
log = logging.getLogger(__name__)

File = dict[str, Any] | None
"""What a drop zone holds: see `drop_zones.file_path`."""
Changes = dict[Any, Any]
"""New values by component. A component that is left out stays as it is."""


@dataclass(frozen=True, eq=False)
class Components:
    """The components that handlers read or change; layout.py says where they are on the page."""

    session: gr.State
    link_query: gr.Textbox
    examples: gr.Gallery
    photo: gr.Image
    painting: gr.Image
    second_painting: gr.Image
    uploads: Mapping[gr.Image, gr.File]  # of the drop zones
    notice: gr.Markdown
    start: gr.Button
    styles: gr.Gallery
    surprise: gr.Button
    preset: gr.Dropdown
    controls: Mapping[str, gr.Slider | gr.Radio | gr.Checkbox]  # by the name of their setting, in the order of CONTROLS
    preview: gr.Image
    outcome: gr.Column
    result: gr.Image
    status: gr.HTML
    pause: gr.Button
    stop: gr.Button
    more: gr.Button
    download: gr.DownloadButton
    time_lapse: gr.DownloadButton
    plot: gr.Plot
    compare: gr.ImageSlider
    history: gr.Gallery
    link: gr.Textbox
    share: gr.Button
    finished_picture: gr.Image  # of /paint, never shown


@dataclass
class RunLog:
    """What the log says of a run in the end."""

    outcome: str = "refused"
    iteration: int = 0
    started: float = field(default_factory=time.monotonic)


@contextmanager
def log_run(size: Any, preset: str) -> Iterator[RunLog]:
    """Log one line when the run ends, however it does, and turn a StyleTransferError into a message on the page."""
    entry = RunLog()
    try:
        yield entry
    except StyleTransferError as error:
        raise gr.Error(str(error), title="Cannot paint this", print_exception=False) from error
    finally:
        seconds = time.monotonic() - entry.started
        facts = size, preset, seconds, entry.iteration, entry.outcome
        log.info("job size=%s preset=%s seconds=%.1f evaluations=%d outcome=%s", *facts)


@dataclass(frozen=True, eq=False)
class Handlers:
    """The functions behind the page's events, which return the new values of its components."""

    components: Components
    config: ServerConfig

    # Painting

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
            mix: Share of the second painting, if there is one.
            second_painting: A painting to mix in.
        """
        values = {
            "size": size,
            "iterations": iterations,
            "objective": objective,
            "faces": faces,
            "style_weight": style_weight_power_of_ten,
            "content_weight": content_weight,
            "tv_weight": tv_weight,
            "colours": colours,
            "stroke": stroke,
            "mix": mix,
        }
        self.check_ranges(preset, values)
        with log_run(size, preset) as entry:
            request = self._make_request(session, to_settings(preset, values), photo, painting, second_painting)
            yield from self._paint(session, request, request.settings.iterations, entry)

    def paint(self, photo: File, painting: File, preset: str = DEFAULT_PRESET) -> Image.Image:
        """Paint a photo in the manner of a painting and return the finished picture.

        Args:
            photo: The photo to paint.
            painting: The painting to paint it like.
            preset: balanced, quick, best or classic: how long it may take.
        """
        self.check_ranges(preset, {})
        session = Session()
        with log_run(get_preset(preset).size, preset) as entry:
            request = self._make_request(session, get_preset(preset), photo, painting)
            *_, last = self._paint(session, request, request.settings.iterations, entry)
        return last[self.components.result]

    def continue_painting(
        self, session: Session, photo: File, painting: File, preset: str, *values_and_second_painting: Any
    ) -> Iterator[Changes]:
        """Go on from the current picture of this visit."""
        *in_order, second_painting = values_and_second_painting
        values = dict(zip(CONTROLS, in_order, strict=True))
        self.check_ranges(preset, values)
        with log_run(values["size"], preset) as entry:
            settings = to_settings(preset, values)
            request = self._make_request(session, settings, photo, painting, second_painting)
            if not session.current:
                raise StyleTransferError("There is no picture to continue: press Paint first.")
            if session.current.photo != request.photo:
                raise StyleTransferError("The photo has changed: press Paint, or reopen one of its pictures.")
            short = replace(settings, iterations=STEPS_OF_MORE)
            request = request._replace(settings=short, init_image=session.current.file)
            yield from self._paint(session, request, settings.iterations, entry)

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

    def _make_request(
        self, session: Session, settings: Settings, photo: File, painting: File, second_painting: File = None
    ) -> Request:
        """Build a request. Raises StyleTransferError if a picture is missing."""
        files = {
            "photo": file_path(photo),
            "painting": file_path(painting),
            "second painting": file_path(second_painting),
        }
        for what in ("photo", "painting"):
            if not files[what]:
                raise StyleTransferError(f"Choose a {what} first.")
        for what, path in files.items():
            if path and not Path(path).is_file():  # it was uploaded yesterday, say
                raise StyleTransferError(f"The {what} is no longer on the server: choose it again.")
        photo_path, *paintings = (path for path in files.values() if path)
        return Request(
            photo=photo_path,
            paintings=tuple(paintings),
            settings=settings,
            folder=session.folder,
            config=self.config,
        )

    def _paint(self, session: Session, request: Request, iterations: int, entry: RunLog) -> Iterator[Changes]:
        """Run the request, show how it goes, and save its picture.

        `iterations` is what the visitor's slider says; it is saved in the picture and may be more than this run has.
        """
        c = self.components
        yield {c.status: status_html("Reading the two pictures …")}
        losses, marks, time_lapse, last_plot = list[Losses](), dict[int, str](), TimeLapse(), 0.0
        entry.outcome = "left"  # unless the run comes to an end
        for update in worker.run(request):
            if isinstance(update, Failure):
                entry.outcome = "refused" if update.expected else "failed"
                raise gr.Error(update.message, title="Cannot paint this", print_exception=False)
            session.has_output = True
            losses += update.losses
            marks |= update.marks
            entry.iteration = update.iteration
            time_lapse.add(update.picture)
            if update.end:
                entry.outcome = LOGGED_ENDS[update.end]
                settings = replace(update.settings, iterations=iterations)
                result, message = self._save_result(session, request, update.picture, time_lapse, settings)
                try:
                    yield {
                        c.result: update.picture,
                        c.status: describe_progress(update, SHOWN_ENDS[update.end], message=message),
                        c.plot: plot_losses(losses, marks, update),
                        c.download: result.file if result else None,
                    }
                finally:
                    if result and result not in session.results:
                        result.delete()  # a program called: Gradio has copied its file, and no visit needs it
                return
            changes = {
                c.result: update.picture,
                c.status: describe_progress(update, "Painting", f"about {update.remaining:.0f} s left"),
            }
            if time.monotonic() - last_plot > SECONDS_PER_PLOT:
                last_plot = time.monotonic()
                changes[c.plot] = plot_losses(losses, marks, update)
            yield changes
            if session.paused:
                # Without the picture, whose file Gradio would write again while a browser reads it.
                yield {c.status: describe_progress(update, "Paused"), c.plot: plot_losses(losses, marks, update)}
                yield from self._wait_while_paused(session)

    def _save_result(
        self, session: Session, request: Request, picture: Image.Image, time_lapse: TimeLapse, settings: Settings
    ) -> tuple[SavedResult | None, str]:
        """Save the picture's files, for the visit if there is one; if that fails, return a sentence that says why."""
        try:
            result = SavedResult.save(
                picture,
                folder=session.folder,
                number=session.count + 1,
                photo=request.photo,
                time_lapse=time_lapse,
                settings=settings,
            )
        except (OSError, StyleTransferError) as error:  # the disk is full, or the photo has been deleted
            session.current = None
            if isinstance(error, OSError):
                why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            else:
                why = str(error).rstrip(".")
            return None, f"The picture could not be saved ({why}): save it with a right click or a long press."
        session.count += 1
        if session.running:
            session.add(result)
        return result, ""

    def _wait_while_paused(self, session: Session) -> Iterator[Changes]:
        """Wait until the visitor goes on, stops or leaves; a pause that is too long ends the run with its picture."""
        deadline = time.monotonic() + MAX_PAUSE_SECONDS
        while session.paused and not session.control.stopped and time.monotonic() < deadline:
            time.sleep(0.2)
            yield gr.skip()  # here Gradio notices that the tab has been closed
        if session.paused:
            session.control.stop()

    # Before, during and after a run

    def start_run(self, session: Session) -> Changes:
        """Paint or More was pressed: say so until the run's turn comes."""
        session.control.reset()
        session.paused = False
        session.running = True
        return {
            **self._enable_buttons(running=True),
            self.components.status: status_html("Waiting for a free place …"),
            self.components.outcome: gr.update(visible=True),
        }

    def finish_run(self, session: Session) -> Changes:
        """The run is over: enable the buttons."""
        session.running = False
        return self._enable_buttons(running=False, can_continue=bool(session.current))

    def fail_run(self, session: Session) -> Changes:
        """The run could not start, and a message on the page has said why."""
        return {
            **self.finish_run(session),
            self.components.status: status_html("Nothing was painted this time."),
            self.components.outcome: gr.update(visible=session.has_output),
        }

    def _enable_buttons(self, running: bool, can_continue: bool = False) -> Changes:
        c = self.components
        return {
            c.start: gr.update(interactive=not running),
            c.surprise: gr.update(interactive=not running),
            c.more: gr.update(interactive=can_continue),
            c.pause: gr.update(interactive=running, value="Pause"),
            c.stop: gr.update(interactive=running),
        }

    def stop_run(self, session: Session) -> None:
        """End the run at its next step; its picture is kept."""
        session.control.stop()

    def toggle_pause(self, session: Session) -> str:
        """Pause the run, or let it go on; returns the new label of the button."""
        session.paused = not session.paused
        return "Continue" if session.paused else "Pause"

    def steer(self, session: Session, preset: str, *values: Any) -> None:
        """A control was moved: this visitor's run, if there is one, follows at its next step."""
        if not session.running:
            return
        try:
            named = dict(zip(CONTROLS, values, strict=True))
            self.check_ranges(preset, named)
            session.control.send(to_settings(preset, named))
        except OSError as error:
            raise gr.Error(
                "The disk of this server is full: your change could not be applied.", print_exception=False
            ) from error
        except (gr.Error, StyleTransferError, TypeError, ValueError, OverflowError):
            pass  # the visitor is still typing the number

    def show_results(self, session: Session) -> Changes:
        """The run is over: offer its files and show all pictures of the visit."""
        c, last = self.components, session.current
        pictures = [(result.file, result.caption) for result in session.results]
        if not last:  # it could not be saved
            off = gr.update(value=None, interactive=False)
            return {c.download: off, c.time_lapse: off, c.compare: None, c.history: pictures}
        return {
            c.download: gr.update(interactive=True),
            c.time_lapse: gr.update(value=last.time_lapse, interactive=True),
            c.compare: (last.before, last.file),
            c.history: pictures,
        }

    # Choosing

    def show_example(self, session: Session, event: gr.SelectData) -> Changes:
        """An example was pressed: show its pictures and, unless a run is on, its settings and its result."""
        c, example = self.components, examples()[event.index]
        chosen = {c.photo: example.photo, c.painting: example.painting}
        if session.running:
            return chosen
        session.has_output = True
        return {
            **chosen,
            c.preset: DEFAULT_PRESET,
            **self._move_controls(get_preset(DEFAULT_PRESET)),
            c.result: example.result,
            c.status: status_html("A finished result of this pair. Press Paint to watch it form."),
            c.plot: None,
            c.download: None,
            c.outcome: gr.update(visible=True),
        }

    def choose_style(self, event: gr.SelectData) -> str:
        """A style was pressed: return it as the painting."""
        return styles()[event.index][0]

    def take_picture(self, zone: gr.Image, upload: dict[str, Any]) -> Changes:
        """A file was chosen for a drop zone: show it there and restore its settings, or say why it cannot be read."""
        path, emptied = upload["path"], {self.components.uploads[zone]: None}
        try:
            with READING:
                images.load(path)
        except StyleTransferError as error:
            return {**emptied, **self._notify(str(error))}
        restored = self._notify("") if zone is self.components.second_painting else self.restore_settings(upload)
        return {zone: path, **emptied, **restored}

    def choose_preset(self, name: str) -> Changes:
        """A preset was chosen: move the sliders to its settings."""
        return self._move_controls(get_preset(name))

    def reopen_result(self, session: Session, event: gr.SelectData) -> Changes:
        """A picture of this visit was pressed: show it again, with the settings that made it."""
        if session.running:
            return gr.skip()
        c = self.components
        result = session.current = session.results[event.index]
        return {
            c.result: result.file,
            c.status: status_html(f"Picture {result.caption}. Press More to continue it."),
            c.plot: None,
            c.download: result.file,
            c.time_lapse: result.time_lapse,
            c.compare: (result.before, result.file),
            **self._restore(result.settings),
        }

    def restore_settings(self, picture: File) -> Changes:
        """A picture was uploaded: if it was painted here, restore the settings inside it."""
        path = file_path(picture)
        settings = metadata.read_settings(path) if path else None
        if not settings:
            return self._notify("")
        message = "Settings restored from this picture."
        if not find_preset(settings):
            message += " Some of them are not on this page and were left out; the command line has them all."
        if metadata.is_masked(str(path)):
            message += " It was painted with a mask of what to keep, which is not in the file."
        return {**self._restore(settings), **self._notify(message)}

    def follow_link(self, query: str) -> Changes:
        """The page was opened by a link: show what it asks for."""
        c, link = self.components, share_link.decode(query)
        return {
            c.photo: link.photo,
            c.painting: link.painting,
            c.preset: link.preset,
            **self._move_controls(link.settings),
            **self._notify(f"Ignored in this link: {', '.join(link.ignored)}." if link.ignored else ""),
        }

    def make_link(self, photo: File, painting: File, preset: str, *values: Any) -> str:
        """Return the query of a link to these settings."""
        named = dict(zip(CONTROLS, values, strict=True))
        self.check_ranges(preset, named)
        return share_link.encode(file_path(photo), file_path(painting), preset, named)

    def preview_colours(self, session: Session, photo: File, painting: File, colours: str) -> Image.Image | None:
        """Return the current picture of this photo, or the photo itself, in about the colours that were chosen."""
        photo_path, painting_path = file_path(photo), file_path(painting)
        if not photo_path or not painting_path:
            return None
        self._check_range("colours", colours)
        current = session.current
        with suppress(StyleTransferError), READING:
            photo_image, painting_image = (images.load(path).image for path in (photo_path, painting_path))
            is_of_photo = current and current.photo == photo_path
            image = images.load(current.file).image if current and is_of_photo else photo_image.copy()
            image.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
            return colour.preview(image, photo_image, painting_image, colours)
        return None

    def _move_controls(self, settings: Settings) -> Changes:
        return {self.components.controls[name]: value for name, value in slider_values(settings).items()}

    def _restore(self, settings: Settings) -> Changes:
        """Move the sliders, and choose the preset if one fits."""
        preset = find_preset(settings)
        return {**({self.components.preset: preset} if preset else {}), **self._move_controls(settings)}

    def _notify(self, message: str) -> Changes:
        return {self.components.notice: gr.update(value=message, visible=bool(message))}
