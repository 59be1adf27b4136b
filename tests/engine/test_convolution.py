from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from styletransfer.cpu import bfloat16, convolution
from styletransfer.cpu.convolution import ROUTES, Conv3x3

SHAPES = [  # C, K, H, W: a multiple of no tile, of both, thin, tiny, wide, several chunks
    (16, 32, 13, 17), (32, 16, 24, 24), (16, 16, 1, 9), (16, 16, 9, 1), (16, 16, 1, 1), (32, 32, 8, 8),
    (16, 48, 5, 200), (16, 16, 140, 30), (3, 64, 20, 31), (64, 3, 20, 31),
]  # fmt: skip

usable = [
    pytest.param(name, marks=pytest.mark.skipif(name not in convolution.usable_routes(), reason="not in this build"))
    for name in ROUTES
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No route chosen yet; what the test chooses is forgotten after it."""
    monkeypatch.setattr(convolution, "_choices", {})


def layer(channels: int, kernels: int) -> tuple[Tensor, Tensor]:
    return torch.randn(kernels, channels, 3, 3) / (3 * channels**0.5), torch.randn(kernels)


def reference(x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Activation, pre-activation and input gradient in float64 by the library's autograd."""
    x = x.double().requires_grad_()
    before = nnf.conv2d(x, weight.double(), bias.double(), padding=1)
    y = nnf.relu(before)
    y.backward(grad.double())
    assert x.grad is not None
    return y.detach(), before.detach(), x.grad


def assert_near(ours: Tensor, exact: Tensor) -> None:
    assert ours.shape == exact.shape
    assert (ours - exact).abs().max() <= 1e-4 * exact.abs().max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("route", usable)
@pytest.mark.parametrize("slabs", [convolution.MAX_SLAB_BYTES, 8000], ids=["whole", "slabs"])
def test_every_route_gives_the_activation_and_gradient_of_the_plain_convolution(
    slabs: int, route: str, shape: tuple[int, int, int, int], fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "MAX_SLAB_BYTES", slabs)
    monkeypatch.setattr(convolution._Routes, "_choose_route", lambda self, x, gate: route)
    channels, kernels, height, width = shape
    weight, bias = layer(channels, kernels)
    x = torch.randn(1, channels, height, width, requires_grad=True)
    grad = torch.randn(1, kernels, height, width)
    exact_y, before, exact_grad = reference(x.detach(), weight, bias, grad * 0)
    grad = torch.where(before.abs() > 1e-3, grad, 0.0)  # within rounding of the ReLU's kink either answer is right
    exact_y, _, exact_grad = reference(x.detach(), weight, bias, grad)
    y = Conv3x3(weight, bias)(x)
    y.backward(grad)
    assert x.grad is not None
    assert_near(y.detach(), exact_y)
    assert_near(x.grad, exact_grad)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("route", convolution.BFLOAT16_ROUTES)
@pytest.mark.parametrize("small", [False, True], ids=["whole", "pieces"])
def test_every_bfloat16_route_is_near_the_activation_and_gradient_of_the_plain_convolution(
    small: bool, route: str, shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr(convolution, "MAX_SLAB_BYTES", 8000)
        monkeypatch.setattr(bfloat16, "TILES", 20)
    monkeypatch.setattr(convolution._Routes, "_choose_route", lambda self, x, gate: route)
    channels, kernels, height, width = shape
    weight, bias = (t.bfloat16() for t in layer(channels, kernels))
    x = torch.randn(1, channels, height, width).bfloat16().requires_grad_()
    grad = torch.randn(1, kernels, height, width).bfloat16()
    _, before, _ = reference(x.detach(), weight, bias, grad)
    grad = torch.where(before.abs() > 0.1, grad, 0.0).bfloat16()  # nearer to the ReLU's kink either answer is right
    exact_y, _, exact_grad = reference(x.detach(), weight, bias, grad)
    y = Conv3x3(weight, bias)(x)
    y.backward(grad)
    assert x.grad is not None
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert (y - exact_y).norm() < 0.02 * exact_y.norm()
    assert (x.grad - exact_grad).norm() < 0.02 * exact_grad.norm()


@pytest.mark.parametrize("route", usable)
def test_gradient_agrees_with_finite_differences(route: str, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution._Routes, "_choose_route", lambda self, x, gate: route)
    weight, bias = layer(16, 16)
    bias = bias.abs() + 20  # no unit near zero: the function is linear here and float32 differences are exact enough
    conv = Conv3x3(weight, bias)
    x, direction, grad = torch.randn(1, 16, 7, 10), torch.randn(1, 16, 7, 10), torch.randn(1, 16, 7, 10)
    x.requires_grad_()
    (conv(x) * grad).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        difference = ((conv(x + direction) - conv(x - direction)).double() * grad / 2).sum()
    assert float((x.grad * direction).sum()) == pytest.approx(float(difference), rel=1e-3, abs=1e-2)


def test_transform_matrices_are_a_convolution_for_every_tile() -> None:
    """Eq. 5 of Lavin & Gray in one dimension, on integers: y = Aᵀ[(G g) ⊙ (Bᵀ d)]."""
    d, g = torch.arange(6.0).square() - 7, torch.tensor([2.0, -3.0, 5.0])
    y = convolution.A_T @ ((convolution.G @ g) * (convolution.B_T @ d))
    assert torch.allclose(y, nnf.conv1d(d.view(1, 1, -1), g.view(1, 1, 3)).flatten(), atol=1e-2)


def test_same_input_gives_the_same_bits_whichever_route_is_chosen(fresh: None) -> None:
    conv = Conv3x3(*layer(32, 32))
    x = torch.randn(1, 32, 40, 52)
    first = conv(x)
    assert all(torch.equal(first, conv(x)) for _ in range(3))


def test_choice_is_made_once_per_class_of_shapes_and_shared_by_layers(fresh: None) -> None:
    for _ in range(2):
        Conv3x3(*layer(16, 32))(torch.randn(1, 16, 20, 24))
        Conv3x3(*layer(32, 16))(torch.randn(1, 32, 20, 25))
    assert len(convolution._choices) == 1


class Machine:
    """A clock that only convolutions move, each route at its own speed. Another program may make a route slower."""

    def __init__(self) -> None:
        self.seconds = {"direct": 3.0, "nnpack": 2.0, "winograd": 1.0}  # for each row
        self.now = 0.0
        self.trials = self.calls = 0
        self.slowed = lambda name, call: 1.0  # `call` counts all calls of all routes

    def perf_counter(self) -> float:
        return self.now

    def route(self, name: str) -> type:
        machine = self

        class Timed(convolution.Direct):
            def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
                machine.now += machine.seconds[name] * x.shape[2] * machine.slowed(name, machine.calls)
                machine.calls += 1
                return super().__call__(x, gate)

        return Timed


@pytest.fixture
def machine(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(convolution, "MAX_TRIALS", 4)
    monkeypatch.setattr(convolution, "time", machine)
    monkeypatch.setattr(convolution, "ROUTES", {name: machine.route(name) for name in machine.seconds})
    monkeypatch.setattr(convolution, "usable_routes", lambda: tuple(machine.seconds))
    time_routes = convolution._Routes._time_routes

    def counted(*args, **options):
        machine.trials += 1
        return time_routes(*args, **options)

    monkeypatch.setattr(convolution._Routes, "_time_routes", counted)
    return machine


def chosen() -> str:
    (choice,) = convolution._choices.values()
    return choice.route


def test_on_a_quiet_machine_one_trial_is_enough(machine: Machine) -> None:
    conv, x = Conv3x3(*layer(16, 16)), torch.randn(1, 16, 60, 60)
    for _ in range(5):
        conv(x)
        machine.now += 1000
    assert (chosen(), machine.trials) == ("winograd", 1)


def test_a_choice_made_while_another_program_came_and_went_is_made_again(machine: Machine) -> None:
    machine.slowed = lambda name, call: {2: 2.5}.get(call, 9.0) if name == "winograd" and call < 9 else 1.0
    conv, x = Conv3x3(*layer(16, 16)), torch.randn(1, 16, 60, 60)
    conv(x)
    assert chosen() == "nnpack"
    conv(x)
    assert chosen() == "winograd"
    for _ in range(5):
        machine.now += 1000
        conv(x)
    assert (chosen(), machine.trials) == ("winograd", 2)


def test_a_choice_made_while_another_program_held_the_processor_is_made_again(machine: Machine) -> None:
    """All rounds agreed; only later calls show that the machine was slow."""
    machine.slowed = lambda name, call: {"direct": 3.0, "nnpack": 4.0, "winograd": 12.0}[name]
    conv, x = Conv3x3(*layer(16, 16)), torch.randn(1, 16, 60, 60)
    conv(x)
    machine.now += 1000
    conv(x)
    assert (chosen(), machine.trials) == ("nnpack", 1), "nothing shows yet that it is slow"
    machine.slowed = lambda name, call: 1.0
    conv(x)  # faster than the trial
    conv(x)
    assert (chosen(), machine.trials) == ("winograd", 2)


def test_where_other_programs_never_end_there_are_few_trials_further_and_further_apart(machine: Machine) -> None:
    machine.slowed = lambda name, call: 1.0 + call % 7
    machine.seconds = dict.fromkeys(machine.seconds, 1e-9)
    conv, x, times = Conv3x3(*layer(16, 16)), torch.randn(1, 16, 60, 60), []
    for _ in range(1000):
        before = machine.trials
        conv(x)
        if machine.trials > before:
            times.append(machine.now)
        machine.now += 1
    assert times == pytest.approx([0, 10, 50, 210], abs=2)


def test_a_trial_that_is_held_again_changes_no_pinned_route(machine: Machine) -> None:
    machine.slowed = lambda name, call: 1.0 + call % 7
    conv, x = Conv3x3(*layer(16, 16)), torch.randn(1, 16, 60, 60)
    convolution.pin_route("direct")
    try:
        for _ in range(5):
            conv(x)
            machine.now += 1000
    finally:
        convolution.pin_route(None)
    assert machine.trials == 0


def test_layers_may_be_shared_by_threads(fresh: None) -> None:
    weight, bias = layer(32, 32)
    conv, x = Conv3x3(weight, bias), torch.randn(1, 32, 30, 30)
    expected = nnf.relu(nnf.conv2d(x, weight, bias, padding=1))
    results: list[Tensor] = []
    threads = [threading.Thread(target=lambda: results.append(conv(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for y in results:
        assert_near(y, expected)


def test_memory_format_and_contiguity_of_the_input_do_not_matter(fresh: None) -> None:
    weight, bias = layer(16, 16)
    conv, x = Conv3x3(weight, bias), torch.randn(1, 16, 34, 27)
    expected = nnf.relu(nnf.conv2d(x, weight, bias, padding=1))
    wide = torch.zeros(1, 16, 34, 54)
    wide[..., ::2] = x
    for same in (x, x.contiguous(memory_format=torch.channels_last), wide[..., ::2]):
        assert_near(conv(same), expected)


@pytest.mark.parametrize("broken", [AttributeError, RuntimeError, TypeError])
def test_a_build_without_nnpacks_operation_paints_by_the_other_routes(
    broken: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise broken("no such operation")

    monkeypatch.setattr(torch, "_nnpack_spatial_convolution", fail)
    assert convolution.usable_routes.__wrapped__() == ("direct", "winograd")


def test_a_processor_without_nnpack_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "_nnpack_available", lambda: False)
    assert "nnpack" not in convolution.usable_routes.__wrapped__()


def test_plain_route_where_no_other_is_usable(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "usable_routes", lambda: ("direct",))
    weight, bias = layer(16, 16)
    x = torch.randn(1, 16, 20, 20)
    assert torch.equal(Conv3x3(weight, bias)(x), nnf.relu(nnf.conv2d(x, weight, bias, padding=1)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("shape", [(1, 5, 8, 12), (1, 3, 7, 9), (1, 4, 2, 2), (1, 4, 3, 2)], ids=str)
def test_pooling_and_its_gradient_are_the_librarys(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    expected = nnf.max_pool2d(x, 2)
    grad = torch.randn_like(expected)
    y = convolution.max_pool(x)
    assert torch.equal(y, expected)
    (ours,), (theirs,) = torch.autograd.grad(y, x, grad), torch.autograd.grad(expected, x, grad)
    assert torch.equal(ours, theirs)


def test_pooling_gives_the_gradient_of_equal_values_to_one_of_them() -> None:
    x = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    convolution.max_pool(x).sum().backward()
    assert x.grad is not None
    assert nnf.avg_pool2d(x.grad, 2).tolist() == [[[[0.25] * 2] * 2]]
    assert x.grad.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("dtype", "batch"), [(torch.float64, 1), (torch.float32, 2)])
def test_other_precisions_and_batches_take_the_plain_route(dtype: torch.dtype, batch: int) -> None:
    weight, bias = (t.to(dtype) for t in layer(16, 16))
    x = torch.randn(batch, 16, 12, 12, dtype=dtype)
    assert torch.equal(Conv3x3(weight, bias)(x), nnf.relu(nnf.conv2d(x, weight, bias, padding=1)))


@pytest.mark.parametrize("name", usable)
def test_a_pinned_route_gives_the_same_bits_whatever_is_fastest(
    name: str, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, bias = layer(16, 16)
    x = torch.randn(1, 16, 40, 40)
    expected = ROUTES[name](lambda: weight, bias)(x)
    monkeypatch.setattr(convolution._Routes, "_time_routes", lambda *_: pytest.fail("timed"))
    convolution.pin_route(name)
    try:
        assert torch.equal(Conv3x3(weight, bias)(x), expected)
    finally:
        convolution.pin_route(None)


def test_a_route_that_does_not_exist_cannot_be_pinned() -> None:
    with pytest.raises(KeyError):
        convolution.pin_route("fastest")
