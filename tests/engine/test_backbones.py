"""A backbone is the published network up to a factor per layer; the right one is chosen, or the reason said."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from styletransfer import Settings, SettingsError, WeightsError, backbones, images, losses, stylize, weights
from styletransfer.backbones import Backbone
from styletransfer.cpu import precision
from styletransfer.cpu.convolution import Conv3x3
from styletransfer.objective import Objective

LAYERS = (
    "conv1_1", "conv1_2",
    "conv2_1", "conv2_2",
    "conv3_1", "conv3_2", "conv3_3",
    "conv4_1", "conv4_2", "conv4_3",
    "conv5_1",
)  # fmt: skip


@pytest.fixture
def pixels(photo: Image.Image) -> Tensor:
    """Odd sides, so that pooling meets a remainder in every block."""
    return images.to_tensor(photo, (63, 45))


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert message[-1] in ".?"
    assert "\n" not in message
    assert ". " not in message
    return message


def test_the_bundled_vgg16_has_the_papers_layers_by_name(vgg16):
    assert vgg16.name == "vgg16"
    assert vgg16.layers == LAYERS


def test_activations_are_those_of_torchvisions_network_up_to_one_factor_per_layer(vgg16, reference, pixels):
    found, raw = dict(vgg16.activations(pixels, LAYERS)), reference.raw(pixels.double())
    for layer in LAYERS:
        assert found[layer].shape == raw[layer].shape
        factor = found[layer].mean().item() / raw[layer].mean().item()
        assert factor > 0
        distance = (found[layer] - factor * raw[layer]).abs().max().item()
        assert distance < 1e-4 * found[layer].max().item(), layer


def test_activations_are_taken_after_the_relu(vgg16, pixels):
    for layer, activation in vgg16.activations(pixels, LAYERS):
        assert activation.min().item() == 0, layer
        assert activation.max().item() > 0, layer


def test_mean_activation_on_the_calibration_sheet_is_one_in_every_layer(vgg16):
    sheet = np.asarray(Image.open(backbones.CALIBRATION).convert("RGB"), dtype=np.float32) / 255
    for layer, activation in vgg16.activations(torch.tensor(sheet).permute(2, 0, 1)[None], LAYERS):
        assert activation.mean().item() == pytest.approx(1, rel=1e-3), layer


def test_only_the_layers_asked_for_are_returned_and_no_deeper_one_is_computed(vgg16, pixels):
    assert set(dict(vgg16.activations(pixels, ("conv4_2", "conv1_1")))) == {"conv4_2", "conv1_1"}
    one_pixel = torch.zeros(1, 3, 1, 1)  # more than conv1_2 would not be possible
    assert dict(vgg16.activations(one_pixel, ("conv1_2",)))["conv1_2"].shape == (1, 64, 1, 1)


def test_the_smallest_side_of_a_layer_is_the_least_that_leaves_it_a_position(vgg16):
    for layer, activation in vgg16.activations(torch.zeros(1, 3, 16, 16), LAYERS):
        side = backbones.smallest_side(("conv1_1", layer))
        assert activation.shape[2:] == (16 // side, 16 // side), layer


def test_the_colours_are_not_swapped(vgg16, reference):
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    expected = reference.activations(red.double())["conv2_2"]
    found, swapped = (dict(vgg16.activations(x, ("conv2_2",)))["conv2_2"] for x in (red, red.flip(1)))
    assert (found - expected).norm() < 1e-3 * expected.norm()
    assert (swapped - expected).norm() > 0.1 * expected.norm()


@pytest.fixture(scope="module")
def rescaled() -> Backbone:
    """VGG-16 as others might publish it: each layer at a scale of its own, pixels divided by other deviations."""
    original = weights.bundled_vgg16()
    std = (0.229, 0.224, 0.225)
    factors = dict(zip(LAYERS, 10 ** np.random.default_rng(0).uniform(-2, 1, len(LAYERS)), strict=True))
    tensors, before = {}, torch.tensor(std).view(3, 1, 1) / torch.tensor(original.std).view(3, 1, 1)
    for layer, factor in factors.items():
        tensors[f"{layer}.weight"] = original.tensors[f"{layer}.weight"] * before * factor
        tensors[f"{layer}.bias"] = original.tensors[f"{layer}.bias"] * factor
        before = 1 / factor
    return Backbone(weights.Weights("rescaled", tensors, original.mean, std, "made in a test"))


@pytest.mark.parametrize("α, β", [(1.0, 1.0), (1.0, 1e8)])
def test_the_same_sliders_mean_the_same_losses_on_a_rescaled_copy(α, β, vgg16, rescaled, photo, painting):
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    x = 0.6 * P + 0.4 * torch.rand(P.shape, generator=torch.Generator().manual_seed(0))
    settings = Settings(content_weight=α, style_weight=β)
    a, g = Objective(vgg16, settings, P, S)(x)
    b, h = Objective(rescaled, settings, P, S)(x)
    assert b == pytest.approx(a, rel=1e-3)
    assert (g - h).norm() < 1e-3 * g.norm()


@pytest.mark.slow
def test_the_same_sliders_give_the_same_picture_on_a_rescaled_copy(vgg16, rescaled, photo, painting):
    settings = Settings(size=64, iterations=4, stages=1, style_weight=2e8)
    runs = [list(stylize(photo, painting, settings, backbone=backbone)) for backbone in (vgg16, rescaled)]
    start, a, b = (np.asarray(frame.picture, dtype=int) for frame in (runs[0][0], runs[0][-1], runs[1][-1]))
    moved = np.abs(a - start).mean()
    assert moved > 3
    assert np.abs(a - b).mean() < 0.05 * moved


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("conv4_22", "conv4_2"),
        ("conv42", "conv4_2"),
        ("conv4-2", "conv4_2"),
        ("Conv4_2", "conv4_2"),
        ("conv4_2 ", "conv4_2"),
        ("block4_conv2", "conv4_2"),
        ("relu4_2", "conv4_2"),
        ("conv5_4", "conv5_1"),
        ("conv6_1", "conv5_1"),
    ],
)
def test_an_unknown_layer_is_refused_with_the_nearest_name(wrong: str, near: str, vgg16):
    with pytest.raises(SettingsError) as error:
        vgg16.check(("conv1_1", wrong))
    assert repr(wrong) in one_sentence(error)
    assert f"did you mean {near}?" in str(error.value)


@pytest.mark.parametrize("wrong", ["", "pool", "conv4_2\nconv5_1" * 20])
def test_a_layer_name_like_no_other_is_refused_with_all_there_are(wrong: str, vgg16):
    with pytest.raises(SettingsError) as error:
        vgg16.check((wrong,))
    message = one_sentence(error)
    assert all(layer in message for layer in LAYERS)


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
def test_painting_with_a_layer_vgg16_lacks_is_refused_before_the_first_frame(name, vgg16, photo, painting):
    with pytest.raises(SettingsError) as error:
        next(stylize(photo, painting, Settings(**{name: ["conv5_4"]}), backbone=vgg16))
    assert "conv5_4" in one_sentence(error)


@pytest.fixture
def no_vgg19(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)


@pytest.fixture
def broken_vgg19(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vgg19.pth"
    file.write_bytes(b"no weights")
    monkeypatch.setattr(weights, "cached_vgg19", lambda: file)


@pytest.fixture
def some_vgg19(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose weights are those of the bundled net, under the other name."""
    monkeypatch.setattr(weights, "cached_vgg19", lambda: tmp_path / "vgg19.pth")
    monkeypatch.setattr(weights, "read_vgg19", lambda file: weights.bundled_vgg16()._replace(name="vgg19"))


