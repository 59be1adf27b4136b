"""The neighbours' loss: hypercolumns, the match, and the run that searches for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from styletransfer import Settings, images, neighbours, stylize
from styletransfer.optimize import Objective
from tests.engine.test_optimize import array


def exhaust(search):
    """The result of a generator, and how often it yielded."""
    count = 0
    try:
        while True:
            next(search)
            count += 1
    except StopIteration as end:
        return end.value, count


def random_columns(seed: int, count: int) -> torch.Tensor:
    return torch.rand(12, count, generator=torch.Generator().manual_seed(seed))


def match_by_numpy(query: np.ndarray, painting: np.ndarray) -> np.ndarray:
    q, s = (H - H.mean(axis=1, keepdims=True) for H in (query, painting))
    q, s = (H / np.linalg.norm(H, axis=0) for H in (q, s))
    return painting[:, (s.T @ q).argmax(axis=0)]


@pytest.mark.parametrize(("chunk", "yields"), [(1 << 20, 0), (50 * 8, 4), (1, 39)])
def test_each_place_gets_the_painting_s_most_similar_one_however_it_is_searched(monkeypatch, chunk, yields):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    query, painting = random_columns(0, 40), random_columns(1, 50)
    found, count = exhaust(neighbours.find_neighbours(query, [painting], 0.5))
    np.testing.assert_array_equal(found.numpy(), match_by_numpy(query.numpy(), painting.numpy()))
    assert count == yields


def test_the_painting_is_its_own_neighbour():
    painting = random_columns(0, 40)
    assert torch.equal(exhaust(neighbours.find_neighbours(painting, [painting], 0.5))[0], painting)


def test_two_paintings_compete_and_the_share_decides_at_its_ends():
    query, a, b = (random_columns(seed, 30) for seed in range(3))
    alone = [exhaust(neighbours.find_neighbours(query, [painting], 0.5))[0] for painting in (a, b)]
    counts = []
    for share in (0.0, 0.3, 0.5, 0.7, 1.0):
        found, _ = exhaust(neighbours.find_neighbours(query, [a, b], share))
        from_second = (found == alone[1]).all(dim=0)
        assert ((found == alone[0]).all(dim=0) | from_second).all()
        counts.append(int(from_second.sum()))
    assert counts[0] == 0
    assert 0 < counts[2] < 30
    assert counts[4] == 30
    assert counts == sorted(counts)


def test_the_loss_is_one_minus_the_mean_cosine():
    H, T = random_columns(0, 20), random_columns(1, 20)
    h, t = H.numpy().astype(float), T.numpy().astype(float)
    cosines = (h * t).sum(0) / np.linalg.norm(h, axis=0) / np.linalg.norm(t, axis=0)
    assert neighbours.neighbours_loss(H, T).item() == pytest.approx(1 - cosines.mean(), rel=1e-5)


def test_a_hypercolumn_holds_every_layer_at_a_quarter_of_the_pixels(photo, vgg16):
    x = images.to_tensor(photo, (72, 48))
    H = neighbours.hypercolumns(vgg16, x)
    assert H.shape == (2624, 18 * 12)
    F = dict(vgg16.activations(x, ["conv1_2", "conv3_1"]))
    mean = F["conv1_2"][0].numpy().reshape(64, 12, 4, 18, 4).mean((2, 4)).reshape(64, -1)
    np.testing.assert_allclose(H[:64].numpy(), mean / 8, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(H[320:576].numpy(), F["conv3_1"][0].flatten(1).numpy() / 16, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("style_loss", ["neighbours", "moments"])
def test_the_gradient_is_that_of_the_loss_also_with_a_mask(photo, painting, vgg16, style_loss):
    P, S = (images.to_tensor(image, (48, 32)) for image in (photo, painting))
    keep = torch.linspace(0, 1, 48).expand(1, 1, 32, 48)
    objective = Objective(vgg16, Settings(style_weight=1e6), P, S, style_loss=style_loss, keep=keep)
    if style_loss == "neighbours":
        exhaust(objective.find_neighbours(P, 1.0))
    x = (P + 0.1 * torch.rand(P.shape, generator=torch.Generator().manual_seed(0))).clamp(0.05, 0.95)
    _, gradient = objective(x)
    direction = gradient / gradient.norm()
    step = 0.05
    ahead, behind = (objective(x + sign * step * direction)[0].total for sign in (1, -1))
    assert (ahead - behind) / (2 * step) == pytest.approx(gradient.norm().item(), rel=0.05)


def small(**values: object) -> Settings:
    return Settings(**{"size": 192, "stages": 2, "iterations": 3, "tolerance": 0, **values})


def test_a_run_lays_out_with_neighbours_and_paints_with_moments_and_says_so(photo, painting, vgg16):
    frames = list(stylize(photo, painting, small(), backbone=vgg16))
    assert [(frame.size, frame.style_loss) for frame in frames] == [
        (96, "neighbours"),
        (96, "neighbours"),
        (192, "moments"),
    ]
    for objective in ("gram", "moments"):
        frames = list(stylize(photo, painting, small(objective=objective), backbone=vgg16))
        assert {frame.style_loss for frame in frames} == {objective}


def test_while_neighbours_are_searched_a_run_can_be_watched_steered_and_left(monkeypatch, photo, painting, vgg16):
    monkeypatch.setattr(neighbours, "CHUNK", 1 << 17)
    frames = stylize(photo, painting, small(), backbone=vgg16)
    first = next(frames)
    assert first.iteration == 0
    assert all(np.isnan(first.losses))
    assert first.picture.size == (192, 128)
    steered = frames.send(small(content_weight=3.0))
    assert steered.iteration == 0
    rest = list(frames)
    assert [frame.iteration for frame in rest if frame.iteration] == [1, 2, 3]
    assert {frame.settings.content_weight for frame in rest} == {3.0}
    left = stylize(photo, painting, small(), backbone=vgg16)
    next(left)
    left.close()


def test_what_a_mask_shows_white_stays_nearer_to_the_photo(photo, painting, vgg16):
    P = array(photo.resize((96, 64)))
    mask = Image.fromarray(np.kron([[0, 255]], np.ones((20, 30))).astype(np.uint8))  # another shape than the photo's
    settings = small(size=96, iterations=14, content_layers=["conv2_1"])  # a position of conv4_2 sees the whole photo
    changes = []
    for keep in (None, mask):
        *_, last = stylize(photo, painting, settings, backbone=vgg16, keep=keep)
        change = np.abs(array(last.picture) - P).mean(axis=(0, 2))
        changes.append((change[:16].mean(), change[-16:].mean()))
    (left, right), (left_masked, right_masked) = changes
    assert right_masked < 0.85 * right
    assert right_masked / right < 0.9 * left_masked / left


def test_a_face_is_kept_and_the_run_says_so(vgg16, painting):
    from tests.data import ROOT

    photo = Image.open(ROOT / "examples/content/astronaut.jpg")
    settings = small(size=96, iterations=1)
    notes = [
        next(stylize(photo, painting, replace(settings, faces=faces), backbone=vgg16)).notes for faces in (True, False)
    ]
    assert notes == [("Kept a face that was found.",), ()]


def test_a_photo_of_one_colour_is_painted(painting, vgg16):
    *_, last = stylize(Image.new("RGB", (96, 96), "grey"), painting, small(size=96, iterations=4), backbone=vgg16)
    assert np.isfinite(last.losses.total)


def test_more_likeness_is_nearer_to_the_photo(photo, painting, vgg16):
    P = dict(vgg16.activations(images.to_tensor(photo, (96, 64)), ["conv4_2"]))["conv4_2"]
    distances = []
    for α in (0.3, 1.0, 4.0):
        *_, last = stylize(photo, painting, small(size=96, iterations=12, content_weight=α), backbone=vgg16)
        F = dict(vgg16.activations(images.to_tensor(last.picture, (96, 64)), ["conv4_2"]))["conv4_2"]
        distances.append((F - P).norm().item())
    assert distances == sorted(distances, reverse=True)
