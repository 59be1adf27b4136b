"""Every place where the page replaces a part of Gradio, because Gradio offers no public way."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable, Coroutine
from typing import Any

import gradio as gr
import httpx
from gradio import processing_utils
from gradio.data_classes import ImageData
from gradio.route_utils import CustomCORSMiddleware
from PIL import Image

Fetch = Callable[[str], Coroutine[Any, Any, httpx.Response]]

# What is replaced: the object that has it, its name, and the names of its parameters.
REPLACED: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (gr.Image, "postprocess", ("self", "value")),
    (processing_utils, "async_ssrf_protected_get", ("url",)),
    (CustomCORSMiddleware, "parent_configures_cors", ("self",)),
)


def apply_patches(fetch: Fetch) -> None:
    """Replace these parts; calling it again changes nothing. `fetch` gets the file at a URL.

    Raises RuntimeError if this version of Gradio does not have them, since to replace a function that Gradio no longer
    calls would silently do nothing.
    """
    for owner, name, expected in REPLACED:
        found = getattr(owner, name, None)
        if found is None or tuple(inspect.signature(found).parameters) != expected:
            raise RuntimeError(
                f"Gradio {gr.__version__} has no {owner.__name__}.{name}({', '.join(expected)}), which this page "
                "replaces: install the version that requirements.txt asks for, or adapt page/gradio_patches.py."
            )
    gr.Image.postprocess = _postprocess_inline_if_disk_is_full  # type: ignore[method-assign]
    # What: the download of a picture that is given by its address.
    # Why: Gradio takes a file of any length; its `max_file_size` limits only uploads.
    processing_utils.async_ssrf_protected_get = fetch  # type: ignore[assignment]
    # What: the question whether somebody else decides which sites may call (CORS).
    # Why: Gradio would allow every site unless Host is localhost, and answer before the page's own middleware is asked.
    CustomCORSMiddleware.parent_configures_cors = lambda self: True  # type: ignore[method-assign]


_postprocess = gr.Image.postprocess


def _postprocess_inline_if_disk_is_full(self: gr.Image, value: Any) -> Any:
    """Send an image in the update itself where it cannot be written to a file.

    What: gr.Image.postprocess, which writes every image to a file and sends its address.
    Why: on a full disk a run goes on, and the visitor still sees its picture and can save it from the browser. For a
    subclass of gr.Image, Gradio would write a stub file beside the source. To patch one component is not enough: Gradio
    builds a new one for a visitor after each gr.update or gr.skip.
    """
    try:
        return _postprocess(self, value)
    except OSError:
        if not isinstance(value, Image.Image):
            raise
        jpeg = io.BytesIO()
        value.save(jpeg, "JPEG", quality=90)
        return ImageData(url="data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode())
