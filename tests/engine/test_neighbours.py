"""The neighbours' loss: hypercolumns, the match, and the run that searches for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from styletransfer import Settings, images, neighbours, stylize


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


def shares_of(query: torch.Tensor, *shares: float) -> torch.Tensor:
    """The same share of each painting at every position."""
    return torch.tensor(shares)[:, None].expand(-1, query.shape[1])


def match_by_numpy(query: np.ndarray, painting: np.ndarray) -> np.ndarray:
    q, s = (H - H.mean(axis=1, keepdims=True) for H in (query, painting))
    q, s = (H / np.linalg.norm(H, axis=0) for H in (q, s))
    return painting[:, (s.T @ q).argmax(axis=0)]


@pytest.mark.parametrize(("chunk", "yields"), [(1 << 20, 0), (50 * 8, 4), (1, 39)])
def test_each_place_gets_the_painting_s_most_similar_one_however_it_is_searched(monkeypatch, chunk, yields):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    query, painting = random_columns(0, 40), random_columns(1, 50)
    found, count = exhaust(neighbours.find_neighbours(query, [painting], shares_of(query, 1.0)))
    np.testing.assert_array_equal(found.numpy(), match_by_numpy(query.numpy(), painting.numpy()))
    assert count == yields


def test_the_painting_is_its_own_neighbour():
    painting = random_columns(0, 40)
    assert torch.equal(exhaust(neighbours.find_neighbours(painting, [painting], shares_of(painting, 1.0)))[0], painting)


def test_two_paintings_compete_and_the_share_decides_at_its_ends():
    query, a, b = (random_columns(seed, 30) for seed in range(3))
    alone = [exhaust(neighbours.find_neighbours(query, [painting], shares_of(query, 1.0)))[0] for painting in (a, b)]
    counts = []
    for share in (0.0, 0.3, 0.5, 0.7, 1.0):
        found, _ = exhaust(neighbours.find_neighbours(query, [a, b], shares_of(query, 1 - share, share)))
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


def small(**values: object) -> Settings:
    return Settings(**{"size": 192, "stages": 2, "iterations": 3, "tolerance": 0, **values})


@pytest.mark.slow
def test_more_likeness_is_nearer_to_the_photo(photo, painting, vgg16):
    P = dict(vgg16.activations(images.to_tensor(photo, (96, 64)), ["conv4_2"]))["conv4_2"]
    distances = []
    for α in (0.3, 1.0, 4.0):
        *_, last = stylize(photo, painting, small(size=96, iterations=12, content_weight=α), backbone=vgg16)
        F = dict(vgg16.activations(images.to_tensor(last.picture, (96, 64)), ["conv4_2"]))["conv4_2"]
        distances.append((F - P).norm().item())
    assert distances == sorted(distances, reverse=True)
