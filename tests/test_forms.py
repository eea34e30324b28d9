"""The form of an activation says what is a maximum of lines, and why the rest is not."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from references import SMOOTH, deviation

from dynsurgeon.operators import ActivationForm
from dynsurgeon.operators.forms import SMOOTH_FUNCTIONS


@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0, -2.0, (0.25,), (1.0, -3.0, 0.5)])
def test_slopes_up_to_one_are_no_obstacle(slope: float | tuple[float, ...]) -> None:
    form = ActivationForm("prelu", slope=slope)
    assert form.obstacle() is None
    assert not form.beside


@pytest.mark.parametrize(
    ("slope", "named"), [((0.1, float("nan")), "nan"), (float("inf"), "inf"), (-math.inf, "-inf")]
)
def test_slopes_that_are_no_numbers_are_named(slope: float | tuple[float, ...], named: str) -> None:
    reason = ActivationForm("leaky_relu", slope=slope).obstacle()
    assert reason == f"slope {named} below zero is no finite number"


@pytest.mark.parametrize("slope", [1.5, (0.1, 2.0, -1.2)])
def test_steep_slopes_are_computed_beside_the_lines(slope: float | tuple[float, ...]) -> None:
    # max(x, s x) with s > 1 is s x above zero and x below: the activation upside down.
    form = ActivationForm("prelu", slope=slope)
    assert (form.steep, form.smooth, form.beside, form.obstacle()) == (True, False, True, None)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "prelu"])
def test_piecewise_linear_activations_are_not_smooth(name: str) -> None:
    assert not ActivationForm(name).smooth


@pytest.mark.parametrize("name", SMOOTH_FUNCTIONS)
def test_smooth_activations(name: str) -> None:
    assert ActivationForm(name).smooth
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    assert deviation(SMOOTH_FUNCTIONS[name](x), SMOOTH[name](x)) < 1e-12


def test_is_a_frozen_value() -> None:
    assert ActivationForm("gelu", options={"approximate": "tanh"}) == ActivationForm(
        "gelu", options={"approximate": "tanh"}
    )
    assert ActivationForm() == ActivationForm("relu", slope=0.0, ceiling=None)
    with pytest.raises(FrozenInstanceError):
        ActivationForm().slope = 1.0  # type: ignore[misc]
