"""Pictures as they stand in the value of a gr.HTML: a file, or an address with the whole picture inside."""

from __future__ import annotations

import base64
import io
from typing import Any

from gradio.data_classes import FileData
from PIL import Image

PNG_URL, JPEG_URL = "data:image/png;base64,", "data:image/jpeg;base64,"


def picture_of(path: str | None) -> dict[str, Any] | None:
    """Return a file, to which Gradio adds its address; None for None."""
    return FileData(path=path).model_dump() if path else None


def to_data_url(picture: Image.Image, *, quality: int = 90, is_drawing: bool = False) -> str:
    """Return a picture as an address that has the whole of it inside: a JPEG, or a PNG for a drawing."""
    content = io.BytesIO()
    if is_drawing:
        picture.save(content, "PNG")
    else:
        picture.save(content, "JPEG", quality=quality)
    return (PNG_URL if is_drawing else JPEG_URL) + base64.b64encode(content.getvalue()).decode()
