"""The further operators against plain loops over samples, channels and places, and their starts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from nets import perturb_
from references import deviation
from strategies import ConvCase, conv_cases
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators.condconv import CondConv
from dynsurgeon.operators.contract import ConvolutionLayer
from dynsurgeon.operators.dcd import DecomposedConv
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.gate import GatedActivation, GatedConv
from dynsurgeon.operators.odconv import ODConv
from dynsurgeon.operators.scale import ScaledConv
from dynsurgeon.operators.shift_max import ShiftMax
from dynsurgeon.settings import (
    ActivationGateConfig,
    CondConvConfig,
    DCDConfig,
    GateConfig,
    ODConvConfig,
    ScaleConfig,
    ShiftMaxConfig,
)

LAYERS: dict[str, tuple[type[ConvolutionLayer], list[Any]]] = {
    "scale": (ScaledConv, [
        ScaleConfig(2), ScaleConfig(1, filters=False), ScaleConfig(3, channels=False),
    ]),
    "dcd": (DecomposedConv, [DCDConfig(2), DCDConfig(1, rank=3)]),
    "condconv": (CondConv, [CondConvConfig(2), CondConvConfig(4), CondConvConfig(3, "sum")]),
    "se": (GatedConv, [GateConfig(1), GateConfig(4)]),
    "odconv": (ODConv, [
        ODConvConfig(1, 2), ODConvConfig(3, 1), ODConvConfig(2, 1, space=False),
        ODConvConfig(1, 1, filters=False, channels=False),
        ODConvConfig(2, 2, filters=False, space=False),
    ]),
}  # fmt: skip


def convolve(static: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Run a static convolution on one sample with another kernel."""
    state = {"weight": weight, **({} if bias is None else {"bias": bias})}
    run: Any = torch.func.functional_call
    y: Tensor = run(static, state, x[None])[0]
    return y


def factor(layer: Any, hidden: Tensor) -> Tensor:
    theta: Tensor = layer.weight @ hidden + layer.bias
    scale: Tensor = 2 / (1 + torch.exp(-theta))
    return scale


def hidden_of(layer: Any, x: Tensor) -> Tensor:
    mean = x.flatten(1).mean(1)
    hidden: Tensor = (layer.fc1.weight @ mean + layer.fc1.bias).clamp(min=0)
    return hidden


def wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def scale_reference(layer: Any, static: Any, x: Tensor) -> Tensor:
    hidden = hidden_of(layer, x)
    if layer.fc_channels is not None:
        x = x * wide(factor(layer.fc_channels, hidden), x)
    y = convolve(static, x, layer.weight, layer.bias)
    return y if layer.fc_filters is None else y * wide(factor(layer.fc_filters, hidden), y)


