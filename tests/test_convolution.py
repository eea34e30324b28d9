"""Dynamic convolution starts at the static one, copies all it has, and stands alone as a layer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import deviation, reference_dynamic_conv
from strategies import ConvCase, conv_cases
from torch import nn

from dynsurgeon.config import DynamicConvConfig, Start
from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.operators import DynamicConv1d, DynamicConv2d, DynamicConv3d, DynamicConvTranspose2d
from dynsurgeon.operators.table import CONVOLUTIONS

STARTS: list[Start] = ["identical", "zero-sum"]


@given(case=conv_cases())
def test_starts_at_the_static_function(case: ConvCase) -> None:
    static, x = case.static(), case.input()
    dynamic = case.dynamic(static)
    assert deviation(dynamic(x), static(x), floor=1e-9) < 1e-12
    assert deviation(dynamic.float()(x.float()), static.float()(x.float()), floor=1e-4) < 1e-5


@given(case=conv_cases())
def test_single_precision_equals_reference(case: ConvCase) -> None:
    module, x = case.perturbed(), case.input()
    expected = reference_dynamic_conv(module, x)
    assert deviation(module.float()(x.float()), expected, floor=1e-2) < 1e-4


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("temperature", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("experts", [1, 2, 4, 8])
def test_start_is_exact_at_every_temperature(
    start: Start, temperature: float, experts: int
) -> None:
    config = DynamicConvConfig(experts=experts, temperature=temperature, start=start)
    static = nn.Conv2d(16, 12, 3, padding=1, groups=2)
    x = torch.randn(5, 16, 11, 11)
    assert deviation(DynamicConv2d.from_static(static, config)(x), static(x)) < 1e-5
    static, x = static.double(), x.double()
    dynamic = DynamicConv2d.from_static(static, config)
    assert deviation(dynamic(x), static(x)) < 1e-12
    assert dynamic.attention.temperature == temperature


def test_start_identical_has_equal_kernels_and_a_live_attention() -> None:
    static = nn.Conv2d(8, 6, 3)
    dynamic = DynamicConv2d.from_static(static, DynamicConvConfig(temperature=0.1))
    assert static.bias is not None
    assert dynamic.bias is not None
    for kernel, bias in zip(dynamic.weight, dynamic.bias, strict=True):
        assert torch.equal(kernel, static.weight)
        assert torch.equal(bias, static.bias)
    pi = dynamic.attention(torch.randn(3, 8, 5, 5))
    assert deviation(pi, torch.full((3, 4), 0.25)) > 0.01


def test_start_zero_sum_has_spread_kernels_and_a_uniform_attention() -> None:
    static = nn.Conv2d(8, 6, 3)
    config = DynamicConvConfig(start="zero-sum", spread=0.5)
    dynamic = DynamicConv2d.from_static(static, config)
    assert deviation(dynamic.weight.mean(0), static.weight) < 1e-6
    spread = float(((dynamic.weight - static.weight).std() / static.weight.std()).detach())
    assert spread == pytest.approx(0.5 * math.sqrt(3 / 4), rel=0.1)  # of 4 noises less their mean
    assert torch.equal(dynamic.attention(torch.randn(3, 8, 5, 5)), torch.full((3, 4), 0.25))


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_kernels_keep_a_random_attention_under_zero_sum(value: float) -> None:
    # They have no spread to go by: with a zero attention they would stay identical for ever.
    static = nn.Conv2d(2, 2, 1, bias=False)
    nn.init.constant_(static.weight, value)
    dynamic = DynamicConv2d.from_static(static, DynamicConvConfig(start="zero-sum"))
    assert dynamic.attention.fc2.weight.abs().max() > 0
    x = torch.randn(3, 2, 4, 4)
    assert deviation(dynamic(x), static(x)) < 1e-5


@pytest.mark.parametrize("kind", CONVOLUTIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_copies_dtype_mode_and_frozenness(kind: type[nn.Module], dtype: torch.dtype) -> None:
    static = kind(4, 4, 3, groups=2, dtype=dtype).eval()
    static.weight.requires_grad_(False)
    dynamic = CONVOLUTIONS[kind].from_static(static)  # type: ignore[arg-type]
    assert {tensor.dtype for tensor in dynamic.state_dict().values()} == {dtype}
    assert not any(module.training for module in dynamic.modules())
    trainable = {name for name, p in dynamic.named_parameters() if p.requires_grad}
    assert trainable == {"bias"}
    x = torch.randn(3, 4, *[5] * dynamic.geometry.spatial, dtype=dtype)
    eps = torch.finfo(dtype).eps
    assert deviation(dynamic(x), static(x)) < 8 * eps


def test_copies_device() -> None:
    static = nn.Conv2d(4, 4, 3, device="meta")
    for start in STARTS:
        dynamic = DynamicConv2d.from_static(static, DynamicConvConfig(start=start))
        assert all(tensor.is_meta for tensor in dynamic.state_dict().values())
        assert dynamic(torch.empty(2, 4, 8, 8, device="meta")).shape == (2, 4, 6, 6)


def test_does_not_share_memory_with_the_static_module() -> None:
    static = nn.Conv2d(4, 4, 3)
    before = static.weight.detach().clone()
    dynamic = DynamicConv2d.from_static(static, DynamicConvConfig(experts=1))
    with torch.no_grad():
        dynamic.weight.zero_()
    assert torch.equal(static.weight, before)


@pytest.mark.parametrize("name", ["Conv1d", "ConvTranspose2d", "Linear"])
def test_refuses_what_it_is_not(name: str) -> None:
    static = getattr(nn, name)(4, 4, *([3] if name != "Linear" else []))
    with pytest.raises(UnsupportedModelError, match=f"DynamicConv2d starts at a Conv2d.* {name}"):
        DynamicConv2d.from_static(static)


class NamedConv(nn.Conv2d):
    """A subclass that only presets its arguments, as r3d_18's convolutions are."""


