"""Layers that are built by hand show their arguments, in the order of torch's own."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

import dynsurgeon as ds

PAIRS: list[tuple[Any, Any]] = [
    (ds.DynamicConv1d, nn.Conv1d),
    (ds.DynamicConv2d, nn.Conv2d),
    (ds.DynamicConv3d, nn.Conv3d),
    (ds.DynamicConvTranspose1d, nn.ConvTranspose1d),
    (ds.DynamicConvTranspose2d, nn.ConvTranspose2d),
    (ds.DynamicConvTranspose3d, nn.ConvTranspose3d),
]
ATTENTION = ["experts", "reduction", "temperature", "config"]


@pytest.mark.parametrize(("dynamic", "static"), PAIRS)
def test_arguments_are_those_of_torch_and_then_the_attentions(dynamic: Any, static: Any) -> None:
    ours, theirs = (inspect.signature(kind).parameters for kind in (dynamic, static))
    assert list(ours) == [*theirs, *ATTENTION]
    for name, parameter in theirs.items():
        assert (ours[name].default, ours[name].kind) == (parameter.default, parameter.kind)
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ATTENTION)
    documented = inspect.getdoc(dynamic.__init__) or ""
    assert [name for name in ours if f"    {name}: " not in documented] == []


@pytest.mark.parametrize(("dynamic", "static"), PAIRS)
def test_arguments_by_their_place_mean_the_same(dynamic: Any, static: Any) -> None:
    transposed = issubclass(static, nn.modules.conv._ConvTransposeNd)
    last = (0, 2, False, 1) if transposed else (1, 2, False)
    layer, like = (
        kind(4, 6, 3, 2, 1, *last, "zeros", "cpu", torch.float64) for kind in (dynamic, static)
    )
    assert layer.weight.shape == (4, *like.weight.shape)
    assert layer.weight.dtype == torch.float64
    names = ("stride", "padding", "dilation", "groups", "output_padding", "padding_mode", "bias")
    assert all(getattr(layer, name) == getattr(like, name) for name in names)
    x = torch.randn(2, 4, *[7] * len(like.kernel_size), dtype=torch.float64)
    assert layer(x).shape == like(x).shape


def test_the_attention_is_set_by_arguments_that_win_over_a_configuration() -> None:
    layer = ds.DynamicConv2d(16, 32, 3, padding=1, experts=2, reduction=2, temperature=5.0)
    assert (layer.experts, layer.attention.fc1.out_features) == (2, 8)
    assert float(layer.attention.temperature) == 5
    config = ds.DynamicConvConfig(experts=8, temperature=2.0)
    layer = ds.DynamicConv2d(16, 32, 3, config=config, experts=3)
    assert (layer.experts, float(layer.attention.temperature)) == (3, 2)
    with pytest.raises(ds.ConfigError, match="experts must be a whole number"):
        ds.DynamicConv2d(16, 32, 3, experts=0)
    with pytest.raises(TypeError, match="expert"):
        ds.DynamicConv2d(16, 32, 3, expert=4)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [ds.DynamicReLUA, ds.DynamicReLUB, ds.DynamicReLUC])
def test_every_argument_of_a_dynamic_relu_is_named_and_typed(kind: Any) -> None:
    parameters = inspect.signature(kind).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    assert not any(p.kind in variadic or p.annotation is p.empty for p in parameters)
    documented = inspect.getdoc(ds.DynamicReLU) or ""
    assert [p.name for p in parameters if f" {p.name}: " not in documented] in ([], ["temperature"])


def test_dynamic_relus_take_their_settings_as_arguments() -> None:
    relu = ds.DynamicReLUC(16, pieces=3, reduction=4, lambda_a=0.5, lambda_b=0.0, temperature=2.0)
    assert (relu.pieces, relu.fc1.out_features, float(relu.temperature)) == (3, 4, 2)
    assert (relu.config.lambda_a, relu.config.lambda_b) == (0.5, 0.0)
    config = ds.DynamicReLUConfig(pieces=4, lambda_a=2.0)
    relu_b = ds.DynamicReLUB(16, config, pieces=2)
    assert (relu_b.pieces, relu_b.config.lambda_a) == (2, 2.0)
    with pytest.raises(ds.ConfigError, match="pieces must be"):
        ds.DynamicReLUA(16, pieces=1)
