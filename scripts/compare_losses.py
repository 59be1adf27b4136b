"""Draw docs/three-losses.webp: one pair by each of the objectives, with its curves. Needs matplotlib.

python -m scripts.compare_losses
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from styletransfer import Settings, stylize
from styletransfer.settings import knobs

ROOT = Path(__file__).parents[1]
PHOTO, PAINTING = ROOT / "examples/content/china.jpg", ROOT / "examples/style/stained-glass.webp"


def main() -> None:
    """Paint the pair by each objective and draw the pictures above their curves."""
    objectives = knobs()["objective"].choices
    figure, axes = plt.subplots(2, len(objectives) + 1, figsize=(20, 6.6), layout="constrained")
    for row, (title, path) in enumerate((("photo", PHOTO), ("painting", PAINTING))):
        axes[row, 0].imshow(Image.open(path))
        axes[row, 0].set_title(title)
    for name, picture_axes, curve_axes in zip(objectives, axes[0, 1:], axes[1, 1:], strict=True):
        # While neighbours are searched, a frame comes again.
        frames = {frame.iteration: frame for frame in stylize(PHOTO, PAINTING, Settings(objective=name))}
        picture_axes.imshow(frames[max(frames)].picture)
        picture_axes.set_title(name)
        for term, label in (("content", "α content"), ("style", "β style"), ("total", "total")):
            values = [getattr(frame.weighted, term) or None for frame in frames.values()]
            curve_axes.semilogy(values, label=label)
        curve_axes.set(xlabel="iteration", ylim=(1e5, 3e7))
        curve_axes.legend()
    for image_axes in (*axes[0], axes[1, 0]):
        image_axes.axis("off")
    figure.savefig(ROOT / "docs/three-losses.webp", dpi=80, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
