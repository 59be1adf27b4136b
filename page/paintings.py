"""The strip "Your paintings": what a visitor has painted, kept small by the visitor's own browser.

The server sends each finished picture once, as a record: a small JPEG, the settings and the names of what it was
painted from. paintings.js stores the records in the browser, shows them, and sends one back when it is pressed. Nothing
of it stays on the server, so a record that comes back may have been written by anybody: `read_record` believes nothing
in it.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from styletransfer import Settings, StyleTransferError, images, metadata

from .drop_zones import READING
from .examples import EXAMPLES, example_name
from .pictures import JPEG_URL, to_data_url
from .results import SavedResult
from .session import VISITS, Session
from .storage import VISIT_PREFIX

RECORD_SIZE = 320  # pixels of the long side
MAX_RECORD_CHARACTERS = 300_000  # of the picture that comes back; one of ours has about 40,000
PICTURES = ("photo", "painting", "second painting")
SCRIPT = Path(__file__).with_suffix(".js")
TEMPLATE = """
<section aria-label="Your paintings" hidden>
  <div class="head">
    <h2>Your paintings</h2> <small>kept small, in this browser only</small>
    <span class="choices"></span>
  </div>
  <p role="status"></p>
  <ul></ul>
</section>
"""


class Record(NamedTuple):
    """What a browser sent of a painting, as far as it could be believed."""

    result: SavedResult | None  # None if its files are no longer on the server
    picture: Image.Image | None  # small
    settings: Settings | None
    photo: str | None  # path
    painting: str | None  # path
    second_painting: str | None  # path
    missing: tuple[str, ...]  # those of PICTURES that it has, but the server has not
    lost_mask: bool  # whether it was painted with a mask of what to keep that the server has not
    lost_region: bool  # whether it was painted in regions that the server has not


def build_strip() -> gr.HTML:
    """Build the strip.

    Its value is what the server tells it: {"records": […], "sentence": "…"}. It triggers `select` with a `record` that
    was pressed, and `clear` with the `ids` of those that are to be forgotten.
    """
    return gr.HTML(
        html_template=TEMPLATE,
        js_on_load=f"({SCRIPT.read_text('utf-8')})(element, trigger, props, watch)",
        apply_default_css=False,
        elem_id="strip",
        elem_classes="part",
    )


def make_record(result: SavedResult) -> dict[str, Any]:
    """Return the record of a result. Raises PictureError if its picture is no longer there."""
    picture = images.load(result.file).image
    picture.thumbnail((RECORD_SIZE, RECORD_SIZE))
    return {
        "id": result.id,
        "date": result.date,
        "caption": result.name.caption,
        "picture": to_data_url(picture, quality=80),
        "settings": metadata.to_json(result.settings),
        "masked": result.keep is not None,
        "in_regions": result.region is not None,
        "photo": example_name(result.photo, "content") or result.photo,
        "paintings": [example_name(path, "style") or path for path in result.paintings],
    }


def read_event(event: gr.EventData, name: str) -> Any:
    """Return what an event of the strip calls `name`, or None: the event may be anybody's."""
    try:
        return getattr(event, name)
    except (AttributeError, TypeError):
        return None


def read_record(sent: Any, session: Session) -> Record:
    """Read a record that came back to the visit of `session`; whatever makes no sense counts as not there."""
    given = sent if isinstance(sent, dict) else {}
    result = VISITS.find_result(str(given.get("id")), session)
    if result:
        found = [path if Path(path).is_file() else None for path in (result.photo, *result.paintings)]
    else:
        named = given.get("paintings")
        paintings = [_find_picture(name, "style", session) for name in named[:2]] if isinstance(named, list) else []
        found = [_find_picture(given.get("photo"), "content", session), *(paintings or [None])]
    photo, painting, second, *_ = [*found, None]
    return Record(
        result=result,
        picture=_read_picture(given.get("picture")),
        settings=result.settings if result else metadata.from_json(given.get("settings", "")),
        photo=photo,
        painting=painting,
        second_painting=second,
        missing=tuple(what for what, path in zip(PICTURES, found, strict=False) if not path),
        lost_mask=_is_lost(result.keep) if result else given.get("masked") is True,
        lost_region=_is_lost(result.region) if result else given.get("in_regions") is True,
    )


def _is_lost(mask: str | None) -> bool:
    return bool(mask and not Path(mask).is_file())


def _read_picture(sent: Any) -> Image.Image | None:
    if not isinstance(sent, str) or not sent.startswith(JPEG_URL) or len(sent) > MAX_RECORD_CHARACTERS:
        return None
    try:
        with READING:
            return images.load(base64.b64decode(sent.removeprefix(JPEG_URL))).image
    except (ValueError, StyleTransferError):
        return None


def _find_picture(named: Any, folder: str, session: Session) -> str | None:
    """Return the path of one of examples/`folder` by its name, or of an upload by its path; None for anything else.

    An upload is a file that Gradio would take from a drop zone: one in its folder, whose name nobody can guess. The
    folders of other visits are in there as well, and are refused.
    """
    if not isinstance(named, str):
        return None
    ours = {path.stem: str(path) for path in (EXAMPLES / folder).iterdir()}
    if named in ours:
        return ours[named]
    try:
        path, uploads = (Path(os.path.realpath(place)) for place in (named, get_upload_folder()))
        parts = path.relative_to(uploads).parts
        if parts and parts[0].startswith(VISIT_PREFIX) and parts[0] != session.folder.name:
            return None
        return named if path.is_file() else None
    except (OSError, ValueError):  # it is elsewhere, or no path at all
        return None
