from __future__ import annotations

import copy
from typing import Any

import torch
from surgery_nets import NamedConv, images
from torch import nn

from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.surgery.cut.become import become, become_former


def test_whoever_holds_the_module_now_holds_the_other() -> None:
    conv = NamedConv(3, 4, 3)
    holders = nn.Sequential(conv), [conv], {"a": conv}
    other = DynamicConv2d.from_static(conv)
    bank = other.weight
    become(conv, other)
    assert isinstance(conv, DynamicConv2d)
    assert conv.weight is bank
    assert holders[0][0] is holders[1][0] is holders[2]["a"] is conv


def test_hooks_and_attributes_stay() -> None:
    conv = NamedConv(3, 4, 3).eval()
    calls: list[str] = []
    handle = conv.register_forward_hook(lambda *_: calls.append("after"))
    conv.register_forward_pre_hook(lambda *_: calls.append("before"))
    become(conv, DynamicConv2d.from_static(conv))
    conv(images())
    assert calls == ["before", "after"]
    assert vars(conv)["tag"] == "mine"
    assert not conv.training
    handle.remove()
    conv(images())
    assert calls == ["before", "after", "before"]


def test_and_back() -> None:
    conv = NamedConv(3, 4, 3, stride=2, padding_mode="circular", padding=1)
    twin = copy.deepcopy(conv)
    attributes = set(vars(conv))
    calls: list[int] = []
    conv.register_forward_hook(lambda *_: calls.append(1))
    become(conv, DynamicConv2d.from_static(conv))
    conv.train(False)
    holder: Any = nn.Module()
    holder.weight, holder.bias = twin.weight, twin.bias
    become_former(conv, holder)
    assert type(conv) is NamedConv
    assert set(vars(conv)) == attributes
    assert not conv.training
    assert torch.equal(conv(images()), twin(images()))
    assert calls == [1]
    assert list(conv.state_dict()) == ["weight", "bias"]


def test_copies_can_go_back_too() -> None:
    conv = nn.Conv2d(3, 4, 3)
    weight = nn.Parameter(conv.weight.detach().clone())
    become(conv, DynamicConv2d.from_static(conv))
    twin = copy.deepcopy(conv)
    holder = nn.Module()
    holder.weight, holder.bias = weight, nn.Parameter(torch.zeros(4))
    become_former(twin, holder)
    assert type(twin) is nn.Conv2d
    assert isinstance(conv, DynamicConv2d)
