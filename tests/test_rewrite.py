from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import Flow, images
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.surgery.owners.rewrite import rewrite_forward, undo_rewrite
from dynsurgeon.surgery.owners.trace import trace_owner


def rewritten(owner: nn.Module) -> Any:
    rewrite_forward(trace_owner(owner, {}))
    return owner


def test_only_the_forward_is_new(tiny_dual: TinyNet) -> None:
    kind, x = type(tiny_dual), tiny_dual.example()
    expected, keys = tiny_dual(x), list(tiny_dual.state_dict())
    net = rewritten(tiny_dual)
    assert isinstance(net, kind)
    assert type(net) is not kind
    assert (type(net).__name__, type(net).__module__) == (kind.__name__, kind.__module__)
    assert type(net).__doc__ == kind.__doc__
    assert repr(net).startswith("TinyDual(")
    assert list(net.state_dict()) == keys
    assert torch.equal(net(x), expected)
    assert net.example().shape == x.shape


def test_both_modes_are_kept(tiny_dual: TinyNet) -> None:
    twin = copy.deepcopy(tiny_dual)
    net, x = rewritten(tiny_dual), tiny_dual.example()
    for training in (True, False):
        torch.manual_seed(0)
        expected = twin.train(training)(x)
        torch.manual_seed(0)
        assert torch.equal(net.train(training)(x), expected)


def test_hooks_and_attributes_stay() -> None:
    net = Flow(lambda self, x: F.relu(x))
    net.mark = "mine"  # type: ignore[assignment]
    calls: list[int] = []
    net.register_forward_hook(lambda *_: calls.append(1))
    rewritten(net)
    net(images())
    assert calls == [1]
    assert net.mark == "mine"


def test_undo_gives_the_class_back(tiny_dual: TinyNet) -> None:
    kind = type(tiny_dual)
    undo_rewrite(rewritten(tiny_dual))
    assert type(tiny_dual) is kind
    undo_rewrite(tiny_dual)  # and an owner that was not rewritten is left alone
    assert type(tiny_dual) is kind


def test_copies_have_a_forward_of_their_own(tiny_dual: TinyNet) -> None:
    net, x = rewritten(tiny_dual), tiny_dual.example()
    twin = copy.deepcopy(net)
    assert torch.equal(twin(x), net(x))
    with torch.no_grad():
        twin.conv1.weight.zero_()
    assert not torch.equal(twin(x), net(x))
    undo_rewrite(twin)
    assert type(net) is not type(twin)


class Meta(type):
    """A metaclass of a user's own."""


class WithMeta(nn.Module, metaclass=Meta):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def test_a_metaclass_stays() -> None:
    owner = rewritten(WithMeta())
    assert isinstance(type(owner), Meta)
    assert torch.equal(owner(images()), images().relu())


@pytest.mark.parametrize("write", [pickle.dumps, lambda net: torch.save(net, io.BytesIO())])
def test_pickling_says_what_to_do_instead(write: Any, tiny_dual: TinyNet) -> None:
    net = rewritten(tiny_dual)
    with pytest.raises(ds.UnsupportedModelError, match=r"can't be pickled: write it with dynsurg"):
        write(net)
    undo_rewrite(net)
    if write is pickle.dumps:
        assert pickle.loads(write(net)) is not None


def test_a_network_without_rewritten_owners_can_be_pickled(tiny_mobile: TinyNet) -> None:
    x = tiny_mobile.example()
    dynamic = ds.convert(tiny_mobile, x)
    again = pickle.loads(pickle.dumps(dynamic))
    assert torch.equal(again(x), dynamic(x))
    assert ds.check_parity(tiny_mobile, again, x).passed