@pytest.mark.parametrize("vgg19", ["no_vgg19", "broken_vgg19"])
def test_auto_paints_with_vgg16_and_says_so_where_vgg19_cannot_be_had(vgg19, vgg16, request):
    request.getfixturevalue(vgg19)
    backbone, note = backbones.load("auto")
    assert backbone is vgg16
    assert "VGG-16" in note
    assert note.endswith(".")
    assert ". " not in note


@pytest.mark.parametrize("vgg19", ["no_vgg19", "broken_vgg19"])
def test_vgg19_asked_for_by_name_is_an_error_where_it_cannot_be_had(vgg19, request):
    request.getfixturevalue(vgg19)
    with pytest.raises(WeightsError) as error:
        backbones.load("vgg19")
    assert "vgg16" in one_sentence(error)


def test_a_broken_file_is_not_read_again_for_every_picture(broken_vgg19, monkeypatch):
    _, note = backbones.load("auto")
    monkeypatch.setattr(weights, "read_vgg19", lambda file: pytest.fail("read again"))
    assert backbones.load("auto")[1] == note


@pytest.mark.parametrize("name", ["auto", "vgg19"])
def test_vgg19_is_taken_without_a_note_where_its_weights_are(name, some_vgg19):
    backbone, note = backbones.load(name)
    assert backbone.name == "vgg19"
    assert note == ""
    assert backbones.load(name)[0] is backbone, "read from disk only once"


