"""What the buttons and sliders of the page do, without a browser."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from page import examples, handlers
from page.config import ServerConfig
from page.examples import EXAMPLES
from page.handlers import Handlers
from page.session import Session
from page.tiles import tiles_value
from styletransfer import Settings
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, SMALL, Pressed, more, paint, positions, uploaded


def test_an_example_pressed_during_a_run_does_not_replace_its_picture() -> None:
    session, example = Session(is_open=True), examples.examples()[0]
    idle = HANDLERS.show_example(session, Pressed(0))
    HANDLERS.start_more(session)
    busy = HANDLERS.show_example(session, Pressed(0))
    assert idle[COMPONENTS.viewer]["picture"]["path"] == example.result
    assert not idle[COMPONENTS.download]["interactive"], "the example is no picture of this visit"
    assert busy == gr.skip()
    session.beginning = None  # as after the last update of its run
    HANDLERS.finish_run(session)
    assert HANDLERS.show_example(session, Pressed(0)) == idle


@pytest.mark.parametrize("index", [0, 6])
def test_a_style_that_is_pressed_is_painted_with_itself_and_not_with_its_thumbnail(index: int) -> None:
    session = Session(is_open=True)
    style, title = examples.styles()[index]
    assert tiles_value(examples.style_tiles())["tiles"][index]["files"][0]["path"] == style
    marked = HANDLERS.mark_style(session, uploaded(Path(style)))
    assert marked["tiles"][marked["chosen"]]["name"] == title
    assert session.own_painting is None


def plot_marks(update: dict[Any, Any]) -> str:
    return ", ".join(note["text"] for note in json.loads(update[COMPONENTS.plot].plot)["layout"]["annotations"])


def status(update: dict[Any, Any]) -> str:
    return update[COMPONENTS.status]


def wait_for_picture(updates: Iterator[Any]) -> dict[Any, Any]:
    """The first update with a picture."""
    return next(update for update in updates if COMPONENTS.result in update)


def png(update: dict[Any, Any]) -> Path:
    return Path(update[COMPONENTS.download])


@pytest.mark.slow
def test_a_change_during_a_run_reaches_it_and_no_other_visitors_run(every_update: None) -> None:
    mine, other = Session(), Session()
    run, theirs = paint(mine, iterations=200), paint(other)
    wait_for_picture(run)
    assert "You are next" in str(next(theirs)), "one picture at a time"
    HANDLERS.steer(mine, "balanced", *positions(style_weight=1e8, colours="luminance").values())
    last, others_last = list(run)[-1], list(theirs)[-1]
    assert mine.results[-1].settings.style_weight == 1e8
    assert mine.results[-1].settings.colours == "luminance"
    assert other.results[-1].settings.style_weight == Settings().style_weight
    assert "changed" in plot_marks(last)
    assert "changed" not in plot_marks(others_last)


def test_a_number_that_is_still_being_typed_changes_nothing(every_update: None) -> None:
    session = Session(is_open=True)
    HANDLERS.start_more(session)
    for typed in (None, "", 1e9, -1, float("nan")):  # 10 to the power of 1e9 would take hours
        HANDLERS.steer(session, "balanced", *{**positions(), "style_weight": typed}.values())
    assert session.control.receive() is None


def test_a_weight_that_is_too_large_does_not_lose_the_picture(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session()
    run = paint(session, iterations=2000)
    wait_for_picture(run)
    monkeypatch.setattr("styletransfer.optimize.math.isfinite", lambda number: False)
    HANDLERS.steer(session, "balanced", *positions(style_weight=1e10).values())
    *_, last = run
    assert "choose smaller ones" in status(last)
    assert png(last).is_file()


@pytest.mark.slow
def test_a_paused_run_does_no_work_and_continues_where_it_was(every_update: None) -> None:
    session = Session()
    run = paint(session, iterations=80)
    wait_for_picture(run)
    assert HANDLERS.toggle_pause(session) == "Continue"
    while "Paused" not in str(next(run)):
        pass
    assert session.run
    done = len(session.run.losses)
    assert all(COMPONENTS.result not in next(run) for _ in range(2))
    assert len(session.run.losses) == done < 80
    assert HANDLERS.toggle_pause(session) == "Pause"
    *_, last = run
    assert "80 of 80" in status(last)


def test_stop_ends_a_paused_run_with_its_picture(every_update: None) -> None:
    session = Session()
    run = paint(session, iterations=2000)
    wait_for_picture(run)
    HANDLERS.toggle_pause(session)
    HANDLERS.stop_run(session)
    *_, last = run
    assert "Stopped:" in status(last)
    assert "pause" not in status(last)
    assert png(last).is_file()


@pytest.mark.slow
def test_more_continues_the_last_picture(every_update: None) -> None:
    session = Session()
    first = list(paint(session))[-1]
    updates = more(session)
    begun = wait_for_picture(updates)
    *_, last = updates
    assert f"{handlers.STEPS_OF_MORE} of {handlers.STEPS_OF_MORE}" in status(last)
    before, after = (np.asarray(update[COMPONENTS.result], dtype=float) for update in (first, begun))
    assert np.abs(before - after).mean() < 4, "a few steps at most have passed"
    assert len(session.results) == 2
    assert session.results[1].settings.iterations == 40, "what is restored is no shorter run"


def test_more_refuses_to_continue_the_picture_of_another_photo(every_update: None) -> None:
    session = Session()
    list(paint(session, iterations=2))
    with pytest.raises(gr.Error, match="The photo has changed"):
        list(more(session, PAINTING))


@pytest.mark.slow
def test_a_run_that_is_paused_for_too_long_ends_with_its_picture_and_says_why(
    every_update: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.run.MAX_PAUSE_SECONDS", 0.3)
    session = Session()
    run = paint(session, iterations=2000)
    wait_for_picture(run)
    HANDLERS.toggle_pause(session)
    *_, last = run
    assert "Stopped:" in status(last)
    assert "Stopped after a pause of 0.005 minutes, since others may be waiting: press More steps to go on." in status(
        last
    )
    assert png(last).is_file()
    *_, after_more = more(session)
    assert "pause" not in status(after_more)


def test_more_without_a_picture_says_so() -> None:
    with pytest.raises(gr.Error, match="press Paint first"):
        list(more(Session()))


def test_the_preview_has_the_colours_that_were_chosen() -> None:
    def mean(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB"), float).mean((0, 1))

    session, photo, painting = Session(), Image.open(PHOTO), Image.open(PAINTING)
    for colours, like in (("painting", painting), ("matched", photo), ("luminance", photo)):
        preview = HANDLERS.preview_colours(session, uploaded(PHOTO), uploaded(PAINTING), colours)
        assert preview is not None
        assert max(preview.size) == handlers.PREVIEW_SIZE
        assert np.abs(mean(preview) - mean(like)).max() < 12, colours
    assert HANDLERS.preview_colours(session, uploaded(PHOTO), None, "painting") is None
    text = uploaded(EXAMPLES / "styles.csv")
    assert HANDLERS.preview_colours(session, uploaded(PHOTO), text, "painting") is None


def test_a_run_that_takes_too_long_ends_with_its_picture() -> None:
    hurried, session = Handlers(COMPONENTS, ServerConfig(max_run_seconds=1.0)), Session(is_open=True)
    hurried.start_more(session)
    *_, last = hurried.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "quick", **{**SMALL, "iterations": 2000})
    assert "Stopped:" in last[COMPONENTS.status]
    assert "Stopped at the limit of 1 s." in last[COMPONENTS.status]
    assert Image.open(last[COMPONENTS.download]).size


@pytest.mark.slow
def test_pressing_paint_many_times_at_once_makes_one_picture_after_the_other(evaluations: Counter[str]) -> None:
    def painted(_: int) -> Any:
        return list(HANDLERS.stylize(Session(), uploaded(PHOTO), uploaded(PAINTING), "quick", **SMALL))

    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(painted, range(6)))
    assert evaluations["most"] == 1
    assert all(isinstance(run[-1][COMPONENTS.result], Image.Image) for run in done)


def test_a_refused_request_raises_what_the_page_shows() -> None:
    with pytest.raises(gr.Error, match="Choose a photo first"):
        next(HANDLERS.stylize(Session(), None, uploaded(PAINTING), "quick", **SMALL))


def press_style(session: Session, index: int = 6) -> dict[Any, Any]:
    return HANDLERS.choose_style(session, uploaded(PHOTO), uploaded(PAINTING), None, Pressed(index))


def begin(session: Session) -> Iterator[Any]:
    """A run that has painted something, and goes on."""
    updates = paint(session, iterations=40)
    while COMPONENTS.result not in next(updates):
        pass
    return updates


def end(session: Session, updates: Iterator[Any]) -> dict[Any, Any]:
    HANDLERS.stop_run(session)
    list(updates)
    return HANDLERS.finish_run(session)


def visible(changes: dict[Any, Any]) -> list[bool]:
    """Which of the offer and its three buttons can be seen."""
    c = COMPONENTS
    return [bool(changes[part]["visible"]) for part in (c.offer, c.paint_next, c.paint_now, c.cancel_next)]


def test_a_style_that_is_next_is_named_with_a_way_to_cancel_also_after_a_reload(every_update: None) -> None:
    session, name = Session(), examples.style_tiles()[6].name
    updates = begin(session)
    offered = press_style(session)
    assert visible(offered) == [True, True, True, False]
    asked = HANDLERS.paint_next(session, uploaded(PHOTO), uploaded(PAINTING), None)
    assert asked[COMPONENTS.offer_text] == f"Next: **{name}**"
    assert visible(asked) == visible(HANDLERS.return_to_visit(session)) == [True, False, True, True]
    another = press_style(session, 7)
    assert another[COMPONENTS.offer_text] == f"Next: **{examples.style_tiles()[7].name}**"
    cancelled = HANDLERS.cancel_next(session)
    assert not cancelled[COMPONENTS.offer]["visible"]
    assert cancelled[COMPONENTS.painting] == str(PAINTING), "the ring is where it was"
    ended = end(session, updates)
    assert COMPONENTS.go not in ended
    assert not ended[COMPONENTS.offer]["visible"]


def test_the_next_run_says_that_the_picture_before_is_kept(every_update: None) -> None:
    session = Session()
    updates = begin(session)
    press_style(session)
    HANDLERS.paint_next(session, uploaded(PHOTO), uploaded(PAINTING), None)
    ended = end(session, updates)
    assert ended[COMPONENTS.go]
    values = positions(iterations=2).values()
    seen = list(HANDLERS.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "balanced", *values, None))
    HANDLERS.finish_run(session)
    assert any(handlers.KEPT in str(changes.get(COMPONENTS.status)) for changes in seen)
    first = list(paint(session, iterations=2))
    HANDLERS.finish_run(session)
    assert not any(handlers.KEPT in str(changes.get(COMPONENTS.status)) for changes in first), "Paint was pressed"


def test_an_offer_that_was_not_answered_stays_at_the_end_and_paints_with_one_press(every_update: None) -> None:
    session = Session()
    updates = begin(session)
    press_style(session)
    ended = end(session, updates)
    assert visible(ended) == [True, True, False, False]
    assert ended[COMPONENTS.paint_next]["value"] == "Paint it"
    pressed = HANDLERS.paint_next(session, uploaded(PHOTO), uploaded(PAINTING), None)
    assert pressed[COMPONENTS.go]
    assert not pressed[COMPONENTS.offer]["visible"]
    session.running = False


def test_an_offer_speaks_of_the_photo_that_is_chosen_after_it_and_goes_when_the_run_is_over(every_update: None) -> None:
    session, photo = Session(), Path(examples.sample_photos()[1])
    updates = begin(session)
    assert HANDLERS.renew_offer(session, uploaded(photo), uploaded(PAINTING)) == gr.skip(), "nothing was offered"
    press_style(session)
    style = Path(examples.styles()[6][0])
    renewed = HANDLERS.renew_offer(session, uploaded(photo), uploaded(style))
    assert renewed[COMPONENTS.offer_text].startswith(f"**{examples.pair_name(str(photo), [str(style)])}**:")
    of_this_run = HANDLERS.renew_offer(session, uploaded(PHOTO), uploaded(style))
    assert of_this_run[COMPONENTS.offer_text] == press_style(session)[COMPONENTS.offer_text]
    without = HANDLERS.renew_offer(session, None, uploaded(style))
    assert not without[COMPONENTS.offer]["visible"], "it cannot be painted"
    press_style(session)
    assert end(session, updates)[COMPONENTS.offer]["visible"]
    for changes in (HANDLERS.renew_offer(session, uploaded(photo), uploaded(style)), HANDLERS.return_to_visit(session)):
        assert not changes[COMPONENTS.offer]["visible"]


def test_a_line_beside_paint_says_what_the_second_painting_does_and_that_a_mark_without_one_is_ignored() -> None:
    session, mask = Session(), str(PAINTING)  # any picture is a mask
    session.masks[mask] = str(PHOTO)
    second = uploaded(EXAMPLES / "style" / "van-gogh-harvest-at-la-crau.webp")

    def line(photo: Path, second_painting: Any, region: Any) -> tuple[bool, str, bool]:
        changes = HANDLERS.describe_second_painting(session, uploaded(photo), second_painting, region)
        shown, mix = changes[COMPONENTS.second_line]["visible"], changes[COMPONENTS.controls["mix"]]
        return shown, changes[COMPONENTS.second_text], mix["interactive"]

    assert line(PHOTO, None, None) == (False, "", True)
    mixed = line(PHOTO, second, None)
    assert mixed[0] and mixed[2]
    assert "Harvest at La Crau" in mixed[1] and "mixed in" in mixed[1]
    in_part = line(PHOTO, second, uploaded(Path(mask)))
    assert "for the part you marked" in in_part[1]
    assert not in_part[2], "the share means nothing"
    assert "mixed in" in line(PAINTING, second, uploaded(Path(mask)))[1], "the mark is one of another photo"
    shown, said, _ = line(PHOTO, None, uploaded(Path(mask)))
    assert shown and "the mark is ignored" in said
    session.desk = session.desk._replace(second_painting=second["path"])
    assert HANDLERS.remove_second_painting(session)[COMPONENTS.second_painting] is None
    assert session.desk.second_painting is None
