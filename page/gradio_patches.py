"""Every place where the page replaces a part of Gradio, because Gradio offers no public way."""

from __future__ import annotations

import base64
import functools
import inspect
import io
from collections.abc import Callable, Coroutine
from typing import Any

import gradio as gr
import httpx
from gradio import processing_utils
from gradio.data_classes import ImageData
from gradio.exceptions import InvalidPathError
from gradio.route_utils import CustomCORSMiddleware
from PIL import Image

Fetch = Callable[[str], Coroutine[Any, Any, httpx.Response]]

# What is replaced: the object that has it, its name, and the names of its parameters.
REPLACED: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (gr.Image, "postprocess", ("self", "value")),
    (processing_utils, "async_ssrf_protected_get", ("url",)),
    (processing_utils, "_check_allowed", ("path", "check_in_upload_folder")),
    (processing_utils, "check_all_files_in_cache", ("data",)),
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
    # What: the checks of the files that a page names.
    # Why: a page that was open when the server was restarted names files of the server before. Gradio then shows
    # "Error" and logs a traceback.
    for name in ("_check_allowed", "check_all_files_in_cache"):
        setattr(processing_utils, name, _explain_missing_file(_original[name]))
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


_original = {name: getattr(processing_utils, name) for name in ("_check_allowed", "check_all_files_in_cache")}


def _explain_missing_file(check: Callable[..., None]) -> Callable[..., None]:
    """Return the check with one sentence for all of its refusals."""

    @functools.wraps(check)
    def check_or_explain(*args: Any, **options: Any) -> None:
        try:
            check(*args, **options)
        except (InvalidPathError, gr.Error) as error:
            message = "A picture of this page is no longer on the server: reload the page, and choose it again."
            raise gr.Error(message, print_exception=False) from error

    return check_or_explain
