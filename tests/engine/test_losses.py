"""The losses and their gradients are those of the paper: against NumPy in float64 and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from styletransfer import Settings, images, losses, neighbours
from styletransfer.objective import Objective

Array = NDArray[np.float64]


def features(*shape: int, seed: int = 0) -> Tensor:
    """Positive float64 numbers of the shape of a feature map."""
    return torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gram(F: Array) -> Array:
    """G_ij = Σ_k F_ik F_jk, for F of shape (N, H, W)."""
    return np.einsum("ihw,jhw->ij", F, F)


def content_term(F: Array, P: Array) -> float:
    return 0.5 * ((F - P) ** 2).sum()


def style_term(F: Array, S: Array) -> float:
    """E_l of feature maps of any two sizes, each Gram matrix divided by its own number of positions."""
    N, M_F, M_S = len(F), F[0].size, S[0].size
    return ((gram(F) / M_F - gram(S) / M_S) ** 2).sum() / (4 * N**2)


def tv_term(I: Array) -> float:  # noqa: E741 - the symbol of the formula
    """For a picture of shape (3, H, W)."""
    return ((I[:, :, 1:] - I[:, :, :-1]) ** 2).sum() + ((I[:, 1:] - I[:, :-1]) ** 2).sum()


def per_position(S: Tensor) -> Tensor:
    return losses.gram_matrix(S) / S[0, 0].numel()


def test_content_loss_is_half_the_squared_error():
    F, P = features(5, 4, 3), features(5, 4, 3, seed=1)
    assert losses.content_loss(F, P).item() == pytest.approx(content_term(F[0].numpy(), P[0].numpy()))


def test_content_loss_weighs_each_position():
    F, P, k = features(5, 4, 3), features(5, 4, 3, seed=1), 7 * features(1, 4, 3, seed=2)
    expected = 0.5 * sum(
        k[0, 0, row, column].item() * ((F - P)[0, :, row, column].numpy() ** 2).sum()
        for row in range(4)
        for column in range(3)
    )
    assert losses.content_loss(F, P, k).item() == pytest.approx(expected)
    assert losses.content_loss(F, P, torch.ones_like(k)).item() == pytest.approx(losses.content_loss(F, P).item())


def test_content_variation_is_the_content_loss_of_a_picture_of_one_colour():
    P = features(5, 4, 3)
    unrolled = P[0].flatten(1).numpy()
    assert losses.content_variation(P).item() == pytest.approx(0.5 * unrolled.shape[1] * unrolled.var(axis=1).sum())
    assert losses.content_variation(torch.full((1, 5, 4, 3), 0.7)).item() == pytest.approx(0, abs=1e-9)


def test_gram_matrix_is_the_features_times_their_transpose():
    F = features(5, 4, 3)
    np.testing.assert_allclose(losses.gram_matrix(F).numpy(), gram(F[0].numpy()))


def test_style_loss_is_the_papers_when_both_pictures_have_one_size():
    F, S = features(5, 4, 3), features(5, 4, 3, seed=1)
    N, M = 5, 12
    papers = ((gram(F[0].numpy()) - gram(S[0].numpy())) ** 2).sum() / (4 * N**2 * M**2)
    assert losses.style_loss(F, per_position(S)).item() == pytest.approx(papers)


@pytest.mark.parametrize("slab", [losses.MAX_SLAB_BYTES, 4 * 5 * 7 * 3], ids=["whole", "slabs"])
def test_the_gradient_of_a_gram_matrix_is_autograds_in_slabs_too(slab, monkeypatch):
    monkeypatch.setattr(losses, "MAX_SLAB_BYTES", slab)
    F, W = torch.rand(1, 5, 11, 7, requires_grad=True), torch.rand(5, 5)
    f = F.flatten(2)[0]
    (expected,) = torch.autograd.grad((f @ f.T * W).sum(), F)
    (found,) = torch.autograd.grad((losses.gram_matrix(F) * W).sum(), F)
    torch.testing.assert_close(found, expected)


def test_style_loss_divides_each_gram_matrix_by_its_own_positions():
    F, S = features(5, 4, 3), features(5, 7, 8, seed=1)
    expected = style_term(F[0].numpy(), S[0].numpy())
    assert losses.style_loss(F, per_position(S)).item() == pytest.approx(expected)


def test_style_loss_does_not_see_a_painting_laid_out_as_tiles():
    S = features(5, 4, 3)
    assert losses.style_loss(S.repeat(1, 1, 2, 3), per_position(S)).item() == pytest.approx(0, abs=1e-20)


def test_tv_loss_sums_squared_steps_to_the_right_and_down():
    x = features(3, 4, 5)
    assert losses.tv_loss(x).item() == pytest.approx(tv_term(x[0].numpy()))
    assert losses.tv_loss(torch.full((1, 3, 4, 5), 0.7)).item() == 0


def test_total_loss_is_the_weighted_sum():
    content, style, tv = (torch.tensor(value, dtype=torch.float64) for value in (2.0, 3.0, 5.0))
    assert losses.total_loss(content, style, tv, 0.5, 100.0, 0.25).item() == 0.5 * 2 + 100 * 3 + 0.25 * 5


def moments_term(F: Array, S: Array) -> float:
    """The distance of the means and of the centred covariances of feature maps (N, H, W) of any two sizes."""
    N = len(F)
    (μ_F, C_F), (μ_S, C_S) = ((x.mean(1), np.cov(x, bias=True)) for x in (F.reshape(N, -1), S.reshape(N, -1)))
    return ((μ_F - μ_S) ** 2).sum() / (2 * N) + ((C_F - C_S) ** 2).sum() / (4 * N**2)


def test_moments_loss_compares_means_and_centred_covariances():
    F, S = features(5, 4, 3), features(5, 6, 7, seed=1)
    expected = moments_term(F[0].numpy(), S[0].numpy())
    assert losses.moments_loss(F, losses.moments(S)).item() == pytest.approx(expected)
    assert losses.moments_distance(losses.moments(F), losses.moments(S)).item() == pytest.approx(expected)


@pytest.mark.parametrize("positions", [12, 5000], ids=["one part", "two parts"])  # of 4096
def test_moments_and_gram_matrices_count_each_position_by_its_weight(positions):
    F, k = features(5, positions, 1), features(1, positions, 1, seed=2).abs()
    flat, weights = F[0].flatten(1).numpy(), k.flatten().numpy()
    μ, C = np.average(flat, axis=1, weights=weights), np.cov(flat, aweights=weights, ddof=0)
    expected = np.column_stack([μ, C])
    np.testing.assert_allclose(losses.moments(F, k).numpy(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(losses.gram_matrix_per_position(F, k).numpy(), C + np.outer(μ, μ), rtol=1e-6, atol=1e-6)


def test_moments_loss_tells_a_flat_sky_from_a_texture_with_the_same_gram_matrix():
    texture = torch.tensor([0.0, 2.0], dtype=torch.float64).view(1, 1, 1, 2)
    flat = torch.full((1, 1, 1, 2), 2**0.5, dtype=torch.float64)
    assert losses.style_loss(flat, per_position(texture)).item() == pytest.approx(0, abs=1e-12)
    assert losses.moments_loss(flat, losses.moments(texture)).item() > 0.2


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda x: losses.moments_loss(x, losses.moments(features(3, 6, 2, seed=1))), id="moments"),
        pytest.param(
            lambda x: losses.moments_loss(
                x, losses.moments(features(3, 6, 2, seed=1)), features(1, 4, 5, seed=2).abs()
            ),
            id="guided moments",
        ),
        pytest.param(lambda x: losses.content_loss(x, features(3, 4, 5, seed=1)), id="content"),
        pytest.param(
            lambda x: losses.content_loss(x, features(3, 4, 5, seed=1), features(1, 4, 5, seed=2)), id="kept content"
        ),
        pytest.param(
            lambda x: neighbours.neighbours_loss(x[0].flatten(1), features(3, 20, seed=1)[0]), id="neighbours"
        ),
        pytest.param(lambda x: losses.style_loss(x, per_position(features(3, 6, 2, seed=1))), id="style"),
        pytest.param(losses.tv_loss, id="tv"),
    ],
)
def test_the_gradient_of_every_loss_agrees_with_finite_differences(loss: Callable[[Tensor], Tensor]):
    assert torch.autograd.gradcheck(loss, features(3, 4, 5).requires_grad_())


# From here on: the objective as a whole, on pictures of 48×32 and 40×48. The order of the layers is unusual, so
# that a weight given to the wrong one shows.
WEIGHTS = {"conv4_1": 0.1, "conv1_1": 0.5, "conv5_1": 0.0, "conv2_1": 0.4}
CONTENT_LAYERS = ("conv4_2", "conv2_2")


def objective_settings(α: float = 1.0, β: float = 1e7, γ: float = 50.0) -> Settings:
    return Settings(
        content_weight=α,
        style_weight=β,
        tv_weight=γ,
        content_layers=CONTENT_LAYERS,
        style_layers=tuple(WEIGHTS),
        style_layer_weights=tuple(WEIGHTS.values()),
    )


@pytest.fixture
def P(photo: Image.Image) -> Tensor:
    return images.to_tensor(photo, (48, 32))


@pytest.fixture
def S(painting: Image.Image) -> Tensor:
    return images.to_tensor(painting, (40, 48))


@pytest.fixture
def x(P: Tensor) -> Tensor:
    """A picture on the way: the photo with much noise."""
    return 0.6 * P + 0.4 * torch.rand(P.shape, generator=torch.Generator().manual_seed(0))


class Expected:
    """The three losses by NumPy, from the activations of the reference network."""

    def __init__(self, reference, P: Tensor, S: Tensor) -> None:
        self.reference = reference
        self.photo, self.painting = self.numpy_activations(P), self.numpy_activations(S)
        self.scale = (512 / 48) ** 2  # α is the paper's at 512 px, and content is a sum over positions

    def numpy_activations(self, x: Tensor) -> dict[str, Array]:
        return {layer: F[0].numpy() for layer, F in self.reference.activations(x.double()).items()}

    def __call__(self, x: Tensor) -> tuple[float, float, float]:
        F = self.numpy_activations(x)
        return (
            self.scale * sum(content_term(F[layer], self.photo[layer]) for layer in CONTENT_LAYERS),
            sum(w * style_term(F[layer], self.painting[layer]) for layer, w in WEIGHTS.items()),
            tv_term(x[0].double().numpy()),
        )


@pytest.fixture
def expected(reference, P: Tensor, S: Tensor) -> Expected:
    return Expected(reference, P, S)


def test_the_objective_gives_the_losses_of_an_independent_network(vgg16, expected, P, S, x):
    found, _ = Objective(vgg16, objective_settings(), P, S)(x)
    content, style, tv = expected(x)
    assert found == pytest.approx((content, style, tv, content + 1e7 * style + 50 * tv), rel=1e-3)


def test_layer_weights_follow_their_layers_whatever_the_order(vgg16, P, S, x):
    settings = objective_settings()
    backwards = Settings(
        content_layers=CONTENT_LAYERS[::-1],
        style_layers=settings.style_layers[::-1],
        style_layer_weights=settings.style_layer_weights[::-1],
    )
    found, other = Objective(vgg16, settings, P, S)(x)[0], Objective(vgg16, backwards, P, S)(x)[0]
    assert other[:2] == pytest.approx(found[:2], rel=1e-5)


def test_the_content_loss_of_the_photo_is_zero(vgg16, P, S):
    assert Objective(vgg16, objective_settings(), P, S)(P)[0].content == 0


def test_the_style_loss_of_the_painting_is_zero(vgg16, P, S, x):
    of_painting = Objective(vgg16, objective_settings(), S, S)(S)[0].style
    assert of_painting < 1e-6 * Objective(vgg16, objective_settings(), P, S)(x)[0].style


def test_the_gradient_is_autograds_on_an_independent_network(vgg16, reference, P, S, x):
    def style(F: Tensor, S: Tensor) -> Tensor:
        G, A = (torch.einsum("bihw,bjhw->ij", maps, maps) / maps[0, 0].numel() for maps in (F, S))
        return (G - A).square().sum() / (4 * F.shape[1] ** 2)

    exact = x.double().requires_grad_()
    F, photo, painting = (reference.activations(pixels) for pixels in (exact, P.double(), S.double()))
    down, right = exact[..., 1:, :] - exact[..., :-1, :], exact[..., 1:] - exact[..., :-1]
    terms = {
        "content": (512 / 48) ** 2 / 2 * sum((F[la] - photo[la]).square().sum() for la in CONTENT_LAYERS),
        "style": sum(w * style(F[la], painting[la]) for la, w in WEIGHTS.items()),
        "tv": down.square().sum() + right.square().sum(),
    }
    gradients = {name: torch.autograd.grad(term, exact, retain_graph=True)[0] for name, term in terms.items()}
    for α, β, γ in [(1, 1, 0), (0, 1e7, 0), (0, 1, 100), (1, 1e7, 50)]:
        _, found = Objective(vgg16, objective_settings(α, β, γ), P, S)(x)
        combined = α * gradients["content"] + β * gradients["style"] + γ * gradients["tv"]
        assert (found - combined).norm() < 1e-3 * combined.norm(), f"α={α} β={β} γ={γ}"


def test_the_gradient_agrees_with_finite_differences_of_numpy(vgg16, expected, P, S, x):
    _, g = Objective(vgg16, objective_settings(), P, S)(x)
    g = g.double()

    def total(x: Tensor) -> float:
        content, style, tv = expected(x)
        return content + 1e7 * style + 50 * tv

    noise = torch.Generator().manual_seed(1)
    random = [torch.randn(x.shape, generator=noise, dtype=torch.float64) for _ in range(2)]
    for direction in (g, *random):
        d = direction / direction.norm()
        h = 1e-4
        slope = (total(x.double() + h * d) - total(x.double() - h * d)) / (2 * h)
        assert abs((g * d).sum().item() - slope) < 1e-3 * g.norm().item()


def test_the_gradient_is_right_inside_no_grad_and_leaves_no_trace(vgg16, P, S, x):
    objective = Objective(vgg16, objective_settings(), P, S)
    _, outside = objective(x)
    with torch.no_grad():
        _, inside = objective(x)
    assert torch.equal(inside, outside)
    assert torch.is_grad_enabled()
    assert not x.requires_grad
    assert not inside.requires_grad
