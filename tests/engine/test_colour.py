"""Colours kept: against the definitions of the paper, on pictures of known statistics."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

from styletransfer import Settings, colour, stylize


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float).reshape(-1, 3) / 255


def blobs(seed: int, low: tuple[float, float, float], high: tuple[float, float, float]) -> Image.Image:
    """Noise between two colours, well inside the gamut, so that nothing is clipped."""
    share = np.random.default_rng(seed).beta(2, 2, (40, 50, 1)) * [1, 0.9, 0.8]
    grain = np.random.default_rng(seed + 1).uniform(-0.03, 0.03, (40, 50, 3))
    return Image.fromarray((255 * (low + (np.array(high) - low) * share + grain).clip(0, 1)).astype(np.uint8))


@pytest.fixture
def sunset() -> Image.Image:
    return blobs(0, (0.3, 0.2, 0.3), (0.7, 0.5, 0.4))


@pytest.fixture
def forest() -> Image.Image:
    return blobs(2, (0.2, 0.35, 0.25), (0.4, 0.6, 0.35))


def test_a_recoloured_painting_has_the_mean_and_covariance_of_the_photo(sunset, forest):
    photo, matched = colour.prepare(forest, sunset, "matched")
    assert photo is forest
    assert values(matched).mean(0) == pytest.approx(values(forest).mean(0), abs=0.003)
    assert np.cov(values(matched).T) == pytest.approx(np.cov(values(forest).T), abs=5e-4)
    assert np.cov(values(sunset).T) != pytest.approx(np.cov(values(forest).T), abs=5e-4)


def test_luminance_matches_the_painting_to_the_photo_as_the_paper_does(sunset, forest):
    photo, matched = (np.asarray(p, dtype=float)[..., 0] for p in colour.prepare(forest, sunset, "luminance"))
    L_S, L_C = (np.asarray(p.convert("L"), dtype=float) for p in (sunset, forest))
    assert np.array_equal(photo, L_C)
    expected = L_C.std() / L_S.std() * (L_S - L_S.mean()) + L_C.mean()
    assert np.abs(matched - expected).max() < 2


def test_luminance_keeps_the_photos_hue_and_takes_the_painted_light():
    photo, painted = Image.new("RGB", (8, 6), (180, 90, 60)), Image.new("RGB", (16, 12), (100, 100, 100))
    finished = colour.finish(painted, photo, "luminance")
    assert finished.size == (16, 12)
    hue, expected = (colorsys.rgb_to_yiq(*values(p)[0]) for p in (finished, photo))
    assert hue[0] == pytest.approx(100 / 255, abs=0.01)
    assert hue[1:] == pytest.approx(expected[1:], abs=0.02)


@pytest.mark.parametrize("colours", Settings.__dataclass_fields__["colours"].metadata["knob"].choices)
def test_pictures_of_one_colour_do_not_break_it(colours):
    plain = Image.new("RGB", (20, 20), (200, 30, 60))
    for photo, painting in (
        (plain, plain),
        (plain, blobs(0, (0, 0, 0), (1, 1, 1))),
        (blobs(0, (0, 0, 0), (1, 1, 1)), plain),
    ):
        assert np.isfinite(values(colour.prepare(photo, painting, colours)[1])).all()


@pytest.mark.parametrize(
    ("colours", "nearer"),
    [
        ("matched", "photo"),
        pytest.param("luminance", "photo", marks=pytest.mark.slow),
        pytest.param("painting", "painting", marks=pytest.mark.slow),
    ],
)
def test_the_result_has_the_colours_that_were_asked_for(colours, nearer, vgg16, sunset, forest):
    settings = Settings(size=64, iterations=15, stages=1, colours=colours, style_weight=1e9)
    *_, frame = stylize(forest, sunset, settings, backbone=vgg16)

    def chroma(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("YCbCr"), dtype=float)[..., 1:].mean((0, 1))

    to_photo, to_painting = (np.abs(chroma(frame.picture) - chroma(p)).sum() for p in (forest, sunset))
    assert ("photo" if to_photo < to_painting else "painting") == nearer


def test_a_painting_in_black_and_white_gives_a_picture_in_black_and_white():
    random = np.random.default_rng(0)
    grey = np.repeat(random.integers(0, 256, (40, 40, 1)), 3, axis=2).astype(np.uint8)
    colourful = random.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    found = np.asarray(colour.limit_palette(Image.fromarray(colourful), [Image.fromarray(grey)], 0.5), dtype=float)
    saturation = (found.max(axis=2) - found.min(axis=2)).mean()
    assert saturation < 10 < 100 < (colourful.max(axis=2) - colourful.min(axis=2)).mean()
    assert found.mean(axis=2).std() == pytest.approx(colourful.mean(axis=2).std(), rel=0.05), "its light and shade stay"
    same = colour.limit_palette(Image.fromarray(colourful), [Image.fromarray(colourful[::-1])], 0.5)
    assert np.abs(np.asarray(same, dtype=int) - colourful).max() <= 1, "a colourful painting changes nothing"


def test_two_mixed_paintings_share_their_palette():
    random = np.random.default_rng(0)
    grey = Image.fromarray(np.repeat(random.integers(0, 256, (40, 40, 1)), 3, axis=2).astype(np.uint8))
    colourful = Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8))
    saturations = []
    for share in (0.0, 0.01, 1.0):
        found = np.asarray(colour.limit_palette(colourful, [grey, colourful], share), dtype=float)
        saturations.append((found.max(axis=2) - found.min(axis=2)).mean())
    assert saturations == sorted(saturations)
    assert saturations[0] < 10


def lit(picture: Image.Image, paintings: list[Image.Image], share: float = 0.5) -> np.ndarray:
    return values(colour.match_light(picture, paintings, share))


def light(pixels: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Twenty quantiles of the pixels along an axis."""
    return np.quantile(pixels @ axis, np.linspace(0.02, 0.98, 20))


