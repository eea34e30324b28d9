"""One arm: a step against plain torch, state that goes on, and a clean network afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from finetune_helpers import SHAPE, dynamic_net, same_tensors, static_net
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.launch import accelerators

STEPS = 4
Parts = list[tuple[Tensor, Tensor]]


@contextmanager
def arm_of(net: nn.Module, **changes: Any) -> Iterator[Arm]:
    settings = ds.FinetuneSettings(**{"epochs": 2, "cpu": True, "lr": 0.1, **changes})
    with accelerators(settings, 1) as engines:
        yield Arm("dynamic", net, settings, STEPS, engines[0])


def batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, *SHAPE, generator=generator)
    return images, torch.randint(0, 3, (size,), generator=generator)


def parted(images: Tensor, labels: Tensor, parts: int) -> Parts:
    return list(zip(images.chunk(parts), labels.chunk(parts), strict=True))


def test_steps_are_those_of_plain_torch() -> None:
    net = dynamic_net(norm=False, dropout=0.0)
    plain = copy.deepcopy(net)
    groups = ds.parameter_groups(plain, 0.1, weight_decay=0.01)
    optimizer = torch.optim.SGD(groups, momentum=0.8, nesterov=True)
    ds.balance_banks(optimizer, plain)
    largest = [group["lr"] for group in optimizer.param_groups]
    schedule = ds.TemperatureSchedule(plain, 30.0, 1.0, 2 * STEPS, spatial_start=1.0)
    with arm_of(net, momentum=0.8, weight_decay=0.01, clip_norm=0.5, warmup=0.5) as arm:
        for step in range(2 * STEPS):
            images, labels = batch(step)
            factor = (
                (step + 1) / 3
                if step < 2
                else 0.5 * (1 + torch.tensor((step - 2) / 6 * torch.pi).cos())
            )
            for group, lr in zip(optimizer.param_groups, largest, strict=True):
                group["lr"] = lr * float(factor)
            optimizer.zero_grad()
            scores = plain.train()(images)
            loss = F.cross_entropy(scores, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            found = arm.train_step([(images, labels)], step)
            assert found[0] == pytest.approx(float(loss.detach()), abs=1e-5)
            assert found[1] == (scores.argmax(1) == labels).sum()
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(net.state_dict()[name], tensor, atol=1e-5), name
    assert float(net.state_dict()["3.attention.temperature"]) == 1.0


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_one_batch(parts: int) -> None:
    nets = [dynamic_net(norm=False, dropout=0.0) for _ in range(2)]
    for net, count in zip(nets, (1, parts), strict=True):
        with arm_of(net, accumulate=count) as arm:
            for step in range(3):
                arm.train_step(parted(*batch(step), count), step)
    one, other = (net.state_dict() for net in nets)
    assert not torch.equal(one["3.weight"], dynamic_net(norm=False).state_dict()["3.weight"])
    assert all(torch.allclose(t, other[name], atol=1e-6) for name, t in one.items())


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "lr": 1e-3}, {"momentum": 0.0}])
def test_it_goes_on_where_its_state_was_taken(changes: dict[str, Any]) -> None:
    changes = {**changes, "ema": 0.9}
    whole, second = dynamic_net(), dynamic_net()
    with arm_of(whole, **changes) as arm:
        for step in range(3):
            arm.train_step([batch(step)], step)
        state = arm.state_dict()
        for step in range(3, 6):
            arm.train_step([batch(step)], step)
        assert arm.average is not None
        average = arm.average.average
    with arm_of(second, **changes) as arm:
        arm.load_state_dict(state)
        for step in range(3, 6):
            arm.train_step([batch(step)], step)
        assert arm.average is not None
        assert all(torch.equal(t, average[name]) for name, t in arm.average.average.items())
    assert same_tensors(whole, second)


def test_state_is_a_copy() -> None:
    net = dynamic_net()
    with arm_of(net) as arm:
        arm.train_step([batch(0)], 0)
        state = arm.state_dict()
        kept = copy.deepcopy(state)
        arm.train_step([batch(1)], 1)
    assert all(torch.equal(t, kept["model"][name]) for name, t in state["model"].items())
    momentum = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    before = [entry["momentum_buffer"] for entry in kept["optimizer"]["state"].values()]
    assert all(torch.equal(a, b) for a, b in zip(momentum, before, strict=True))


def test_frozen_statistics_stay_and_the_rest_learns() -> None:
    net = dynamic_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with arm_of(net, freeze_batchnorm=True) as arm:
        arm.train_step([batch(0)], 0)
    after = net.state_dict()
    assert torch.equal(after["1.running_mean"], before["1.running_mean"])
    assert not torch.equal(after["1.weight"], before["1.weight"])
    assert not torch.equal(after["3.weight"], before["3.weight"])


def test_evaluation_uses_the_average() -> None:
    net = dynamic_net()
    with arm_of(net, ema=0.9) as arm:
        for step in range(3):
            arm.train_step([batch(step)], step)
        images, _ = batch(9)
        with arm.evaluating(adjusted=False):
            own = arm.scores(images)
        with arm.evaluating():
            averaged = arm.scores(images)
            weights = arm.weights()
        assert not torch.equal(own, averaged)
        fresh = dynamic_net()
        fresh.load_state_dict(weights)
        assert torch.equal(fresh(images), averaged)


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("build", [dynamic_net, static_net])
def test_the_network_comes_back_clean(precision: str, build: Any) -> None:
    net = build()
    attributes = set(vars(net))
    with arm_of(net, precision=precision) as arm:
        arm.train_step([batch(0)], 0)
        assert arm.release() is net
    assert set(vars(net)) == attributes
    assert not net.training
    assert net(batch(0)[0]).dtype == torch.float32
    assert same_tensors(copy.deepcopy(net), net)


def test_mixed_precision_is_mixed() -> None:
    net, seen = dynamic_net(), []
    net.get_submodule("9").register_forward_hook(lambda m, a, output: seen.append(output.dtype))
    with arm_of(net, precision="bf16") as arm:
        loss, _ = arm.train_step([batch(0)], 0)
        scores = arm.scores(batch(0)[0])
    assert set(seen) == {torch.bfloat16}
    assert scores.dtype == torch.float32
    assert loss.isfinite()
    assert {p.dtype for p in net.parameters()} == {torch.float32}
