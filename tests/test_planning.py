from __future__ import annotations

import copy
import json
import threading
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet, TinyResNet
from surgery_nets import EVERY, Flow, Grandparent, dynamic_layers, images, shared_slots
from torch import nn

import dynsurgeon as ds


def test_a_row_says_everything(tiny_resnet: TinyNet) -> None:
    plan = ds.plan(tiny_resnet, tiny_resnet.example())
    rows = {site.name: site for site in plan.sites}
    assert rows["layer1.0.relu_1"] == ds.Site(
        name="layer1.0.relu_1",
        operation="ReLU",
        owner="layer1.0",
        input_shape=(2, 8, 16, 16),
        operator="DynamicReLUB",
        reason=None,
        params_before=0,
        params_after=196,
        macs_before=0,
        macs_after=6304,
    )
    assert rows["conv1"].owner == ""
    assert not rows["conv1"].is_converted
    assert rows["conv1"].params_before == rows["conv1"].params_after == 216
    assert plan.converted + plan.skipped != []
    assert {s.name for s in plan.skipped} == {"conv1"}
    assert all((s.operator is None) == (s.reason is not None) for s in plan.sites)


def test_the_plan_is_what_convert_does(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    for config in (ds.SurgeryConfig(), EVERY, ds.SurgeryConfig(conv=None)):
        plan = ds.plan(tiny_net, x, config)
        dynamic = ds.convert(tiny_net, x, config)
        layers = dynamic_layers(dynamic)
        assert {s.name: s.operator for s in plan.converted} == {
            name: type(layer).__name__ for name, layer in layers.items()
        }
        for site in plan.converted:
            count = sum(p.numel() for p in layers[site.name].parameters())
            assert site.params_after == count, site.name
        for site in plan.skipped:
            module = dict(dynamic.named_modules()).get(site.name)
            assert module is None or type(module).__name__ == site.operation


def test_plain_values(tiny_resnet: TinyNet) -> None:
    plan = ds.plan(tiny_resnet, tiny_resnet.example())
    values = json.loads(json.dumps(plan.to_dict()))
    assert set(values) == {
        *("sites", "notes", "params_before", "params_after", "macs_before", "macs_after"),
    }
    assert values["sites"][0]["name"] == "conv1"
    assert values["sites"][0]["input_shape"] == [2, 3, 16, 16]
    assert values["params_before"] == sum(p.numel() for p in tiny_resnet.parameters())


def test_a_plan_is_a_value(tiny_resnet: TinyNet) -> None:
    plan = ds.plan(tiny_resnet, tiny_resnet.example())
    assert plan == ds.plan(tiny_resnet, tiny_resnet.example())
    attribute = "notes"
    with pytest.raises(FrozenInstanceError):
        setattr(plan, attribute, ())


def test_nothing_is_touched() -> None:
    net: Any = nn.Sequential(shared_slots(), nn.BatchNorm2d(4), nn.Dropout())
    net.train()
    net[1].eval()
    twin = copy.deepcopy(net)
    states = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    ds.plan(net, images())
    assert [type(m) for m in net.modules()] == [type(m) for m in twin.modules()]
    assert [m.training for m in net.modules()] == [m.training for m in twin.modules()]
    assert all(torch.equal(states[name], value) for name, value in net.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert net[0][1] is net[0][3]


class Uncopyable(TinyNet):
    """Holds a lock, remembers what it computed, has one ReLU in three places and one function."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.seen = threading.Lock(), ["nothing"]
        self.slots = shared_slots()
        self.norm = nn.BatchNorm2d(4)
        self.block = Flow(lambda self, x: F.relu(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = y = self.block(self.norm(self.slots(x)))
        self.seen.append("something")
        return y  # type: ignore[no-any-return]


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_that_can_not_be_copied_is_planned_on_itself(fails: bool) -> None:
    net: Any = Uncopyable().train()
    x = net.example()
    with pytest.raises(ds.UnsupportedModelError, match="in place with copy=False"):
        ds.plan(net, x)
    before = [(m, type(m), dict(vars(m)), dict(m._modules), m.training) for m in net.modules()]
    states = {name: (value, value.clone()) for name, value in net.state_dict().items()}
    if fails:
        with pytest.raises(ds.PatternError):
            ds.plan(net, x, ds.SurgeryConfig(include=("nowhere",)), copy=False)
    else:
        plan = ds.plan(net, x, EVERY, copy=False)
        assert {"slots.1", "slots.3", "slots.4.1", "block.relu"} <= {s.name for s in plan.converted}
    now = [(m, type(m), dict(vars(m)), dict(m._modules), m.training) for m in net.modules()]
    assert [each[1:2] + each[3:] for each in now] == [each[1:2] + each[3:] for each in before]
    assert all(a[0] is b[0] and a[2] == b[2] for a, b in zip(now, before, strict=True))
    assert net.slots[1] is net.slots[3] is net.slots[4][1]
    assert net.seen == ["nothing"]
    assert not hasattr(net, "last")
    for name, value in net.state_dict().items():
        assert value.data_ptr() == states[name][0].data_ptr()
        assert torch.equal(value, states[name][1])
    if not fails:
        dynamic = ds.convert(net, x, plan, copy=False)
        assert set(dynamic_layers(dynamic)) == {site.name for site in plan.converted}


def test_gradients_of_the_caller_survive(tiny_resnet: TinyNet) -> None:
    tiny_resnet(tiny_resnet.example()).sum().backward()
    before = {
        name: p.grad.clone() for name, p in tiny_resnet.named_parameters() if p.grad is not None
    }
    ds.plan(tiny_resnet, tiny_resnet.example())
    after = {name: p.grad for name, p in tiny_resnet.named_parameters() if p.grad is not None}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_notes_tell_of_a_mode_that_was_not_seen() -> None:
    class Inference(TinyResNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("targets are missing")
            return super().forward(x)

    net = Inference()
    plan = ds.plan(net, net.example())
    assert plan.notes == ("train mode was not observed: targets are missing",)
    assert len(plan.converted) == 10
    assert ds.check_parity(net, ds.convert(net, net.example()), net.example()).passed


def test_without_any_site() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    plan = ds.plan(net, images())
    assert plan.sites == ()
    assert plan.converted == []
    assert "0 of 0 sites" in str(plan)
    assert plan.params_after == plan.params_before


def test_the_recipe_knows_its_versions_and_its_configuration() -> None:
    net = Grandparent()
    config = ds.SurgeryConfig(seed=7, conv=ds.DynamicConvConfig(experts=2))
    recipe = ds.plan(net, net.example(), config).recipe
    assert recipe.versions["torch"] == torch.__version__
    assert recipe.versions["dynsurgeon"]
    assert recipe.seed == 7
    assert ds.SurgeryConfig.from_dict(recipe.config) == config
