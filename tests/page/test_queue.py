"""Who paints next, with fake runs: their order, their places and seconds, and how they leave."""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from page import handlers, run, worker
from page.config import MAX_WAITING
from page.examples import styles
from page.queue import Durations, Place, Queue, QueueFullError
from page.session import Session
from page.status import LEAVE_QUEUE, describe_place, status_html
from page.worker import Failure, LocalPainter, PainterLostError, Request, RunControl, RunEnd, Update
from styletransfer import PRESETS, Settings
from tests.data import PAINTING, PHOTO
from tests.page.helpers import COMPONENTS, HANDLERS, SMALL, Pressed, make_update, paint, uploaded


def unknown() -> None:
    """The seconds of somebody of whom nothing is known."""


# The queue alone


def test_turns_come_in_the_order_of_coming_and_one_at_a_time() -> None:
    waiting, order, together = Queue(LocalPainter()), list[int](), Counter[str]()
    entries = [waiting.join(unknown) for _ in range(6)]

    def take_turn(number: int) -> None:
        while not entries[number].wait_for_turn(0.01):
            pass
        together["now"] += 1
        together["most"] = max(together["most"], together["now"])
        time.sleep(0.02)
        order.append(number)
        together["now"] -= 1
        entries[number].leave()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(take_turn, reversed(range(6))))
    assert order == [0, 1, 2, 3, 4, 5]
    assert together["most"] == 1
    assert not waiting.is_busy


def test_one_who_comes_when_too_many_wait_is_refused_at_once_and_let_in_when_one_has_left() -> None:
    waiting = Queue(LocalPainter())
    entries = [waiting.join(unknown) for _ in range(1 + MAX_WAITING)]
    with pytest.raises(QueueFullError, match="busy, and 8 people wait already: try again"):
        waiting.join(unknown)
    entries[3].leave()
    assert waiting.join(unknown).place == Place(MAX_WAITING - 1, None)


def test_a_place_says_how_many_wait_before_and_how_long_they_will_take() -> None:
    waiting, seconds = Queue(LocalPainter()), [12.0, 30.0, 5.0, 7.0]
    entries = [waiting.join(lambda number=number: seconds[number]) for number in range(4)]  # type: ignore[misc]
    assert [entry.place for entry in entries] == [None, Place(0, 12.0), Place(1, 42.0), Place(2, 47.0)]
    seconds[0] = 4.0
    assert entries[2].place == Place(1, 34.0)
    entries[1].leave()
    entries[1].leave()
    assert entries[1].place is None
    assert [entry.place for entry in entries[2:]] == [Place(0, 4.0), Place(1, 9.0)]


def test_nothing_is_said_about_seconds_while_one_of_those_before_is_unknown() -> None:
    waiting = Queue(LocalPainter())
    for seconds in (lambda: 3.0, unknown):
        waiting.join(seconds)
    assert waiting.join(unknown).place == Place(1, None)


def test_one_who_goes_behind_lets_all_others_go_first_and_two_of_them_take_turns() -> None:
    waiting, order = Queue(LocalPainter()), list[str]()
    entries = {name: waiting.join(unknown) for name in ("sketches", "one", "others", "two")}
    while any(name in order[-2:] for name in ("one", "two")) or len(order) < 4:
        name = next(name for name, entry in entries.items() if entry.wait_for_turn(0))
        order.append(name)
        if name in ("one", "two"):
            entries[name].leave()
        else:
            entries[name].go_behind()
    assert order == ["sketches", "one", "others", "two", "sketches", "others"]


def test_one_who_goes_behind_keeps_a_place_in_a_full_queue() -> None:
    waiting = Queue(LocalPainter())
    entries = [waiting.join(unknown) for _ in range(1 + MAX_WAITING)]
    entries[0].go_behind()
    assert entries[0].place == Place(MAX_WAITING - 1, None)
    assert entries[1].wait_for_turn(0)


def test_seconds_are_estimated_from_the_latest_runs_that_are_most_alike() -> None:
    durations, quick, balanced = Durations(), PRESETS["quick"], PRESETS["balanced"]
    assert durations.estimate("quick", quick) is None
    durations.add("balanced", balanced, 26.0)
    of_another_preset = durations.estimate("quick", quick)
    assert of_another_preset == pytest.approx(26.0 * quick.iterations / balanced.iterations)
    for seconds in (900.0, 8.0, 9.0, 8.5, 30.0, 8.5):
        durations.add("quick", quick, seconds)
    assert durations.estimate("quick", quick) == pytest.approx(8.5), "one odd run does not count"
    assert durations.estimate("balanced", balanced) == pytest.approx(26.0)
    assert durations.estimate("quick", Settings(iterations=19, size=1024)) == pytest.approx(4 * 8.5)


