"""Is a print more than an enlargement? `python -m benchmarks.prints PHOTO PAINTING SMALL PRINT` compares the two.

SMALL is the finished picture at 512 px, and PRINT what was painted from it or with the same settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from examples.plain import Network, to_tensor
from styletransfer import console, images, weights

from .quality import SEED, Evaluator, Quality, fine_detail, grainy, patch_distance, sample_patches, unpainted
from .report import table

SMALL_SIZE, CROP = 512, 512  # pixels
PLACES = (0.1, 0.5, 0.9)  # of the crops, across and down, from edge to edge


class CropFigures(NamedTuple):
    """Means over nine crops at full scale, compared with the painting at the size of the print."""

    unpainted: float
    grainy: float
    patches: float  # a distance, not divided by the photo's


@torch.no_grad()
def judge_crops(pictures: list[Image.Image], painting: Image.Image) -> list[CropFigures]:
    """Judge pictures of one size, each by the same nine crops."""
    S = to_tensor(painting.resize(images.fit_size(painting, max(pictures[0].size)), Image.Resampling.LANCZOS))
    detail, patches = fine_detail(S), sample_patches(S, SEED)
    found = []
    for picture in pictures:
        figures = []
        for across, down in ((across, down) for down in PLACES for across in PLACES):
            left, top = round(across * (picture.width - CROP)), round(down * (picture.height - CROP))
            x = to_tensor(picture.crop((left, top, left + CROP, top + CROP)))
            of_crop = fine_detail(x)
            distance = patch_distance(sample_patches(x, SEED + 1), patches)
            figures.append((unpainted(of_crop, detail), grainy(of_crop, detail), distance))
        found.append(CropFigures(*(sum(column) / len(figures) for column in zip(*figures, strict=True))))
    return found


def main() -> None:
    """Print both tables."""
    console.escape_unprintable()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prints", description=__doc__)
    for name in ("photo", "painting", "small", "print"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    photo, painting, small, large = (images.load(path).image for path in vars(args).values())
    evaluator = Evaluator(Network(weights.bundled_vgg16()), photo, painting, SMALL_SIZE)
    rows = [(name, *_format(evaluator.evaluate(picture))) for name, picture in (("small", small), ("print", large))]
    print(table((f"at {SMALL_SIZE} px", *Quality._fields), rows), "\n", sep="")
    enlarged = small.resize(large.size, Image.Resampling.LANCZOS)
    crops = zip(("small, enlarged", "print"), judge_crops([enlarged, large], painting), strict=True)
    print(table(("crops at full scale", *CropFigures._fields), [(name, *_format(row)) for name, row in crops]))


def _format(figures: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f"{figure:.3f}" for figure in figures)


if __name__ == "__main__":
    main()
