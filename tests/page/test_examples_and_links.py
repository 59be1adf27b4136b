"""The examples and styles of the page, and links that open it with settings."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from page import choose, turn
from styletransfer import PRESETS
from tests.data import PAINTING, PHOTO
from tests.page.helpers import positions


def test_every_example_has_its_pictures_and_its_result() -> None:
    rows = choose.examples()
    assert len(rows) >= 6
    for path in [path for pictures in rows for path in pictures]:
        assert Path(path).is_file(), path


def test_there_are_ten_styles_to_choose_from_each_with_its_picture_name_and_maker() -> None:
    styles = choose.styles()
    assert len(styles) >= 10
    assert {Path(path).name for path, _ in styles} == {path.name for path in (choose.EXAMPLES / "style").iterdir()}
    assert all("(" in label for _, label in styles)


def test_a_link_opens_the_page_as_it_was() -> None:
    turned = positions(style_weight=3e8, colours="matched", stroke=1.5)
    query = turn.query(str(PHOTO), str(PAINTING), "quick", *turned)
    assert turn.opened(dict(parse_qsl(query))) == ((str(PHOTO), str(PAINTING), "quick", *turned), "")


def test_a_link_never_tells_of_a_visitors_own_picture(tmp_path: Path) -> None:
    mine = tmp_path / PHOTO.name
    mine.write_bytes(PHOTO.read_bytes() + b" ")
    assert "chelsea" not in turn.query(str(mine), None, "balanced", *positions())


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
def test_a_link_that_makes_no_sense_opens_the_page_as_usual(said: dict[str, str]) -> None:
    found, sentence = turn.opened(said)
    assert found == (None, None, turn.DEFAULT, *turn.turn_to(PRESETS[turn.DEFAULT]))
    assert sentence == f"Left out of the link, since it makes no sense here: {', '.join(said)}."
