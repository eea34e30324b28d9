"""The tables name every static operator, and say truly what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.operators import DynamicReLUB
from dynsurgeon.operators.static import (
    ACTIVATIONS,
    FUNCTIONS,
    INPLACE_FUNCTIONS,
    METHODS,
    describe_activation,
    describe_function,
)
from dynsurgeon.operators.table import CONVOLUTIONS, RELUS
from dynsurgeon.registry import layer_classes

ACTIVATION_FUNCTIONS = {f: name for f, name in FUNCTIONS.items() if not name.startswith("conv")}
functions = pytest.mark.parametrize(
    ("function", "name"), ACTIVATION_FUNCTIONS.items(), ids=lambda v: getattr(v, "__name__", v)
)


def test_every_convolution_has_its_operator() -> None:
    for static, dynamic in CONVOLUTIONS.items():
        assert dynamic.static_class is static
        assert dynamic.__name__ == f"Dynamic{static.__name__}"


def test_operators_are_found_by_name() -> None:
    assert {k.__name__ for k in (*CONVOLUTIONS.values(), *RELUS.values())} <= set(layer_classes())
    for name, operator in layer_classes().items():
        assert operator.__name__ == name
    assert {kind: RELUS[kind].__name__ for kind in RELUS} == {
        kind: f"DynamicReLU{kind}" for kind in "ABC"
    }


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_described_modules_start_as_themselves(kind: type[nn.Module]) -> None:
    static, x = kind(), 5 * torch.randn(3, 4, 6)
    form = describe_activation(static)
    assert form.function == ACTIVATIONS[kind]
    assert torch.equal(DynamicReLUB(4, form=form)(x), static(x))


@functions
def test_described_functions_start_as_themselves(
    function: Callable[[Tensor], Tensor], name: str
) -> None:
    x = 5 * torch.randn(3, 4, 6)
    module = DynamicReLUB(4, form=describe_function(name))
    assert torch.equal(module(x), function(x.clone()))


@functions
def test_inplace_functions_are_told_apart(function: Any, name: str) -> None:
    x = torch.randn(3, 4)
    before = x.clone()
    y = function(x)
    assert (y is x) == (function in INPLACE_FUNCTIONS)
    assert torch.equal(x, before) == (function not in INPLACE_FUNCTIONS)


@pytest.mark.parametrize("kind", CONVOLUTIONS, ids=lambda kind: kind.__name__)
def test_every_convolution_has_its_function(kind: type[nn.Module]) -> None:
    name = kind.__name__.replace("Transpose", "_transpose").lower()
    assert FUNCTIONS[getattr(F, name)] == name


def test_methods_are_methods_of_tensors() -> None:
    for method in METHODS:
        assert FUNCTIONS[getattr(Tensor, method)] == "relu"


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3])
def test_a_leaky_slope_is_kept_as_it_is(slope: float) -> None:
    assert describe_activation(nn.LeakyReLU(slope)).slope == slope
    assert describe_function("leaky_relu", slope).slope == slope


def test_defaults_of_functions() -> None:
    assert describe_function("leaky_relu").slope == 0.01
    assert describe_function("relu6").ceiling == 6.0
    assert describe_function("relu").ceiling is None


def test_prelu_slopes_are_those_of_the_channels() -> None:
    static = nn.PReLU(3)
    with torch.no_grad():
        static.weight.copy_(torch.tensor([0.5, -1.0, 0.25]))
    assert describe_activation(static).slope == (0.5, -1.0, 0.25)


def test_gelu_keeps_its_approximation() -> None:
    x = torch.randn(3, 4)
    exact, rough = nn.GELU(), nn.GELU(approximate="tanh")
    assert not torch.equal(exact(x), rough(x))
    for static in (exact, rough):
        module = DynamicReLUB(4, form=describe_activation(static))
        assert torch.equal(module(x), static(x))


class NamedReLU(nn.ReLU):
    """A ReLU by another name."""


class ShiftedReLU(nn.ReLU):
    """No ReLU, though it inherits from it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 1


def test_a_subclass_is_what_it_inherits() -> None:
    assert describe_activation(NamedReLU()) == describe_activation(nn.ReLU())
    with pytest.raises(UnsupportedModelError, match="no DY-ReLU starts at a ShiftedReLU"):
        describe_activation(ShiftedReLU())


@pytest.mark.parametrize("static", [nn.Sigmoid(), nn.ELU(), nn.Identity(), nn.Conv2d(2, 2, 1)])
def test_others_are_refused_by_name(static: nn.Module) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{type(static).__name__}; known activations"):
        describe_activation(static)
