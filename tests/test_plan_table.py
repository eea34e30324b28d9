from __future__ import annotations

from typing import Any

import pytest
from nets import TinyMobile, TinyNet, TinyResNet

import dynsurgeon as ds
from dynsurgeon.surgery.decide.plan_table import human

GOLDEN: dict[type[TinyNet], str] = {
    TinyResNet: """\
site                   operation  input      becomes                                     params          MACs
---------------------------------------------------------------------------------------------------------------------
conv1                  Conv2d     2x3x16x16  static: is the stem, the first convolution  216             55.3k
relu                   ReLU       2x8x16x16  DynamicReLUB                                0 -> 196        0 -> 6.3k
layer1.0.conv1         Conv2d     2x8x16x16  DynamicConv2d                               576 -> 2.36k    147k -> 152k
layer1.0.relu          ReLU       2x8x16x16  DynamicReLUB                                0 -> 196        0 -> 6.3k
layer1.0.relu_1        ReLU       2x8x16x16  DynamicReLUB                                0 -> 196        0 -> 6.3k
layer1.0.conv2         Conv2d     2x8x16x16  DynamicConv2d                               576 -> 2.36k    147k -> 152k
layer2.0.downsample.0  Conv2d     2x8x16x16  DynamicConv2d                               128 -> 568      8.19k -> 10.8k
layer2.0.conv1         Conv2d     2x8x16x16  DynamicConv2d                               1.15k -> 4.66k  73.7k -> 80.4k
layer2.0.relu          ReLU       2x16x8x8   DynamicReLUB                                0 -> 388        0 -> 3.39k
layer2.0.relu_1        ReLU       2x16x8x8   DynamicReLUB                                0 -> 388        0 -> 3.39k
layer2.0.conv2         Conv2d     2x16x8x8   DynamicConv2d                               2.3k -> 9.3k    147k -> 158k
---------------------------------------------------------------------------------------------------------------------
total                                        10 of 11 sites                              5.27k -> 21.1k  580k -> 634k""",  # noqa: E501
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_golden(kind: type[TinyNet]) -> None:
    net = kind()
    assert str(ds.plan(net, net.example())) == GOLDEN[kind]


def test_a_site_that_never_ran_and_a_note_have_their_place() -> None:
    class Inference(TinyMobile):
        def forward(self, x):  # type: ignore[no-untyped-def]
            if self.training:
                raise RuntimeError("train me elsewhere")
            return super().forward(x)

    net: Any = Inference()
    net.spare = net.features[0][0].__class__(3, 3, 1)
    lines = str(ds.plan(net, net.example())).splitlines()
    assert lines[-1] == "note: train mode was not observed: train me elsewhere"
    spare = next(line for line in lines if line.startswith("spare"))
    assert spare.split()[:3] == ["spare", "Conv2d", "-"]
    assert "static: was never called on the example inputs" in spare
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1536, "1.54k"),
        (11_689_512, "11.7M"),
        (1_820_000_000, "1.82G"),
        (999_999, "1M"),
        (999_499, "999k"),
        (4_000_000_000_000, "4T"),
    ],
)
def test_human(count: int, text: str) -> None:
    assert human(count) == text
