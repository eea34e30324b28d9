"""What a dynamic layer returns may be written into, as what its static layer returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import perturb_
from references import deviation
from test_execution_lean import FITS, image_case
from torch import Tensor, nn

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.operators import (
    DynamicConv,
    DynamicConv2d,
    DynamicReLUA,
    DynamicReLUB,
    DynamicReLUC,
)
from dynsurgeon.operators.execution import (
    LEAN_ALGORITHMS,
    Algorithm,
    convolve,
    forced_algorithm,
    plain,
)

Follower = Callable[[Tensor], Tensor]

FOLLOWERS: dict[str, tuple[Follower, Follower]] = {
    "silu": (lambda y: F.silu(y, inplace=True), F.silu),
    "elu": (lambda y: F.elu(y, inplace=True), F.elu),
    "add": (lambda y: y.add_(0.5), lambda y: y + 0.5),
    "mul": (lambda y: y.mul_(1.5), lambda y: y * 1.5),
    "dropout": (lambda y: F.dropout(y, 0.5, inplace=True), lambda y: F.dropout(y, 0.5)),
}
"""What writes into a layer's output, and the same out of place."""

ALGORITHMS: dict[str, Algorithm] = {
    **LEAN_ALGORITHMS,
    **{
        algorithm.__name__: algorithm
        for algorithm in (plain.stacked, plain.grouped, plain.one_by_one)
    },
}


def conv_of(name: str, *, bias: bool = True, batch: int = 3) -> tuple[DynamicConv, Tensor]:
    case = image_case(1 if name == "pointwise" else 3, bias=bias)
    module, x = case.perturbed(), case.input()[:batch]
    assert name not in FITS or FITS[name](module)
    return module, x.to(memory_format=torch.channels_last) if name == "pointwise" else x


def gradients(layer: nn.Module, x: Tensor, follower: Follower, *, twice: bool) -> list[Tensor]:
    """Return the gradients of a loss through `layer` and what follows it, of input and weights."""
    x = x.clone().requires_grad_()
    torch.manual_seed(0)
    loss = follower(layer(x)).pow(3).sum()
    inputs = [x, *layer.parameters()]
    if twice:
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        loss = slope.square().sum()
    return list(torch.autograd.grad(loss, inputs, materialize_grads=True))


def check(layer: nn.Module, x: Tensor, follower: str, *, twice: bool = False) -> None:
    inplace, plainly = FOLLOWERS[follower]
    actual = gradients(layer, x, inplace, twice=twice)
    expected = gradients(layer, x, plainly, twice=twice)
    assert any(bool(e.any()) for e in expected)
    assert max(deviation(a, e, 1e-3) for a, e in zip(actual, expected, strict=True)) < 1e-9


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("name", "batch"), [("folded", 1), *((name, 3) for name in ALGORITHMS)])
def test_a_convolution(name: str, batch: int, bias: bool) -> None:
    layer, x = conv_of(name, bias=bias, batch=batch)
    with forced_algorithm(ALGORITHMS[name]):
        for follower in FOLLOWERS:
            check(layer, x, follower)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_convolution_twice_differentiated(name: str) -> None:
    layer, x = conv_of(name, bias=False)
    with forced_algorithm(ALGORITHMS[name]):
        check(layer, x, "silu", twice=True)


@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_no_copy_is_made_of_the_output(name: str) -> None:
    layer, x = conv_of(name, bias=False)
    made: list[int] = []
    convolve = LEAN_ALGORITHMS[name].convolve

    def noted(*args: Any) -> Any:
        y, kept = convolve(*args)
        made.append(y.data_ptr())
        return y, kept

    with forced_algorithm(LEAN_ALGORITHMS[name]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(LEAN_ALGORITHMS[name], "convolve", noted)
        assert layer(x).data_ptr() in made


@pytest.mark.parametrize("shape", [(4, 7, 6), (1, 4, 7, 6)])
def test_a_convolution_without_a_batch_axis(shape: tuple[int, ...]) -> None:
    layer, _ = conv_of("folded", bias=False)
    check(layer, torch.randn(shape, dtype=torch.float64), "silu")


@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_a_compiled_convolution(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(convolve, "choose", lambda *_: LEAN_ALGORITHMS[name])
    layer, x = conv_of(name, bias=False)
    inplace, plainly = FOLLOWERS["silu"]
    expected = gradients(layer, x, plainly, twice=False)

    def through(v: Tensor) -> Tensor:
        return inplace(layer(v))

    compiled: Any = torch.compile(through, backend="eager", fullgraph=True)
    leaf = x.clone().requires_grad_()
    actual = torch.autograd.grad(compiled(leaf).pow(3).sum(), [leaf, *layer.parameters()])
    assert max(deviation(a, e, 1e-3) for a, e in zip(actual, expected, strict=True)) < 1e-9


@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
@pytest.mark.parametrize("kind", [DynamicReLUA, DynamicReLUB, DynamicReLUC])
def test_an_activation(kind: Any, inplace: bool, pieces: int) -> None:
    settings = {"config": DynamicReLUConfig(pieces=pieces), "dtype": torch.float64}
    relu = perturb_(kind(4, inplace=inplace, **settings))
    layer = nn.Sequential(nn.BatchNorm2d(4, dtype=torch.float64), relu)  # no leaf is written into
    for follower in FOLLOWERS:
        check(layer, torch.randn(3, 4, 5, 6, dtype=torch.float64), follower)


@pytest.mark.parametrize("follower", ["silu", "add", "dropout"])
def test_under_autocast(follower: str) -> None:
    layer = perturb_(
        nn.Sequential(DynamicConv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), DynamicReLUB(6))
    )
    x = torch.randn(3, 4, 12, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inplace, plainly = FOLLOWERS[follower]
        actual = gradients(layer, x, inplace, twice=False)
        expected = gradients(layer, x, plainly, twice=False)
    assert max(deviation(a, e, 1e-3) for a, e in zip(actual, expected, strict=True)) < 1e-2


def test_what_the_backward_needs_is_not_written_over_unseen() -> None:
    layer, x = conv_of("outputs", bias=False)
    with forced_algorithm(LEAN_ALGORITHMS["outputs"]):
        y = layer(x := x + 0)
        x.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