def dcd_reference(layer: Any, static: Any, x: Tensor) -> Tensor:
    hidden = hidden_of(layer, x)
    y = convolve(static, x, layer.weight, layer.bias)
    phi = (layer.fc_phi.weight @ hidden + layer.fc_phi.bias).view(layer.rank, layer.rank)
    # P Phi Q in the middle of an ungrouped kernel of zeros, so that the place needs no thought.
    whole = type(static)(
        static.in_channels, static.out_channels, static.kernel_size, static.stride,
        static.padding, static.dilation, 1, False, static.padding_mode, dtype=x.dtype,
    )  # fmt: skip
    kernel = torch.zeros_like(whole.weight)
    middle = tuple((k - 1) // 2 for k in static.kernel_size)
    kernel[(slice(None), slice(None), *middle)] = layer.p.weight @ phi @ layer.q.weight
    return y * wide(factor(layer.fc_filters, hidden), y) + convolve(whole, x, kernel, None)


def condconv_reference(layer: Any, static: Any, x: Tensor) -> Tensor:
    mean = x.flatten(1).mean(1)
    routes = 1 / (1 + torch.exp(-(layer.routing.weight @ mean + layer.routing.bias)))
    if len(routes) == layer.experts:
        banks = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        sums = [torch.stack([r * w for r, w in zip(routes, b, strict=True)]).sum(0) for b in banks]
        return convolve(static, x, sums[0], sums[1] if len(sums) > 1 else None)
    weight = layer.weight[0].clone()
    bias = None if layer.bias is None else layer.bias[0].clone()
    for k, route in enumerate(routes, 1):
        weight = weight + route * (layer.weight[k] - layer.weight[0])
        if bias is not None:
            bias = bias + route * (layer.bias[k] - layer.bias[0])
    return convolve(static, x, weight, bias)


def se_reference(layer: Any, static: Any, x: Tensor) -> Tensor:
    y = convolve(static, x, layer.weight, layer.bias)
    return y * wide(factor(layer.fc2, hidden_of(layer, y)), y)


def odconv_reference(layer: Any, static: Any, x: Tensor) -> Tensor:
    mean = x.flatten(1).mean(1)
    pi = torch.ones(1, dtype=x.dtype)
    if layer.experts > 1:
        attention = layer.attention
        inner = (attention.fc1.weight @ mean + attention.fc1.bias).clamp(min=0)
        logits = (attention.fc2.weight @ inner + attention.fc2.bias) / attention.temperature
        pi = torch.exp(logits) / torch.exp(logits).sum()
    weight = sum(p * w for p, w in zip(pi, layer.weight, strict=True))
    bias = None if layer.bias is None else sum(p * b for p, b in zip(pi, layer.bias, strict=True))
    hidden = torch.empty(0) if layer.fc1 is None else hidden_of(layer, x)
    if layer.fc_places is not None:
        weight = weight * factor(layer.fc_places, hidden).view(layer.kernel_size)
    if layer.fc_channels is not None:
        x = x * wide(factor(layer.fc_channels, hidden), x)
    y = convolve(static, x, weight, bias)
    return y if layer.fc_filters is None else y * wide(factor(layer.fc_filters, hidden), y)


REFERENCES = {
    "scale": scale_reference,
    "dcd": dcd_reference,
    "condconv": condconv_reference,
    "se": se_reference,
    "odconv": odconv_reference,
}


@st.composite
def cases(draw: st.DrawFn, name: str) -> tuple[ConvCase, ConvolutionLayer]:
    case = draw(conv_cases(transposed=False if name == "dcd" else None))
    layer, configs = LAYERS[name]
    torch.manual_seed(case.seed)
    return case, layer.from_static(case.static(), draw(st.sampled_from(configs)))


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_it_is_what_the_formula_says(name: str, data: st.DataObject) -> None:
    case, layer = data.draw(cases(name))
    perturb_(layer, torch.Generator().manual_seed(case.seed))
    x, static = case.input(), case.static()
    with torch.no_grad():
        expected = torch.stack([REFERENCES[name](layer, static, sample) for sample in x])
        found = layer(x)
    assume(expected.numel())
    assert found.shape == expected.shape
    assert deviation(found, expected) < 1e-10


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_it_starts_as_the_convolution_does(name: str, data: st.DataObject) -> None:
    case, layer = data.draw(cases(name))
    x, static = case.input(), case.static()
    with torch.no_grad():
        expected = static(x)
        assert deviation(layer(x), expected) < 1e-12
        if name in ("scale", "dcd", "se"):
            assert torch.equal(layer(x), expected)
        assert torch.equal(layer(x[0]), layer(x[:1])[0])


@pytest.mark.parametrize("name", LAYERS)
def test_all_that_can_learn_does_from_the_first_steps(name: str) -> None:
    torch.manual_seed(0)
    layer, configs = LAYERS[name]
    module = layer.from_static(nn.Conv2d(6, 8, 3, padding=1), configs[0])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    x = torch.randn(8, 6, 5, 5) * torch.linspace(0.5, 2, 8).view(-1, 1, 1, 1)
    before = {key: p.detach().clone() for key, p in module.named_parameters()}
    for _ in range(3):  # a hidden layer has a gradient once the layer after it has moved
        optimizer.zero_grad()
        module(x).sin().mean().backward()
        optimizer.step()
    still = {key for key, p in module.named_parameters() if torch.equal(p, before[key])}
    assert not still


@pytest.mark.parametrize("name", LAYERS)
def test_a_frozen_convolution_stays_frozen(name: str) -> None:
    layer, configs = LAYERS[name]
    static = nn.Conv2d(4, 4, 3).requires_grad_(False).eval()
    module = layer.from_static(static, configs[0])
    assert not any(p.requires_grad for p in module.parameters())
    assert not module.training


def test_a_transposed_convolution_is_not_decomposed() -> None:
    assert ds.operator_names("conv").count("dcd") == 1
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 3), nn.Conv2d(4, 4, 1))
    plan = ds.plan(net, torch.randn(1, 3, 8, 8), ds.SurgeryConfig(conv="dcd"))
    reasons = {site.name: site.reason for site in plan.skipped}
    assert reasons["1"] == "the operator dcd has no form of ConvTranspose2d"