def test_takes_subclasses() -> None:
    static, x = NamedConv(4, 4, 3), torch.randn(2, 4, 5, 5)
    assert deviation(DynamicConv2d.from_static(static)(x), static(x)) < 1e-5


@given(case=conv_cases(), seed=st.integers(0, 99))
def test_stands_alone_as_a_layer(case: ConvCase, seed: int) -> None:
    torch.manual_seed(seed)
    static = case.static()
    operator = CONVOLUTIONS[case.kind]
    layer = operator(**case.settings, config=case.config, dtype=case.dtype)
    assert layer.geometry == case.dynamic(static).geometry
    assert layer.weight.shape == (case.config.experts, *static.weight.shape)
    for name in ("in_channels", "kernel_size", "stride", "padding", "groups", "transposed"):
        assert getattr(layer, name) == getattr(static, name)
    x = case.input()
    assert layer(x).shape == static(x).shape
    assert deviation(layer(x), reference_dynamic_conv(layer, x)) < 1e-11


@pytest.mark.parametrize("operator", CONVOLUTIONS.values(), ids=lambda kind: kind.__name__)
def test_a_fresh_layer_draws_each_kernel_as_the_static_class(operator: type[DynamicConv2d]) -> None:
    layer = operator(12, 8, 3, groups=2, config=DynamicConvConfig(experts=3))
    static = layer.static_class(12, 8, 3, groups=2)
    bound = float(static.weight.detach().abs().max())
    assert layer.bias is not None
    for kernel, bias in zip(layer.weight, layer.bias, strict=True):
        assert float(kernel.detach().abs().max()) == pytest.approx(bound, rel=0.1)
        assert 0 < float(bias.detach().abs().max()) <= 1.1 * bound
    assert not torch.equal(layer.weight[0], layer.weight[1])


@pytest.mark.parametrize(
    ("operator", "shape"),
    [(DynamicConv1d, (4, 9)), (DynamicConv2d, (4, 9, 9)), (DynamicConv3d, (4, 5, 5, 5))],
)
def test_unbatched_input(operator: type[DynamicConv2d], shape: tuple[int, ...]) -> None:
    layer, x = operator(4, 6, 3, padding_mode="reflect", padding=1), torch.randn(shape)
    assert deviation(layer(x), layer(x.unsqueeze(0))[0]) == 0


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(RuntimeError):
        DynamicConv2d(4, 4, 3)(torch.randn(2, 5, 8, 8))


def test_representation_names_what_matters() -> None:
    text = repr(DynamicConvTranspose2d(4, 6, 3, stride=2, config=DynamicConvConfig(experts=3)))
    for part in ("DynamicConvTranspose2d", "4, 6", "stride=(2, 2)", "experts=3", "attention"):
        assert part in text
