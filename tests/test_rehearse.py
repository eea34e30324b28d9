from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_nets import Flow, Reading, images
from torch import Tensor, nn

from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.owners.rehearse import (
    unfaithful_owners,
    visible_writes,
)
from dynsurgeon.surgery.owners.trace import OwnerTrace, trace_owner
from dynsurgeon.surgery.sites.candidates import Candidate, find_candidates
from dynsurgeon.surgery.sites.survey import Survey, survey_model


def observed(net: nn.Module) -> tuple[Survey, list[Candidate]]:
    survey = survey_model(net, Inputs(images()))
    return survey, find_candidates(net, survey)


def many(count: int = 5) -> nn.Sequential:
    return nn.Sequential(
        *(Flow(lambda self, x: x + 0.1 * F.relu(self.conv(x))[:, :3]) for _ in range(count))
    )


def tampered(owner: nn.Module) -> OwnerTrace:
    trace = trace_owner(owner, {})
    for graph in trace.graphs.values():
        (node,) = (n for n in graph.nodes if n.target is F.relu)
        node.target = torch.abs
        node.kwargs = {}
    return trace


def test_faithful_traces_pass() -> None:
    net = many()
    survey, _ = observed(net)
    traces: dict[nn.Module, OwnerTrace] = {block: trace_owner(block, {}) for block in net}
    assert unfaithful_owners(net, traces, survey) == set()
    assert {type(block) for block in net} == {Flow}


@pytest.mark.parametrize("wrong", [[0], [3], [1, 4], [0, 1, 2, 3, 4]])
def test_wrong_traces_are_found_by_halves(wrong: list[int]) -> None:
    net = many()
    survey, _ = observed(net)
    traces: dict[nn.Module, OwnerTrace] = {
        block: tampered(block) if index in wrong else trace_owner(block, {})
        for index, block in enumerate(net)
    }
    assert unfaithful_owners(net, traces, survey) == {net[i] for i in wrong}
    assert {type(block) for block in net} == {Flow}


class Registered(nn.Module):
    """A class that can't be subclassed without a keyword."""

    def __init_subclass__(cls, *, key: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)


class Keyed(Registered, key="keyed"):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def test_a_class_that_can_not_be_subclassed_is_unfaithful() -> None:
    net: Any = nn.Sequential(Keyed(), many(1))
    survey, _ = observed(net)
    traces: dict[nn.Module, OwnerTrace] = {
        owner: trace_owner(owner, {}) for owner in (net[0], net[1][0])
    }
    assert unfaithful_owners(net, traces, survey) == {net[0]}
    assert type(net[0]) is Keyed


def test_visible_and_invisible_writes() -> None:
    net = nn.Sequential(
        Reading(lambda x: F.relu_(x)),
        nn.Conv2d(4, 3, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 3, 1),
        Reading(lambda x: x.relu_()),
    )
    survey, candidates = observed(net)
    activations = [c for c in candidates if not c.is_convolution]
    guilty = visible_writes(net, activations, survey)
    assert {c.name for c in activations if id(c) in guilty} == {"0.relu", "4.relu"}
    assert all(c.inplace for c in activations)


def test_two_writes_that_hide_each_other_are_both_kept() -> None:
    # Either alone makes no difference: the other one still writes the same numbers.
    def flow(self: Any, x: Tensor) -> Tensor:
        x = self.conv(x)
        x.relu_()
        F.relu_(x)
        return x

    net = Flow(flow)
    survey, candidates = observed(net)
    activations = [c for c in candidates if not c.is_convolution and c.sites]
    assert visible_writes(net, activations, survey) == {id(c) for c in activations}


def test_a_write_that_is_no_write_is_not_asked_about() -> None:
    net = Flow(lambda self, x: F.relu(x))
    survey, candidates = observed(net)
    assert visible_writes(net, candidates, survey) == set()


def test_where_outputs_differ_from_run_to_run_every_write_stays() -> None:
    numbers = count()
    net = nn.Sequential(
        Flow(lambda self, x: self.conv(x) + float(next(numbers))),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 3, 1),
        Reading(lambda x: F.relu_(x)),
    )
    survey, candidates = observed(net)
    activations = [c for c in candidates if not c.is_convolution]
    guilty = visible_writes(net, activations, survey)
    assert guilty == {id(c) for c in activations if c.inplace}
    assert len(guilty) == 2


def test_numbers_that_differ_from_run_to_run_hide_nothing_and_show_nothing() -> None:
    # As memory that nobody has written to does: torchvision's detectors make some.
    numbers = count()

    def flow(self: Any, x: Tensor) -> Tensor:
        torch.full((4,), float(next(numbers)))
        return F.relu_(self.conv(x))

    net = nn.Sequential(
        Flow(flow), nn.Conv2d(6, 3, 1), nn.ReLU(inplace=True), Reading(lambda x: F.relu_(x))
    )
    survey, candidates = observed(net)
    activations = [c for c in candidates if not c.is_convolution]
    guilty = visible_writes(net, activations, survey)
    assert {c.name for c in activations if id(c) in guilty} == {"3.relu"}
