"""Each painting paints its own region of the photo, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image

from styletransfer import Frame, PictureError, Settings, images, masks, metadata, neighbours, schedule, stylize, tiles
from styletransfer.objective import Objective, TiledObjective
from styletransfer.problem import Problem
from styletransfer.schedule import PRINT_LAYERS
from tests.data import one_sentence
from tests.engine.test_neighbours import exhaust, random_columns
from tests.engine.test_optimize import array, quick
from tests.engine.test_tiles import finish

Array = np.ndarray
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def half(side: str, size: tuple[int, int] = (96, 64), value: int = 255) -> Image.Image:
    """A mask that is white in one half, left or right."""
    mask = Image.new("L", size)
    start = 0 if side == "left" else size[0] // 2
    mask.paste(value, (start, 0, start + size[0] // 2, size[1]))
    return mask


def strips(count: int) -> list[Image.Image]:
    """As many masks side by side, 96×64."""
    found = []
    for number in range(count):
        mask = Image.new("L", (96, 64))
        mask.paste(255, (96 * number // count, 0, 96 * (number + 1) // count, 64))
        found.append(mask)
    return found


def grainy(red: int, green: int, blue: int) -> Image.Image:
    """A painting of nearly one colour."""
    grains = np.random.default_rng(0).integers(-25, 26, (72, 72, 1))
    return Image.fromarray((np.array([red, green, blue]) + grains).clip(0, 255).astype(np.uint8))


RED, GREEN, BLUE, YELLOW = grainy(200, 40, 40), grainy(40, 180, 40), grainy(40, 40, 200), grainy(210, 190, 40)


@pytest.fixture
def paint(photo, vgg16) -> Callable[..., Frame]:
    """Paint the photo, and return the last frame."""

    def run(*paintings: Image.Image, regions: object, **values: object) -> Frame:
        settings = quick(**{"iterations": 20, **values})
        *_, last = stylize(photo, paintings, settings, backbone=vgg16, regions=regions)
        return last

    return run


@pytest.mark.parametrize(
    ("objective", "stages"),
    [
        ("auto", 1),
        pytest.param("auto", 2, marks=pytest.mark.slow),
        pytest.param("neighbours", 2, marks=pytest.mark.slow),
        pytest.param("gram", 2, marks=pytest.mark.slow),
    ],
)
def test_each_half_has_the_colours_of_its_own_painting(paint, objective, stages):
    last = paint(RED, BLUE, regions=(None, half("right")), objective=objective, stages=stages, size=96 * stages)
    r, _, b = np.moveaxis(array(last.picture).astype(float), -1, 0)
    redder = (r - b).mean(0)
    left, right = redder[: len(redder) // 2 - 12], redder[len(redder) // 2 + 12 :]
    assert left.mean() > 10 > -10 > right.mean()
    assert last.in_regions


@pytest.mark.slow
def test_four_paintings_paint_four_strips(paint):
    last = paint(RED, GREEN, BLUE, YELLOW, regions=strips(4), iterations=30)
    pixels = array(last.picture).astype(float)
    width = pixels.shape[1] // 4
    for number, painting in enumerate((RED, GREEN, BLUE, YELLOW)):
        colour = pixels[:, width * number + 6 : width * (number + 1) - 6].mean((0, 1))
        distances = [np.abs(colour - array(other).mean((0, 1))).sum() for other in (RED, GREEN, BLUE, YELLOW)]
        assert int(np.argmin(distances)) == number, (number, painting, distances)


@pytest.mark.parametrize("style_loss", ["moments", pytest.param("gram", marks=pytest.mark.slow)])
def test_the_loss_is_that_of_the_guided_statistics_and_its_gradient_their_slope(
    style_loss, photo, painting, vgg16, reference
):
    """Computed in float64 by an independent network, with NumPy's own weighted mean and covariance."""
    P = images.to_tensor(photo, (48, 32))
    paintings = [images.to_tensor(image, (40, 48)) for image in (painting, RED)]
    noise = torch.Generator().manual_seed(0)
    x, first = torch.rand(P.shape, generator=noise), torch.rand(1, 1, 32, 48, generator=noise)
    keep = torch.rand(1, 1, 32, 48, generator=noise)
    regions = torch.cat([first, 1 - first])
    settings = Settings(content_weight=0, style_weight=1e6, tv_weight=0)
    w = settings.layer_weights(style_loss)
    of_paintings = [reference.activations(image.double()) for image in paintings]

    def expected(x: torch.Tensor) -> float:
        with torch.no_grad():
            of_x = reference.activations(x.double())
        total = 0.0
        for region, of_painting in zip(regions, of_paintings, strict=True):
            share = region.mean().item()
            for layer in STYLE_LAYERS:
                a, b = (features[layer][0].flatten(1).numpy() for features in (of_x, of_painting))
                k = nnf.adaptive_avg_pool2d((1 - 0.6 * keep) * region, of_x[layer].shape[2:]).flatten().numpy()
                N = len(a)
                if style_loss == "gram":
                    G = (a * k) @ a.T / k.sum() - b @ b.T / b.shape[1]
                    total += share * w[layer] * (G**2).sum() / (4 * N**2)
                    continue
                mean = np.average(a, axis=1, weights=k) - b.mean(1)
                covariance = np.cov(a, aweights=k, ddof=0) - np.cov(b, bias=True)
                total += share * w[layer] * ((mean**2).sum() / (2 * N) + (covariance**2).sum() / (4 * N**2))
        return 1e6 * total

    objective = Objective(vgg16, settings, P, *paintings, style_loss=style_loss, keep=keep, regions=regions)
    found, g = objective(x)
    assert found.total == pytest.approx(expected(x), rel=1e-3)
    g = g.double()
    d = g / g.norm()
    slope = (expected(x.double() + 1e-4 * d) - expected(x.double() - 1e-4 * d)) / 2e-4
    assert (g * d).sum().item() == pytest.approx(slope, rel=5e-3)


