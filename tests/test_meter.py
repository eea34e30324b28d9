"""Measured times: what is asked of onnxruntime, what is stored, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import TinyNet, TinySharedConv
from shared_traces import share_equal_traces
from test_excerpt import variants_of
from torch import nn

import dynsurgeon as ds
from dynsurgeon.budgets.meter import FLOOR, OnnxMeter
from dynsurgeon.config import MeasureConfig
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.timing import interleave
from dynsurgeon.timing.interleave import Timing

TIMES = {"static": (2.0, 1.0, 3.0), "0": (2.0, 1.5, 4.0), "1": (0.5, 0.6, 0.7), "dynamic": (3.0,)}


class Small(TinyNet):
    """Three sites behind a stem: little to export and to time."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.relu(self.conv(self.relu(self.stem(x))))
        return y


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Times that are known beforehand; the names of what was timed. Each candidate is run once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    share_equal_traces(monkeypatch)
    names: list[list[str]] = []

    def known(candidates: Mapping[str, Any], **settings: Any) -> dict[str, Timing]:
        for call in candidates.values():
            call()
        names.append(list(candidates))
        return {name: Timing(TIMES[name]) for name in candidates}

    monkeypatch.setattr(interleave, "interleaved", known)
    return names


def meter_of(net: TinyNet, **settings: Any) -> OnnxMeter:
    return OnnxMeter(net, Inputs(net.example()), MeasureConfig(threads=1, **settings))


def test_a_site_costs_the_difference_of_the_fastest_rounds(
    tiny_resnet: TinyNet, asked: list[list[str]]
) -> None:
    conv, *_ = [v for v in variants_of(tiny_resnet, tiny_resnet.example()) if v.experts]
    with meter_of(tiny_resnet) as meter:
        assert meter.site_seconds([conv, conv]) == [0.5, FLOOR]
    assert asked == [["static", "0", "1"]]


def test_what_was_measured_is_known_in_the_next_run(
    tiny_resnet: TinyNet, asked: list[list[str]]
) -> None:
    variants = variants_of(tiny_resnet, tiny_resnet.example())
    by_name = {variant.recipe.name: variant for variant in variants}
    with meter_of(tiny_resnet) as meter:
        first = meter.site_seconds([by_name["layer1.0.conv1"]])
    with meter_of(tiny_resnet) as meter:
        assert meter.site_seconds([by_name["layer1.0.conv1"]]) == first
        assert len(asked) == 1
        meter.site_seconds([by_name["layer1.0.conv2"]])  # another site of the same geometry
        assert len(asked) == 1
        meter.site_seconds([by_name["layer2.0.conv1"]])  # the same on another stride and width
        meter.site_seconds([by_name["layer1.0.relu"]])
        assert len(asked) == 3
    with meter_of(tiny_resnet, form="portable") as meter:
        meter.site_seconds([by_name["layer1.0.conv1"]])
        assert len(asked) == 4


def test_a_site_that_runs_at_several_sizes_costs_their_sum(asked: list[list[str]]) -> None:
    net = TinySharedConv()
    variants = {v.recipe.name: v for v in variants_of(net, net.example())}
    assert len(variants["head"].shapes) == 3
    with meter_of(net) as meter:
        assert meter.site_seconds([variants["head"]]) == [1.5]
    assert len(asked) == 3


def test_the_whole_is_compared_by_its_worse_ratio(asked: list[list[str]]) -> None:
    net = Small().eval()
    dynamic = ds.convert(net, net.example())
    with meter_of(net, form="plain") as meter:
        assert meter.static_seconds() == 2.0
        found = meter.network(dynamic)
        folder = Path(meter._folder.name)
        assert folder.exists()
    assert not folder.exists()
    assert asked == [["static"], ["static", "dynamic"]]
    assert (found.static_ms, found.dynamic_ms, found.ratio) == (2000.0, 3000.0, 1.5)
    assert (found.form, found.threads) == ("plain", 1)


def test_threads_of_torch_are_as_before(asked: list[list[str]]) -> None:
    net, before = Small().eval(), torch.get_num_threads()
    with OnnxMeter(net, Inputs(net.example()), MeasureConfig(threads=2)) as meter:
        meter.static_seconds()
    assert torch.get_num_threads() == before


def test_what_can_not_be_exported_can_not_be_measured(asked: list[list[str]]) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.act(self.conv(x))
            return y if y.sum() > 1e9 else y + 1

    net = Branching()
    config = ds.SurgeryConfig(latency_budget=2.0, skip_stem=False)
    with pytest.raises(ds.ExportError, match="a latency budget is measured in onnxruntime, and"):
        ds.plan(net, torch.randn(2, 3, 8, 8), config)
    assert ds.plan(net, torch.randn(2, 3, 8, 8), ds.SurgeryConfig(macs_budget=9.0)).converted


def test_a_plan_measured_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock is the machine's own, so that the budget is wide; the sites are those that fit.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    share_equal_traces(monkeypatch)
    net = Small().eval()
    x = net.example()
    config = ds.SurgeryConfig(
        latency_budget=1000.0, exclude=("relu_1",), measure=MeasureConfig(threads=1, rounds=3)
    )
    plan = ds.plan(net, x, config)
    assert [site.name for site in plan.converted] == ["relu", "conv"]
    assert all((site.measured_ms or 0) > 0 for site in plan.converted)
    assert plan.latency is not None
    assert 0 < plan.latency.ratio <= 1000
    assert ds.check_parity(net, ds.convert(net, x, plan), x).passed
    assert list((tmp_path / "dynsurgeon" / "latency").glob("*.json"))