@pytest.mark.parametrize("vgg19", ["no_vgg19", "broken_vgg19", "some_vgg19"])
def test_vgg16_asked_for_by_name_needs_no_note(vgg19, vgg16, request):
    request.getfixturevalue(vgg19)
    assert backbones.load("vgg16") == (vgg16, "")


def test_a_file_that_was_named_takes_the_place_of_the_caches(tmp_path, some_vgg19, vgg16):
    named = tmp_path / "named.pth"
    assert backbones.load("auto", named)[0] is not backbones.load("auto")[0]


def test_a_broken_file_that_was_named_is_said_beside_vgg16_and_refused_by_name(tmp_path, vgg16):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    backbone, note = backbones.load("auto", broken)
    assert backbone is vgg16
    assert "broken.pth" in note
    with pytest.raises(WeightsError, match=r"broken\.pth"):
        backbones.load("vgg19", broken)


def test_the_note_of_a_second_choice_is_with_every_frame(no_vgg19, photo, painting):
    settings = Settings(size=64, iterations=2, stages=1, content_layers=["conv2_1"], style_layers=["conv1_1"])
    _, note = backbones.load("auto")
    for frame in stylize(photo, painting, settings):
        assert frame.backbone == "vgg16"
        assert frame.notes == (note,)


def test_painting_with_vgg19_where_there_is_none_fails_before_the_first_frame(no_vgg19, photo, painting):
    with pytest.raises(WeightsError):
        next(stylize(photo, painting, Settings(backbone="vgg19")))


def test_a_gradient_reaches_the_pixels_and_nothing_else(vgg16, pixels):
    assert not dict(vgg16.activations(pixels, ("conv2_1",)))["conv2_1"].requires_grad
    x = pixels.requires_grad_()
    dict(vgg16.activations(x, ("conv2_1",)))["conv2_1"].sum().backward()
    assert 0 < x.grad.norm().item() < math.inf


@pytest.fixture
def half() -> Backbone:
    """Bfloat16 is for CUDA and for processors with instructions for it. Any other computes it too, though slowly."""
    return Backbone(weights.bundled_vgg16(), torch.bfloat16)


@pytest.mark.parametrize("objective", ["gram", "moments"])
def test_half_precision_gives_nearly_the_same_losses_and_gradient(objective, photo, painting, vgg16, half):
    settings = Settings(objective=objective)
    P, S = images.to_tensor(photo, (48, 32)), images.to_tensor(painting, (40, 48))
    x = 0.6 * P + 0.4 * torch.rand(P.shape, generator=torch.Generator().manual_seed(0))
    (exact, gradient), (rounded, near) = (Objective(backbone, settings, P, S)(x) for backbone in (vgg16, half))
    assert rounded == pytest.approx(exact, rel=0.02)
    assert near.dtype == torch.float32
    assert (near - gradient).norm() < 0.15 * gradient.norm()


