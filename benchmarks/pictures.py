"""The example pairs of examples/pairs.csv, painted in several ways and judged."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from statistics import fmean

import numpy as np
from PIL import Image

from examples import plain
from styletransfer import PRESETS, Settings, stylize, weights
from styletransfer.settings import LIKENESS

from .measure import EXAMPLES, REFERENCE, Pair, log
from .quality import SEED, Evaluator, Quality, fine_detail, unpainted

# What is asked of the default over all pairs; the likeness dial's upper end is to have more structure.
REQUIRED = {
    "unpainted": ("≤", 0.08),
    "grainy": ("≤", 0.05),
    "patches, relative": ("≤", 0.95),
    "structure": ("≥", 0.50),
    "structure, least": ("≥", 0.38),
}
BEFORE = "a1a8776"
KEEP, KEEP_STRUCTURE = "keep my photo", 0.75
WAYS = {
    "classic": PRESETS["classic"],
    BEFORE: REFERENCE,
    "default": Settings(),
    "repaint": Settings(content_weight=LIKENESS["repaint"]),
    KEEP: Settings(content_weight=LIKENESS[KEEP]),
}


@dataclass
class Gallery:
    """The pictures of one pair and their figures, both by the way they were painted."""

    pair: Pair
    photo: Image.Image  # at the size of the pictures
    painting: Image.Image
    pictures: dict[str, Image.Image]
    figures: dict[str, Quality]  # the photo's among them

    def relative_patches(self, way: str) -> float:
        """*Patches* in units of what the default of a1a8776 has on the same pair."""
        return self.figures[way].patches / self.figures[BEFORE].patches


def summarize(galleries: list[Gallery], way: str) -> dict[str, float]:
    """Means over the pairs, and the least structure: the figures of REQUIRED."""
    figures = [g.figures[way] for g in galleries]
    return {
        "unpainted": fmean(q.unpainted for q in figures),
        "grainy": fmean(q.grainy for q in figures),
        "patches, relative": fmean(g.relative_patches(way) for g in galleries),
        "structure": fmean(q.structure for q in figures),
        "structure, least": min(q.structure for q in figures),
    }


def meets(figure: str, value: float, way: str = "default") -> bool:
    """Whether one of these figures is as required."""
    sign, limit = REQUIRED[figure]
    limit = KEEP_STRUCTURE if (figure, way) == ("structure", KEEP) else limit
    return value <= limit if sign == "≤" else value >= limit


def read_pairs() -> list[Pair]:
    """The rows of examples/pairs.csv."""
    rows = csv.DictReader((EXAMPLES / "pairs.csv").open(encoding="utf-8"))
    return [
        Pair(
            f"{row['photo']} × {row['painting']}",
            "",
            EXAMPLES / "content" / f"{row['photo']}.jpg",
            EXAMPLES / "style" / f"{row['painting']}.webp",
        )
        for row in rows
    ]


def paint_pair(pair: Pair, size: int, ways: Iterable[str], others: Mapping[str, Image.Image]) -> Gallery:
    """Paint one pair in all `ways`, and judge these pictures and `others`, the photo, and noise as an answer."""
    photo, painting = pair.open()
    evaluator = Evaluator(plain.Network(weights.bundled_vgg16()), photo, painting, size)
    pictures = dict(others)
    for way in ways:
        log(f"{pair.name}: {way}")
        for frame in stylize(photo, painting, replace(WAYS[way], size=size, backbone="vgg16")):
            pictures[way] = frame.picture
    pictures[f"{BEFORE} + noise"] = hide_behind_noise(pictures[BEFORE], evaluator)
    judged = {"photo": evaluator.photo, **pictures}
    return Gallery(
        pair=pair,
        photo=evaluator.photo,
        painting=painting,
        pictures=pictures,
        figures={way: evaluator.evaluate(picture) for way, picture in judged.items()},
    )


def hide_behind_noise(picture: Image.Image, evaluator: Evaluator) -> Image.Image:
    """The picture with just so much noise, in whole grey levels, that *unpainted* is low enough; it may be none."""
    for levels in count():
        noisy = add_noise(picture, levels)
        if meets("unpainted", unpainted(fine_detail(plain.to_tensor(noisy)), evaluator.painting_detail)):
            break
    return noisy


def add_noise(picture: Image.Image, levels: float) -> Image.Image:
    """The picture with independent normal noise of that standard deviation, in grey levels, on every channel."""
    noise = np.random.default_rng(SEED).normal(0, levels, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + noise).round().clip(0, 255).astype(np.uint8))
