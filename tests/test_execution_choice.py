"""Which algorithm runs where: by shape, memory format, numbers, and what looks at the graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from references import deviation
from strategies import ConvCase
from torch import Tensor, nn

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.operators.execution import (
    LEAN_ALGORITHMS,
    LeanAlgorithm,
    choose,
    context,
    forced_algorithm,
    one_by_one,
)
from dynsurgeon.operators.execution.choice import LEAN

Settings = dict[str, Any]
THREE: Settings = {"kernel_size": 3, "padding": 1}
ONE: Settings = {"kernel_size": 1}
CASES: list[tuple[tuple[int, ...], Settings, bool, str]] = [
    ((1, 160, 4, 4), THREE, False, "folded"),
    ((8, 64, 10, 10), THREE, False, "folded"),
    ((4, 160, 10, 10), THREE, False, "separate"),
    ((8, 64, 10, 10), THREE, True, "separate"),
    ((8, 8, 10, 10), THREE, True, "folded"),
    ((8, 8, 10, 10), ONE, False, "tiled"),
    ((3, 8, 10, 10), ONE, False, "folded"),
    ((3, 8, 10, 10), ONE, True, "pointwise"),
    ((8, 64, 9, 9), ONE | {"padding": 1}, False, "folded"),
    ((8, 64, 7, 7), THREE, False, "folded"),
    ((4, 128, 7, 7), THREE, False, "outputs"),
    ((4, 160, 7, 7), THREE, False, "tiled"),
    ((4, 160, 7, 7), THREE, True, "outputs"),
    ((3, 160, 7, 7), THREE, False, "outputs"),
    ((4, 160, 7, 7), THREE | {"stride": 2}, False, "outputs"),
    ((8, 8, 4, 4), THREE, False, "folded"),
    ((8, 256, 4, 4), THREE | {"groups": 256}, False, "folded"),
    ((4, 256, 4, 4), THREE | {"groups": 2}, False, "stacked"),
    ((8, 64, 4, 4), {"kernel_size": 4, "padding": "same"}, False, "stacked"),
    ((0, 8, 4, 4), THREE, False, "averaged"),
]


def name_of(algorithm: Any) -> str:
    return algorithm.name if isinstance(algorithm, LeanAlgorithm) else algorithm.__name__


def chosen(layer: DynamicConv2d, x: Tensor) -> str:
    pi = torch.full((len(x), layer.experts), 1 / layer.experts, dtype=x.dtype)
    return name_of(choose(x, pi, layer.weight, layer.geometry))


def layer_of(
    settings: Settings, channels: int = 64, dtype: torch.dtype = torch.float32
) -> DynamicConv2d:
    return DynamicConv2d(channels, channels, dtype=dtype, **settings)


@pytest.mark.parametrize(("shape", "settings", "last", "expected"), CASES)
def test_form_by_shape_and_layout(
    shape: tuple[int, ...], settings: Settings, last: bool, expected: str
) -> None:
    x = torch.randn(shape)
    x = x.to(memory_format=torch.channels_last) if last else x
    assert chosen(layer_of(settings, shape[1]), x) == expected


def test_every_form_is_chosen_somewhere() -> None:
    assert {name_of(rule.algorithm) for rule in LEAN} == set(LEAN_ALGORITHMS) | {"stacked"}


@pytest.mark.parametrize(("shape", "settings", "last", "_"), CASES[:-1])
def test_what_is_chosen_equals_the_slow_form(
    shape: tuple[int, ...], settings: Settings, last: bool, _: str
) -> None:
    base = {"in_channels": shape[1], "out_channels": shape[1]} | settings
    case = ConvCase(nn.Conv2d, DynamicConvConfig(experts=3, temperature=1.0), shape, 2, base)
    module = case.perturbed()
    x = torch.randn(shape, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last) if last else x
    with forced_algorithm(one_by_one):
        expected = module(x)
    assert deviation(module(x), expected) < 1e-11


def test_half_precision_runs_on_plain_operators() -> None:
    x = torch.randn(8, 64, 7, 7, dtype=torch.bfloat16)
    assert chosen(layer_of(THREE, dtype=torch.bfloat16), x) == "stacked"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chosen(layer_of(THREE), torch.randn(8, 64, 7, 7)) == "stacked"


def test_export_sees_the_stacked_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    monkeypatch.setattr(context, "traced_in_this_thread", lambda: True)
    assert chosen(layer_of(THREE), torch.randn(1, 64, 32, 32)) == "stacked"


def test_transforms_of_functions_see_plain_operators() -> None:
    layer, x = layer_of(THREE), torch.randn(8, 64, 7, 7)
    seen: list[str] = []

    def look(t: Tensor) -> Tensor:
        seen.append(chosen(layer, t))
        return t.sum()

    torch.func.grad(look)(x)
    torch.func.jvp(look, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        make_dual: Any = torch.autograd.forward_ad.make_dual
        look(make_dual(x, x))
    assert seen == ["stacked"] * 3
    assert chosen(layer, x) == "folded"