def test_a_region_that_covers_everything_is_a_run_without_regions(photo, painting, vgg16):
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    x = torch.rand(P.shape, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 1, 32, 48)
    for style_loss in ("moments", "gram"):
        (plain, g), (guided, h) = (
            Objective(vgg16, Settings(), P, S, style_loss=style_loss, regions=regions)(x)
            for regions in (None, everywhere)
        )
        assert guided == pytest.approx(plain, rel=1e-4)
        assert (g - h).norm() < 1e-3 * g.norm()


def test_a_place_is_compared_with_the_painting_of_its_region_alone():
    query, a, b = (random_columns(seed, 30) for seed in range(3))
    shares = torch.zeros(2, 30)
    shares[0, :18], shares[1, 18:] = 1, 1
    found, _ = exhaust(neighbours.find_neighbours(query, [a, b], shares))
    for part, painting in ((slice(18), a), (slice(18, None), b)):
        q, s = (H - H.mean(dim=1, keepdim=True) for H in (query[:, part], painting))
        best = (nnf.normalize(s, dim=0).T @ nnf.normalize(q, dim=0)).argmax(dim=0)
        assert torch.equal(found[:, part], painting[:, best])


def test_no_seam_in_a_print_loss_and_gradient_are_the_same_whatever_the_tiles(painting, vgg16, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, start = (torch.rand(1, 3, 71, 86, generator=generator) for _ in range(2))
    first = torch.zeros(1, 1, 71, 86)
    first[..., :30, :] = 1  # so that most tiles have one region only
    keep = torch.rand(first.shape, generator=generator)
    regions = torch.cat([first, 1 - first])
    A = [
        dict(Objective(vgg16, Settings(), start, images.to_tensor(image, (40, 48)), style_loss="moments").A[0])
        for image in (painting, RED)
    ]
    found = []
    for side in (200, 32):
        monkeypatch.setattr(tiles, "TILE_SIDE", side)
        found.append(finish(TiledObjective(vgg16, Settings(), start, A, keep=keep, regions=regions).evaluate(x)))
    (whole, g), (cut, h) = found
    assert cut == pytest.approx(whole, rel=1e-3)
    assert (g - h).norm() < 1e-3 * g.norm()
    # The whole is that of Objective, whose layers and weights are the same.
    exact = Objective(vgg16, Settings(), start, *(images.to_tensor(image, (40, 48)) for image in (painting, RED)),
                      style_loss="moments", keep=keep, regions=regions, is_shallow=True)  # fmt: skip
    assert tuple(exact.w.items()) == tuple(PRINT_LAYERS.items())
    assert exact(x)[0].style == pytest.approx(whole.style, rel=1e-3)


@pytest.mark.slow
def test_a_print_is_painted_in_the_same_regions(paint, monkeypatch):
    monkeypatch.setattr(schedule, "MAX_WHOLE_SIZE", 128)
    monkeypatch.setattr(tiles, "TILE_SIDE", 32)
    last = paint(RED, BLUE, regions=(half("left"), None), size=192, iterations=8)
    for pixels in (array(last.picture).astype(float), last.deep_picture().astype(float)):
        redder = (pixels[..., 0] - pixels[..., 2]).mean(0)
        assert redder[:84].mean() > 0 > redder[108:].mean()


def test_a_border_is_soft_and_the_paintings_share_every_place(photo):
    found = masks.read_regions((half("left"), half("right", value=128), None), 3, photo)
    left, right, rest = (np.asarray(weight) for weight in found.weights)
    assert found.paintings == (0, 1, 2)
    assert left + right + rest == pytest.approx(1, abs=1e-6)
    assert left[:, 0] == pytest.approx(1)
    assert right[:, -1] == pytest.approx(0.5, abs=0.01)
    assert 2 < (np.diff(left, axis=1) < -0.01).sum() / len(left) < 40, "pixels over which it fades"


def test_paintings_are_blended_where_their_regions_overlap(photo):
    everywhere = Image.new("L", (96, 64), 255)
    found = masks.read_regions((half("left"), everywhere), 2, photo)
    left, both = (np.asarray(weight) for weight in found.weights)
    assert left[:, 0] == pytest.approx(0.5)
    assert both[:, -1] == pytest.approx(1)


EMPTY = Image.new("L", (96, 64))
FULL = Image.new("L", (96, 64), 255)


@pytest.mark.parametrize(
    ("regions", "note", "paintings"),
    [
        ((EMPTY, None), "The region of the first painting is empty, so it was ignored.", (1,)),
        ((None, EMPTY), "The region of the second painting is empty, so it was ignored.", (0,)),
        ((EMPTY, half("left")), "What lies in no region is painted like the second painting.", (1,)),
        ((None, FULL), "The regions leave nothing to the first painting, so it was ignored.", (1,)),
        ((None, half("right", (90, 90))), "The region of the second painting has another shape than the photo", (0, 1)),
        (
            (half("left"), half("right", value=128)),
            "What lies in no region is painted like the first painting.",
            (0, 1),
        ),
        ((EMPTY, EMPTY), "The region of the second painting is empty", (0,)),
    ],
)
def test_a_region_that_is_ignored_stretched_or_leaves_gaps_is_said(photo, regions, note, paintings):
    found = masks.read_regions(regions, 2, photo)
    assert any(said.startswith(note) for said in found.notes), found.notes
    assert found.paintings == paintings
    assert all(one_sentence(said) for said in found.notes)


def test_a_run_with_an_empty_region_is_one_without_it_and_says_so(paint, photo, vgg16):
    last = paint(RED, BLUE, regions=(None, EMPTY), iterations=2)
    *_, plain = stylize(photo, RED, quick(iterations=2), backbone=vgg16)
    assert last.losses == plain.losses
    assert not last.in_regions
    assert "The region of the second painting is empty, so it was ignored." in last.notes


@pytest.mark.parametrize(
    ("count", "regions", "reason"),
    [
        (3, None, "more need a region each"),
        (2, (None, None), "One painting at most"),
        (3, (None, FULL), "for each of the 3 paintings"),
        (5, (FULL,) * 5, "at most 4 paintings"),
        (2, (None, b"no picture"), "picture"),
        (2, (None, "missing.png"), "missing.png was not found"),
    ],
)
def test_regions_that_do_not_fit_the_paintings_are_refused_in_one_sentence(photo, vgg16, count, regions, reason):
    with pytest.raises(PictureError, match=reason) as caught:
        next(stylize(photo, (RED,) * count, quick(), backbone=vgg16, regions=regions))
    assert one_sentence(caught.value)


def test_matched_colours_are_those_of_the_region(vgg16):
    sunset = Image.new("RGB", (96, 64), (220, 60, 30))
    sunset.paste((20, 60, 160), (48, 0, 96, 64))
    regions = masks.read_regions((half("left"), None), 2, sunset).weights
    made = Problem(sunset, (GREEN, GREEN), Settings(size=64, colours="matched"), vgg16, regions=regions)
    left, right = (image[0].mean((1, 2)) for image in made.style_images(64))
    assert left[0] > left[2] + 0.3
    assert right[2] > right[0] + 0.3


@pytest.mark.slow
def test_a_woodcut_stays_black_and_white_in_its_region_beside_a_colourful_one(paint, painting):
    woodcut = painting.convert("L").convert("RGB")
    last = paint(woodcut, RED, regions=(half("left"), half("right")), size=96)
    pixels = array(last.picture).astype(float)
    saturation = (pixels.max(axis=2) - pixels.min(axis=2)).mean(0)
    assert saturation[:40].max() < 30 < 60 < saturation[56:].min()


def test_a_picture_says_that_it_was_painted_in_regions(tmp_path: Path):
    picture = Image.new("RGB", (20, 20))
    for save, name in ((metadata.save_png, "a.png"), (metadata.save_jpeg, "a.jpg")):
        for in_regions in (True, False):
            save(picture, str(tmp_path / name), Settings(), in_regions=in_regions)
            assert metadata.is_in_regions(tmp_path / name) is in_regions
            assert not metadata.is_masked(tmp_path / name)
