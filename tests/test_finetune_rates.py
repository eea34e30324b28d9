"""Optimizer, learning rate and temperature of a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from finetune_helpers import dynamic_net, static_net
from hypothesis import given
from hypothesis import strategies as st

import dynsurgeon as ds
from dynsurgeon.training.finetune.rates import (
    make_optimizer,
    make_schedule,
    rate_factor,
    set_rate,
)


@given(steps=st.integers(1, 200), share=st.floats(0, 1))
def test_the_rate_rises_and_falls(steps: int, share: float) -> None:
    warmup = round(share * steps)
    factors = [rate_factor(step, steps, warmup) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    if warmup < steps:
        assert factors[warmup] == 1


def test_the_cosine_is_that_of_the_paper() -> None:
    for step in range(10, 110):
        wanted = 0.5 * (1 + math.cos(math.pi * (step - 10) / 100))
        assert rate_factor(step, 110, 10) == pytest.approx(wanted)
    assert rate_factor(0, 110, 10) == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("kind", "expected"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)]
)
def test_the_optimizer_has_the_groups_of_the_network(kind: Any, expected: type) -> None:
    settings = ds.FinetuneSettings(optimizer=kind, lr=0.5, bank_factor=3.0, weight_decay=0.25)
    optimizer = make_optimizer(dynamic_net(), settings)
    assert isinstance(optimizer, expected)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["bank"]["lr"] == groups["bank"]["initial_lr"] == 1.5
    assert groups["rest"]["lr"] == 0.5
    assert groups["rest"]["weight_decay"] == 0.25
    assert groups["rest/no-decay"]["weight_decay"] == 0
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.1)
    assert groups["bank"]["lr"] == pytest.approx(0.15)


@pytest.mark.parametrize(("kind", "factor"), [("sgd", 2.0), ("adamw", 1.0)])
def test_the_mean_kernel_keeps_up_with_a_static_one(kind: Any, factor: float) -> None:
    net = dynamic_net()
    optimizer = make_optimizer(net, ds.FinetuneSettings(optimizer=kind))
    (bank,) = [group for group in optimizer.param_groups if group["name"] == "bank"]
    assert bank["factor"] == factor
    weight = bank["params"][0]
    assert len(weight) == 4
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    # With SGD 4 times the mean over the factor; then the step is that of a static kernel.
    assert torch.equal(weight.grad, torch.full_like(weight, 2.0 if kind == "sgd" else 1.0))


def test_every_parameter_is_trained_once() -> None:
    for net in (dynamic_net(), static_net()):
        optimizer = make_optimizer(net, ds.FinetuneSettings())
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in net.parameters()}
        assert len(held) == len(set(held))


def test_what_is_frozen_in_one_may_be_missing_in_the_other() -> None:
    settings = ds.FinetuneSettings(freeze=("attention", "9.*"))
    for net in (dynamic_net(), static_net()):
        make_optimizer(net, settings)
        frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
        assert {"9.weight", "9.bias"} <= frozen
        assert all(name.startswith("9.") or "attention" in name for name in frozen)
    with pytest.raises(ds.PatternError, match="selects nothing"):
        make_optimizer(dynamic_net(), ds.FinetuneSettings(freeze=("no.such.*",)))
    with pytest.raises(ds.ConfigError, match="no parameter is left to train"):
        make_optimizer(dynamic_net(), ds.FinetuneSettings(freeze=("*",)))


def test_the_temperature_starts_where_the_network_is() -> None:
    net = dynamic_net()
    ds.set_temperature(net, 12.0)
    schedule = make_schedule(net, ds.FinetuneSettings(epochs=4, temperature_epochs=2), 5)
    assert schedule is not None
    assert (schedule.start, schedule.end, schedule.steps) == (12.0, 1.0, 10)
    assert schedule.temperature == 12.0


def test_the_temperature_can_be_left_alone() -> None:
    settings = ds.FinetuneSettings(temperature_end=None)
    assert make_schedule(dynamic_net(), settings, 5) is None
    assert make_schedule(static_net(), ds.FinetuneSettings(), 5) is None


def test_the_temperature_ends_with_the_run_at_the_latest() -> None:
    settings = ds.FinetuneSettings(epochs=2, temperature_epochs=10, temperature_start=30.0)
    schedule = make_schedule(dynamic_net(), settings, 5)
    assert schedule is not None
    assert (schedule.start, schedule.steps) == (30.0, 10)
