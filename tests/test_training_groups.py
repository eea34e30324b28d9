from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from nets import TinyMobile, TinyNet, TinyResNet, perturb_
from torch import nn

import dynsurgeon as ds
from dynsurgeon.operators import DynamicConv, DynamicReLU, KernelAttention
from dynsurgeon.operators.dcd import DecomposedConv
from dynsurgeon.operators.odconv import ODConv


def converted(net: TinyNet, **settings: Any) -> nn.Module:
    return ds.convert(net, net.example(), ds.SurgeryConfig(**settings))


def by_name(groups: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = {group["name"] for group in groups}
    return {name: [g for g in groups if g["name"] == name] for name in names}


def test_every_parameter_is_in_the_group_of_its_part(tiny_mobile: TinyNet) -> None:
    model = converted(tiny_mobile, skip_points=False)
    parts: dict[str, set[nn.Parameter]] = {"bank": set(), "attention": set(), "relu": set()}
    for module in model.modules():
        if isinstance(module, DynamicConv):
            parts["bank"].update(module.parameters(recurse=False))
        elif isinstance(module, KernelAttention):
            parts["attention"].update(module.parameters())
        elif isinstance(module, DynamicReLU):
            parts["relu"].update(module.parameters())
    parts["rest"] = set(model.parameters()) - parts["bank"] - parts["attention"] - parts["relu"]
    assert all(parts.values())
    groups = ds.parameter_groups(model, 0.1)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))
    for part, expected in parts.items():
        found = {p for g in groups if g["name"].split("/")[0] == part for p in g["params"]}
        assert found == expected


def test_biases_and_norms_have_no_weight_decay(tiny_mobile: TinyNet) -> None:
    model = converted(tiny_mobile, skip_points=False)
    spared = set()
    for name, parameter in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if name.endswith("bias") or is_norm:
            spared.add(parameter)
    groups = ds.parameter_groups(model, 0.1, weight_decay=0.5)
    assert {p for g in groups if g["weight_decay"] == 0 for p in g["params"]} == spared
    decayed = {p for g in groups if g["weight_decay"] == 0.5 for p in g["params"]}
    assert decayed == set(model.parameters()) - spared
    assert all(g["name"].endswith("/no-decay") == (g["weight_decay"] == 0) for g in groups)


def test_rates_of_the_parts(tiny_resnet: TinyNet) -> None:
    overrides = {"layer2.*": {"experts": 9}}
    model = converted(tiny_resnet, overrides=overrides)
    groups = by_name(ds.parameter_groups(model, 0.1, attention_factor=3.0, relu_factor=0.0))
    assert sorted(g["lr"] for g in groups["bank"]) == pytest.approx([0.2, 0.3])
    assert {g["lr"] for g in groups["attention"] + groups["attention/no-decay"]} == {0.1 * 3.0}
    assert {g["lr"] for g in groups["relu"]} == {0.0}
    assert {g["lr"] for g in groups["rest"] + groups["rest/no-decay"]} == {0.1}
    fixed = by_name(ds.parameter_groups(model, 0.1, bank_factor=2.5))
    assert [g["lr"] for g in fixed["bank"]] == [0.25]


def test_wide_heads_learn_at_a_lower_rate() -> None:
    heads = [ds.DynamicReLUB(channels) for channels in (16, 32, 64, 320)]  # 4, 4, 8 and 40 units
    groups = by_name(ds.parameter_groups(nn.Sequential(*heads), 0.1))
    found = {p: g["lr"] for g in groups["relu"] + groups["relu/no-decay"] for p in g["params"]}
    for head, factor in zip(heads, (1.0, 1.0, 0.5, 0.1), strict=True):
        assert {found[p] for p in head.parameters()} == {0.1 * factor}


def test_heads_whose_outputs_change_many_channels_learn_at_a_lower_rate() -> None:
    shared, spatial = ds.DynamicReLUA(320), ds.DynamicReLUC(64)
    odconv, dcd = ODConv(nn.Conv2d(64, 32, 3)), DecomposedConv(nn.Conv2d(64, 32, 3))
    groups = ds.parameter_groups(nn.ModuleList([shared, spatial, odconv, dcd]), 1.0)
    found = {p: g["factor"] for g in groups for p in g["params"]}
    assert found[shared.fc2.weight] == pytest.approx(4 / 40 * 8 / 320)
    assert found[spatial.fc2.weight] == pytest.approx(4 / 8)
    assert found[spatial.spatial.weight] == pytest.approx(32 / 64 * 8 / 64)
    places, filters = odconv.get_submodule("fc_places"), odconv.get_submodule("fc_filters")
    assert odconv.fc1 is not None
    width = odconv.fc1.out_features
    assert found[filters.weight] == found[odconv.fc1.weight] == pytest.approx(4 / width)
    assert found[places.weight] == pytest.approx(4 / width * 8 / 32)
    width = dcd.fc1.out_features
    assert found[dcd.fc_filters.weight] == pytest.approx(4 / width)
    assert found[dcd.fc_phi.weight] == pytest.approx(4 / width * 8 / 32)


