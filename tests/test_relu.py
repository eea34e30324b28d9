"""DY-ReLU-A and -B start bit-equal at the static activation and compute what the reference does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import perturb_
from references import deviation, reference_dynamic_relu
from strategies import ACTIVATIONS, ReLUCase, relu_cases
from torch import Tensor, nn

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators import ActivationForm, DynamicReLU, DynamicReLUA, DynamicReLUB
from dynsurgeon.operators.table import RELUS

EXACT_KINDS = [DynamicReLUA, DynamicReLUB]
exact_kinds = pytest.mark.parametrize("kind", EXACT_KINDS, ids=lambda kind: kind.__name__)
activations = pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)


@given(case=relu_cases("AB"))
def test_equals_reference_with_its_gradients(case: ReLUCase) -> None:
    module, x = case.perturbed(), case.input()
    assert relu_deviation(module, x) < 1e-11


def relu_deviation(module: DynamicReLU, x: Tensor) -> float:
    results = []
    for run in (module, lambda value: reference_dynamic_relu(module, value)):
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(5))
        inputs = [leaf, *module.parameters()]
        grads = torch.autograd.grad((y * direction).sum(), inputs, materialize_grads=True)
        results.append([y, *grads])
    return max(deviation(a, e, floor=1e-3) for a, e in zip(*results, strict=True))


@pytest.mark.parametrize(("axis", "kind"), [(0, "A"), (0, "B"), (1, "B")])
def test_reference_sees_mixed_up_coefficients(
    axis: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another sample's lines, or another channel's, do not pass as one's own.
    module = perturb_(RELUS[kind](5, dtype=torch.float64))
    assert isinstance(module, DynamicReLU)
    right = module.coefficients

    def rolled(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        slopes, offsets = right(x)
        return [a.roll(1, axis) for a in slopes], [b.roll(1, axis) for b in offsets]

    monkeypatch.setattr(module, "coefficients", rolled)
    assert relu_deviation(module, torch.randn(3, 5, 4, 4, dtype=torch.float64)) > 0.05


@given(case=relu_cases("AB"), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_starts_bit_equal(case: ReLUCase, dtype: torch.dtype) -> None:
    x = case.input(dtype)
    assert torch.equal(case.dynamic(dtype)(x), case.activation.to(dtype)(x))


@exact_kinds
@activations
@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "shape", [(2, 8), (2, 8, 6), (2, 8, 4, 4), (2, 8, 3, 3, 3), (1, 3, 5, 5), (2, 1, 1, 1)]
)
def test_starts_bit_equal_everywhere(
    kind: type[DynamicReLU], activation: nn.Module, pieces: int, shape: tuple[int, ...]
) -> None:
    # Fewer channels than the reduction, three channels, 1x1 maps and batch 1 among them.
    config = DynamicReLUConfig(pieces=pieces)
    module = kind.from_static(activation.float(), shape[1], config)
    x = torch.cat([10 * torch.randn(shape), torch.zeros(shape), -torch.ones(shape) * 1e-20])
    assert torch.equal(module(x), activation(x))


@exact_kinds
@given(slopes=st.lists(st.floats(-2, 3), min_size=4, max_size=4), pieces=st.integers(2, 5))
def test_starts_bit_equal_at_any_prelu(
    kind: type[DynamicReLU], slopes: list[float], pieces: int
) -> None:
    static = nn.PReLU(4)
    with torch.no_grad():
        static.weight.copy_(torch.tensor(slopes))
    module = kind.from_static(static, 4, DynamicReLUConfig(pieces=pieces))
    x = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(x), static(x))


@exact_kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_starts_bit_equal_in_half_precision(kind: type[DynamicReLU], dtype: torch.dtype) -> None:
    x = torch.randn(2, 8, 5, 5).to(dtype)
    for static in (nn.ReLU(), nn.ReLU6(), nn.PReLU(8, dtype=dtype)):
        module = kind.from_static(static, 8, dtype=dtype)
        assert torch.equal(module(x), static(x))


@exact_kinds
def test_the_start_has_a_live_gradient(kind: type[DynamicReLU]) -> None:
    module = kind(8)
    module(torch.randn(4, 8, 5, 5)).square().sum().backward()
    assert module.fc2.weight.grad is not None
    assert module.fc2.weight.grad.abs().max() > 0
    assert module.fc2.bias.grad is not None
    assert module.fc2.bias.grad.abs().max() > 0


@pytest.mark.parametrize(("kind", "outputs"), [(DynamicReLUA, 6), (DynamicReLUB, 24)])
def test_number_of_coefficients(kind: type[DynamicReLU], outputs: int) -> None:
    module = kind(4, DynamicReLUConfig(pieces=3))
    assert module.fc2.out_features == outputs
    slopes, offsets = module.coefficients(torch.randn(2, 4, 5))
    assert len(slopes) == len(offsets) == 3
    assert slopes[0].shape == (2, outputs // 6, 1)


@exact_kinds
def test_coefficients_reach_as_far_as_lambda(kind: type[DynamicReLU]) -> None:
    module = kind(4, DynamicReLUConfig(lambda_a=0.25, lambda_b=2.0))
    nn.init.constant_(module.fc2.bias, 100.0)
    slopes, offsets = module.coefficients(torch.randn(2, 4, 5))
    assert deviation(slopes[0], torch.full_like(slopes[0], 1.25)) < 1e-6
    assert deviation(slopes[1], torch.full_like(slopes[1], 0.25)) < 1e-6
    assert deviation(offsets[0], torch.full_like(offsets[0], 2.0)) < 1e-6


def test_clamp_holds_after_training() -> None:
    module = perturb_(DynamicReLUB.from_static(nn.ReLU6(), 8))
    assert module(50 * torch.randn(4, 8, 5, 5)).max().item() == 6.0


def test_smooth_activations_add_to_themselves() -> None:
    module, x = DynamicReLUB.from_static(nn.SiLU(), 4), torch.randn(2, 4, 5)
    perturb_(module)
    expected = nn.functional.silu(x) + module.maximum_of_lines(x) - x.relu()
    assert deviation(module(x), expected) < 1e-6
    assert deviation(module(x), nn.functional.silu(x)) > 0.05


@exact_kinds
@activations
def test_at_a_bend_the_gradient_is_that_of_the_static_activation(
    kind: type[DynamicReLU], activation: nn.Module
) -> None:
    x = torch.tensor([[-1.0], [0.0], [3.0], [6.0], [7.0]])
    module = kind.from_static(activation, 1)
    grads = []
    for run in (activation, module):
        leaf = x.clone().requires_grad_()
        grads.append(torch.autograd.grad(run(leaf.clone()).sum(), leaf)[0])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("static", [nn.ReLU(inplace=True), nn.ReLU6(True), nn.LeakyReLU(0.1, True)])
def test_inplace_writes_into_its_input(static: nn.Module) -> None:
    module = DynamicReLUB.from_static(static, 4)
    perturb_(module)
    assert module.inplace
    x = torch.randn(2, 4, 5, requires_grad=True)
    module.inplace = False
    expected = module(x)
    (expected_grad,) = torch.autograd.grad(expected.square().sum(), x)
    module.inplace = True
    buffer = x * 1
    assert module(buffer) is buffer
    assert torch.equal(buffer, expected)
    (grad,) = torch.autograd.grad(buffer.square().sum(), x)
    assert torch.equal(grad, expected_grad)


def test_copies_what_the_static_module_has() -> None:
    static = nn.PReLU(4, dtype=torch.float64).eval()
    static.weight.requires_grad_(False)
    module = DynamicReLUB.from_static(static, 4)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float64}
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert DynamicReLUB.from_static(nn.ReLU(), 4, dtype=torch.float16).alpha.dtype == torch.float16
    assert DynamicReLUB.from_static(nn.ReLU(), 4, device="meta").alpha.is_meta


def test_refuses_slopes_that_are_no_numbers() -> None:
    with pytest.raises(UnsupportedModelError, match="slope inf below zero is no finite number"):
        DynamicReLUB.from_static(nn.LeakyReLU(float("inf")), 4)


def test_refuses_slopes_that_are_nowhere() -> None:
    with pytest.raises(UnsupportedModelError, match="PReLU's slopes are on the meta device"):
        DynamicReLUB.from_static(nn.PReLU(device="meta"), 4)


def test_refuses_other_activations() -> None:
    with pytest.raises(UnsupportedModelError, match=r"Tanh; known activations: ReLU, ReLU6"):
        DynamicReLUB.from_static(nn.Tanh(), 4)


def test_refuses_lines_of_different_number() -> None:
    with pytest.raises(ConfigError, match="alpha has 2 pieces and beta 3"):
        DynamicReLUB(4, alpha=torch.ones(2), beta=torch.zeros(3))


def test_further_pieces_lie_between_the_first_two() -> None:
    form = ActivationForm("prelu", slope=(0.25, -1.0))
    module = DynamicReLUB(2, DynamicReLUConfig(pieces=4), form=form)
    assert deviation(module.alpha[:, 0], torch.tensor([1, 0.25, 0.5, 0.75])) < 1e-6
    assert deviation(module.alpha[:, 1], torch.tensor([1, -1, -1 / 3, 1 / 3])) < 1e-6


@pytest.mark.parametrize(("kind", "outputs"), [(DynamicReLUA, 4), (DynamicReLUB, 4 * 16)])
def test_multiply_adds(kind: type[DynamicReLU], outputs: int) -> None:
    expected = 16 * 100 + 16 * 4 + 4 * outputs + 2 * 16 * 100
    assert kind(16).multiply_adds(100) == expected


def test_representation_and_nan() -> None:
    module = DynamicReLUB(4, DynamicReLUConfig(pieces=3), form=ActivationForm("relu6", ceiling=6.0))
    assert "4, pieces=3, form=relu6" in repr(module)
    assert DynamicReLUA(1)(torch.tensor([[math.nan]])).isnan().all()


def test_steep_slopes_are_kept_beside_the_lines_and_go_on_learning() -> None:
    static = nn.PReLU(4)
    with torch.no_grad():
        static.weight.copy_(torch.tensor([1.5, 0.25, -0.5, 3.0]))
    module, x = DynamicReLUB.from_static(static, 4), torch.randn(3, 4, 5)
    assert torch.equal(module(x), static(x))
    gradients = []
    for each in (static, module):
        each(x).square().sum().backward()
        assert each.weight is not None
        gradients.append(each.weight.grad)
    torch.testing.assert_close(*gradients)
    assert module.fc2.weight.grad is not None
    assert module.fc2.weight.grad.abs().max() > 0
    assert torch.equal(module.alpha, torch.tensor([[1.0], [0.0]]))
    assert DynamicReLUB.from_static(nn.PReLU(4), 4).weight is None
    assert not list(DynamicReLUB.from_static(nn.LeakyReLU(2.0), 4).parameters(recurse=False))
    frozen = DynamicReLUB.from_static(static.requires_grad_(False), 4)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_steep_slopes_under_autocast() -> None:
    module, x = DynamicReLUB.from_static(nn.PReLU(4, init=2.0), 4), torch.randn(3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x.bfloat16())
    torch.testing.assert_close(y, nn.functional.prelu(x, torch.tensor(2.0)).bfloat16())
