"""A ReLU whose input is overwritten after the call stays static, and the network trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from surgery_nets import Flow, images
from torch import Tensor

import dynsurgeon as ds
from dynsurgeon.surgery.decide.overwritten import REASON

RELUS = ds.SurgeryConfig(conv=None)


def add_to_it(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    y = F.relu(x)
    x += 1.0
    return F.leaky_relu(x + y)


def add_to_a_part(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    y = F.relu(x)
    x[:, :2].mul_(2)
    return x + y


def after_a_module(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    y: Tensor = self.act(x)
    x += 1.0
    return x + y


def by_a_method(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    return F.relu(x) + x.sigmoid_()


@pytest.mark.parametrize("forward", [add_to_it, add_to_a_part, after_a_module, by_a_method])
def test_it_stays_static_and_the_network_trains(
    forward: Callable[[Any, Tensor], Tensor],
) -> None:
    net = Flow(forward)
    plan = ds.plan(net, images(), RELUS)
    called = (site for site in plan.skipped if site.input_shape is not None)
    (relu,) = (site for site in called if site.operation in ("F.relu", "ReLU"))
    assert relu.reason == REASON
    config = ds.SurgeryConfig(skip_stem=False)
    dynamic: Any = ds.convert(net, images(), config).train()
    dynamic(images()).sum().backward()
    assert all(p.grad is not None for p in dynamic.conv.parameters())


def the_result(self: Flow, x: Tensor) -> Tensor:
    y = F.relu(self.conv(x))
    return y.add(1).mul_(2)


def in_place_itself(self: Flow, x: Tensor) -> Tensor:
    return F.relu(self.conv(x), inplace=True).add(1)


def before_it(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    x += 1.0
    return F.relu(x)


def by_another_that_writes_no_more(self: Flow, x: Tensor) -> Tensor:
    x = self.conv(x)
    return F.relu(x) + F.leaky_relu(x, inplace=True)


@pytest.mark.parametrize(
    "forward", [the_result, in_place_itself, before_it, by_another_that_writes_no_more]
)
def test_other_writes_do_no_harm(forward: Callable[[Any, Tensor], Tensor]) -> None:
    dynamic = ds.convert(Flow(forward), images(), RELUS).train()
    assert any(isinstance(module, ds.DynamicReLU) for module in dynamic.modules())
    dynamic(images()).sum().backward()


def test_under_a_budget_any_activation_may_stay_and_write() -> None:
    net = Flow(by_another_that_writes_no_more)
    plan = ds.plan(net, images(), ds.SurgeryConfig(conv=None, params_budget=100.0))
    assert REASON in {site.reason for site in plan.skipped}
