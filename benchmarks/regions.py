"""What two regions cost: an iteration with them against one without, in a table (`python -m benchmarks.regions`)."""

from __future__ import annotations

import time
from typing import NamedTuple

import styletransfer
from styletransfer import console

if __name__ == "__main__":
    styletransfer.tune_process()  # before torch is loaded

from styletransfer import Settings, backbones, images, masks
from styletransfer.objective import Objective
from styletransfer.problem import Problem
from styletransfer.schedule import Stage, plan_stages

from . import report
from .measure import EXAMPLES

PHOTO, MASK = EXAMPLES / "content/china.jpg", EXAMPLES / "masks/china-sky.png"
PAINTINGS = tuple(EXAMPLES / "style" / name for name in ("van-gogh-harvest-at-la-crau.webp", "waves.webp"))


class RegionCost(NamedTuple):
    """An iteration of one stage, in seconds of a core: the least of several."""

    stage: Stage
    plain: float
    with_regions: float


def measure_regions(times: int) -> list[RegionCost]:
    """Evaluate the loss and its gradient with two regions and without any, in turn, in each stage of a default run."""
    backbone, _ = backbones.load("vgg16")
    photo, *paintings = (images.load(path).image for path in (PHOTO, *PAINTINGS))
    weights = masks.read_regions((None, MASK), 2, photo).weights
    problems = (
        Problem(photo, (paintings[0],), Settings(), backbone),
        Problem(photo, tuple(paintings), Settings(), backbone, regions=weights),
    )
    found = []
    for stage in plan_stages(Settings(), min_size=64):
        x = problems[0].content_image(stage.size)
        seconds: list[list[float]] = [[], []]
        objectives = [_build(problem, stage) for problem in problems]
        for _ in range(times):
            for objective, spent in zip(objectives, seconds, strict=True):
                started = time.process_time()
                objective(x)
                spent.append(time.process_time() - started)
        found.append(RegionCost(stage, *map(min, seconds)))
    return found


def regions_section(costs: list[RegionCost]) -> str:
    """The table, and the ratio of a whole run."""
    rows = [
        (
            f"{cost.stage.size} px, {cost.stage.style_loss}",
            f"{cost.plain:.2f}",
            f"{cost.with_regions:.2f}",
            f"{cost.with_regions / cost.plain:.2f}",
        )
        for cost in costs
    ]
    with_regions, plain = (
        sum(cost.stage.iterations * seconds for cost, seconds in zip(costs, column, strict=True))
        for column in ([cost.with_regions for cost in costs], [cost.plain for cost in costs])
    )
    head = ("stage of a default run", "without, s", "two regions, s", "ratio")
    return f"## Two regions\n\n{report.table(head, rows)}\n\nAll iterations of a run: {with_regions / plain:.2f}."


def _build(problem: Problem, stage: Stage) -> Objective:
    objective = Objective(
        problem.backbone,
        problem.settings,
        problem.content_image(stage.size),
        *problem.style_images(stage.size),
        style_loss=stage.style_loss,
        regions=problem.region_weights(stage.size),
        is_shallow=stage.is_shallow,
    )
    if stage.style_loss == "neighbours":
        list(objective.find_neighbours(problem.content_image(stage.size), 1.0))
    return objective


if __name__ == "__main__":
    console.escape_unprintable()
    print(regions_section(measure_regions(times=9)))
