"""The section beside the photo: turn it, cut a part out, mark parts of it, and see what is marked.

Parts are marked with two brushes: what is kept stays like the photo, and a region is painted by the second painting.

Gradio's own `gr.ImageEditor` does not do here (6.31): it returns no rectangle, so a part would be cut out of the copy
that the browser has; and when it is shown a second time with another picture, the page stops. The two editors are
instead `gr.HTML` with the JavaScript of photo_editor.js.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from styletransfer import PictureError, Settings

from . import photo_tools
from .config import ServerConfig
from .controls import control
from .drop_zones import READING, File, file_path
from .pictures import to_data_url
from .session import Session

JAVASCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")
HOW_TO_DRAG = "drag it, or move it with the arrow keys"
CROP_HTML = f"""
<div class="frame"><img alt="The photo, of which a part is chosen" draggable="false">
<div class="shade"><div class="hole"></div></div>
<div class="part" data-edges="left top right bottom" tabindex="0" role="group" aria-label="The part: {HOW_TO_DRAG}">
{
    "".join(
        f'<button type="button" data-edges="{edges}" aria-label="{edges.capitalize()} corner: {HOW_TO_DRAG}"></button>'
        for edges in ("top left", "top right", "bottom left", "bottom right")
    )
}</div></div>"""
KEEP_HTML = f"""
<div class="frame"><img alt="" draggable="false"><canvas width="1" height="1" tabindex="0" role="application"
  aria-label="The photo, on which you mark parts. The arrow keys move the brush, and the space bar paints."></canvas>
<div class="shade"><div class="cursor"></div></div></div>
<div class="tools">
<button type="button" class="brush" aria-pressed="true" data-colour="rgb{photo_tools.KEEP_COLOUR}">Keep</button>
<button type="button" class="brush" aria-pressed="false"
  data-colour="rgb{photo_tools.REGION_COLOUR}">Second painting</button>
<button type="button" class="eraser" aria-pressed="false">Eraser</button>
<button type="button" class="undo" disabled>Undo</button>
<button type="button" class="clear">Clear</button>
<label>Width <input type="range" min="2" max="30" value="8"></label>
</div>"""
CSS = """
.frame { position: relative; width: fit-content; margin: 0 auto; padding: 0; }
img { display: block; max-width: 100%; max-height: 60svh; margin: 0; user-select: none; }
.shade { position: absolute; inset: 0; overflow: hidden; pointer-events: none; }
.hole { position: absolute; box-shadow: 0 0 0 9999px rgb(0 0 0 / 0.55); }
.part { position: absolute; outline: 2px solid white; box-shadow: 0 0 0 3px black; cursor: move; touch-action: none; }
.part button { position: absolute; width: 44px; height: 44px; padding: 0; border: 0; background: none;
  cursor: nwse-resize; touch-action: none; }
.part button::after { content: ""; position: absolute; inset: 13px; border: 2px solid black; border-radius: 50%;
  background: white; }
.part [data-edges~="left"] { left: -22px; }
.part [data-edges~="right"] { right: -22px; }
.part [data-edges~="top"] { top: -22px; }
.part [data-edges~="bottom"] { bottom: -22px; }
.part [data-edges="top right"], .part [data-edges="bottom left"] { cursor: nesw-resize; }
.part:focus-visible, .part button:focus-visible, canvas:focus-visible { outline: 3px solid var(--primary-400); }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; visibility: hidden;
  opacity: 0.6; cursor: none; touch-action: none; }
.cursor { position: absolute; border: 2px solid white; border-radius: 50%; box-shadow: 0 0 0 1px black;
  transform: translate(-50%, -50%); visibility: hidden; }
.frame:hover .cursor, canvas:focus-visible + .shade .cursor { visibility: visible; }
.tools { display: flex; flex-wrap: wrap; gap: 0.5rem; margin-top: 0.5rem; align-items: center; }
.tools button { min-width: 44px; min-height: 44px; padding: 0 0.75rem; border-radius: var(--button-small-radius);
  color: var(--button-secondary-text-color); background: var(--button-secondary-background-fill); }
