"""The parts of Gradio that the page replaces."""

from __future__ import annotations

import re

import gradio as gr
import pytest

from page import gradio_patches, server


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
