"""The examples and styles of the page, and links that open it with settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

from page import controls, examples, share_link
from page.config import DEFAULT_PRESET
from page.examples import EXAMPLES
from styletransfer import PRESETS
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, positions


def test_every_example_has_its_pictures_and_its_result() -> None:
    rows = examples.examples()
    assert len(rows) >= 6
    for path in [path for pictures in rows for path in pictures]:
        assert Path(path).is_file(), path


def test_there_are_ten_styles_to_choose_from_each_with_its_picture_and_name() -> None:
    styles = examples.styles()
    assert len(styles) >= 10
    assert {Path(path).name for path, _ in styles} == {path.name for path in (EXAMPLES / "style").iterdir()}
    assert len({title for _, title in styles}) == len(styles)


def test_a_link_opens_the_page_as_it_was() -> None:
    values = positions(style_weight=3e8, colours="matched", stroke=1.5, objective="neighbours", faces=False)
    link = share_link.decode(share_link.encode(str(PHOTO), str(PAINTING), "quick", values))
    assert link[:3] == (str(PHOTO), str(PAINTING), "quick")
    assert controls.slider_values(link.settings) == values
    assert not link.ignored


def test_a_link_says_its_version_and_no_more_than_what_differs_from_its_preset() -> None:
    said = dict(parse_qsl(share_link.encode(None, None, "classic", controls.slider_values(PRESETS["classic"]))))
    assert said == {"v": "2", "preset": "classic"}
    faces = controls.slider_values(replace(PRESETS["classic"], faces=True))
    assert dict(parse_qsl(share_link.encode(None, None, "classic", faces))) == {**said, "faces": "True"}


@pytest.mark.parametrize(("preset", "steps"), [("quick", 26), ("balanced", 75), ("best", 360), ("classic", 300)])
def test_a_link_from_before_there_were_versions_paints_as_it_did(preset: str, steps: int) -> None:
    settings = share_link.decode(f"preset={preset}&size=320").settings
    assert (settings.objective, settings.faces, settings.tv_weight) == ("gram", False, 0)
    assert (settings.iterations, settings.size) == (steps, 320)
    assert settings.square is (preset == "classic")
    moved = HANDLERS.follow_link(f"preset={preset}")
    assert moved[COMPONENTS.preset] == preset
    assert [moved[COMPONENTS.controls[name]] for name in ("objective", "faces", "iterations")] == ["gram", False, steps]


def test_an_old_link_that_names_no_preset_means_the_old_default_and_keeps_what_it_says() -> None:
    settings = share_link.decode("photo=chelsea&painting=woodcut&iterations=40&tv_weight=3").settings
    assert (settings.objective, settings.faces, settings.iterations, settings.tv_weight) == ("gram", False, 40, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_link_of_today_means_the_presets_of_today(preset: str) -> None:
    assert share_link.decode(f"v=2&preset={preset}").settings == PRESETS[preset]


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
        {"objective": "pink"},
        {"faces": "some"},
        {"faces": "1"},
        {"preset": "../x"},
        {"photo": "../../app"},
    ],
)
def test_a_link_without_sense_opens_the_page_as_usual_and_says_what_it_ignored(said: dict[str, str]) -> None:
    query = urlencode({"v": share_link.VERSION, **said})
    assert share_link.decode(query) == (None, None, DEFAULT_PRESET, controls.PRESETS[DEFAULT_PRESET], tuple(said))
    notice = HANDLERS.follow_link(query)[COMPONENTS.notices[COMPONENTS.photo]]
    assert notice["value"] == f"Ignored in this link: {', '.join(said)}."