def test_a_layers_gram_matrix_is_not_rounded_to_half_precision():
    F = torch.rand(1, 16, 50, 70, generator=torch.Generator().manual_seed(0)).bfloat16()
    G = losses.gram_matrix(F)
    assert G.dtype == torch.float32
    assert (G - losses.gram_matrix(F.double())).norm() < 2e-3 * G.norm()


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this machine's processor can do, as Linux lists it, for the test to write."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "CPUINFO", file)
    return file


@pytest.mark.parametrize("listed", ["flags\t\t: fpu avx2 avx512f avx512_vnni\n", None])
def test_bfloat16_is_not_even_tried_by_a_processor_without_instructions_for_it(listed, flags, monkeypatch):
    monkeypatch.setattr(precision, "_evaluate", lambda *_: pytest.fail("tried"))
    if listed:
        flags.write_text(listed)
    assert precision.fastest_precision.__wrapped__() == torch.float32


@pytest.mark.parametrize(
    "slow, wrong, expected",
    [
        (torch.float32, False, torch.bfloat16),
        (torch.bfloat16, False, torch.float32),
        (torch.float32, True, torch.float32),
    ],
    ids=["faster", "slower", "wrong"],
)
def test_a_processor_with_the_instructions_takes_bfloat16_if_it_is_right_and_faster(
    slow, wrong, expected, flags, monkeypatch
):
    flags.write_text("flags\t\t: fpu avx512f avx512_bf16\n")

    def evaluate(layer: Conv3x3, x: Tensor) -> tuple[Tensor, Tensor]:
        time.sleep(0.01 if x.dtype == slow else 0)
        return x, -x if wrong and x.dtype == torch.bfloat16 else x

    monkeypatch.setattr(precision, "_evaluate", evaluate)
    assert precision.fastest_precision.__wrapped__() == expected


def test_the_convolution_that_is_tried_is_right_in_bfloat16():
    x, weight = torch.rand(1, 16, 12, 12), torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0)) / 12
    exact, rounded = (
        precision._evaluate(Conv3x3(weight.to(dtype), torch.zeros(16, dtype=dtype)), x.to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    )
    for a, b in zip(exact, rounded, strict=True):
        assert (a - b).norm() < precision.MAX_ERROR * a.norm()


def test_float32_can_be_had_where_bfloat16_is_faster(vgg16, monkeypatch):
    monkeypatch.setattr(backbones, "fastest_precision", lambda: torch.bfloat16)
    half, _ = backbones.load("vgg16")
    assert half.precision == torch.bfloat16
    assert backbones.load("vgg16")[0] is half, "made only once"
    assert backbones.load("vgg16", precision="float32")[0] is vgg16


@pytest.mark.parametrize(("name", "expected"), [("auto", torch.bfloat16), ("float32", torch.float32)])
def test_cuda_paints_in_bfloat16_unless_float32_is_asked_for(name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backbones._choose_precision(name) == expected


@pytest.mark.slow
def test_half_precision_paints_as_well(photo, painting, vgg16, half):
    settings = Settings(size=64, iterations=20, relative_style=False)
    P, S = (images.to_tensor(image, images.fit_size(image, 64)) for image in (photo, painting))
    judge = Objective(vgg16, settings, P, S)
    totals = []
    for backbone in (vgg16, half):
        *_, last = stylize(photo, painting, settings, backbone=backbone)
        totals.append(judge(last._pixels)[0].total)
    assert totals[1] == pytest.approx(totals[0], rel=0.1)
    assert totals[1] < 0.5 * judge(P)[0].total


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu"), (1, 1, "cuda")])
def test_the_fastest_device_there_is_paints(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert backbones.fastest_device().type == expected