.tools .brush { display: flex; gap: 0.5rem; align-items: center; }
.tools .brush::before { content: ""; width: 1rem; height: 1rem; border: 2px solid white; border-radius: 50%;
  box-shadow: 0 0 0 1px black; background: var(--colour); }
.tools button[aria-pressed="true"] { color: white; background: var(--primary-700); }
.tools button:disabled { opacity: 0.5; cursor: default; }
.tools label { display: flex; gap: 0.5rem; min-height: 44px; align-items: center; flex: 1 1 10rem; }
.tools input { flex: 1; min-width: 6rem; height: 44px; accent-color: var(--primary-700); }
"""
FOUND_CSS = """
.kept { display: flex; flex-direction: column; gap: 0.25rem; }
figure { display: flex; gap: 0.5rem; margin: 0; align-items: center; font-size: 0.75rem; line-height: 1.2; }
img { width: 44px; height: 44px; margin: 0; border-radius: 4px; object-fit: contain; }
a { display: flex; min-height: 44px; margin: 0; padding: 0; align-items: center; text-align: left;
  text-decoration: underline; color: var(--block-label-text-color); }
"""
SCROLL_TO_EDITOR = """() => setTimeout(() => document.querySelector(":is(#crop-panel, #keep-panel)")?.scrollIntoView({
    behavior: "smooth", block: "nearest"}), 100)"""
SCROLL_TO_PHOTO = """() => setTimeout(() => document.querySelector("#photo-row")?.scrollIntoView({
    behavior: "smooth", block: "nearest"}), 100)"""
FULL_DISK = "The disk of this server is full, so the photo could not be changed: try again later."
HAS_SECOND_PAINTING = "The second painting paints these parts."
NO_SECOND_PAINTING = 'These parts need a second painting. <a href="#second-part">Choose a second painting</a>'

Changes = dict[Any, Any]
"""New values by component. A component that is left out stays as it is."""


@dataclass(frozen=True, eq=False)
class PhotoEditor:
    """The components of the section, and what of the page it reads and changes."""

    session: gr.State
    photo: gr.Image
    notice: gr.Markdown
    keep: gr.Image  # a mask of the photo, never shown
    region: gr.Image  # a mask of the photo for the second painting, never shown
    section: gr.Column
    turn: gr.Button
    crop: gr.Button
    mark_parts: gr.Button
    undo: gr.Button  # the last turn or crop
    faces: gr.Slider | gr.Radio | gr.Checkbox  # the control of the setting
    kept: gr.HTML  # the faces, and what the masks mark
    crop_panel: gr.Column
    crop_box: gr.HTML
    use_part: gr.Button
    cancel_crop: gr.Button
    keep_panel: gr.Column
    brush: gr.HTML
    done: gr.Button
    cancel_keep: gr.Button

    # What the buttons do

    def turn_photo(self, session: Session, photo: File, keep: File, region: File) -> Changes:
        """Turn the photo by a quarter, and its masks with it."""
        return self._edit(session, photo, keep, region, lambda path: photo_tools.rotate(path, session.folder))

    def crop_photo(self, session: Session, photo: File, keep: File, region: File, drawn: Any) -> Changes:
        """Use the part of the photo that was drawn, and the same part of its masks."""
        sides = drawn.get("box") if isinstance(drawn, dict) else None
        return self._edit(
            session,
            photo,
            keep,
            region,
            lambda path: photo_tools.crop(path, photo_tools.read_box(sides), session.folder),
        )

    def _edit(self, session: Session, photo: File, keep: File, region: File, change: Callable[[str], str]) -> Changes:
        path = file_path(photo)
        if not path:
            return gr.skip()
        before, masks = find_masks(session, path, keep, region), list[str | None]()
        try:
            with READING:
                new = change(path)
                session.add_edit(new)
                for mask in before:
                    masks.append(change(mask) if mask else None)
                    if masks[-1]:
                        session.add_edit(masks[-1])
                        session.masks[masks[-1]] = new
        except PictureError as error:
            return self._notify(str(error))
        except OSError:
            return self._notify(FULL_DISK)
        new_keep, new_region = masks
        session.before_edit[new] = path, *before
        session.desk = session.desk._replace(photo=new, keep=new_keep, region=new_region)
        changed = {self.photo: new, self.keep: new_keep, self.region: new_region}
        return {**changed, **self._close_editors(), **self._notify("")}

    def undo_edit(self, session: Session, photo: File) -> Changes:
        """Bring back the photo as it was before the last turn or crop, with the masks that it had."""
        before = session.before_edit.get(file_path(photo) or "", (None,))
        path, *masks = (file if file and Path(file).is_file() else None for file in before)
        if not path:
            return self._notify("The photo before this is no longer on the server: choose it again.")
        keep, region = masks
        session.desk = session.desk._replace(photo=path, keep=keep, region=region)
        changed = {self.photo: path, self.keep: keep, self.region: region}
        return {**changed, **self._close_editors(), **self._notify("")}

    def open_crop(self, session: Session, photo: File) -> Changes:
        """Show the photo with a rectangle on it."""
        return self._open(session, photo, self.crop_panel, self.crop_box)

    def open_brushes(self, session: Session, photo: File, keep: File, region: File) -> Changes:
        """Show the photo with two brushes, and with the masks it has."""
        return self._open(session, photo, self.keep_panel, self.brush, mask=keep, region=region)

    def _open(self, session: Session, photo: File, panel: gr.Column, editor: gr.HTML, **masks: File) -> Changes:
        path = file_path(photo)
        if not path:
            return gr.skip()
        try:
            with READING:
                shown = {"photo": to_data_url(photo_tools.shrink(path, photo_tools.EDITING_SIZE))}
                for name, mask in masks.items():
                    if mask_path := file_path(mask):
                        shown[name] = to_data_url(photo_tools.make_transparent(mask_path), is_drawing=True)
        except PictureError as error:
            return self._notify(str(error))
        session.photo_on_editor = path
        return {**self._close_editors(), editor: shown, panel: gr.update(visible=True)}

    def take_masks(self, session: Session, photo: File, drawn: Any) -> Changes:
        """The visitor has marked what to keep, and what the second painting paints: they are the photo's masks now."""
        path = file_path(photo)
        if not path:
            return gr.skip()
        sent = drawn if isinstance(drawn, dict) else {}
        try:
            masks = [photo_tools.read_mask(drawing) for drawing in (sent.get("drawing"), sent.get("region", ""))]
            keep, region = (
                photo_tools.save_mask(mask, path, session.folder, purpose) if mask else None
                for mask, purpose in zip(masks, ("kept", "second-painting"), strict=True)
            )
        except PictureError as error:
            return self._notify(str(error))
        except OSError:
            return self._notify(FULL_DISK)
        for file in filter(None, (keep, region)):
            session.add_edit(file)
            session.masks[file] = path
        session.desk = session.desk._replace(photo=path, keep=keep, region=region)
        said = self._notify("" if keep or region else "Nothing is marked, so the whole photo is painted alike.")
        return {self.keep: keep, self.region: region, **self._close_editors(), **said}

    def cancel(self) -> Changes:
        """Close the editors, and change nothing."""
        return self._close_editors()

    def _close_editors(self) -> Changes:
        return {panel: gr.update(visible=False) for panel in (self.crop_panel, self.keep_panel)}

    def _notify(self, message: str) -> Changes:
        return {self.notice: gr.update(value=message, visible=bool(message))}

    # What is shown of a photo

    def follow_photo(self, session: Session, photo: File, keep: File, region: File, faces: bool) -> Changes:
        """There is another photo, or none: forget the masks of the one before, and what was shown of it."""
        path = file_path(photo)
        keep_path, region_path = find_masks(session, path, keep, region)
        session.desk = session.desk._replace(photo=path, keep=keep_path, region=region_path)
        return {
            self.keep: keep_path,
            self.region: region_path,
            self.kept: describe_kept("Looking for faces …") if path and faces else "",
            self.section: gr.update(visible=bool(path)),
            self.undo: gr.update(interactive=path in session.before_edit),
            # This may come late, when one has been opened for the new photo.
            **(self._close_editors() if session.photo_on_editor != path else {}),
        }

    def show_kept(
        self, session: Session, photo: File, keep: File, region: File, faces: bool, second_painting: File
    ) -> Changes:
        """Say which faces were found, and show what the masks mark."""
        path, keep_path, region_path = map(file_path, (photo, keep, region))
        if not path:
            return {self.kept: ""}
        parts = []
        try:
            with READING:
                if faces:
                    found = photo_tools.find_faces(path)
                    shown = photo_tools.show_faces(path, found) if found else None
                    parts.append(describe_kept(count_faces(len(found)), shown, "The photo with its faces marked"))
                if keep_path:
                    shown = photo_tools.show_mask(path, keep_path, photo_tools.KEEP_COLOUR)
                    parts.append(describe_kept("These parts are kept.", shown, "The photo with the kept parts tinted"))
                if region_path:
                    shown = photo_tools.show_mask(path, region_path, photo_tools.REGION_COLOUR)
                    said = HAS_SECOND_PAINTING if second_painting else NO_SECOND_PAINTING
                    parts.append(describe_kept(said, shown, "The photo with the second painting's parts tinted"))
        except PictureError:  # whoever presses Paint is told
            return {self.kept: ""}
        if session.desk.photo != path:
            return gr.skip()  # there is another one by now
        return {self.kept: f'<div class="kept">{"".join(parts)}</div>' if parts else ""}


