"""The examples and styles of the page, and links that open it with settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import gradio as gr
import pytest
from PIL import Image, ImageChops, ImageStat

from page import controls, examples, share_link
from page.config import DEFAULT_PRESET
from page.examples import EXAMPLES
from page.session import Session
from scripts import make_thumbnails
from styletransfer import PRESETS
from tests.data import PAINTING, PHOTO, one_sentence
from tests.page.helpers import COMPONENTS, HANDLERS, positions, uploaded

SECOND = examples.style_path("mosaic")


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


def test_the_thumbnails_are_those_of_the_pictures_of_today() -> None:
    for path in make_thumbnails.pictures():
        with Image.open(examples.thumbnail(str(path))) as small:
            wanted = make_thumbnails.make_thumbnail(path)
            assert small.size == wanted.size, path
            difference = ImageStat.Stat(ImageChops.difference(small.convert("RGB"), wanted)).mean
            assert max(difference) < 24, f"{path}: run python -m scripts.make_thumbnails"
    kept = {path for path in (EXAMPLES / "thumbnails").rglob("*") if path.is_file()}
    assert kept == {Path(examples.thumbnail(str(path))) for path in make_thumbnails.pictures()}


def test_a_link_opens_the_page_as_it_was() -> None:
    values = positions(style_weight=3e8, colours="matched", stroke=1.5, objective="neighbours", faces=False)
    chosen = {"photo": str(PHOTO), "painting": str(PAINTING), "second painting": SECOND}
    link = share_link.decode(share_link.encode(chosen, "quick", {**values, "mix": 0.25}))
    assert link[:4] == (str(PHOTO), str(PAINTING), SECOND, "quick")
    values["mix"] = 0.25
    assert controls.slider_values(link.settings) == values
    assert not link.ignored


def test_a_link_says_its_version_and_no_more_than_what_differs_from_its_preset() -> None:
    said = dict(parse_qsl(share_link.encode({}, "classic", controls.slider_values(PRESETS["classic"]))))
    assert said == {"v": "2", "preset": "classic"}
    faces = controls.slider_values(replace(PRESETS["classic"], faces=True))
    assert dict(parse_qsl(share_link.encode({}, "classic", faces))) == {**said, "faces": "True"}


@pytest.mark.parametrize(("preset", "steps"), [("quick", 26), ("balanced", 75), ("best", 360), ("classic", 300)])
def test_a_link_from_before_there_were_versions_paints_as_it_did(preset: str, steps: int) -> None:
    settings = share_link.decode(f"preset={preset}&size=320").settings
    assert (settings.objective, settings.faces, settings.tv_weight) == ("gram", False, 0)
    assert (settings.iterations, settings.size) == (steps, 320)
    assert settings.square is (preset == "classic")
    moved = HANDLERS.follow_link(Session(), f"preset={preset}")
    assert moved[COMPONENTS.preset] == preset
    assert [moved[COMPONENTS.controls[name]] for name in ("objective", "faces", "iterations")] == ["gram", False, steps]


def test_an_old_link_that_names_no_preset_means_the_old_default_and_keeps_what_it_says() -> None:
    settings = share_link.decode("photo=chelsea&painting=woodcut&iterations=40&tv_weight=3").settings
    assert (settings.objective, settings.faces, settings.iterations, settings.tv_weight) == ("gram", False, 40, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_link_of_today_means_the_presets_of_today(preset: str) -> None:
    assert share_link.decode(f"v=2&preset={preset}").settings == PRESETS[preset]


def test_a_link_without_a_second_painting_still_means_none() -> None:
    for old in ("photo=chelsea&painting=woodcut", "v=2&photo=chelsea&painting=woodcut&preset=quick"):
        link = share_link.decode(old)
        assert (link.photo, link.painting, link.second_painting, link.ignored) == (str(PHOTO), str(PAINTING), None, ())


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A visitor's own picture, which is called like one of the page's."""
    mine = tmp_path / PHOTO.name
    mine.write_bytes(PHOTO.read_bytes() + b" ")
    return str(mine)


def test_a_link_never_names_a_visitors_own_picture(own: str) -> None:
    assert "chelsea" not in share_link.encode({"photo": own}, "balanced", positions())