def test_the_status_says_the_place_as_a_person_would() -> None:
    said = {
        Place(0, 12.3): "You are next · about 12 s",
        Place(1, 40.0): "1 person before you · about 40 s",
        Place(2, None): "2 people before you",
        Place(0, None): "You are next",
        Place(0, 0.0): "You are next · about 1 s",
        Place(7, 600.0): "7 people before you · about 10 min",
    }
    for place, text in said.items():
        assert status_html(text, LEAVE_QUEUE) in describe_place(place)


# Runs that wait


@dataclass
class Painter:
    """Paints only when it is told to."""

    paintings: list[str] = field(default_factory=list)  # of the runs that have begun
    release: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def paint(self, request: Request) -> Iterator[Update]:
        self.paintings.append(request.paintings[0])
        control = RunControl(request.folder)
        for step in (1, 2):
            end = RunEnd.FINISHED if step == 2 else RunEnd.STOPPED if control.stopped else None
            yield self.update(request, step, end)
            if end:
                return
            while not self.release.acquire(timeout=0.05) and not control.stopped:
                pass

    def update(self, request: Request, step: int, end: RunEnd | None) -> Update:
        return make_update(request, iteration=step, end=end)


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Painter]:
    """What paints, in an empty queue. Runs that are left over when the test ends are stopped."""
    painter = Painter()
    monkeypatch.setattr(worker, "run", painter.paint)
    monkeypatch.setattr(run, "QUEUE", Queue(LocalPainter()))
    monkeypatch.setattr(run, "DURATIONS", Durations())
    yield painter
    for left_over in list(run.RUNS):
        left_over.control.stop()
    wait_until(lambda: not run.RUNS)


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status(changes: dict[Any, Any]) -> str:
    return str(changes[COMPONENTS.status])


def press(session: Session) -> tuple[Iterator[Any], str]:
    """A press on Paint, and what the status says first."""
    updates = paint(session)
    return updates, status(next(updates))


def begin(session: Session) -> Iterator[Any]:
    """A run that has shown a picture, and paints on."""
    updates = paint(session)
    while COMPONENTS.result not in next(updates):
        pass
    return updates


def test_those_who_wait_see_their_place_and_its_seconds_and_move_up(painter: Painter) -> None:
    first = begin(Session())
    second, said = press(Session())
    assert "<p>You are next · about 40 s</p>" in said
    third, said = press(Session())
    assert "<p>1 person before you</p>" in said, "nobody knows yet how long the second takes"
    painter.release.release()
    list(first)
    while COMPONENTS.result not in next(second):
        pass
    assert "You are next · about 40 s" in status(next(third))
    fourth, said = press(Session())
    assert "1 person before you · about 4" in said, "the first has finished"
    painter.release.release()
    assert "Finished" in status(list(second)[-1])
    for updates in (third, fourth):
        painter.release.release()
        assert "Finished" in status(list(updates)[-1])
    assert len(painter.paintings) == 4


def test_stop_leaves_the_queue_at_once_and_what_the_page_showed_stays(
    painter: Painter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "page")
    first, leaver = begin(Session()), Session()
    waiting, _ = press(leaver)
    behind, _ = press(Session())
    HANDLERS.stop_run(leaver)
    started, changes = time.monotonic(), list(waiting)
    assert time.monotonic() - started < 1.0
    assert status(changes[-1]) == "<p>You left the queue. Nothing was painted.</p>"
    assert all(set(change) <= {COMPONENTS.status, "__type__"} for change in changes), "only the status changes"
    assert HANDLERS.finish_run(leaver)[COMPONENTS.start]["interactive"]
    assert COMPONENTS.status not in HANDLERS.return_to_visit(leaver), "left on purpose, not lost"
    assert COMPONENTS.status not in next(HANDLERS.watch_again(leaver))
    painter.release.release(2)
    list(first)
    assert "Finished" in status(list(behind)[-1])
    assert len(painter.paintings) == 2
    assert "seconds=0.0 evaluations=0 outcome=stopped" in caplog.text


