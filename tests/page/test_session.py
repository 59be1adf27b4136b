"""What the server keeps for a visitor, and for how long."""

from __future__ import annotations

import gc
from pathlib import Path

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from page import session
from page.session import Session
from tests.page.helpers import paint


def test_a_visit_stores_only_its_newest_pictures(every_update: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_RESULTS", 2)
    visit = Session()
    for _ in range(3):
        list(paint(visit, iterations=2))
    assert [result.name.caption for result in visit.results] == ["Cat · Woodcut 2", "Cat · Woodcut 3"]
    stored = {path.name for path in visit.folder.iterdir() if path.is_file()}
    endings = (".png", ".jpg", ".mp4", ".webp", "--photo.jpg")
    assert stored == {f"cat-woodcut-{number}{ending}" for number in (2, 3) for ending in endings}


def test_the_pictures_of_a_visitor_are_deleted_when_the_visitor_leaves(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=2))
    file = Path(session.results[-1].file)
    assert file.is_file()
    del session
    gc.collect()
    assert not file.parent.exists()


def test_each_visitor_has_a_folder_of_their_own_that_goes_when_gradio_drops_the_visit_for_want_of_room() -> None:
    with gr.Blocks() as page:
        state = gr.State(Session())
    page.state_session_capacity = 2
    visits = StateHolder()
    visits.set_blocks(page)
    folders = [visits[name][state._id].folder for name in ("first", "second")]
    assert folders[0] != folders[1]
    assert visits["first"][state._id].folder == folders[0]
    assert visits["third"][state._id].folder.is_dir()
    gc.collect()
    assert [folder.is_dir() for folder in folders] == [True, False], "the one that was idle longest"