def test_the_rates_keep_a_step_of_a_wide_shared_relu_as_long_as_one_of_its_channels() -> None:
    # One set of lines for C equal channels: at one rate they would move C times as far as lines
    # of their own, and 1,024 channels were at chance after two epochs.
    moved = {}
    for kind in (ds.DynamicReLUA, ds.DynamicReLUB):
        torch.manual_seed(0)
        relu = kind(1024)
        x = torch.rand(4, 1, 3, 3).expand(4, 1024, 3, 3)
        before = relu(x).detach()
        optimizer = torch.optim.SGD(ds.parameter_groups(relu, 1e-3))
        relu(x).mean((2, 3)).sum(1).mean().backward()
        optimizer.step()
        moved[kind] = float((relu(x) - before).detach().abs().mean())
    ratio = moved[ds.DynamicReLUA] / moved[ds.DynamicReLUB]
    assert 1 <= ratio <= 10


def test_each_group_tells_its_factor(tiny_resnet: TinyNet) -> None:
    groups = ds.parameter_groups(converted(tiny_resnet), 0.1)
    assert all(g["lr"] == 0.1 * g["factor"] for g in groups)
    assert {g["factor"] for g in groups if g["name"] == "bank"} == {2.0}


@pytest.mark.parametrize("experts", [1, 2, 8])
def test_the_banks_rate_grows_with_the_root_of_k(experts: int) -> None:
    conv = ds.DynamicConv2d(3, 4, 3, config=ds.DynamicConvConfig(experts=experts))
    groups = by_name(ds.parameter_groups(conv, 1.0))
    assert groups["bank"][0]["lr"] == math.sqrt(experts)
    assert groups["bank/no-decay"][0]["params"] == [conv.bias]


def test_a_static_network_has_the_rest_alone(tiny_resnet: TinyNet) -> None:
    groups = ds.parameter_groups(tiny_resnet, 0.1)
    assert [g["name"] for g in groups] == ["rest", "rest/no-decay"]
    assert sum(len(g["params"]) for g in groups) == len(list(tiny_resnet.parameters()))


def test_torch_takes_the_groups_and_each_moves_at_its_rate() -> None:
    conv = ds.DynamicConv2d(3, 4, 3, config=ds.DynamicConvConfig(experts=4))
    before = [p.detach().clone() for p in (conv.weight, conv.attention.fc2.weight)]
    groups = ds.parameter_groups(conv, 0.1, weight_decay=0.0, attention_factor=5.0)
    optimizer = torch.optim.SGD(groups)
    for parameter in conv.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.testing.assert_close(before[0] - conv.weight, torch.full_like(conv.weight, 0.2))
    after = conv.attention.fc2.weight
    torch.testing.assert_close(before[1] - after, torch.full_like(after, 0.5))
    assert [g["name"] for g in optimizer.state_dict()["param_groups"]] == [
        g["name"] for g in groups
    ]


def test_freezing_by_part_and_by_pattern(tiny_resnet: TinyNet) -> None:
    model = converted(tiny_resnet)
    groups = by_name(ds.parameter_groups(model, 0.1, freeze=["attention", "fc.*"]))
    assert not {"attention", "attention/no-decay"} & groups.keys()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {"fc.weight", "fc.bias"} < frozen
    rest = frozen - {"fc.weight", "fc.bias"}
    assert rest == {name for name, _ in model.named_parameters() if ".attention." in name}


def test_frozen_parameters_stay_out(tiny_resnet: TinyNet) -> None:
    tiny_resnet.requires_grad_(False)
    assert ds.parameter_groups(tiny_resnet, 0.1) == []


def test_a_shared_parameter_is_in_one_group() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert sum(len(g["params"]) for g in ds.parameter_groups(net, 0.1)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr must not be below 0, got -1.0"),
        ({"lr": 0.1, "bank_factor": float("nan")}, "bank_factor must be a finite number, got nan"),
        ({"lr": 0.1, "relu_factor": "2"}, "relu_factor must be a finite number, got '2'"),
        ({"lr": 0.1, "weight_decay": True}, "weight_decay must be a finite number, got True"),
        ({"lr": 0.1, "freeze": "bank"}, "freeze must be a collection of names, got the string"),
        ({"lr": 0.1, "freeze": ["banks"]}, "freeze: 'banks' selects nothing; did you mean 'bank'"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    net = TinyResNet()
    with pytest.raises(ds.ConfigError, match=message):
        ds.parameter_groups(converted(net), **arguments)


def test_groups_through_a_wrapper() -> None:
    net = perturb_(TinyMobile()).eval()
    assert isinstance(net, TinyNet)
    model = converted(net)
    wrapped = nn.ModuleDict({"module": model})
    plain, through = ds.parameter_groups(model, 0.1), ds.parameter_groups(wrapped, 0.1)
    assert [(g["name"], len(g["params"])) for g in plain] == [
        (g["name"], len(g["params"])) for g in through
    ]
