"""Paint the pairs of pairs.csv with the default preset, into results/; and the Space's thumbnail."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from PIL import Image, ImageOps

from styletransfer import stylize

HERE = Path(__file__).parent
THUMBNAIL = "flower--mosaic"


def main(only: list[str]) -> None:
    for pair in csv.DictReader((HERE / "pairs.csv").open()):
        name = f"{pair['photo']}--{pair['painting']}"
        if only and name not in only:
            continue
        photo, painting = HERE / "content" / f"{pair['photo']}.jpg", HERE / "style" / f"{pair['painting']}.webp"
        for frame in stylize(photo, painting):
            last = frame
        last.picture.save(HERE / "results" / f"{name}.jpg", quality=90)
        print(f"{name}: {last.seconds:.0f} s", flush=True)
    beside(THUMBNAIL).save(HERE / "thumbnail.jpg", quality=90)


def beside(name: str) -> Image.Image:
    """Photo and painting, one above the other, to the left of what they give."""
    photo, painting = name.split("--")
    result = Image.open(HERE / "results" / f"{name}.jpg")
    height = (result.height - 8) // 2
    sheet = Image.new("RGB", (height * 4 // 3 + 8 + result.width, result.height), "white")
    for path, top in ((f"content/{photo}.jpg", 0), (f"style/{painting}.webp", result.height - height)):
        sheet.paste(ImageOps.fit(Image.open(HERE / path).convert("RGB"), (height * 4 // 3, height)), (0, top))
    sheet.paste(result, (height * 4 // 3 + 8, 0))
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])
