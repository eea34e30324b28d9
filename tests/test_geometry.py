"""The geometry convolves as the static module does; the references as torch does."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from references import convolve_by_loops, deviation, padding_edges
from strategies import ConvCase, conv_cases
from torch import nn

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.operators import DynamicConv2d, DynamicConvTranspose2d
from dynsurgeon.operators.contract import StaticConv


@given(case=conv_cases())
def test_convolves_as_the_static_module(case: ConvCase) -> None:
    static, x = case.static(), case.input()
    geometry = case.dynamic(static).geometry
    if static.padding_mode != "zeros":
        edges = [edge for pair in reversed(padding_edges(case.dynamic())) for edge in pair]
        x_padded = torch.nn.functional.pad(x, edges, mode=static.padding_mode)
    else:
        x_padded = x
    y = geometry.convolve(x_padded, static.weight, static.bias, geometry.groups)
    assert deviation(y, static(x)) < 1e-13
    assert geometry.out_channels(static.weight) == y.shape[1] == static.out_channels
    out = static.weight.shape[geometry.out_axis]
    assert out * (geometry.groups if geometry.transposed else 1) == y.shape[1]


def tiny(case: ConvCase) -> bool:
    return case.shape[1] * torch.Size(case.shape[2:]).numel() <= 150


@settings(max_examples=10)
@given(case=conv_cases().filter(tiny))
def test_loops_convolve_as_torch(case: ConvCase) -> None:
    # The check of the checks: number by number, against the kernels that the references trust.
    static, x = case.static(), case.input()[:1]
    y = convolve_by_loops(case.dynamic(static), x[0], static.weight.detach())
    if static.bias is not None:
        y = y + static.bias.view(-1, *[1] * (y.dim() - 1))
    assert deviation(y, static(x)[0]) < 1e-12


CASES: list[tuple[StaticConv, tuple[int, ...] | str]] = [
    (nn.Conv2d(2, 2, 3, padding=(1, 2)), (1, 2)),
    (nn.Conv2d(2, 2, 3, padding="same"), "same"),
    (nn.Conv2d(2, 2, 3, padding="valid"), "valid"),
    (nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect"), (0, 0)),
]


@pytest.mark.parametrize(("static", "padding"), CASES, ids=[str(p) for _, p in CASES])
def test_padding_by_mode(static: StaticConv, padding: tuple[int, ...] | str) -> None:
    # A border that is no zeros is padded before the convolution, which then pads nothing.
    module = DynamicConv2d.from_static(static, DynamicConvConfig(experts=2))
    assert module.geometry.padding == padding
    assert module.padding == static.padding


def test_is_a_frozen_value() -> None:
    static = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2)
    geometry = DynamicConvTranspose2d.from_static(static).geometry
    assert geometry == DynamicConvTranspose2d.from_static(static).geometry
    assert hash(geometry) == hash(DynamicConvTranspose2d.from_static(static).geometry)
    assert geometry.output_padding == (1, 1)
    with pytest.raises(FrozenInstanceError):
        geometry.groups = 1  # type: ignore[misc]
