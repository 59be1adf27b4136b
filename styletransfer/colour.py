"""The photo's colours kept, after Gatys, Bethge, Hertzmann & Shechtman, "Preserving Color in Neural Artistic Style
Transfer", 2016, arXiv 1606.05897.

Both ways change the images that go into the optimisation. "luminance" also changes the image that comes out.
With any of them a picture takes the painting's light between stages, and its palette when it is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

MIN_VARIANCE = 1e-4
"""Added to every variance of values in [0, 1]. An image of one colour has no variance that could be stretched."""

NARROW_AXIS = 0.1
"""A standard deviation of pixels in [0, 1]. Narrowing wider axes took the contrast of a stained-glass sky away."""

MAX_CONTRAST = 8.0
"""How much steeper light and shade may become. Without a limit, an even sky would show the noise of its photo."""

QUANTILES = 257
"""So many places of a distribution are known. Between two it is even."""

STATS_SIZE = 512
"""The long side, in pixels, at which the mean and covariance of an image's colours are measured."""


def prepare(
    photo: Image.Image, painting: Image.Image, colours: str, region: Image.Image | None = None
) -> tuple[Image.Image, Image.Image]:
    """Return the RGB images to optimise with, for a value of Settings.colours: painting, luminance or matched.

    `region`, of mode F, is how much each part of the photo counts; without it, all of it does.
    """
    if colours == "luminance":
        return _to_grey(photo), _match_colours(_to_grey(painting), _to_grey(photo), region)
    return photo, _match_colours(painting, photo, region) if colours == "matched" else painting


def finish(painted: Image.Image, photo: Image.Image, colours: str) -> Image.Image:
    """Return the image to show, of the size of `painted`. With "luminance" it takes its colours from the photo.

    Y of YCbCr equals Y of the paper's YIQ, and the other two channels of both span the same plane.
    """
    if colours != "luminance":
        return painted
    _, Cb, Cr = photo.resize(painted.size, Image.Resampling.LANCZOS).convert("YCbCr").split()
    return Image.merge("YCbCr", (painted.convert("L"), Cb, Cr)).convert("RGB")


def take_luminance(painted: Array, photo: Array) -> Array:
    """The same as `finish` with "luminance", for RGB in [0, 1], (H, W, 3): Y of `painted`, Cb and Cr of `photo`."""
    Y = np.array([0.299, 0.587, 0.114], np.float32)
    return photo + ((painted - photo) @ Y)[..., None]


def limit_palette(
    painted: Image.Image, paintings: Sequence[Image.Image], share: float, region: Image.Image | None = None
) -> Image.Image:
    """Narrow the colours of `painted` along the axes of RGB along which the painting hardly varies: see narrow_axes."""
    A, b = narrow_axes(painted, paintings, share, region)
    return painted.convert("RGB", tuple(np.column_stack([A, 255 * b]).flatten()))


def narrow_axes(
    painted: Image.Image, paintings: Sequence[Image.Image], share: float, region: Image.Image | None = None
) -> tuple[Array, Array]:
    """Return A, (3, 3), and b, (3,), of the map x ↦ A x + b of pixels in [0, 1] that limits the palette.

    On the principal axes of the painting (or of two, mixed by `share`) with a standard deviation below NARROW_AXIS,
    that of `painted` becomes at most the painting's: x ↦ μ + V k Vᵀ (x − μ), with the eigenvectors V of its covariance
    and k = min(1, σ_painting / σ_painted). A woodcut stays black and white, whatever the colours of the photo.
    `region`, of mode F, is how much each part of `painted` counts; without it, all of it does.
    """
    covariances = [_measure_colours(painting)[1] for painting in paintings]
    Σ_S = covariances[0] + share * (covariances[-1] - covariances[0])
    μ, Σ = _measure_colours(painted, region)
    variances, V = np.linalg.eigh(Σ_S)
    k = np.minimum(1, np.sqrt(variances / np.einsum("ia,ij,ja->a", V, Σ, V)))
    k[variances > NARROW_AXIS**2] = 1
    A = V * k @ V.T
    return A, μ - A @ μ