@pytest.mark.parametrize("experts", [2, 3, 4])
def test_the_sum_of_kernels_starts_goes_back_and_moves_apart(experts: int) -> None:
    torch.manual_seed(0)
    static = nn.Conv2d(4, 6, 3)
    layer: Any = CondConv.from_static(static, CondConvConfig(experts, "sum"))
    x = torch.randn(3, 4, 6, 6)
    assert deviation(layer(x), static(x)) < 1e-6
    assert layer.static_obstacle() is None
    found = layer.static_parameters()
    for name, parameter in static.named_parameters():
        assert deviation(found[name], parameter) < 1e-6
    layer(x).sin().mean().backward()
    gradient = layer.routing.weight.grad
    assert not torch.allclose(gradient[0], gradient[1], rtol=1e-2)
    nn.init.ones_(layer.routing.weight)
    assert layer.static_obstacle() == f"has {experts} kernels that differ"


FORMS = [
    ActivationForm(),
    ActivationForm("relu6", ceiling=6.0),
    ActivationForm("leaky_relu", slope=0.1),
    ActivationForm("prelu", slope=(0.1, 0.5, -0.2, 0.0)),
    ActivationForm("hardswish"),
    ActivationForm("silu"),
    ActivationForm("gelu", options={"approximate": "tanh"}),
]


def activation(form: ActivationForm, x: Tensor) -> Tensor:
    if form.function == "prelu":
        return F.prelu(x, torch.tensor(form.slope, dtype=x.dtype))
    if form.function == "leaky_relu":
        return F.leaky_relu(x, 0.1)
    function: Any = getattr(F, form.function)
    result: Tensor = function(x, **form.options)
    return result


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.function)
@pytest.mark.parametrize("spatial", [0, 1, 2, 3])
def test_activations_start_as_they_were(form: ActivationForm, spatial: int) -> None:
    torch.manual_seed(0)
    x = 4 * torch.randn(3, 4, *[5] * spatial)
    shift_max = ShiftMax.from_form(form, 4, ShiftMaxConfig(smooth=True))
    gate = GatedActivation.from_form(form, 4, ActivationGateConfig())
    for layer in (shift_max, gate):
        assert torch.equal(layer(x), activation(form, x))


