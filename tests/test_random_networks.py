"""Random networks convert to parity or are refused with a typed error; none goes wrong."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from found_networks import FOUND
from hypothesis import HealthCheck, given, settings
from ownership import untouched
from random_networks import Program, programs
from surgery_nets import planned_and_converted
from torch import nn

import dynsurgeon as ds
from dynsurgeon.operators import DynamicConv, DynamicReLU
from dynsurgeon.running.run import run_model, tensors_of

CONFIG = ds.SurgeryConfig(
    conv=ds.DynamicConvConfig(experts=3, temperature=1.0),
    activation=ds.DynamicReLUConfig(smooth=True),
)
OUTCOMES: Counter[str] = Counter()


@given(programs())  # a fifth of a second each; the slow test below draws 2500
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_random_networks_convert_exactly_or_are_refused(program: Program) -> None:
    _check(program)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(programs())
@settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_two_thousand_random_networks(program: Program) -> None:
    _check(program)


@pytest.mark.parametrize("program", FOUND.values(), ids=list(FOUND))
def test_networks_that_once_found_a_fault(program: Program) -> None:
    _check(program)


def _check(program: Program) -> None:
    torch.manual_seed(0)
    model = program.build()
    example = program.inputs(batch=2, size=8, seed=1)
    with untouched(model):
        done = _convert(model, example)
    if done is None:
        return
    dynamic, plan = done
    OUTCOMES["converted"] += 1
    with untouched(model, dynamic):
        assert ds.check_parity(model, dynamic, example).passed
    assert len(_layers(dynamic)) == len(plan.converted)
    for batch, size, seed in ((2, 8, 2), (3, 8, 3), (2, 5, 4)):
        inputs = program.inputs(batch, size, seed)
        for mode in ("eval", "train"):
            _same_function(model, dynamic, inputs, mode, size == 8)
    _perturb(dynamic)
    _samples_stay_apart(program, dynamic)


def _convert(model: nn.Module, example: tuple[Any, ...]) -> tuple[nn.Module, ds.Plan] | None:
    message = ""
    try:
        return planned_and_converted(model, example, CONFIG)
    except ds.SurgeryError as error:
        OUTCOMES[type(error).__name__] += 1
        message = str(error)
    assert "\n" not in message
    return None


def _same_function(
    model: nn.Module, dynamic: nn.Module, inputs: tuple[Any, ...], mode: Any, known_size: bool
) -> None:
    try:
        ours = tensors_of(run_model(model, inputs, mode))
    except RuntimeError:
        assert not known_size
        return
    theirs = tensors_of(run_model(dynamic, inputs, mode))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        scale = float(one.abs().max()) + 1e-6
        assert float((one - other).abs().max()) <= 1e-4 * scale


def _layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, (DynamicConv, DynamicReLU))]


@torch.no_grad()
def _perturb(model: nn.Module) -> None:
    for layer in _layers(model):
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _samples_stay_apart(program: Program, dynamic: nn.Module) -> None:
    # A perturbed network routes each sample by itself: with no mean over the batch, a batch of
    # three gives what its samples give one at a time.
    if any(
        word in program.source for word in ("x.mean()", ".mean() >", "F.relu(x).mean()", "x[0]")
    ):
        return
    if "unsqueeze(0)).squeeze" in program.source or program.kind == "dict":
        return
    inputs = program.inputs(3, 8, 5)
    whole = tensors_of(run_model(dynamic, inputs, "eval"))[0]
    slack = 1e-4 * max(1.0, float(whole.abs().max()))
    for index in range(3):
        one = torch.utils._pytree.tree_map(lambda t, i=index: t[i : i + 1], copy.copy(inputs))
        alone = tensors_of(run_model(dynamic, one, "eval"))[0]
        torch.testing.assert_close(alone[0], whole[index], rtol=1e-3, atol=slack)
