"""Keeping the photo's colours: Gatys, Bethge, Hertzmann & Shechtman, "Preserving Color in Neural Artistic Style
Transfer", 2016, arXiv 1606.05897.

Both ways change the pictures that go into the optimisation, and "luminance" the one that comes out as well.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

LEAST_VARIANCE = 1e-4
"""Added to every variance, of values in [0, 1]: a picture of one colour has none, and cannot be stretched to any."""

ENOUGH = 512
"""The long side, in pixels, at which a picture's colours are counted."""


def prepare(photo: Image.Image, painting: Image.Image, colours: str) -> tuple[Image.Image, Image.Image]:
    """The RGB pictures to optimise with, for a value of Settings.colours: painting, luminance or matched."""
    if colours == "luminance":
        return _grey(photo), _matched(_grey(painting), _grey(photo))
    return photo, _matched(painting, photo) if colours == "matched" else painting


def finish(painted: Image.Image, photo: Image.Image, colours: str) -> Image.Image:
    """What is shown: with "luminance" the painted brightness in the photo's own colours, of painted's size.

    Y of YCbCr is that of the paper's YIQ, and its other two channels span the same plane.
    """
    if colours != "luminance":
        return painted
    _, Cb, Cr = photo.resize(painted.size, Image.Resampling.LANCZOS).convert("YCbCr").split()
    return Image.merge("YCbCr", (painted.convert("L"), Cb, Cr)).convert("RGB")


def preview(picture: Image.Image, photo: Image.Image, painting: Image.Image, colours: str) -> Image.Image:
    """`picture`, painted or still the photo itself, in about the colours that a run would give it."""
    if colours == "luminance":
        return finish(picture, photo, colours)
    return _matched(picture, photo if colours == "matched" else painting)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _matched(painting: Image.Image, photo: Image.Image) -> Image.Image:
    """x ← A x + b for every pixel, with A = Σ_C^½ Σ_S^−½ and b = μ_C − A μ_S: their linear colour transfer.

    The painting then has the photo's mean μ_C and covariance Σ_C of RGB. On grey pictures this is the paper's
    L ← σ_C/σ_S (L − μ_S) + μ_C.
    """
    (μ_S, Σ_S), (μ_C, Σ_C) = _moments(painting), _moments(photo)
    A = _power(Σ_C, 0.5) @ _power(Σ_S, -0.5)
    b = 255 * (μ_C - A @ μ_S)
    return painting.convert("RGB", tuple(np.column_stack([A, b]).flatten()))


def _moments(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of its pixels, in [0, 1]; a large picture's are those of a smaller one."""
    small = image.copy()
    small.thumbnail((ENOUGH, ENOUGH), Image.Resampling.BOX)
    pixels = np.asarray(small).reshape(-1, 3) / 255
    return pixels.mean(0), np.cov(pixels.T) + LEAST_VARIANCE * np.eye(3)


def _power(Σ: np.ndarray, exponent: float) -> np.ndarray:
    """Σ to a power, for a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(Σ)
    return vectors * values**exponent @ vectors.T