def test_more_runs_than_may_wait_are_refused_in_one_sentence_and_the_visit_can_try_again(painter: Painter) -> None:
    _first = begin(Session())
    waiting = [press(Session()) for _ in range(MAX_WAITING)]
    late = Session()
    with pytest.raises(gr.Error, match="busy, and 8 people wait already: try again in a minute"):
        press(late)
    assert HANDLERS.fail_run(late)[COMPONENTS.start]["interactive"]
    waiting[2][0].close()  # type: ignore[attr-defined]
    for updates, _ in waiting[3:4]:
        next(updates)
    with pytest.raises(gr.Error, match="busy"):  # a lost connection keeps its place
        press(late)
    assert "7 people before you" in waiting[-1][1]


def test_a_place_is_kept_while_the_connection_is_gone_and_found_again_after_a_reload(painter: Painter) -> None:
    _first = begin(Session())
    session = Session()
    waiting, _ = press(session)
    waiting.close()  # type: ignore[attr-defined]
    press(Session())
    shown = HANDLERS.return_to_visit(session)
    assert shown[COMPONENTS.stop]["interactive"]
    assert not shown[COMPONENTS.start]["interactive"]
    again = HANDLERS.watch_again(session)
    next(again)
    assert "You are next" in status(next(again)), "and not behind the one who came meanwhile"
    HANDLERS.stop_run(session)
    assert "You left the queue" in status(list(again)[-1])


def test_a_tab_that_is_closed_while_it_waits_gives_up_its_place_and_says_so_when_it_is_opened_again(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "page")
    _first = begin(Session())
    session = Session()
    waiting, _ = press(session)
    held = session.run
    assert held
    waiting.close()  # type: ignore[attr-defined]
    held.expect_end()
    wait_until(lambda: held.is_over, run.RETURN_SECONDS + 1)
    assert "outcome=left" in caplog.text
    assert HANDLERS.return_to_visit(session)[COMPONENTS.start]["interactive"]
    assert handlers.LOST_PLACE in status(list(HANDLERS.watch_again(session))[-1])
    assert all(COMPONENTS.status not in changes for changes in HANDLERS.watch_again(session)), "once"


def test_a_program_that_leaves_while_it_waits_is_never_painted_for(painter: Painter) -> None:
    first = begin(Session())
    program = HANDLERS.paint(uploaded(PHOTO), uploaded(PAINTING), "quick")
    next(program)
    program.close()  # type: ignore[attr-defined]
    wait_until(lambda: len(run.RUNS) == 1)
    painter.release.release()
    list(first)
    assert len(painter.paintings) == 1


def test_a_style_that_is_pressed_while_a_run_waits_is_what_it_is_painted_with_in_the_same_place(
    painter: Painter,
) -> None:
    first, session = begin(Session()), Session()
    waiting, _ = press(session)
    chosen = HANDLERS.choose_style(session, uploaded(PHOTO), uploaded(PAINTING), None, Pressed(4))
    assert COMPONENTS.offer not in chosen
    painter.release.release(2)
    list(first)
    assert "Finished" in status(list(waiting)[-1])
    assert painter.paintings == [str(PAINTING), styles()[4][0]]


def test_a_second_run_of_a_visit_that_waits_is_refused(painter: Painter) -> None:
    _first = begin(Session())
    session = Session()
    _waiting, _ = press(session)
    with pytest.raises(gr.Error, match="stop it first"):
        HANDLERS.start_run(session, uploaded(PHOTO), uploaded(PAINTING))


def test_two_jobs_of_a_program_at_once_each_end_with_a_picture_of_their_own(painter: Painter) -> None:
    session = Session()  # it was opened by no page
    jobs = [HANDLERS.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "quick", *SMALL.values()) for _ in range(2)]
    for job in jobs:
        next(job)
    painter.release.release(2)
    wait_until(lambda: not run.RUNS)  # both are over before anybody looks
    names = {Path(list(job)[-1][COMPONENTS.download]).name for job in jobs}
    assert names == {"cat-woodcut.png", "cat-woodcut-2.png"}, "either may be saved first"


# Several painters


