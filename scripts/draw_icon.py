"""Draw the page's icon, a palette, into page/icon.png: `python -m scripts.draw_icon`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 192  # pixels
SHARPER = 8  # drawn so many times as large, for smooth edges
WOOD, EDGE = "#e3b778", "#7a4a1e"
DABS = (  # centre and radius as shares of the side, and colour
    (0.28, 0.42, 0.105, "#3730a3"),
    (0.50, 0.25, 0.105, "#c8261b"),
    (0.74, 0.36, 0.105, "#f2a90f"),
    (0.78, 0.60, 0.105, "#1f7a4d"),
)
HOLE = (0.47, 0.66, 0.10)


def main() -> None:
    """Draw it."""
    side = SIZE * SHARPER
    icon = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(icon)

    def disc(x: float, y: float, radius: float, colour: str | tuple[int, int, int, int], flat: float = 1.0) -> None:
        box = (x - radius, y - radius * flat, x + radius, y + radius * flat)
        draw.ellipse([share * side for share in box], fill=colour)

    for grown, colour in ((0.035, EDGE), (0.0, WOOD)):
        disc(0.5, 0.5, 0.45 + grown, colour, flat=0.88)
    clear = (0, 0, 0, 0)
    for x, y, radius in (HOLE, (0.17, 0.80, 0.15)):  # for the thumb, and where the fingers hold it
        disc(x, y, radius + 0.03, EDGE)
        disc(x, y, radius, clear)
    # The corner beyond the fingers, where the edge of the bite would end in the air.
    outside = Image.new("L", icon.size)
    ImageDraw.Draw(outside).ellipse([share * side for share in (0.015, 0.073, 0.985, 0.927)], fill=255)
    icon.putalpha(Image.composite(icon.getchannel("A"), Image.new("L", icon.size), outside))
    draw = ImageDraw.Draw(icon)
    for x, y, radius, colour in DABS:
        disc(x, y, radius, colour)
    smooth = icon.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    small = smooth.quantize(64, method=Image.Quantize.FASTOCTREE)
    small.save(Path(__file__).parents[1] / "page" / "icon.png", optimize=True)


if __name__ == "__main__":
    main()
