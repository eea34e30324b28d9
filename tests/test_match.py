from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_nets import Arguments, Block, Flow, Inner, Kernels, images, reasons
from torch import Tensor, fx, nn

from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.owners.match import (
    constants_of,
    group_by_owner,
    owner_recipe,
    refuse,
    trace_owners,
)
from dynsurgeon.surgery.sites.candidates import Candidate, find_candidates
from dynsurgeon.surgery.sites.survey import Survey, survey_model


def candidates_of(net: nn.Module, x: Any) -> tuple[dict[str, Candidate], Survey]:
    survey = survey_model(net, Inputs(x))
    return {c.name: c for c in find_candidates(net, survey)}, survey


def test_candidates_are_grouped_by_the_owner_to_rewrite() -> None:
    net = Arguments()
    found, _ = candidates_of(net, net.example())
    groups = group_by_owner(list(found.values()))
    assert {owner: [c.name for c in group] for owner, group in groups.items()} == {
        net.plain: ["plain.relu"],
        net.twice: ["twice.relu", "twice.relu_1"],
        net.skipping: ["skipping.relu", "skipping.relu_1"],
    }
    refuse(groups[net.twice], "because")
    assert found["twice.relu"].reason == "because"
    refuse(groups[net.twice], "otherwise")
    assert found["twice.relu"].reason == "because"
    assert net.twice not in group_by_owner(list(found.values()))


def test_constants_are_the_arguments_that_never_vary() -> None:
    net = Arguments()
    _, survey = candidates_of(net, net.example())
    assert constants_of(survey.owners[net.twice]) == {"times": 2, "skip": None, "negate": True}
    assert constants_of(survey.owners[net.skipping]) == {"times": 1, "negate": False}


def test_the_recipe_of_an_owner_says_which_call_goes_where() -> None:
    net = Arguments()
    found, survey = candidates_of(net, net.example())
    traces = trace_owners(net, list(found.values()), survey)
    recipe = owner_recipe(
        traces[net.twice], "twice", [found["twice.relu_1"]], survey.owners[net.twice]
    )
    calls = (
        *(("module:conv", None), ("function:relu", None)),
        *(("module:conv", None), ("function:relu", "relu_1")),
    )
    assert recipe.calls == {"eval": calls, "train": calls}
    assert recipe.name == "twice"
    assert recipe.constants == {"times": 2, "skip": None, "negate": True}


class Both(nn.Module):
    """Calls one block with a mask and without."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 1), Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.block(self.block(x), skip=x)
        return y


class Alternating(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) if x.shape[1] == 3 else F.leaky_relu(x)


class TwoPaths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.conv = nn.Conv2d(3, 3, 1), Alternating(), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv(self.act(self.stem(x))))
        return y


def _wrapped() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Inner(), Flow(lambda self, x: F.relu(x)))
    inner = net[2]
    old = inner.forward

    def forward(*args: Any) -> Any:
        return old(*args)

    inner.forward = forward
    return net


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "mixed None": (
        Both,
        "block.relu",
        "its owner's argument skip is sometimes None and sometimes not",
    ),
    "graph module": (
        lambda: nn.Sequential(fx.symbolic_trace(Flow(lambda self, x: F.relu(self.conv(x))))),
        "0.relu",
        "its owner is a GraphModule: convert the model before it is traced",
    ),
    "two paths": (TwoPaths, "act.relu", "its owner's forward"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_reasons(what: str) -> None:
    build, site, reason = REFUSED[what]
    assert reason in str(reasons(build(), images())[site])


def test_a_forward_that_was_replaced_on_the_instance_is_left_alone() -> None:
    net = _wrapped()
    found, survey = candidates_of(net, images())  # in place: a copy would keep the old method
    trace_owners(net, list(found.values()), survey)
    assert found["2.relu"].reason == "its owner's forward was replaced on the instance"


class Kernel(nn.Module):
    def __init__(self, kernel: nn.Parameter) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1)


def test_functional_convolutions_on_a_shared_parameter_are_left_alone() -> None:
    kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), Kernel(kernel), Kernel(kernel))
    assert set(reasons(tied, images()).values()) == {
        None,
        "its parameter kernel is used elsewhere too",
    }
    reader = Flow(lambda self, x: self.kernels(self.conv(x)[:, :3]) + self.kernels.kernel.mean())
    reader.kernels = Kernel(kernel)
    assert (
        reasons(reader, images())["kernels.conv2d"] == "its parameter kernel is used elsewhere too"
    )


def test_a_weight_used_by_two_calls_or_two_modes_is_left_alone() -> None:
    def twice(self: Any, x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, self.kernel), self.kernel)

    def by_mode(self: Any, x: Tensor) -> Tensor:
        if self.training:
            return F.conv2d(x, self.kernel)
        return F.conv2d(x, self.kernel, padding=0)

    def penalty(self: Any, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.kernel)
        return y + self.kernel.square().mean() if self.training else y

    for flow in (twice, by_mode, penalty):
        net = Flow(flow)
        net.kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
        found = reasons(net, images())
        assert found["conv2d"] == "its parameter kernel is used elsewhere too"


def test_arguments_that_are_computed_are_left_alone() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=(x.shape[2] - x.shape[3] + 1, 1))

    net = Flow(flow)
    net.kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
    assert reasons(net, images())["conv2d"] == "its further arguments are computed"


def test_nothing_is_traced_that_needs_no_rewriting() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    found, survey = candidates_of(net, images())
    assert trace_owners(net, list(found.values()), survey) == {}
    kernels = Kernels()
    found, survey = candidates_of(kernels, kernels.example())
    assert set(trace_owners(kernels, list(found.values()), survey)) == {kernels}
