"""Make the small pictures that the page shows of its own ones, in examples/thumbnails.

python -m scripts.make_thumbnails
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from page.examples import EXAMPLES, examples, thumbnail

SHORT_SIDE = 240  # pixels: twice what a tile shows
QUALITY = 75
FOLDERS = ("content", "style")


def pictures() -> list[Path]:
    """All pictures that need a thumbnail; results that are only in the documentation need none."""
    shown = [path for folder in FOLDERS for path in (EXAMPLES / folder).iterdir()]
    return sorted([*shown, *(Path(example.result) for example in examples())])


def make_thumbnail(path: Path) -> Image.Image:
    """Return the picture with SHORT_SIDE pixels on its short side, or as it is if that is smaller."""
    with Image.open(path) as picture:
        scale = min(1.0, SHORT_SIDE / min(picture.size))
        size = (round(picture.width * scale), round(picture.height * scale))
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    """Make them all."""
    for path in pictures():
        small = Path(thumbnail(str(path)))
        small.parent.mkdir(parents=True, exist_ok=True)
        make_thumbnail(path).save(small, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
