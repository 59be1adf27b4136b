"""How a link to the page looks where it is sent: the title, sentence and picture that a messenger shows of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from . import share_link
from .examples import EXAMPLES, examples, photo_name, style_manner

TITLE = "Photo to painting"
DESCRIPTION = "Your photo, repainted like a Van Gogh, a mosaic or a woodcut, while you watch."
ICON = Path(__file__).parent / "icon.png"
PICTURE_OF_ALL = EXAMPLES / "thumbnail.jpg"


class LinkPreview(NamedTuple):
    """What is shown of a link."""

    title: str
    picture: str  # a name that `send_picture` knows
    alternative_text: str  # of the picture
    query: str  # of the address that the preview is of, with its question mark: what the link says, and nothing else
    description: str = DESCRIPTION
    site: str = TITLE


def describe_link(query: str) -> LinkPreview:
    """Say what to show of a link, given its query, which may be any text."""
    link = share_link.decode(query)
    said = share_link.clean(query)
    address = f"?{said}" if said else ""
    of_all = LinkPreview(TITLE, PICTURE_OF_ALL.name, "A photo, a painting, and the photo painted like it", address)
    if not link.painting:
        return of_all
    manners = [style_manner(path) for path in (link.painting, link.second_painting) if path]
    title = f"{photo_name(link.photo) if link.photo else 'Your photo'} {' and '.join(manners)}"
    for example in examples():
        if (example.photo, example.painting, None) == (link.photo, link.painting, link.second_painting):
            return LinkPreview(title, Path(example.result).name, title, address)
    return of_all._replace(title=title)


async def send_picture(request: Request) -> Response:
    """Send the picture of a preview. Whoever sends the link on is not logged in."""
    pictures = {path.name: path for path in (PICTURE_OF_ALL, *(Path(example.result) for example in examples()))}
    picture = pictures.get(request.path_params["name"])
    return FileResponse(picture) if picture else PlainTextResponse("There is no such picture.", 404)