def main_axis(pixels: np.ndarray) -> np.ndarray:
    return np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2][0]


def test_a_picture_gets_the_paintings_light_and_keeps_its_order_and_its_hues(sunset, forest):
    found, before, painting = lit(forest, [sunset]), values(forest), values(sunset)
    axis = main_axis(painting)
    assert light(found, axis) == pytest.approx(light(painting, axis), abs=0.01)
    order = np.argsort(before @ axis)
    assert (np.diff((found @ axis)[order]) >= -2 / 255).all(), "what was darker is darker"
    across = np.eye(3) - np.outer(axis, axis)
    assert found @ across == pytest.approx(before @ across, abs=0.01)


def test_two_mixed_paintings_share_their_light(sunset, forest):
    night = Image.fromarray((np.asarray(sunset) * 0.4).astype(np.uint8))
    ends = [lit(forest, [sunset, night], share).mean() for share in (0.0, 1.0)]
    assert lit(forest, [sunset, night], 0.25).mean() == pytest.approx(0.75 * ends[0] + 0.25 * ends[1], abs=0.01)


def test_an_even_sky_shows_no_noise_in_a_paintings_light():
    grain = np.random.default_rng(0).normal(0, 1, (40, 50, 3))
    sky = Image.fromarray((np.array([120, 150, 200]) + grain).round().astype(np.uint8))
    woodcut = Image.fromarray(np.repeat(np.random.default_rng(1).choice([0, 255], (40, 50, 1)), 3, 2).astype(np.uint8))
    assert 255 * lit(sky, [woodcut]).std(axis=0).max() < 9, "eight times as much at most"
    even = Image.new("RGB", (40, 50), (120, 150, 200))
    assert lit(even, [woodcut]).std(axis=0).max() < 1e-6


def test_only_a_region_gives_its_light(sunset, forest):
    both = Image.new("RGB", (100, 40))
    both.paste(sunset.resize((50, 40)), (0, 0))
    both.paste(forest.resize((50, 40)), (50, 0))
    region = Image.new("F", both.size)
    region.paste(1.0, (50, 0, 100, 40))
    mapped = values(colour.match_light(both, [sunset], 0.0, region).crop((50, 0, 100, 40)))
    axis = main_axis(values(sunset))
    assert light(mapped, axis) == pytest.approx(light(values(sunset), axis), abs=0.01)
