"""Every place where the page replaces a part of Gradio, because Gradio offers no public way."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import jinja2
from gradio import networking, processing_utils, routes
from gradio.block_function import BlockFunction
from gradio.components import Component
from gradio.data_classes import ImageData
from gradio.exceptions import InvalidPathError
from gradio.route_utils import CustomCORSMiddleware
from gradio.state_holder import SessionState
from PIL import Image

from .pictures import to_data_url

SECONDS_TO_ANSWER = 60.0
Fetch = Callable[[str], Coroutine[Any, Any, httpx.Response]]

# What is replaced: the object that has it, its name, and the names of its parameters.
REPLACED: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (gr.Image, "postprocess", ("self", "value")),
    (processing_utils, "save_pil_to_cache", ("img", "cache_dir", "name", "format")),
    (networking, "url_ok", ("url",)),
    (processing_utils, "async_ssrf_protected_get", ("url",)),
    (processing_utils, "_check_allowed", ("path", "check_in_upload_folder")),
    (processing_utils, "check_all_files_in_cache", ("data",)),
    (Component, "api_info", ("self",)),
    (gr.UploadButton, "api_info", ("self",)),
    (gr.Blocks, "postprocess_data", ("self", "block_fn", "predictions", "state")),
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
    networking.url_ok = _answers
    processing_utils.save_pil_to_cache = _save_in_one_step
    # What: the download of a picture that is given by its address.
    # Why: Gradio takes a file of any length; its `max_file_size` limits only uploads.
    processing_utils.async_ssrf_protected_get = fetch  # type: ignore[assignment]
    # What: the checks of the files that a page names.
    # Why: a page that was open when the server was restarted names files of the server before. Gradio then shows
    # "Error" and logs a traceback.
    for name in ("_check_allowed", "check_all_files_in_cache"):
        setattr(processing_utils, name, _explain_missing_file(_original[name]))
    # What: the description of what a component takes and gives, for the page about the API.
    # Why: Gradio works it out for each component of each visitor, and again with each update that leaves the component
    # as it is: a quarter of what the page did while many watch.
    for owner in (Component, gr.UploadButton):
        owner.api_info = _describe_once(_describe[owner])  # type: ignore[method-assign, assignment]
    gr.Blocks.postprocess_data = _postprocess_what_changes  # type: ignore[method-assign]
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
        return ImageData(url=to_data_url(value))


def _answers(url: str) -> bool:
    """Return whether there is a server at this address.

    What: networking.url_ok, by which the launch asks its own server.
    Why: it gives up after 3 seconds, in which a busy machine may not answer.
    """
    with suppress(httpx.HTTPError):
        return httpx.head(url, timeout=SECONDS_TO_ANSWER, verify=False).status_code < 500
    return False


def _save_in_one_step(img: Image.Image, cache_dir: str, name: str = "image", format: str = "webp") -> str:
    """Save a picture in a folder that is named by its content, and return the path of the file.

    What: processing_utils.save_pil_to_cache, which writes into the file that is there.
    Why: the same picture has the same file, and a browser that was just reading it would get it cut off.
    """
    content: bytes = processing_utils.encode_pil_to_bytes(img, format)  # type: ignore[no-untyped-call]
    file = (Path(cache_dir) / processing_utils.hash_bytes(content) / f"{name}.{format}").resolve()
    file.parent.mkdir(exist_ok=True, parents=True)
    part = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return str(file)


_describe = {owner: owner.api_info for owner in (Component, gr.UploadButton)}


def _describe_once(describe: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that describes all components alike that take the same."""
    known: dict[Any, Any] = {}

    @functools.wraps(describe)
    def describe_once(self: Any) -> Any:
        if self.data_model not in known:
            known[self.data_model] = describe(self)
        return known[self.data_model]

    return describe_once


_postprocess_data = gr.Blocks.postprocess_data


async def _postprocess_what_changes(
    self: gr.Blocks, block_fn: BlockFunction, predictions: Any, state: SessionState | None
) -> list[Any]:
    """Prepare the new values of those components only that an update names.

    What: Blocks.postprocess_data, which builds each output of the handler anew, and its configuration twice.
    Why: most updates leave most components as they are, and it was half of what the page did while many watch.
    """
    if predictions == gr.skip():
        predictions = {}
    elif not predictions or not isinstance(predictions, dict) or not set(predictions) <= set(block_fn.outputs):
        return await _postprocess_data(self, block_fn, predictions, state)
    changed = [block for block in block_fn.outputs if block in predictions]
    prepared: dict[Any, Any] = {}
    if changed:
        only_these = copy.copy(block_fn)
        only_these.outputs = changed
        values = [predictions[block] for block in changed]
        sent = await _postprocess_data(self, only_these, values if len(values) > 1 else values[0], state)
        prepared = dict(zip(changed, sent, strict=True))
    return [prepared.get(block, None if block.stateful else gr.skip()) for block in block_fn.outputs]


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


TEMPLATES = ("frontend/index.html", "frontend/share.html")  # the page, and the page with --share
TAGS_OF_GRADIO = re.compile(r'<meta\s+(?:property="og:|name="(?:twitter:|description"))[^>]*>\s*')
# First in the head, since some messengers read no further than the first kilobytes.
OWN_TAGS = """<title>{{ preview.title }}</title>
		<meta name="description" content="{{ preview.description }}" />
		<meta property="og:type" content="website" />
		<meta property="og:site_name" content="{{ preview.site }}" />
		<meta property="og:title" content="{{ preview.title }}" />
		<meta property="og:description" content="{{ preview.description }}" />
		<meta property="og:url" content="{{ config['root'] }}/{{ preview.query }}" />
		<meta property="og:image" content="{{ config['root'] }}/preview/{{ preview.picture }}" />
		<meta property="og:image:alt" content="{{ preview.alternative_text }}" />
		<meta name="twitter:card" content="summary_large_image" />
		<link rel="icon" href="favicon.ico" />
		"""


class _OwnTags(jinja2.BaseLoader):
    """Loads Gradio's templates, with OWN_TAGS in place of TAGS_OF_GRADIO."""

    def __init__(self, loader: jinja2.BaseLoader) -> None:
        self._loader = loader

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str | None, Any]:
        source, file, is_current = self._loader.get_source(environment, template)
        source, count = TAGS_OF_GRADIO.subn("", source)
        charset = '<meta charset="utf-8" />'
        if not count or charset not in source or "og:" in source:
            raise RuntimeError(
                f"The page of Gradio {gr.__version__} has other tags in its head than this page replaces: install the "
                "version that requirements.txt asks for, or adapt page/gradio_patches.py."
            )
        return source.replace(charset, f"{charset}\n\t\t{OWN_TAGS}", 1), file, is_current


def replace_tags(describe: Callable[[str], Any]) -> None:
    """Let the page's head have OWN_TAGS; calling it again changes nothing. `describe` gets the query of the address.

    What: the tags by which messengers and search engines show a link, and the icon.
    Why: Gradio's own say "Gradio", with Gradio's banner; they come first, so that those of `launch(head=…)`, which a
    script adds, are never read. Raises RuntimeError if this version of Gradio has other tags.
    """
    environment = routes.templates.env
    if not isinstance(environment.loader, _OwnTags):
        assert environment.loader
        environment.loader = _OwnTags(environment.loader)
        routes.templates.context_processors.append(lambda request: {"preview": describe(request.url.query)})
        if environment.cache is not None:
            environment.cache.clear()
    for name in TEMPLATES:
        environment.get_template(name)