def test_a_link_says_which_pictures_it_does_not_carry(own: str) -> None:
    def say(*own_pictures: str) -> str:
        ours = {"photo": str(PHOTO), "painting": str(PAINTING), "second painting": SECOND}
        said = share_link.describe_limits({**ours, **dict.fromkeys(own_pictures, own)})
        assert one_sentence(said)
        return said

    assert "exactly" in say()
    assert "your own photo:" in say("photo")
    assert "your own photo and second painting:" in say("photo", "second painting")
    assert "your own photo, painting and second painting:" in say("photo", "painting", "second painting")
    assert "cannot carry the parts you marked:" in say("mask")
    assert "cannot carry the parts you marked:" in say("mask", "region")
    assert "your own photo, nor what you marked:" in say("photo", "region")


@pytest.mark.parametrize(
    ("marked", "said"),
    [
        ("mask", "with parts marked to keep, which"),
        ("region", "with parts marked for the second painting, which"),
    ],
)
def test_whoever_opens_a_link_is_told_that_parts_were_marked_and_how_to_mark_them(marked: str, said: str) -> None:
    pictures = {"photo": str(PHOTO), "painting": str(PAINTING), "second painting": SECOND, marked: "own.png"}
    query = share_link.encode(pictures, "quick", controls.slider_values(PRESETS["quick"]))
    notice = HANDLERS.follow_link(Session(), query)[COMPONENTS.notices[COMPONENTS.photo]]
    assert notice["visible"]
    assert one_sentence(notice["value"])
    assert said in notice["value"]
    assert "press “Mark parts”" in notice["value"]
    assert ("mixed in" in notice["value"]) is (marked == "region")
    pictures.pop(marked)
    plain = share_link.encode(pictures, "quick", controls.slider_values(PRESETS["quick"]))
    assert not HANDLERS.follow_link(Session(), plain)[COMPONENTS.notices[COMPONENTS.photo]]["visible"]
    assert share_link.decode(f"{plain}&marks=nonsense").ignored == ("marks",)


def test_a_page_that_a_link_opened_shows_its_second_painting_again_after_a_reload() -> None:
    session = Session()
    query = share_link.encode(
        {"photo": str(PHOTO), "painting": str(PAINTING), "second painting": SECOND},
        "quick",
        {**controls.slider_values(PRESETS["quick"]), "mix": 0.75},
    )
    moved = HANDLERS.follow_link(session, query)
    back = HANDLERS.return_to_visit(session)
    for component in (COMPONENTS.photo, COMPONENTS.painting, COMPONENTS.second_painting, *COMPONENTS.controls.values()):
        assert back[component] == moved[component]
    assert back[COMPONENTS.second_painting] == SECOND
    assert back[COMPONENTS.controls["mix"]] == 0.75


def test_a_mask_is_said_to_be_left_out_as_long_as_it_is_one_of_this_photo(tmp_path: Path) -> None:
    session, mask = Session(), tmp_path / "mask.png"
    for photo, said in ((PHOTO, "the parts you marked:"), (tmp_path / "other.png", "exactly")):
        session.masks[str(mask)] = str(photo)
        chosen = (uploaded(PHOTO), uploaded(PAINTING), None, uploaded(mask), None)
        link = HANDLERS.make_link(session, "http://photo.example/", *chosen, "quick", *positions().values())
        assert said in link[COMPONENTS.link_note]["value"]
        assert "mask" not in link[COMPONENTS.link]["value"]


def test_a_number_that_is_still_being_typed_leaves_the_link_as_it_was() -> None:
    def renew(**changes: object) -> object:
        values = {**positions(), **changes}.values()
        inputs = (uploaded(PHOTO), uploaded(PAINTING), None, None, None, "quick", *values)
        return HANDLERS.renew_link(Session(), "http://photo.example/", *inputs)

    assert renew(size=None) == renew(size=10**6) == gr.skip()
    assert "size=320" in renew(size=320)[COMPONENTS.link]["value"]  # type: ignore[index]


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
        {"second_painting": "chelsea"},
    ],
)
def test_a_link_without_sense_opens_the_page_as_usual_and_says_what_it_ignored(said: dict[str, str]) -> None:
    query = urlencode({"v": share_link.VERSION, **said})
    settings = controls.PRESETS[DEFAULT_PRESET]
    assert share_link.decode(query) == (None, None, None, DEFAULT_PRESET, settings, tuple(said), ())
    notice = HANDLERS.follow_link(Session(), query)[COMPONENTS.notices[COMPONENTS.photo]]
    assert notice["value"] == f"Ignored in this link: {', '.join(said)}."