@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.parametrize("lambda_b", [0.0, 0.5])
@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (6, 4), (3, 4), (1, 1)])
def test_shift_max_is_what_the_formula_says(
    pieces: int, lambda_b: float, channels: int, groups: int
) -> None:
    config = ShiftMaxConfig(groups=groups, pieces=pieces, reduction=1, lambda_b=lambda_b)
    layer = ShiftMax(channels, config, dtype=torch.float64)
    perturb_(layer)
    x = torch.randn(2, channels, 3, 2, generator=torch.Generator().manual_seed(1)).double()
    shift = max(channels // groups, 1)
    expected = torch.empty_like(x)
    with torch.no_grad():
        theta = layer.theta(x)
        for n in range(len(x)):
            delta = (2 * torch.sigmoid(theta[n]) - 1).view(-1, channels)
            for i in range(channels):
                lines = []
                for k in range(pieces):
                    alpha = float(layer.alpha[k].view(-1)[i if layer.alpha.shape[1] > 1 else 0])
                    line = (alpha + float(delta[k, i])) * x[n, i]
                    line = line + float(delta[pieces + k, i]) * x[n, (i + shift) % channels]
                    if lambda_b:
                        line = line + lambda_b * float(delta[2 * pieces + k, i])
                    lines.append(line)
                expected[n, i] = torch.stack(lines).amax(0)
        assert deviation(layer(x), expected) < 1e-12


def test_a_gate_behind_an_activation_is_what_the_formula_says() -> None:
    layer: Any = perturb_(GatedActivation(5, ActivationGateConfig(1), dtype=torch.float64))
    x = torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        found = layer(x)
        for n in range(3):
            y = x[n].clamp(min=0)
            expected = y * wide(factor(layer.fc2, hidden_of(layer, y)), y)
            assert deviation(found[n], expected) < 1e-12


@pytest.mark.parametrize("kind", [ShiftMax, GatedActivation])
def test_in_place_it_writes_and_has_the_same_gradient(kind: Any) -> None:
    layer: Any = perturb_(kind(4))
    layer.inplace = False
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    plain = layer(1 * x)
    (expected,) = torch.autograd.grad(plain.sin().sum(), x)
    layer.inplace = True
    before = 1 * x
    y = layer(before)
    assert y.data_ptr() == before.data_ptr()
    assert torch.equal(y, plain)
    (found,) = torch.autograd.grad(y.sin().sum(), x)
    assert deviation(found, expected) < 1e-6


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ScaleConfig, {"filters": False, "channels": False}, "nothing would be scaled"),
        (ScaleConfig, {"reduction": 0}, "reduction must be a whole number of at least 1"),
        (ODConvConfig, {"experts": 0}, "experts must be a whole number of at least 1"),
        (
            ODConvConfig,
            {"filters": False, "channels": False, "space": False},
            "nothing would depend on the input",
        ),
        (DCDConfig, {"rank": 0}, "rank must be a whole number of at least 1"),
        (CondConvConfig, {"experts": 1}, "experts must be a whole number of at least 2"),
        (ShiftMaxConfig, {"groups": 0}, "groups must be a whole number of at least 1"),
        (ShiftMaxConfig, {"lambda_a": -1}, "lambda_a must not be below 0"),
        (GateConfig, {"reduction": 1.5}, "reduction must be a whole number"),
    ],
)
def test_bad_settings(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ds.ConfigError, match=message):
        kind(**settings)


@pytest.mark.parametrize("name", LAYERS)
def test_its_cost_is_counted(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, padding=1))
    x = torch.randn(2, 3, 10, 10)
    plan = ds.plan(net, x, ds.SurgeryConfig(conv=name))
    (site,) = plan.converted
    dynamic = ds.convert(net, x, plan)
    counted = sum(p.numel() for p in dynamic[1].parameters())  # type: ignore[index]
    assert site.params_after == counted
    pooled = 8 * 8 * 8
    assert site.macs_after - site.macs_before > min(pooled, math.prod((16, 8, 8)))


@pytest.mark.parametrize("name", ["scale", "dcd", "se", "odconv"])
@pytest.mark.parametrize(("channels", "factor"), [(16, 1.0), (256, 4 / 64)])
def test_wide_heads_learn_slowly(name: str, channels: int, factor: float) -> None:
    layer, _ = LAYERS[name]
    config = type(LAYERS[name][1][0])(reduction=4)
    net = nn.Sequential(layer.from_static(nn.Conv2d(channels, channels, 1), config))
    groups = {group["name"]: group["factor"] for group in ds.parameter_groups(net, 0.1)}
    assert groups["head"] == factor
