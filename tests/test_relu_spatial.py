"""DY-ReLU-C: the lines of kind B under a spatial attention, started at the static activation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from nets import perturb_
from references import deviation
from strategies import ACTIVATIONS, ReLUCase, relu_cases
from test_relu import relu_deviation
from torch import Tensor, nn

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.operators import DynamicReLUC


@given(case=relu_cases("C"))
def test_equals_reference_with_its_gradients(case: ReLUCase) -> None:
    assert relu_deviation(case.perturbed(), case.input()) < 1e-10


@given(case=relu_cases("C"))
def test_starts_at_the_static_function(case: ReLUCase) -> None:
    x = case.input()
    assert deviation(case.dynamic()(x), case.activation.double()(x), floor=1e-9) < 1e-12
    static = case.activation.float()(x.float())
    assert deviation(case.dynamic(torch.float32)(x.float()), static, floor=1e-4) < 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("temperature", [0.1, 10.0])
@pytest.mark.parametrize("shape", [(2, 8), (1, 3, 1, 1), (2, 8, 7), (2, 8, 5, 6), (2, 3, 3, 3, 2)])
def test_starts_at_any_temperature(
    activation: nn.Module, temperature: float, shape: tuple[int, ...]
) -> None:
    config = DynamicReLUConfig(kind="C", pieces=3, temperature=temperature)
    module, x = DynamicReLUC.from_static(activation.float(), shape[1], config), torch.randn(shape)
    assert deviation(module(x), activation(x), floor=1e-3) < 1e-5


@pytest.mark.parametrize("size", [5, 300])
def test_starts_in_half_precision_on_large_maps(size: int) -> None:
    # One share of a 300x300 map is 1e-5, below what half precision holds to three digits.
    x = torch.randn(1, 4, size, size).half()
    module = DynamicReLUC.from_static(nn.ReLU(), 4, dtype=torch.float16)
    assert deviation(module(x), x.relu()) < 1e-3


def spatial_module(temperature: float = 1.0) -> DynamicReLUC:
    config = DynamicReLUConfig(kind="C", temperature=temperature)
    module = DynamicReLUC(4, config, dtype=torch.float64)
    perturb_(module)
    return module


def test_attention_is_a_capped_softmax_over_places() -> None:
    module, x = spatial_module(), torch.randn(3, 4, 6, 5, dtype=torch.float64)
    pi = module.spatial_attention(x)
    assert pi.shape == (3, 1, 6, 5)
    assert pi.min() >= 0
    assert pi.max() == 1  # some places reach the cap
    z = torch.einsum("nchw,c->nhw", x, module.spatial.weight[0]) + module.spatial.bias
    share = 10 * torch.softmax(z.flatten(1) / module.temperature, dim=1).view_as(z)
    assert deviation(pi[:, 0], share.clamp(max=1)) < 1e-12


def test_places_keep_their_own_share(monkeypatch: pytest.MonkeyPatch) -> None:
    # A share that belongs to another place or sample does not pass the reference.
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    for axis in (0, 2, 3):
        module = spatial_module()
        right = module.spatial_attention

        def rolled(value: Tensor, axis: int = axis, right: object = right) -> Tensor:
            return right(value).roll(1, axis)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(module, "spatial_attention", rolled)
        assert relu_deviation(module, x) > 0.05


def test_temperature_flattens_the_attention() -> None:
    module, x = spatial_module(), torch.randn(2, 4, 6, 6, dtype=torch.float64)
    sharp = module.spatial_attention(x).std()
    module.temperature.fill_(1e6)
    assert module.spatial_attention(x).std() < 1e-3 * sharp
    assert deviation(module.spatial_attention(x), torch.full((2, 1, 6, 6), 1 / 3)) < 1e-3


def test_temperature_is_saved() -> None:
    module = spatial_module(temperature=4.0)
    fresh = DynamicReLUC(4, dtype=torch.float64)
    assert fresh.temperature == 10.0
    fresh.load_state_dict(module.state_dict())
    assert fresh.temperature == 4.0


def test_spatial_branch_gets_a_gradient_at_the_start() -> None:
    module = DynamicReLUC(4)
    module(torch.randn(2, 4, 5, 5)).square().sum().backward()
    for layer in (module.spatial, module.fc2):
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().max() > 1e-6


def test_multiply_adds() -> None:
    # Kind B's, one dot product a place, and pi times 2K coefficients a channel and place.
    kind_b = 16 * 100 + 16 * 4 + 4 * 64 + 2 * 16 * 100
    assert DynamicReLUC(16).multiply_adds(100) == kind_b + 16 * 100 + 4 * 16 * 100
