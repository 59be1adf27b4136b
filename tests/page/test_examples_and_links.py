"""The examples and styles of the page, and links that open it with settings."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest

from page import controls, examples, share_link
from page.config import DEFAULT_PRESET
from page.examples import EXAMPLES
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, positions


def test_every_example_has_its_pictures_and_its_result() -> None:
    rows = examples.examples()
    assert len(rows) >= 6
    for path in [path for pictures in rows for path in pictures]:
        assert Path(path).is_file(), path


def test_there_are_ten_styles_to_choose_from_each_with_its_picture_name_and_maker() -> None:
    styles = examples.styles()
    assert len(styles) >= 10
    assert {Path(path).name for path, _ in styles} == {path.name for path in (EXAMPLES / "style").iterdir()}
    assert all("(" in label for _, label in styles)


def test_a_link_opens_the_page_as_it_was() -> None:
    values = positions(style_weight=3e8, colours="matched", stroke=1.5)
    link = share_link.decode(share_link.encode(str(PHOTO), str(PAINTING), "quick", values))
    assert link[:3] == (str(PHOTO), str(PAINTING), "quick")
    assert controls.slider_values(link.settings) == values
    assert not link.ignored


def test_a_link_never_names_a_visitors_own_picture(tmp_path: Path) -> None:
    mine = tmp_path / PHOTO.name
    mine.write_bytes(PHOTO.read_bytes() + b" ")
    assert "chelsea" not in share_link.encode(str(mine), None, "balanced", positions())


@pytest.mark.parametrize(
    "said",
    [
        {"size": "huge"},
        {"size": "1e999"},
        {"size": "nan"},
        {"colours": "pink"},
        {"preset": "../x"},
        {"photo": "../../app"},
    ],
)
def test_a_link_without_sense_opens_the_page_as_usual_and_says_what_it_ignored(said: dict[str, str]) -> None:
    query = urlencode(said)
    assert share_link.decode(query) == (None, None, DEFAULT_PRESET, controls.PRESETS[DEFAULT_PRESET], tuple(said))
    notice = HANDLERS.follow_link(query)[COMPONENTS.notice]
    assert notice["value"] == f"Ignored in this link: {', '.join(said)}."