def find_masks(session: Session, photo: str | None, *masks: File) -> list[str | None]:
    """Return the paths of the masks; None in place of each that is not one of this photo."""
    paths = map(file_path, masks)
    return [path if path and session.masks.get(path) == photo else None for path in paths]


def count_faces(number: int) -> str:
    """Say how many faces were found."""
    if not number:
        return "No face found."
    found = "1 face found: it stays" if number == 1 else f"{number} faces found: they stay"
    return f"{found} more like your photo."


def describe_kept(sentence: str, picture: Any = None, alternative: str = "") -> str:
    """Return a sentence as HTML, beside the picture that it is about."""
    image = f'<img src="{to_data_url(picture)}" alt="{alternative}">' if picture else ""
    return f"<figure>{image}<figcaption>{sentence}</figcaption></figure>"


def build_photo_editor(
    session: gr.State, photo: gr.Image, notice: gr.Markdown, settings: Settings, config: ServerConfig
) -> PhotoEditor:
    """Build the section, which is hidden until there is a photo; `settings` say whether faces are kept.

    It stands beside the photo, where there is room for it, so that nothing below moves when a photo is chosen.
    """
    tool: dict[str, Any] = {"size": "md", "min_width": 96, "elem_classes": "photo-tool"}
    with gr.Column(visible=False, min_width=0, elem_id="photo-tools") as section:
        with gr.Row():
            turn = gr.Button("↻\nTurn", elem_id="turn", **tool)
            crop = gr.Button("✂\nCrop", elem_id="crop", **tool)
            mark_parts = gr.Button("✏\nMark parts", elem_id="keep-parts", **tool)
            undo = gr.Button("↶\nUndo", elem_id="undo-edit", interactive=False, **tool)
        faces = control("faces", settings, config)
        kept = gr.HTML("", css_template=FOUND_CSS, elem_id="kept")
    with gr.Column(visible=False, elem_id="crop-panel") as crop_panel:
        crop_box = _editor("crop", CROP_HTML)
        with gr.Row():
            use_part = gr.Button("Use this part", variant="primary", elem_id="use-part", **tool)
            cancel_crop = gr.Button("Cancel", **tool)
    with gr.Column(visible=False, elem_id="keep-panel") as keep_panel:
        gr.Markdown(
            "**Keep**: what you mark stays like the photo. **Second painting**: it paints what you mark, and your "
            "style paints the rest."
        )
        brush = _editor("keep", KEEP_HTML)
        with gr.Row():
            done = gr.Button("Done", variant="primary", elem_id="take-marks", **tool)
            cancel_keep = gr.Button("Cancel", **tool)
    keep = gr.Image(visible=False, label="Mask")
    region = gr.Image(visible=False, label="Region")
    return PhotoEditor(
        session=session,
        photo=photo,
        notice=notice,
        keep=keep,
        region=region,
        section=section,
        turn=turn,
        crop=crop,
        mark_parts=mark_parts,
        undo=undo,
        faces=faces,
        kept=kept,
        crop_panel=crop_panel,
        crop_box=crop_box,
        use_part=use_part,
        cancel_crop=cancel_crop,
        keep_panel=keep_panel,
        brush=brush,
        done=done,
        cancel_keep=cancel_keep,
    )


