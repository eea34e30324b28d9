"""The proof's backward: gradients of what both models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import EVERY, Flow, Kernels, images
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators.execution import forced_algorithm, stacked

ZERO_SUM = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"))


def parity(net: nn.Module, x: Any, tamper: Callable[[Any], None] = lambda _: None) -> ds.Receipt:
    dynamic = ds.convert(net, x, ds.SurgeryConfig(skip_stem=False))
    tamper(dynamic)
    return ds.check_parity(net, dynamic, x)


@pytest.mark.parametrize("config", [ds.SurgeryConfig(), ZERO_SUM], ids=["identical", "zero-sum"])
def test_a_converted_network_has_the_gradients_of_its_original(
    config: ds.SurgeryConfig, tiny_net: TinyNet
) -> None:
    x = tiny_net.double().example()
    receipt = ds.check_parity(tiny_net, ds.convert(tiny_net, x, config), x)
    assert receipt.passed
    assert receipt.gradient_rel is not None
    assert receipt.gradient_rel < 1e-8
    assert receipt.notes == ()


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise RuntimeError("no way back")


def after(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    """Let a module of the dynamic network return something of the same value."""

    def tamper(dynamic: Any) -> None:
        dynamic.get_submodule(name).register_forward_hook(lambda m, args, y: change(y))

    return tamper


TAMPERED: dict[str, Callable[[Any], None]] = {
    "a path that is cut": after("layer1.0.bn2", Tensor.detach),
    "all paths cut": after("fc", Tensor.detach),
    "a wrong scale": after("layer1.0.bn1", lambda y: 1.01 * y - 0.01 * y.detach()),
    "no backward": after("layer2.0.bn1", Failing.apply),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_faulty_backward_fails_though_the_outputs_agree(what: str, tiny_resnet: TinyNet) -> None:
    receipt = parity(tiny_resnet, tiny_resnet.example(), TAMPERED[what])
    assert receipt.max_rel <= receipt.tolerance
    assert not receipt.passed
    if what in ("no backward", "all paths cut"):
        reason = "no way back" if what == "no backward" else "no output"
        assert receipt.gradient_rel is None
        assert receipt.notes[-1].startswith("the backward of the dynamic model fails in train mode")
        assert reason in receipt.notes[-1]
    else:
        assert receipt.gradient_rel is not None
        assert receipt.gradient_rel > 1e-3
        assert "in float64" in receipt.notes[-1]


def test_the_gradients_of_a_bank_sum_up_to_that_of_its_kernel(tiny_resnet: TinyNet) -> None:
    net = tiny_resnet.double()  # a copy in float64 would lose the hook
    dynamic: Any = ds.convert(net, net.example())
    dynamic.layer2[0].conv1.weight.register_hook(lambda grad: 2 * grad)
    receipt = ds.check_parity(net, dynamic, net.example())
    assert not receipt.passed
    assert receipt.gradient_rel == pytest.approx(1.0)
    assert receipt.notes[-1].startswith("the gradient of layer2.0.conv1.weight: 1 in the usual")


@pytest.mark.parametrize("form", [None, stacked])
def test_kernels_of_an_owner_are_compared_too(form: Any) -> None:
    net = Kernels().double()  # a copy in float64 would lose the hook
    dynamic: Any = ds.convert(net, net.example(), EVERY)
    with forced_algorithm(form) if form else torch.enable_grad():
        assert ds.check_parity(net, dynamic, net.example()).passed
        dynamic.conv2d_1.bias.register_hook(lambda grad: 3 * grad)
        receipt = ds.check_parity(net, dynamic, net.example())
    assert not receipt.passed
    assert receipt.notes[-1].startswith("the gradient of offset: ")


def test_a_rounding_that_is_blown_up_is_told_from_a_fault() -> None:
    # The derivative of the sine of a large number is another one for each rounding of it.
    def forward(self: Any, x: Tensor) -> Tensor:
        y: Tensor = torch.sin(3e5 * self.conv(x)) * 1e-6 + self.conv(x)
        return y

    net = Flow(forward)
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"), skip_stem=False)
    receipt = ds.check_parity(net, ds.convert(net, images(), config), images())
    assert receipt.passed
    assert receipt.gradient_rel is not None
    assert receipt.gradient_rel > 1e-3
    assert "in float64" in receipt.notes[-1]


WITHOUT: dict[str, Callable[[Any, Tensor], Any]] = {
    "whole numbers": lambda self, x: self.conv(x).argmax(1),
    "cut": lambda self, x: F.relu(self.conv(x)).detach(),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_outputs_without_a_gradient_are_noted(what: str) -> None:
    receipt = parity(Flow(WITHOUT[what]), images())
    assert receipt.passed
    assert receipt.gradient_rel is None
    assert receipt.notes[-1].startswith("gradients were not compared: no output of floating-point")


COMPARED: dict[str, Callable[[Any, Tensor], Any]] = {
    "writes into its input": lambda self, x: self.conv(x.mul_(2)),
    "takes its input to NumPy": lambda self, x: self.conv(x + float(x.numpy().mean())),
    "one of several": lambda self, x: {"a": self.conv(x), "b": self.conv(x).argmax(1)},
    "an output that is not finite": lambda self, x: self.conv(x).log(),
}


@pytest.mark.parametrize("what", COMPARED)
def test_what_has_gradients_is_compared(what: str) -> None:
    net = Flow(COMPARED[what])
    assert parity(net, images()).gradient_rel is not None
    receipt = parity(net, images(), after("conv", lambda y: 1.1 * y - 0.1 * y.detach()))
    assert not receipt.passed


def test_a_network_that_is_frozen_is_compared_by_its_input(tiny_resnet: TinyNet) -> None:
    tiny_resnet.requires_grad_(False)
    receipt = parity(tiny_resnet, tiny_resnet.example())
    assert receipt.passed
    assert receipt.gradient_rel is not None


def test_gradients_that_are_there_stay_as_they_are(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    dynamic = ds.convert(tiny_resnet, x)
    marks = {}
    for model in (tiny_resnet, dynamic):
        for parameter in list(model.parameters())[::2]:
            parameter.grad = marks[parameter] = torch.ones_like(parameter)
    with torch.no_grad():
        assert ds.check_parity(tiny_resnet, dynamic, x).gradient_rel is not None
    for model in (tiny_resnet, dynamic):
        for parameter in model.parameters():
            assert parameter.grad is marks.get(parameter)
            assert parameter.grad is None or bool((parameter.grad == 1).all())
