"""Paint the pairs of examples/pairs.csv with the default preset into examples/results, and the Space's thumbnail; and
one photo by two paintings, with a region each.

python -m scripts.paint_results [PHOTO--PAINTING ...]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from PIL import Image, ImageOps

from styletransfer import console, stylize

EXAMPLES = Path(__file__).parents[1] / "examples"
THUMBNAIL = "flower--mosaic"
REGIONS = "china--van-gogh-harvest-at-la-crau--waves"  # the second painting paints what masks/china-sky.png shows white
TINT = (0, 114, 178)


def main(only: list[str]) -> None:
    """Paint all pairs and the regions, or those named in `only`."""
    console.escape_unprintable()
    if not only or REGIONS in only:
        paint_regions()
    for pair in csv.DictReader((EXAMPLES / "pairs.csv").open(encoding="utf-8")):
        name = f"{pair['photo']}--{pair['painting']}"
        if only and name not in only:
            continue
        photo, painting = EXAMPLES / "content" / f"{pair['photo']}.jpg", EXAMPLES / "style" / f"{pair['painting']}.webp"
        for frame in stylize(photo, painting):
            last = frame
        last.picture.save(EXAMPLES / "results" / f"{name}.jpg", quality=90)
        print(f"{name}: {last.seconds:.0f} s", flush=True)
    make_thumbnail(THUMBNAIL).save(EXAMPLES / "thumbnail.jpg", quality=90)


def paint_regions() -> None:
    """Paint the regions, and put the photo with its tinted region beside them into docs/regions.webp."""
    photo, *paintings = REGIONS.split("--")
    content, mask = EXAMPLES / "content" / f"{photo}.jpg", Image.open(EXAMPLES / "masks" / f"{photo}-sky.png")
    sources = tuple(EXAMPLES / "style" / f"{painting}.webp" for painting in paintings)
    for frame in stylize(content, sources, regions=(None, mask)):
        painted = frame.picture
    painted.save(EXAMPLES / "results" / f"{REGIONS}.jpg", quality=90)
    marked = Image.open(content).convert("RGB").resize(painted.size, Image.Resampling.LANCZOS)
    marked.paste(TINT, (0, 0), mask.convert("L").resize(painted.size).point(lambda grey: grey // 2))
    sheet = Image.new("RGB", (2 * painted.width + 8, painted.height), "white")
    sheet.paste(marked, (0, 0))
    sheet.paste(painted, (painted.width + 8, 0))
    sheet.save(EXAMPLES.parent / "docs" / "regions.webp", quality=85)


def make_thumbnail(name: str) -> Image.Image:
    """The photo above the painting, and to their right the result."""
    photo, painting = name.split("--")
    result = Image.open(EXAMPLES / "results" / f"{name}.jpg")
    height = (result.height - 8) // 2
    sheet = Image.new("RGB", (height * 4 // 3 + 8 + result.width, result.height), "white")
    for path, top in ((f"content/{photo}.jpg", 0), (f"style/{painting}.webp", result.height - height)):
        sheet.paste(ImageOps.fit(Image.open(EXAMPLES / path).convert("RGB"), (height * 4 // 3, height)), (0, top))
    sheet.paste(result, (height * 4 // 3 + 8, 0))
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])
