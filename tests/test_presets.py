"""Which sites a preset takes, on the networks that the presets are made for and on others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyMobile, TinyNet, TinyResNet
from surgery_nets import EVERY, Flow, Kernels, images
from torch import nn
from torch.nn import functional as F

import dynsurgeon as ds
from dynsurgeon.config import PresetName
from dynsurgeon.surgery.decide.presets import (
    POSITIONS_PER_EXPERT,
    PRESETS,
    PRODUCTS_PER_OUTPUT,
)


def kept(net: nn.Module, x: Any, preset: PresetName, **settings: Any) -> list[str]:
    plan = ds.plan(net, x, ds.SurgeryConfig(preset=preset, **settings))
    return [site.name for site in plan.converted]


class Bottleneck(TinyNet):
    """Stem, pooling, two bottlenecks: the first with a shortcut, the second with a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block1 = nn.ModuleList(
            [nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 16, 1)]
        )
        self.shortcut = nn.Conv2d(8, 16, 1)
        self.block2 = nn.ModuleList(
            [nn.Conv2d(16, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 16, 1)]
        )
        self.gate = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU()

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(self.act(self.stem(x)), 2)
        y = self.block1[2](self.block1[1](self.block1[0](x)))
        x = self.shortcut(x) + y
        y = self.block2[1](self.block2[0](x))
        y = y * self.gate(y.mean(dim=(2, 3), keepdim=True)).sigmoid()
        return x + self.block2[2](y)


def test_last_1x1_is_the_last_of_each_bottleneck_and_nothing_else() -> None:
    net = Bottleneck()
    assert kept(net, net.example(), "last-1x1") == ["block1.2", "block2.2"]


def test_last_1x1_passes_over_the_gate_of_a_mobile_block(tiny_mobile: TinyNet) -> None:
    assert kept(tiny_mobile, tiny_mobile.example(), "last-1x1") == ["features.4.0"]


def test_last_1x1_finds_none_in_basic_blocks(tiny_resnet: TinyNet) -> None:
    # A shortcut's 1x1 strides, or takes another map than the 3x3 before it gave.
    assert kept(tiny_resnet, tiny_resnet.example(), "last-1x1") == []
    with pytest.raises(ds.NoSiteError, match="left out by the preset last-1x1"):
        ds.convert(tiny_resnet, tiny_resnet.example(), ds.SurgeryConfig(preset="last-1x1"))


def test_last_1x1_reads_the_kernel_of_a_function() -> None:
    def forward(self: Any, x: Any) -> Any:
        x = self.conv2(self.conv(x))
        return F.conv2d(x, self.point)

    net = Flow(forward)
    net.point = nn.Parameter(net.conv2.weight.detach()[:, :, :1, :1].clone())
    assert kept(net, net.example(), "last-1x1") == ["conv2d"]
    net.point = nn.Parameter(net.conv2.weight.detach().clone())
    assert kept(net, net.example(), "last-1x1") == []


def test_recommended_takes_activations_behind_wide_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 29, 1),
        nn.ReLU(),
        nn.Conv2d(29, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 32, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU(),
    )
    assert 29 * 9 >= PRODUCTS_PER_OUTPUT > 28 * 9
    assert kept(net, images(2, 3, 8), "recommended") == ["3"]
    assert kept(net, images(2, 3, 8), "recommended", include=("3", "7")) == ["3", "7"]
    net[0], net[2] = nn.Conv2d(3, 28, 1), nn.Conv2d(28, 8, 3, padding=1)
    with pytest.raises(ds.NoSiteError, match="left out by the preset recommended"):
        ds.convert(net, images(2, 3, 8), ds.SurgeryConfig(preset="recommended"))


def test_recommended_counts_what_a_transposed_convolution_and_a_function_read() -> None:
    def forward(self: Any, x: Any) -> Any:
        return F.relu(self.up(F.relu(F.conv2d(self.conv(x), self.kernel, padding=1))))

    net = Flow(forward)
    net.kernel = nn.Parameter(torch.randn(32, 6, 3, 3))
    net.up = nn.ConvTranspose2d(32, 4, 3)
    assert kept(net, net.example(), "recommended") == ["relu_1"]


def test_recommended_knows_the_calls_of_one_activation_apart() -> None:
    def forward(self: Any, x: Any) -> Any:
        return self.act(self.wide(self.act(self.conv(x))))

    net = Flow(forward)
    net.wide = nn.Conv2d(6, 43, 7, padding=3)
    assert kept(net, net.example(), "recommended") == ["act_1"]


@pytest.mark.parametrize("experts", [2, 4, 8])
def test_balanced_goes_by_the_places_a_kernel(experts: int) -> None:
    side = int((POSITIONS_PER_EXPERT * 4) ** 0.5)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    found = kept(net, images(2, 3, side), "balanced", conv=ds.DynamicConvConfig(experts=experts))
    assert found == (["1", "2"] if experts <= 4 else ["1"])


def test_balanced_takes_every_activation_and_no_depthwise_convolution() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
    )
    assert kept(net, images(2, 3, 32), "balanced") == ["2", "5"]


def test_balanced_reads_the_groups_of_functions() -> None:
    net = Kernels()
    config = ds.SurgeryConfig(preset="balanced", conv=ds.DynamicConvConfig(experts=1))
    sites = {s.name: s.reason for s in ds.plan(net, images(2, 4, 20), config).sites}
    assert sites["conv2d"] == "is the stem, the first convolution"
    assert sites["conv2d_1"] == sites["conv_transpose2d"] == "left out by the preset balanced"


def test_all_is_the_default(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    assert kept(tiny_net, x, "all") == [s.name for s in ds.plan(tiny_net, x).converted]


def test_a_site_that_is_included_by_name_stays() -> None:
    net = TinyResNet()
    assert kept(net, net.example(), "last-1x1", include=("layer1.0.conv1",)) == ["layer1.0.conv1"]
    assert kept(net, net.example(), "last-1x1", include=("layer1.*",)) == []


def test_a_site_that_stays_anyway_keeps_its_reason() -> None:
    net = TinyMobile()
    config = ds.SurgeryConfig(preset="last-1x1")
    rows = {s.name: s.reason for s in ds.plan(net, net.example(), config).sites}
    assert rows["features.0.0"] == "is the stem, the first convolution"
    assert rows["features.1.2"] == "left out by the preset last-1x1"


def test_an_override_of_the_kernels_counts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    few: Any = {"1": {"experts": 2}}
    side = int((POSITIONS_PER_EXPERT * 2) ** 0.5) + 1
    assert kept(net, images(2, 3, side), "balanced") == []
    assert kept(net, images(2, 3, side), "balanced", overrides=few) == ["1"]


def test_every_preset_has_a_reason_and_is_in_the_configuration() -> None:
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.summary
        assert preset.reason
        config = ds.SurgeryConfig(preset=name)  # type: ignore[arg-type]
        assert ds.SurgeryConfig.from_dict(config.to_dict()) == config
    assert EVERY.preset == "all"
