"""Parameters and multiply-accumulates against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from nets import TinyNet
from surgery_nets import EVERY, Flow, Kernels, images
from torch import nn

import dynsurgeon as ds
from dynsurgeon.surgery.decide.costs import Cost, parameter_count


def site(net: nn.Module, x: Any, name: str, config: ds.SurgeryConfig = EVERY) -> ds.Site:
    return next(s for s in ds.plan(net, x, config).sites if s.name == name)


def costs(row: ds.Site) -> tuple[Cost, Cost]:
    before = Cost(row.params_before, row.macs_before)
    return before, Cost(row.params_after, row.macs_after)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_convolution(batch: int) -> None:
    # 8 in, 12 out, 3x3, bias, stride 2: on a 10x10 map 5x5 places come out.
    net = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1))
    before, after = costs(site(net, images(batch, 8, 10), "0"))
    kernel = 12 * 8 * 9
    assert before == Cost(kernel + 12, kernel * 25)
    # Attention: 8 -> 4 (the floor) -> 4 kernels; pooling over 100 places of 8 channels.
    attention = (8 * 4 + 4) + (4 * 4 + 4)
    assert after.params == 4 * (kernel + 12) + attention
    assert after.macs == kernel * 25 + 4 * (kernel + 12) + 8 * 100 + 8 * 4 + 4 * 4


def test_depthwise_without_bias_and_other_settings() -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False))
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(experts=2, reduction=2), skip_stem=False)
    before, after = costs(site(net, images(2, 16, 6), "0", config))
    assert before == Cost(144, 144 * 36)
    assert after.params == 2 * 144 + (16 * 8 + 8) + (8 * 2 + 2)
    assert after.macs == 144 * 36 + 2 * 144 + 16 * 36 + 16 * 8 + 8 * 2


def test_transposed_convolution_is_counted_where_it_comes_in() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2))
    before, _ = costs(site(net, images(2, 4, 5), "0"))
    assert before == Cost(4 * 6 * 4 + 6, 4 * 6 * 4 * 25)
    assert ds.plan(net, images(2, 4, 5), EVERY).macs_before == 4 * 6 * 4 * 25


def test_relu_b_and_a() -> None:
    # 16 channels on 6x6: hidden 4 (the floor), 2 pieces; B has 4 * 16 outputs, A has 4.
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU())
    for kind, outputs in (("B", 4 * 16), ("A", 4)):
        config = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind=kind))  # type: ignore[arg-type]
        before, after = costs(site(net, images(2, 3, 6), "1", config))
        assert before == Cost(0, 0)
        assert after.params == (16 * 4 + 4) + (4 * outputs + outputs)
        assert after.macs == 16 * 36 + 16 * 4 + 4 * outputs + 2 * 16 * 36


def test_a_shared_convolution_is_paid_once_and_computed_each_time(
    tiny_shared_conv: TinyNet,
) -> None:
    x = tiny_shared_conv.example()
    before, after = costs(site(tiny_shared_conv, x, "head"))
    places = 16 * 16 + 8 * 8 + 4 * 4
    assert before == Cost(8 * 8 * 9 + 8, 8 * 8 * 9 * places)
    mixing, attention = 4 * (8 * 8 * 9 + 8), 8 * 4 + 4 * 4
    assert after.macs == before.macs + 3 * (mixing + attention) + 8 * places


def test_functional_convolution() -> None:
    net = Kernels()
    before, after = costs(site(net, net.example(), "conv2d_1"))
    # groups 3: 6 x 2 x 3 x 3, from 9x9 to 4x4
    assert before == Cost(6 * 2 * 9 + 6, 6 * 2 * 9 * 16)
    assert after.params == 4 * before.params + (6 * 4 + 4) + (4 * 4 + 4)


def test_totals_are_those_of_the_whole_model(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    plan = ds.plan(tiny_net, x)
    dynamic = ds.convert(tiny_net, x)
    assert plan.params_before == parameter_count(tiny_net)
    assert plan.params_after == parameter_count(dynamic)
    assert plan.macs_before == ds.plan(tiny_net, tiny_net.example(5)).macs_before
    assert plan.macs_after > plan.macs_before


def test_what_never_ran_in_eval_mode_costs_nothing(tiny_dual: TinyNet) -> None:
    row = site(tiny_dual, tiny_dual.example(), "relu_2")
    assert row.is_converted
    assert row.macs_after == 0
    assert row.params_after > 0


def test_a_shared_parameter_counts_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False))
    net[1].weight = net[0].weight
    assert parameter_count(net) == 9
    assert parameter_count(Flow()) == (3 * 6 * 9 + 6) + (6 * 6 * 9 + 6)