def _editor(kind: str, html: str) -> gr.HTML:
    return gr.HTML(
        {},
        html_template=html,
        css_template=CSS,
        js_on_load=f"({JAVASCRIPT.strip()}).{kind}(element, props, watch)",
        apply_default_css=False,
        elem_id=f"{kind}-editor",
    )


def connect_photo_editor(e: PhotoEditor, second_painting: gr.Image, reopened: Dependency, **at_once: Any) -> None:
    """Say what each button of the section calls.

    `reopened` is the event that brings back a photo with its masks, and `at_once` are the options of events that do not
    wait in the queue.
    """
    masks: list[Any] = [e.keep, e.region]
    pictures: list[Any] = [e.session, e.photo, *masks]
    panels: list[Any] = [e.crop_panel, e.keep_panel]
    edited = [e.photo, *masks, *panels, e.notice]
    options: dict[str, Any] = {**at_once, "preprocess": False}
    e.turn.click(e.turn_photo, pictures, edited, **options)
    cropped = e.use_part.click(e.crop_photo, [*pictures, e.crop_box], edited, **options)
    e.undo.click(e.undo_edit, [e.session, e.photo], edited, **options)
    opened = (
        e.crop.click(e.open_crop, [e.session, e.photo], [*panels, e.crop_box, e.notice], **options),
        e.mark_parts.click(e.open_brushes, pictures, [*panels, e.brush, e.notice], **options),
    )
    for event in opened:
        event.then(None, js=SCROLL_TO_EDITOR)
    marked = e.done.click(e.take_masks, [e.session, e.photo, e.brush], [*masks, *panels, e.notice], **options)
    cancelled = [cancel.click(e.cancel, None, panels, **options) for cancel in (e.cancel_crop, e.cancel_keep)]
    for event in (cropped, marked, *cancelled):  # without its editor, the page is shorter
        event.then(None, js=SCROLL_TO_PHOTO)
    seen = [*pictures, e.faces]
    changed = e.photo.change(
        e.follow_photo, seen, [*masks, e.kept, e.section, e.undo, *panels], trigger_mode="always_last", **options
    )
    shown: dict[str, Any] = {"fn": e.show_kept, "inputs": [*seen, second_painting], "outputs": e.kept, **options}
    for event in (changed, marked, reopened):
        event.then(**shown)
    for part in (e.faces, second_painting):
        part.change(**shown, trigger_mode="always_last")
