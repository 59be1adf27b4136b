"""The plot of the losses: however much was changed during a run, its marks stay readable."""

from __future__ import annotations

import json
import random
from typing import NamedTuple

import plotly.graph_objects as go
import pytest
from gradio.components.plot import PlotData
from playwright.sync_api import Page, expect

from page import status
from styletransfer import Losses, Settings
from tests.page.helpers import PATIENCE, on_both, paint_example

STEPS = 100
STAGES = {1: "96 px · neighbours", 34: "192 px · neighbours", 67: "384 px · moments"}
MARKS = {
    "three stages": STAGES,
    "six changes in a row": {**STAGES, **dict.fromkeys(range(20, 26), "changed")},
    "a change at every step": {**dict.fromkeys(range(2, STEPS + 1), "changed"), **STAGES},
    "changes all over the run": {**dict.fromkeys(range(4, STEPS, 9), "changed"), **STAGES},
    "changes at the end": {**dict.fromkeys(range(STEPS - 3, STEPS + 1), "changed"), **STAGES},
    "a change at the last step": {**STAGES, STEPS: "changed"},
}


def check(plot: PlotData) -> go.Figure:
    """Read a plot with Plotly's own package, which knows what every part of it may be."""
    return go.Figure(json.loads(plot.plot))


def figure(marks: dict[int, str]) -> go.Figure:
    losses = [Losses(*(10.0 ** (6 - step / STEPS - term) for term in range(4))) for step in range(STEPS)]
    return check(status.plot_losses(losses, marks, Settings(tv_weight=1.0), STEPS))


def texts(marks: dict[int, str]) -> list[str]:
    return [label.text for label in figure(marks).layout.annotations]


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
def test_every_mark_is_in_one_label_and_all_changes_are_counted(marks: dict[int, str]) -> None:
    labels = status.label_marks(marks, STEPS)
    assert sorted(step for label in labels for step in label.steps) == sorted(marks)
    counted = 0
    for label in labels:
        whole = {step: text for step, text in marks.items() if step in label.steps and text != "changed"}
        assert all(f"step {step}: {text}" in label.details for step, text in whole.items())
        assert all(text.split(" · ")[0] in label.text for text in whole.values())
        count = len(label.steps) - len(whole)
        assert ("changed" in label.text) == (count == 1)
        assert (f"{count} changes" in label.text) == (count > 1)
        counted += count
    assert counted == list(marks.values()).count("changed")


def test_labels_never_cover_one_another_nor_leave_the_plot_whatever_is_changed_and_when() -> None:
    dice = random.Random(0)
    for _ in range(500):
        steps = dice.choice([1, 3, 10, 100, 2000])
        marks = dict.fromkeys(dice.choices(range(1, steps + 1), k=dice.randrange(60)), "changed")
        for size in (96, 192, 384):
            marks[dice.randint(1, steps)] = f"{size} px · neighbours"
        labels = status.label_marks(marks, steps)
        assert sum(len(label.steps) for label in labels) == len(marks)
        for number, label in enumerate(labels):
            assert label.start >= 0
            assert label.end <= status.PLOT_WIDTH
            assert label.row < status.LABEL_ROWS
            beside = [other for other in labels[:number] if other.row == label.row]
            assert all(label.start >= other.end or label.end <= other.start for other in beside)


def test_stages_say_their_loss_unless_that_leaves_too_little_room() -> None:
    assert texts({1: "64 px · gram", 50: "128 px · gram"}) == ["64 px · gram", "128 px · gram"]
    assert texts(MARKS["six changes in a row"]) == ["96 px", "6 changes", "192 px", "384 px"]


def test_a_plot_without_marks_has_no_labels() -> None:
    assert texts({}) == []
    assert figure({}).layout.yaxis.domain == (0, 1)


def test_losses_of_many_powers_of_ten_have_few_ticks() -> None:
    losses = [Losses(1e-6, 1e7, 1e2, 1e7), Losses(0.0, 1e7, 1e2, 1e7)]
    axis = check(status.plot_losses(losses, {}, Settings(), 2)).layout.yaxis
    assert axis.dtick == 2
    assert check(status.plot_losses([], {}, Settings(), 2)).layout.yaxis.dtick == 1


class Box(NamedTuple):
    """What something covers in the window, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Box) -> bool:
        return (
            min(self.right, other.right) - max(self.left, other.left) > 0.5
            and min(self.bottom, other.bottom) - max(self.top, other.top) > 0.5
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left + 0.5
            and self.top <= other.top + 0.5
            and self.right >= other.right - 0.5
            and self.bottom >= other.bottom - 0.5
        )


def boxes(page: Page, selector: str) -> list[Box]:
    """Those of what the plot shows of this."""
    script = """parts => parts.map(part => part.getBoundingClientRect())
                          .map(box => [box.left, box.top, box.right, box.bottom])"""
    return [Box(*found) for found in page.locator(f"#curves {selector}").evaluate_all(script)]


def show_plot(page: Page, plot: go.Figure) -> None:
    """Show it in place of the page's own."""
    page.evaluate(
        """plot => Plotly.react(document.querySelector("#curves .js-plotly-plot"),
                                plot.data, {...plot.layout, autosize: true})""",
        json.loads(plot.to_json()),
    )


def swipe_down(page: Page, box: Box) -> None:
    """Move a finger over it, as to see what is further up on the page."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    for kind, moved in (("touchStart", 0), *(("touchMove", moved) for moved in range(10, 100, 10))):
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y + moved}]})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.slow
@on_both
def test_the_labels_of_the_plot_stay_apart_inside_it_and_off_its_legend_and_a_finger_on_it_scrolls_the_page(
    page: Page,
) -> None:
    paint_example(page, 4)
    expect(page.locator("#status")).to_contain_text("Finished:", timeout=2 * PATIENCE)
    expect(page.locator("#curves .legend")).to_be_visible()
    expect(page.locator("#curves .modebar-container")).to_be_hidden()
    for name, marks in MARKS.items():
        show_plot(page, figure(marks))
        assert page.locator("#curves .annotation").all_text_contents() == texts(marks)
        labels, legend = boxes(page, ".annotation .bg"), boxes(page, ".legend")
        axes = boxes(page, ".ytick, .xtick")
        (plot,) = boxes(page, ".js-plotly-plot")
        assert len(labels) == len(texts(marks)) and len(legend) == 1 and axes
        for number, label in enumerate(labels):
            assert plot.holds(label), name
            assert not any(label.covers(other) for other in [*legend, *axes, *labels[:number]]), name
    show_plot(page, figure(MARKS["six changes in a row"]))
    for label, details in {"6 changes": "steps 20 to 25: 6 changes", "384 px": "step 67: 384 px · moments"}.items():
        page.locator("#curves .annotation", has_text=label).hover()
        expect(page.locator("#curves .hoverlayer")).to_contain_text(details)
    if page.evaluate("innerWidth") < 500:
        page.locator("#curves").scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        swipe_down(page, boxes(page, ".nsewdrag")[0])
        page.wait_for_function(f"scrollY < {before}")
