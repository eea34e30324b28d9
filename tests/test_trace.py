from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import Arguments, Flow, Kernels, converted, dynamic_layers, images
from torch import Tensor, nn

from dynsurgeon.surgery.owners.proxies import TraceRefusal
from dynsurgeon.surgery.owners.trace import (
    compile_forward,
    same_code,
    trace_owner,
)


def run(owner: nn.Module, mode: Any, *args: Any, **kwargs: Any) -> Any:
    return compile_forward(trace_owner(owner, {}).graphs[mode])(owner, *args, **kwargs)


def test_the_graph_computes_what_the_forward_computes(tiny_dual: TinyNet) -> None:
    x = tiny_dual.example()
    trace = trace_owner(tiny_dual, {})
    for mode in ("eval", "train"):
        tiny_dual.train(mode == "train")
        torch.manual_seed(0)
        expected = tiny_dual(x)
        torch.manual_seed(0)
        assert torch.equal(compile_forward(trace.graphs[mode])(tiny_dual, x), expected)
    assert not same_code(trace.graphs["eval"], trace.graphs["train"])


def test_call_sites_are_keyed_in_order_in_each_mode(tiny_dual: TinyNet) -> None:
    trace = trace_owner(tiny_dual, {})
    labels = {mode: [key.label for key in trace.calls(mode)] for mode in ("eval", "train")}
    first, second = ["module:conv1", "function:relu"], ["module:conv2", "function:relu"]
    assert labels == {"eval": first + second, "train": [*first, "function:relu", *second]}


def test_parameters_stay_attributes() -> None:
    net = Kernels()
    graph = trace_owner(net, {}).graphs["eval"]
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    assert read == {"first", "scale", "second", "offset", "third", "shift"}


def test_flags_are_put_back() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()).train()
    net[1].eval()
    trace_owner(net, {})
    assert [m.training for m in net.modules()] == [True, True, False, True]


def test_equal_code_in_both_modes_is_recognised() -> None:
    trace = trace_owner(Flow(lambda self, x: F.relu(x)), {})
    assert same_code(trace.graphs["eval"], trace.graphs["train"])


def test_fixed_arguments_keep_their_names_their_defaults_and_are_checked() -> None:
    block = Arguments().twice
    constants = {"times": 2, "skip": None, "negate": True}
    forward = compile_forward(trace_owner(block, constants).graphs["eval"])
    x = images(channels=4)
    expected = block(x, 2, negate=True)
    assert torch.equal(forward(block, x, 2, negate=True), expected)
    assert torch.equal(forward(block, x, negate=True, times=2, skip=None), expected)
    with pytest.raises(AssertionError, match="times has been specialized to have value 2"):
        forward(block, x, negate=True)  # its default is 1
    with pytest.raises(AssertionError, match="negate has been specialized to have value True"):
        forward(block, x, 2)


class Clash(nn.Module):
    """torch.fx calls a fixed argument ``k`` ``k_1``, which is here the name of another one."""

    def forward(self, x: Tensor, k: int = 2, k_1: Tensor | None = None) -> Tensor:
        return F.relu(x) * k + (x if k_1 is None else k_1)


def test_a_clash_of_argument_names_never_gives_wrong_numbers() -> None:
    net = Flow(lambda self, x: self.clash(self.conv(x), 3, self.conv2(self.conv(x))))
    net.clash = Clash()
    assert set(dynamic_layers(converted(net, net.example()))) >= {"conv", "conv2"}


REFUSED: dict[str, tuple[Any, str]] = {
    "iterates": (
        lambda self, x: sum(F.relu(row) for row in x),
        "its owner's forward iterates over a tensor",
    ),
    "asks for a number": (lambda self, x: F.relu(x) * float(x.sum()), "to a Python number"),
    "constant": (lambda self, x: F.relu(x) + torch.arange(8), "creates tensors"),
    "attribute": (lambda self, x: self.__setattr__("y", F.relu(x)) or x, "changes attributes (y)"),
    "python random": (
        lambda self, x: F.relu(x) if __import__("random").random() < 2 else x,
        "draws random numbers",
    ),
    "numpy random": (
        lambda self, x: F.relu(x) if __import__("numpy").random.rand() < 2 else x,
        "draws random numbers",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_give_their_reason_in_one_line_and_leave_nothing(what: str) -> None:
    flow, reason = REFUSED[what]
    net = Flow(flow)
    before = dict(vars(net))
    random = torch.get_rng_state()
    with pytest.raises(TraceRefusal) as error:
        trace_owner(net, {})
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert dict(vars(net)) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.autocast.__enter__.__module__ == "torch.amp.autocast_mode"


class Decorated(nn.Module):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class InAutocast(nn.Module):
    @torch.autocast("cpu", dtype=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


@pytest.mark.parametrize(
    ("owner", "reason"),
    [(Decorated(), "forward switches gradients off"), (InAutocast(), "forward switches autocast")],
)
def test_contexts_around_the_whole_forward_are_seen(owner: nn.Module, reason: str) -> None:
    with pytest.raises(TraceRefusal, match=reason):
        trace_owner(owner, {})


def test_gradients_that_the_caller_has_off_are_no_reason() -> None:
    with torch.no_grad():
        trace_owner(Flow(lambda self, x: F.relu(x)), {})


def test_a_name_that_can_not_be_written_as_code_is_refused() -> None:
    net = Flow(lambda self, x: F.relu(self.table['quo"ted'](x)))
    net.table = nn.ModuleDict({'quo"ted': nn.Conv2d(3, 3, 1)})
    with pytest.raises(TraceRefusal, match="can't be read by"):
        trace_owner(net, {})


def test_the_four_traces_of_an_owner_change_the_class_of_modules_once() -> None:
    before = nn.Module.__call__
    seen: list[Any] = []

    def flow(self: Any, x: Tensor) -> Any:
        seen.append(nn.Module.__call__)
        return self.act(x)

    trace_owner(Flow(flow), {})
    assert len(seen) == 4
    assert set(seen) != {before}
    assert len(set(seen)) == 1
    assert nn.Module.__call__ is before


class Freezing(nn.Module):
    """Switches its modes itself, as networks with frozen layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3, 1, 1))
        self.bn = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        assert isinstance(self.weight, nn.Parameter)
        assert isinstance(self.bn.weight, nn.Parameter)
        self.bn.eval()
        return self

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.bn(F.conv2d(x, self.weight)))


def test_between_two_traces_a_module_is_as_ever() -> None:
    trace = trace_owner(Freezing(), {})
    read = [str(node.target) for node in trace.graphs["train"].nodes if node.op == "get_attr"]
    assert read == ["weight"]
