"""The parts of Gradio that the page replaces."""

from __future__ import annotations

import asyncio
import copy
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gradio as gr
import jinja2
import pytest
from gradio import networking, routes
from gradio.components import Component
from gradio.state_holder import SessionState
from PIL import Image

from page import gradio_patches, link_preview, server
from tests.page.helpers import COMPONENTS


def test_a_gradio_without_what_the_page_replaces_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    gradio_patches.apply_patches(server.fetch_or_explain)  # its own replacements pass
    monkeypatch.setattr(gr.Image, "postprocess", lambda self, value, extra: value)
    with pytest.raises(RuntimeError, match=rf"Gradio {re.escape(gr.__version__)} has no Image\.postprocess"):
        gradio_patches.apply_patches(server.fetch_or_explain)
    monkeypatch.undo()
    monkeypatch.delattr("gradio.processing_utils.async_ssrf_protected_get")
    with pytest.raises(RuntimeError, match=r"processing_utils\.async_ssrf_protected_get"):
        gradio_patches.apply_patches(server.fetch_or_explain)


def test_the_page_about_the_api_describes_every_component_as_gradio_does() -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    compared = 0
    for component in vars(COMPONENTS).values():
        for owner, describe in gradio_patches._describe.items():
            is_described = isinstance(component, Component) and not component.skip_api
            if is_described and type(component).api_info is owner.api_info:
                component._api_info_cache = None
                expected = describe(component)
                component._api_info_cache = None
                assert component.api_info() == expected
                compared += 1
    assert compared > 10


@pytest.mark.parametrize("keyed", [True, False], ids=["by component", "in order"])
@pytest.mark.parametrize("outputs", [("text",), ("count", "text", "page", "row")], ids=["one", "several"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"text": "new"},
        {"text": gr.update(label="Other", value="new")},
        {"text": "new", "page": gr.update(visible=False), "count": 2, "row": gr.update(visible=True)},
    ],
)
def test_the_browser_is_sent_what_gradio_sends(values: dict[str, Any], outputs: tuple[str, ...], keyed: bool) -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    sent = []
    for postprocess in (gradio_patches._postprocess_data, gr.Blocks.postprocess_data):
        with gr.Blocks() as blocks:
            named = {"count": gr.State(1), "text": gr.Textbox("old"), "page": gr.Markdown("old"), "row": gr.Row()}
            gr.on([], lambda: None, None, [named[name] for name in outputs])
        handler, state = blocks.fns[0], SessionState(blocks)
        new = copy.deepcopy(values)  # Gradio may change an update
        given = [new.get(name, gr.skip()) for name in outputs]
        predictions: Any = given if len(given) > 1 else given[0]
        if keyed:
            predictions = {named[name]: value for name, value in new.items() if name in outputs} or gr.skip()
        with ThreadPoolExecutor() as thread:  # in this one Playwright may have a loop of asyncio
            outcome = thread.submit(asyncio.run, postprocess(blocks, handler, predictions, state)).result()
        sent.append((outcome, state[named["count"]._id], state[named["text"]._id].label))
    assert sent[0] == sent[1]


def test_a_component_that_an_update_leaves_as_it_is_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    with gr.Blocks() as blocks:
        changed, left = gr.HTML("old"), gr.Textbox("old")
        gr.on([], lambda: None, None, [changed, left])
    state = SessionState(blocks)
    for predictions in ({changed: "new"}, gr.skip()):
        with ThreadPoolExecutor() as thread:
            thread.submit(asyncio.run, blocks.postprocess_data(blocks.fns[0], predictions, state)).result()
    assert state[left._id] is left, "it was not built anew"


@pytest.mark.parametrize(
    "head",
    [
        '<meta charset="utf-8" />',
        '<meta property="og:title" content="Gradio" />',
        '<meta charset="utf-8" /><meta property="og:title" content="x" /><meta content="x" property="og:image" />',
    ],
)
def test_a_gradio_whose_page_has_other_tags_in_its_head_is_refused(monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    templates = dict.fromkeys(gradio_patches.TEMPLATES, f"<head>{head}</head>")
    monkeypatch.setattr(routes, "templates", routes.Jinja2Templates(env=jinja2.Environment()))
    routes.templates.env.loader = jinja2.DictLoader(templates)
    with pytest.raises(RuntimeError, match=rf"Gradio {re.escape(gr.__version__)} has other tags in its head"):
        gradio_patches.replace_tags(link_preview.describe_link)


@pytest.mark.slow
def test_the_page_of_a_busy_machine_starts_although_it_takes_seconds_to_answer() -> None:
    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            time.sleep(4)
            self.send_response(200)
            self.end_headers()

    gradio_patches.apply_patches(server.fetch_or_explain)
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as busy, ThreadPoolExecutor() as pool:
        pool.submit(busy.serve_forever)
        address = f"http://127.0.0.1:{busy.server_port}/"
        assert networking.url_ok(address)
        busy.shutdown()
    assert not networking.url_ok(address)


def test_a_picture_that_is_sent_again_while_a_browser_reads_its_file_reaches_it_whole() -> None:
    gradio_patches.apply_patches(server.fetch_or_explain)
    component, picture = gr.Image(format="png"), Image.effect_noise((800, 800), 90)

    def send() -> Path:
        shown = component.postprocess(picture)
        assert shown and shown.path
        return Path(shown.path)

    file = send()
    size = file.stat().st_size
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(send) for _ in range(20)]
        while not all(future.done() for future in sent):
            assert len(file.read_bytes()) == size
    assert {future.result() for future in sent} == {file}
    assert [found.name for found in file.parent.iterdir()] == [file.name]
