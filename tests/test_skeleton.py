from __future__ import annotations

import threading

import pytest
from nets import TinyNet
from torch import nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.running.skeleton import skeleton_of


def test_a_skeleton_has_everything_but_numbers(tiny_resnet: TinyNet) -> None:
    tiny_resnet.conv1.requires_grad_(False)
    skeleton = skeleton_of(tiny_resnet)
    assert type(skeleton) is type(tiny_resnet)
    ours, theirs = tiny_resnet.state_dict(), skeleton.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {
        n: (t.shape, t.dtype) for n, t in theirs.items()
    }
    assert all(tensor.is_meta for tensor in theirs.values())
    assert not any(tensor.is_meta for tensor in ours.values())
    flags = {name: p.requires_grad for name, p in tiny_resnet.named_parameters()}
    assert {name: p.requires_grad for name, p in skeleton.named_parameters()} == flags


def test_tied_weights_stay_tied() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    net[1].weight = net[0].weight
    skeleton = skeleton_of(net)
    assert skeleton[0].weight is skeleton[1].weight  # type: ignore[index]


def test_what_can_not_be_copied_is_refused() -> None:
    net = nn.Sequential(nn.ReLU())
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="the model can't be copied"):
        skeleton_of(net)
