from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_nets import Flow, Grandparent, Kernels, SharedPReLU, images
from torch import Tensor, nn

from dynsurgeon.surgery.sites.observe import Call, Observer, OwnerForward


def observe(
    model: nn.Module, *inputs: Any, stand_in: Callable[[Call, Tensor], Tensor] | None = None
) -> tuple[list[Call], list[OwnerForward], Observer, Any]:
    calls: list[Call] = []
    runs: list[OwnerForward] = []
    observer = Observer(calls.append, runs.append, stand_in)
    with torch.no_grad(), observer.observing():
        output = model(*inputs)
    return calls, runs, observer, output


def test_a_call_has_its_owner_its_input_and_its_output() -> None:
    net = Flow(lambda self, x: F.relu(self.conv2(self.act(self.conv(x)))))
    calls, _, _, output = observe(net, images())
    assert [call.key.label for call in calls] == [
        "module:conv",
        "module:act",
        "module:conv2",
        "function:relu",
    ]
    assert all(call.owner is net for call in calls)
    assert [call.index for call in calls] == [0, 1, 2, 3]
    assert [call.module for call in calls] == [net.conv, net.act, net.conv2, None]
    assert calls[3].function is F.relu
    assert calls[0].input.shape == (2, 3, 8, 8)
    assert calls[3].output is output


def test_the_owner_is_the_innermost_module_whose_forward_calls() -> None:
    net = Grandparent()
    calls, runs, _, _ = observe(net, images())
    owners = {type(call.owner).__name__ for call in calls}
    assert owners == {"Grandparent", "Inner"}
    inner = net.middle["c"]
    assert [c.key.label for c in calls if c.owner is inner] == 2 * ["module:conv", "module:relu"]
    assert [run.owner for run in runs].count(inner) == 2
    assert runs[-1].owner is net
    assert "module:middle.a-b.relu" in {key.label for key in runs[-1].calls}


def test_arguments_of_an_owner_are_noted() -> None:
    net = Flow(lambda self, x: self.act(x))
    _, runs, _, _ = observe(net, images())
    assert len(runs[-1].args) == 1
    assert runs[-1].kwargs == {}


@pytest.mark.parametrize(
    ("write", "inplace"),
    [
        (lambda x: F.relu(x), False),
        (lambda x: F.relu(x, inplace=True), True),
        (lambda x: F.relu(x, True), True),
        (lambda x: F.relu_(x), True),
        (lambda x: torch.relu_(x), True),
        (lambda x: x.relu_(), True),
        (lambda x: F.leaky_relu_(x, 0.1), True),
        (lambda x: F.relu6(x, inplace=True), True),
        (lambda x: F.relu(input=x, inplace=True), True),
        (nn.ReLU(inplace=True), True),
        (nn.ReLU(), False),
    ],
)
def test_writes_are_noticed_and_another_function_can_stand_in(
    write: Callable[[Tensor], Tensor], inplace: bool
) -> None:
    net: Any = Flow(lambda self, x: self.write(x))
    net.write = write
    x = images()
    calls, _, _, written = observe(net, x)
    assert [call.inplace for call in calls] == [inplace]
    assert torch.equal(x, images()) != inplace

    x = images()
    _, _, _, output = observe(net, x, stand_in=lambda call, x: x + 1)
    assert torch.equal(x, images())
    torch.testing.assert_close(output, x + 1 if inplace else written)


def test_every_result_is_reported() -> None:
    net = Flow(lambda self, x: torch.relu(x * 2) + 1)
    x, results = images(), list[Tensor]()
    with torch.no_grad(), Observer(on_result=results.append).observing():
        output = net(x)
    assert len(results) == 3
    assert results[-1] is output


def test_memory_without_values_is_no_result() -> None:
    results = list[Tensor]()
    with Observer(on_result=results.append).observing():
        x = torch.zeros(2)
        made = torch.empty(2), torch.empty_like(x), x.new_empty(2)
    assert len(made) == 3
    assert [result is x for result in results] == [True]


def test_parameters_read_by_others_are_noticed() -> None:
    net = Flow(lambda self, x: self.conv2(self.conv(x)) + self.conv2.weight.mean())
    _, _, observer, _ = observe(net, images())
    assert observer.foreign_reads == {id(net.conv2.weight)}


def test_reading_ones_own_parameters_or_a_dtype_is_not_foreign() -> None:
    kernels = Kernels()
    _, _, observer, _ = observe(kernels, images(channels=4))
    assert observer.foreign_reads == set()
    net = Flow(lambda self, x: self.conv(x.to(self.conv.weight.dtype)))
    assert observe(net, images())[2].foreign_reads == set()


def test_a_failing_forward_leaves_the_bookkeeping_in_order() -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("broken")

    def flow(self: Any, x: Tensor) -> Tensor:
        try:
            self.fragile(x)
        except ValueError:
            x = self.act(x)
        return F.relu(x)

    net = Flow(flow)
    net.fragile = Fragile()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calls, runs, _, _ = observe(net, images())
    assert [(call.owner, call.index) for call in calls] == [(net, 0), (net, 1)]
    assert [run.owner for run in runs] == [net]


def test_the_input_is_what_the_modules_own_hook_made_of_it() -> None:
    net = Flow(lambda self, x: self.act(x))
    net.act.register_forward_pre_hook(lambda module, args: (torch.cat([args[0]] * 2, dim=1),))
    calls, _, _, _ = observe(net, images())
    assert calls[0].input.shape == (2, 6, 8, 8)


def test_keyword_inputs_are_seen() -> None:
    net = Flow(lambda self, x: F.relu(input=self.act(input=x)))
    calls, _, _, _ = observe(net, images())
    assert [call.input.shape for call in calls] == [(2, 3, 8, 8)] * 2
    assert set(calls[0].kwargs) == {"input"}


def test_what_follows_a_linear_has_its_channels_last() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    calls, _, _, _ = observe(net, torch.randn(2, 5, 8))
    assert [call.channels_last_axis for call in calls] == [True]
    calls, _, _, _ = observe(net, torch.randn(2, 8))
    assert [call.channels_last_axis for call in calls] == [False]


def test_nothing_is_observed_afterwards() -> None:
    net = SharedPReLU()
    calls, _, _, _ = observe(net, images())
    count = len(calls)
    net(images())
    assert len(calls) == count
