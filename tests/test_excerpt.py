"""Excerpts: both hold the site's own layer, run, and compute the same at the start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyNet
from surgery_nets import EVERY, Kernels, SharedPReLU, images
from torch import nn

import dynsurgeon as ds
from dynsurgeon.budgets.excerpt import (
    THIN,
    Excerpt,
    dynamic_excerpt,
    excerpt_input,
    static_activation,
    static_excerpt,
)
from dynsurgeon.operators import DynamicConv, DynamicReLU
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.static import describe_activation
from dynsurgeon.surgery.decide.draft import Variant


def variants_of(net: nn.Module, x: Any, config: ds.SurgeryConfig = EVERY) -> list[Variant]:
    """The variants that a budget of multiply-adds would choose among."""
    found: list[Variant] = []

    def gather(draft: Any, inputs: Any, meter: Any = None) -> ds.Plan:
        found.extend(draft.variant(c) for c in draft.candidates if c.reason is None)
        plan: ds.Plan = draft.plan()
        return plan

    from dynsurgeon import planning as planner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "fit_budgets", gather)
        budgeted = ds.SurgeryConfig.from_dict({**config.to_dict(), "macs_budget": 2.0})
        ds.plan(net, x, budgeted)
    return found


def check(variant: Variant) -> None:
    for shape in set(variant.shapes):
        static, dynamic = static_excerpt(variant, shape), dynamic_excerpt(variant, shape)
        dynamic.enter, dynamic.leave = static.enter, static.leave
        x = excerpt_input(shape)
        assert x.shape == (1, THIN, *shape[2:])
        before, after = static.eval()(x), dynamic.eval()(x)
        assert before.shape[:2] == (1, THIN)
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
        assert isinstance(dynamic.layer, (DynamicConv, DynamicReLU))
        assert type(dynamic.layer).__name__ == variant.recipe.operator
        assert not isinstance(static.layer, (DynamicConv, DynamicReLU))


def test_modules_and_functions_of_every_tiny_network(tiny_net: TinyNet) -> None:
    found = variants_of(tiny_net, tiny_net.example())
    assert found
    for variant in found:
        check(variant)


@pytest.mark.parametrize("net", [Kernels(), SharedPReLU()])
def test_own_weights_transposed_convolutions_and_slopes(net: TinyNet) -> None:
    for variant in variants_of(net, net.example()):
        check(variant)


@pytest.mark.parametrize("axes", [1, 3])
def test_other_axes(axes: int) -> None:
    conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    net = nn.Sequential(conv(3, 4, 3, stride=2), nn.ReLU())
    for variant in variants_of(net, torch.randn(2, 3, *(9,) * axes)):
        check(variant)


def test_the_network_is_not_touched_and_its_hooks_are_not_called() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    calls: list[str] = []
    net[0].register_forward_hook(lambda *_: calls.append("called"))
    variants = variants_of(net, images())
    calls.clear()
    check(variants[0])
    assert calls == []
    assert type(net[0]) is nn.Conv2d
    assert len(net[0]._forward_hooks) == 1


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.LeakyReLU(0.2),
        nn.PReLU(3),
        nn.PReLU(),
        nn.Hardswish(),
        nn.SiLU(),
        nn.GELU(),
        nn.GELU(approximate="tanh"),
    ],
)
def test_the_module_of_a_form_computes_what_the_form_says(module: nn.Module) -> None:
    form: ActivationForm = describe_activation(module)
    x = torch.linspace(-8, 8, 30).view(2, 3, 5)
    torch.testing.assert_close(static_activation(form)(x), module(x))


def test_a_probe_has_a_static_convolution_on_both_sides() -> None:
    excerpt = Excerpt(nn.Identity(), (5, 5), 2)
    assert [type(m) for m in (excerpt.enter, excerpt.leave)] == [nn.Conv2d, nn.Conv2d]
    assert excerpt(torch.randn(1, THIN, 4, 4)).shape == (1, THIN, 4, 4)
    flat = Excerpt(nn.Identity(), (5, 5), 0)
    assert flat(torch.randn(1, THIN)).shape == (1, THIN)