def match_light(
    picture: Image.Image, paintings: Sequence[Image.Image], share: float, region: Image.Image | None = None
) -> Image.Image:
    """Give `picture` the light and shade of a painting, or of two, mixed by `share`: x ↦ x + (f(vᵀx) − vᵀx) v.

    Along v, the axis of RGB on which the painting varies most, f takes quantiles to the painting's quantiles, but is
    nowhere steeper than MAX_CONTRAST. `region`, of mode F, is how much each part of `picture` counts; without it, all
    of it does.
    """
    painted = [_read_colours(painting)[0] for painting in paintings]
    covariances = [_moments(colours)[1] for colours in painted]
    v = np.linalg.eigh(covariances[0] + share * (covariances[-1] - covariances[0])).eigenvectors[:, -1]
    colours, weights = _read_colours(picture, region)
    found = _quantiles(colours @ v, weights)
    first, last = (_quantiles(colours @ v) for colours in (painted[0], painted[-1]))
    wanted = first + share * (last - first)
    rises = np.cumsum([0, *np.minimum(np.diff(wanted), MAX_CONTRAST * np.diff(found))])
    middle = QUANTILES // 2
    x = np.asarray(picture) / 255
    places = x @ v
    change = np.interp(places, found, wanted[middle] + rises - rises[middle]) - places
    return Image.fromarray(((x + change[..., None] * v).clip(0, 1) * 255).round().astype(np.uint8))


def preview(picture: Image.Image, photo: Image.Image, painting: Image.Image, colours: str) -> Image.Image:
    """Return `picture`, the photo or a painting of it, in about the colours that a run would give it."""
    if colours == "luminance":
        return finish(picture, photo, colours)
    return _match_colours(picture, photo if colours == "matched" else painting)


def _to_grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _match_colours(painting: Image.Image, photo: Image.Image, region: Image.Image | None = None) -> Image.Image:
    """Map every pixel x to A x + b, with A = Σ_C^½ Σ_S^−½ and b = μ_C − A μ_S: the paper's linear colour transfer.

    The painting then has the photo's mean μ_C and covariance Σ_C of RGB. On grey pictures this is the paper's
    L ← σ_C/σ_S (L − μ_S) + μ_C.
    """
    (μ_S, Σ_S), (μ_C, Σ_C) = _measure_colours(painting), _measure_colours(photo, region)
    A = _matrix_power(Σ_C, 0.5) @ _matrix_power(Σ_S, -0.5)
    b = 255 * (μ_C - A @ μ_S)
    return painting.convert("RGB", tuple(np.column_stack([A, b]).flatten()))


def _measure_colours(image: Image.Image, region: Image.Image | None = None) -> tuple[Array, Array]:
    """Return the mean (3,) and covariance (3, 3) of the pixels in [0, 1]. With a `region` they are weighted by it."""
    return _moments(*_read_colours(image, region))


def _read_colours(image: Image.Image, region: Image.Image | None = None) -> tuple[Array, Array | None]:
    """Return pixels in [0, 1], (N, 3), read at STATS_SIZE if the image is larger, and their weights in a `region`."""
    small = image.copy()
    small.thumbnail((STATS_SIZE, STATS_SIZE), Image.Resampling.BOX)
    weights = np.asarray(region.resize(small.size, Image.Resampling.BILINEAR)).reshape(-1) if region else None
    return np.asarray(small).reshape(-1, 3) / 255, weights


def _moments(pixels: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return the mean (3,) and covariance (3, 3) of pixels (N, 3)."""
    return np.average(pixels, 0, weights), np.cov(pixels.T, aweights=weights) + MIN_VARIANCE * np.eye(3)


def _quantiles(values: Array, weights: Array | None = None) -> Array:
    """Return QUANTILES values, from the least to the greatest, with as many of `values` (N,) between each two."""
    order = np.argsort(values)
    counts = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    return np.interp(np.linspace(counts[0], counts[-1], QUANTILES), counts, values[order])


def _matrix_power(Σ: np.ndarray, exponent: float) -> np.ndarray:
    """Return Σ to a power, for a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(Σ)
    return vectors * values**exponent @ vectors.T