def test_as_many_have_a_turn_as_there_are_painters_and_one_who_comes_later_takes_work_at_once() -> None:
    one, two = LocalPainter(), LocalPainter()
    waiting = Queue(one)
    entries = [waiting.join(unknown) for _ in range(3)]
    assert [entry.wait_for_turn(0) for entry in entries] == [True, False, False]
    waiting.add(two)
    assert [entry.wait_for_turn(0) for entry in entries] == [True, True, False]
    assert {entries[0].painter, entries[1].painter} == {one, two}
    entries[0].leave()
    assert entries[2].painter is one


def test_a_painter_that_is_dismissed_gets_no_more_work_and_whoever_it_painted_for_is_next() -> None:
    one, two = LocalPainter(), LocalPainter()
    waiting = Queue(one, two)
    first, second, third = (waiting.join(unknown) for _ in range(3))
    lost = first.painter
    first.change_painter()
    assert first.place == Place(0, None), "before the third, who came later"
    assert third.place == Place(1, None)
    second.leave()
    assert first.painter is not lost
    first.leave()
    assert third.painter is not lost
    assert waiting.painters == (third.painter,)


def test_the_seconds_of_a_place_follow_the_number_of_painters() -> None:
    waiting = Queue(LocalPainter(), LocalPainter())
    entries = [waiting.join(lambda left=left: left) for left in (10.0, 30.0, 15.0, 5.0, 1.0)]  # type: ignore[misc]
    # The third begins after 10 s and ends after 25, before the second one: then the fourth begins.
    assert [entry.place for entry in entries[2:]] == [Place(0, 10.0), Place(1, 25.0), Place(2, 30.0)]
    waiting.add(LocalPainter())
    assert [entry.place for entry in entries[2:]] == [None, Place(0, 10.0), Place(1, 15.0)]


def test_nobody_is_told_seconds_while_there_is_no_painter_and_all_begin_when_there_are() -> None:
    waiting = Queue(max_waiting=2)
    one, two = waiting.join(lambda: 3.0), waiting.join(lambda: 3.0)
    assert one.place == Place(0, None)
    with pytest.raises(QueueFullError, match="busy, and 2 people wait already"):
        waiting.join(unknown)
    waiting.add(LocalPainter())
    assert one.wait_for_turn(0) and two.place == Place(0, 3.0)


class LostPainter(Painter):
    """Is lost after its first update."""

    def paint(self, request: Request) -> Iterator[Update]:
        yield self.update(request, 1, None)
        raise PainterLostError


class FailingPainter(Painter):
    """Fails at once."""

    def paint(self, request: Request) -> Iterator[Update | Failure]:  # type: ignore[override]
        yield Failure("This machine cannot paint this.", expected=False)


def test_a_picture_that_is_shown_is_kept_when_its_painter_is_lost_and_the_next_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "QUEUE", Queue(LostPainter(), FailingPainter()))
    session = Session()
    *_, last = paint(session)
    assert "Stopped" in status(last)
    assert "This machine cannot paint this." in status(last)
    assert session.results and Path(session.results[0].file).is_file()


def test_a_picture_that_is_shown_stays_when_its_painter_is_lost_and_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "QUEUE", Queue(LostPainter(), FailingPainter()))
    monkeypatch.setattr(run, "go_on_from", fail)
    *_, last = paint(Session())
    assert "Stopped" in status(last)
    assert "no other can go on: the disk is full" in status(last)
    assert last[COMPONENTS.result]


class BrokenPainter(Painter):
    """Has an error of its own after its first update."""

    def paint(self, request: Request) -> Iterator[Update]:
        yield self.update(request, 1, None)
        raise ZeroDivisionError


def test_a_picture_that_is_shown_is_saved_when_its_painter_has_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUEUE", Queue(BrokenPainter()))
    session = Session()
    *_, last = paint(session)
    assert "Stopped" in status(last)
    assert "Something went wrong on the server: try once more." in status(last)
    assert session.results and Path(session.results[0].file).is_file()


class AbsentPainter(Painter):
    """Is lost before its first update."""

    def paint(self, request: Request) -> Iterator[Update]:
        raise PainterLostError
        yield


def test_stop_leaves_the_queue_also_where_the_painter_was_lost_before_the_first_picture(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "page")
    monkeypatch.setattr(run, "QUEUE", Queue(AbsentPainter()))
    session = Session()
    updates = paint(session)
    assert "You are next" in status(next(changes for changes in updates if "You are next" in str(changes)))
    HANDLERS.stop_run(session)
    *_, last = updates
    assert "You left the queue. Nothing was painted." in status(last)
    assert "outcome=stopped" in caplog.text
