"""Converted networks under DDP and FSDP, and their state whole, in a group of one process."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from finetune_helpers import SHAPE, dynamic_net, same_tensors
from nets import TinyNet, perturb_
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import dynsurgeon as ds
from dynsurgeon.training.finetune.sharding import fill, load_optimizer, shard, whole

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    store = HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def train(net: nn.Module, images: Tensor, steps: int = 2) -> None:
    optimizer = torch.optim.SGD(ds.parameter_groups(net, 0.05), momentum=0.9)
    net.train()
    for _ in range(steps):
        torch.manual_seed(0)
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_every_parameter_is_used_under_ddp(tiny_net: TinyNet, kind: ds.config.ReLUKind) -> None:
    config = ds.SurgeryConfig(
        activation=ds.DynamicReLUConfig(kind=kind, smooth=True), skip_stem=False, skip_points=False
    )
    dynamic = ds.convert(tiny_net, tiny_net.example(), config)
    plain = copy.deepcopy(dynamic)
    wrapped = DistributedDataParallel(dynamic, find_unused_parameters=False)
    images = tiny_net.example(4)
    train(wrapped, images, steps=3)  # the second step fails if a gradient was missing in the first
    train(plain, images, steps=3)
    assert {name for name, p in dynamic.named_parameters() if p.grad is None} == set()
    assert same_tensors(dynamic, plain)


@pytest.mark.usefixtures("group")
def test_a_sharded_network_trains_as_a_plain_one(tiny_net: TinyNet) -> None:
    dynamic = ds.convert(tiny_net, tiny_net.example())
    plain = copy.deepcopy(dynamic)
    shard(dynamic, CPU, 1)
    assert all(isinstance(p, DTensor) for p in dynamic.parameters())
    images = tiny_net.example(4)
    for net in (dynamic, plain):
        train(net, images)
    state = whole(dynamic.state_dict())
    assert not any(isinstance(t, DTensor) for t in state.values())
    assert all(torch.equal(t, state[name]) for name, t in plain.state_dict().items())


@pytest.mark.usefixtures("group")
def test_a_sharded_network_takes_whole_state() -> None:
    net, other = dynamic_net(), perturb_(dynamic_net())
    shard(net, CPU, 1)
    fill(net.state_dict(), other.state_dict())
    images = torch.randn(2, *SHAPE)
    assert torch.allclose(net.eval()(images), other.eval()(images))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_goes_on_from_its_whole_state(
    sharded: bool, kind: type[torch.optim.Optimizer]
) -> None:
    images = torch.randn(4, *SHAPE)
    extra: dict[str, Any] = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    net, second = dynamic_net(dropout=0.0), dynamic_net(dropout=0.0)
    if sharded:
        shard(net, CPU, 1)
        shard(second, CPU, 1)
    one = kind(ds.parameter_groups(net, 0.01), **extra)
    step(net, one, images)
    other = kind(ds.parameter_groups(second, 0.5), **extra)
    fill(second.state_dict(), whole(net.state_dict()))
    load_optimizer(other, whole(one.state_dict()))
    for model, optimizer in ((net, one), (second, other)):
        step(model, optimizer, images)
    first = whole(net.state_dict())
    assert all(torch.equal(t, first[name]) for name, t in whole(second.state_dict()).items())
    assert [group["lr"] for group in other.param_groups] == [g["lr"] for g in one.param_groups]


def step(net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> None:
    net.train()
    optimizer.zero_grad()
    net(images).square().mean().backward()
    optimizer.step()
