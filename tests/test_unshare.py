from __future__ import annotations

from typing import Any

import pytest
from surgery_nets import shared_slots
from torch import nn

from dynsurgeon.surgery.cut.unshare import unshare_activations, unshared_activations


def test_each_slot_gets_its_own() -> None:
    net: Any = shared_slots()
    original = net[1]
    changed = unshare_activations(net)
    assert net[1] is original
    assert len({id(net[1]), id(net[3]), id(net[4][1])}) == 3
    assert changed == [(net, "3", original), (net[4], "1", original)]
    assert {type(m) for m in (net[1], net[3], net[4][1])} == {nn.ReLU}
    assert net[3]._forward_hooks is not original._forward_hooks


def test_a_module_under_two_names_of_one_parent_is_two_places() -> None:
    net: Any = nn.Sequential()
    net.add_module("a", nn.ReLU(inplace=True))
    net.add_module("b", net.a)
    unshare_activations(net)
    assert net.b is not net.a
    assert net.b.inplace


@pytest.mark.parametrize("kept", [nn.PReLU(), nn.Conv2d(3, 3, 1), nn.Sigmoid()])
def test_what_has_parameters_or_is_no_activation_stays_shared(kept: nn.Module) -> None:
    net = nn.Sequential(kept, kept)
    assert unshare_activations(net) == []
    assert net[0] is net[1]


def test_a_hooked_activation_stays_shared() -> None:
    relu = nn.ReLU()
    relu.register_forward_hook(lambda *_: None)
    assert unshare_activations(nn.Sequential(relu, relu)) == []


def test_for_the_time_of_a_context() -> None:
    net = shared_slots()
    with unshared_activations(net):
        assert net[1] is not net[3]
    assert net[1] is net[3]


def test_shared_again_after_a_failure() -> None:
    net: Any = shared_slots()
    with pytest.raises(ZeroDivisionError), unshared_activations(net):
        raise ZeroDivisionError
    assert net[1] is net[3] is net[4][1]
