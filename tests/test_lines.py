"""The maximum of lines: the lean backward against autograd's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import deviation
from torch import Tensor

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.operators.lines import maximum_of_lines
from dynsurgeon.operators.table import RELUS

TOLERANCE = 1e-12


def plain(x: Tensor, slopes: list[Tensor], offsets: list[Tensor]) -> Tensor:
    lines = [a * x + b for a, b in zip(slopes, offsets, strict=True)]
    return torch.stack(lines).amax(0)


def inputs(shape: tuple[int, ...], pieces: int, shared: bool, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    line = (shape[0], 1 if shared else shape[1], *[1] * (len(shape) - 2))
    shapes = [shape, *[line] * (2 * pieces)]
    drawn = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return [tensor.requires_grad_() for tensor in drawn]


def run(function: Any, leaves: list[Tensor]) -> Tensor:
    pieces = len(leaves) // 2
    y: Tensor = function(leaves[0], leaves[1 : 1 + pieces], leaves[1 + pieces :])
    return y


def with_gradients(function: Any, leaves: list[Tensor]) -> list[Tensor]:
    y = run(function, leaves)
    direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(9))
    return [y, *torch.autograd.grad((y * direction).sum(), leaves)]


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    pieces=st.integers(2, 4),
    shared=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_autograd(shape: list[int], pieces: int, shared: bool, seed: int) -> None:
    leaves = inputs(tuple(shape), pieces, shared, seed)
    actual, expected = with_gradients(maximum_of_lines, leaves), with_gradients(plain, leaves)
    assert all(deviation(a, e, 1e-3) < TOLERANCE for a, e in zip(actual, expected, strict=True))


def test_at_a_tie_the_gradient_is_that_of_the_static_relu() -> None:
    x = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    (dynamic,) = torch.autograd.grad(maximum_of_lines(x, [one, zero], [zero, zero]).sum(), x)
    (static,) = torch.autograd.grad(x.relu().sum(), x)
    assert torch.equal(dynamic, static)


@pytest.mark.parametrize("slope", [0.0, 0.25])
@pytest.mark.parametrize("pieces", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_at_a_tie_every_layer_starts_with_the_gradient_of_its_activation(
    kind: Any, dtype: torch.dtype, pieces: int, slope: float
) -> None:
    static = torch.nn.LeakyReLU(slope)
    layer = RELUS[kind].from_static(static, 2, DynamicReLUConfig(kind=kind, pieces=pieces))
    x = torch.tensor([[[-1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]], dtype=dtype, requires_grad=True)
    (dynamic,) = torch.autograd.grad(layer.to(dtype)(x).sum(), x)
    (expected,) = torch.autograd.grad(static(x).sum(), x)
    assert torch.allclose(dynamic, expected, rtol=1e-2)


@pytest.mark.parametrize("frozen", [0, 1, 4])
def test_gradients_of_gradients(frozen: int) -> None:
    leaves = inputs((2, 3, 4), 2, shared=False)
    leaves[frozen].requires_grad_(False)
    live = [leaf for leaf in leaves if leaf.requires_grad]

    def penalty(function: Any) -> list[Tensor]:
        y = run(function, leaves).pow(3).sum()
        slopes = torch.autograd.grad(y, live, create_graph=True)
        total = sum((slope.square().sum() for slope in slopes), torch.zeros(()))
        return list(torch.autograd.grad(total, live))

    for actual, expected in zip(penalty(maximum_of_lines), penalty(plain), strict=True):
        assert deviation(actual, expected, 1e-3) < TOLERANCE


def test_one_map_is_kept() -> None:
    leaves = inputs((2, 3, 8, 8), 2, shared=False)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run(maximum_of_lines, leaves)
    assert sorted(kept)[-2:] == [6, leaves[0].numel()]


def test_half_precision_keeps_its_sums() -> None:
    leaves = [leaf.detach().bfloat16().requires_grad_() for leaf in inputs((1, 1, 64, 64), 2, True)]
    actual, expected = with_gradients(maximum_of_lines, leaves), with_gradients(plain, leaves)
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


def test_channels_last_stays() -> None:
    leaves = inputs((2, 3, 4, 4), 2, shared=False)
    leaves[0] = leaves[0].detach().to(memory_format=torch.channels_last)
    y = run(maximum_of_lines, leaves)
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_compiled_ahead_of_time(last: bool) -> None:
    torch._dynamo.reset()
    leaves = inputs((2, 3, 4, 4), 2, shared=False)
    if last:
        leaves[0] = leaves[0].detach().to(memory_format=torch.channels_last).requires_grad_()
    compiled: Any = torch.compile(maximum_of_lines, fullgraph=True, backend="aot_eager")
    actual, expected = with_gradients(compiled, leaves), with_gradients(plain, leaves)
    assert all(deviation(a, e, 1e-3) < TOLERANCE for a, e in zip(actual, expected, strict=True))
