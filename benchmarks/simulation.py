"""A page with many painters, simulated: who waits for a painter, for the page and for a film, and for how long."""

from __future__ import annotations

import random
import statistics
from collections.abc import Generator
from typing import Any, NamedTuple

import simpy

SECONDS_PER_SIGN = 0.5  # see page/run.py
SECONDS_PER_CLICK = 0.2  # of the one who only tries how soon the page answers


class Cost(NamedTuple):
    """What the page's process does for its visitors, in seconds of a processor."""

    begin: float  # from the tap on Paint until the run is in the queue
    picture: float  # to show one that is being painted
    sign: float  # to find, each half second, that a visitor is still there
    film: float  # to write the files of a finished picture; another processor can do it
    answer: float  # to a tap on something that answers at once


class Scene(NamedTuple):
    """Painters, and visitors who paint, look at the picture for a while, and paint again."""

    painters: int
    painting: float  # seconds that a picture takes
    pictures: int  # that are shown of it
    visitors: int
    thinking: float  # seconds that a visitor looks, on average
    seconds: float  # that all of it lasts


class Outcome(NamedTuple):
    """What came of a scene."""

    runs_per_minute: float
    waiting: float  # seconds for a painter, mean
    finishing: float  # seconds from the last step until the finished picture is shown, mean
    pictures: float  # that were shown of a run, mean
    answer: float  # seconds until a tap is answered, median
    slow_answer: float  # 95 of 100 are sooner
    busy: float  # share of the time in which the page's interpreter is busy


def simulate(scene: Scene, cost: Cost, films_at_once: int, seed: int = 0) -> Outcome:
    """Return what comes of a scene.

    The page's Python runs one thing at a time, in the order in which they come; films are made beside it. A run does
    not wait for its watcher, who gets the newest picture whenever the page has time for it.
    """
    env, dice = simpy.Environment(), random.Random(seed)
    painters, interpreter = simpy.Resource(env, scene.painters), simpy.Resource(env, 1)
    films = simpy.Resource(env, films_at_once)
    waited, finishing, shown, answers = list[float](), list[float](), list[int](), list[float]()
    busy = 0.0
    Steps = Generator[simpy.Event, Any, None]

    def use(resource: simpy.Resource, seconds: float) -> Steps:
        nonlocal busy
        with resource.request() as turn:
            yield turn
            yield env.timeout(seconds)
        busy += seconds if resource is interpreter else 0.0

    def paint(turn: simpy.resources.resource.Request) -> Steps:
        yield env.timeout(scene.painting)
        painters.release(turn)

    def visit() -> Steps:
        yield env.timeout(dice.uniform(0, scene.thinking + scene.painting))
        while True:
            pressed = env.now
            yield from use(interpreter, cost.begin)
            turn = painters.request()
            while not turn.triggered:
                yield turn | env.timeout(SECONDS_PER_SIGN)
                if not turn.triggered:
                    yield from use(interpreter, cost.sign)
            waited.append(env.now - pressed)
            env.process(paint(turn))
            began, pictures = env.now, 0
            for number in range(1, scene.pictures + 1):
                due = began + number * scene.painting / scene.pictures
                if due < env.now:
                    continue  # there is a newer one already
                yield env.timeout(due - env.now)
                yield from use(interpreter, cost.picture)
                pictures += 1
            yield from use(films, cost.film)
            yield from use(interpreter, cost.picture)
            finishing.append(env.now - began - scene.painting)
            shown.append(pictures)
            yield env.timeout(dice.expovariate(1 / scene.thinking))

    def click() -> Steps:
        while True:
            asked = env.now
            yield from use(interpreter, cost.answer)
            answers.append(env.now - asked)
            yield env.timeout(SECONDS_PER_CLICK)

    for _ in range(scene.visitors):
        env.process(visit())
    env.process(click())
    env.run(scene.seconds)
    answers.sort()
    return Outcome(
        len(finishing) / scene.seconds * 60,
        statistics.fmean(waited or [0.0]),
        statistics.fmean(finishing or [0.0]),
        statistics.fmean(shown or [0]),
        statistics.median(answers),
        answers[int(0.95 * len(answers))],
        busy / scene.seconds,
    )
