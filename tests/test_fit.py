"""Budgeted plans: exact sums, a meter that knows its answers, reasons, and the recipe by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import TinyNet, TinyResNet
from surgery_nets import dynamic_layers, images
from torch import nn

import dynsurgeon as ds
from dynsurgeon.budgets.meter import Meter
from dynsurgeon.config import DynamicConvConfig, MeasureConfig
from dynsurgeon.operators import DynamicConv
from dynsurgeon.planning import plan_in_place
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.decide.draft import Variant
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.surgery.decide.rows import Latency


class FakeMeter:
    """Every layer takes what it is told; the whole takes the static time and all of it."""

    def __init__(
        self, seconds: Callable[[Variant], float] = lambda variant: 0.1, factor: float = 1.0
    ) -> None:
        self.seconds, self.factor = seconds, factor
        self.known: dict[tuple[str, int | None], float] = {}
        self.measured: list[list[str]] = []

    def static_seconds(self) -> float:
        return 10.0

    def site_seconds(self, variants: Sequence[Variant]) -> list[float]:
        found = [self.seconds(variant) for variant in variants]
        for variant, seconds in zip(variants, found, strict=True):
            self.known[variant.recipe.name, variant.experts] = seconds
        return found

    def network(self, dynamic: nn.Module) -> Latency:
        layers = dynamic_layers(dynamic)
        self.measured.append(list(layers))
        added = self.factor * sum(
            self.known[name, getattr(layer, "experts", None)] for name, layer in layers.items()
        )
        return Latency(10e3, 1e3 * (10 + added), (10 + added) / 10, "rule", 1)


def plan(net: nn.Module, x: Any, meter: Meter | None = None, **settings: Any) -> Plan:
    return plan_in_place(net, Inputs(x), ds.SurgeryConfig(**settings), meter)


@pytest.mark.parametrize("budget", [1.02, 1.05, 1.08])
def test_multiply_adds_stay_within(tiny_resnet: TinyNet, budget: float) -> None:
    found = ds.plan(tiny_resnet, tiny_resnet.example(), ds.SurgeryConfig(macs_budget=budget))
    assert found.converted
    assert found.macs_after <= budget * found.macs_before
    left_out = [s for s in found.skipped if "budget" in str(s.reason)]
    assert left_out
    for site in left_out:
        assert "left out by the MACs budget: +" in str(site.reason)
        assert "% of the dynamic capacity" in str(site.reason)


@pytest.mark.parametrize("budget", [1.5, 2.0, 3.0])
def test_parameters_stay_within(tiny_resnet: TinyNet, budget: float) -> None:
    found = ds.plan(tiny_resnet, tiny_resnet.example(), ds.SurgeryConfig(params_budget=budget))
    assert found.converted
    assert found.params_after <= budget * found.params_before


def test_two_budgets_hold_both(tiny_resnet: TinyNet) -> None:
    config = ds.SurgeryConfig(params_budget=1.5, macs_budget=1.03)
    found = ds.plan(tiny_resnet, tiny_resnet.example(), config)
    assert found.params_after <= 1.5 * found.params_before
    assert found.macs_after <= 1.03 * found.macs_before
    assert any("and" in str(s.reason) and "budgets" in str(s.reason) for s in found.skipped)


def test_a_wide_budget_is_no_budget(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    wide = ds.plan(tiny_net, x, ds.SurgeryConfig(params_budget=100.0, macs_budget=100.0))
    free = ds.plan(tiny_net, x)
    assert [s.name for s in wide.converted] == [s.name for s in free.converted]
    assert wide.recipe.sites == free.recipe.sites
    assert wide.recipe.owners == free.recipe.owners


def test_kernels_are_fewer_where_that_helps() -> None:
    # The second kernel of one layer gives more than the third and fourth of another.
    net = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(5)))
    found = ds.plan(net, images(2, 8), ds.SurgeryConfig(params_budget=2.0, activation=None))
    assert [site.experts for site in found.converted] == [2, 2, 2, 2]
    assert [site.settings["experts"] for site in found.recipe.sites] == [2, 2, 2, 2]
    assert "DynamicConv2d (K = 2)" in str(found)
    wider = ds.plan(net, images(2, 8), ds.SurgeryConfig(params_budget=3.0, activation=None))
    assert sorted(site.experts or 0 for site in wider.converted) == [2, 2, 4, 4]


@pytest.mark.parametrize(("most", "counts"), [(1, set()), (2, {2}), (3, {2, 3}), (8, {2, 4, 8})])
def test_the_numbers_of_kernels_to_choose_from(most: int, counts: set[int]) -> None:
    meter = FakeMeter()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    settings = {"conv": DynamicConvConfig(experts=most), "latency_budget": 1.9}
    if not counts:  # one kernel does not depend on the input
        with pytest.raises(ds.NoSiteError, match="no site fits"):
            plan(net, images(), meter, **settings)
        return
    plan(net, images(), meter, **settings)
    assert {experts for _, experts in meter.known} == counts


def test_latency_is_met_by_measuring_and_shown(tiny_resnet: TinyNet) -> None:
    meter = FakeMeter(lambda variant: 0.3, factor=2.0)
    found = plan(tiny_resnet, tiny_resnet.example(), meter, latency_budget=1.2)
    assert found.latency is not None
    assert 1.1 < found.latency.ratio <= 1.2
    assert len(found.converted) == 3
    assert [s.name for s in found.converted] == sorted(
        meter.measured[-1], key=[s.name for s in found.sites].index
    )
    text = str(found)
    assert "+300.000 ms" in text
    assert "left out by the latency budget: +300.000 ms for" in text
    assert "10000.00 -> " in text
    assert "measured in onnxruntime at batch 1, 1 threads, form rule" in text
    values = json.loads(json.dumps(found.to_dict()))
    assert values["latency"]["ratio"] == found.latency.ratio
    rows = {row["name"]: row for row in values["sites"]}
    assert "measured_ms" not in rows["conv1"]
    assert rows["relu"]["measured_ms"] == pytest.approx(300.0)


def test_a_plan_without_a_budget_shows_no_measurements(tiny_resnet: TinyNet) -> None:
    values = ds.plan(tiny_resnet, tiny_resnet.example()).to_dict()
    assert "latency" not in values
    assert all("measured_ms" not in row and "experts" not in row for row in values["sites"])


def test_the_cheapest_gain_comes_first(tiny_resnet: TinyNet) -> None:
    def seconds(variant: Variant) -> float:
        return 0.01 if variant.recipe.name == "layer1.0.conv2" else 0.5

    found = plan(tiny_resnet, tiny_resnet.example(), FakeMeter(seconds), latency_budget=1.01)
    assert [s.name for s in found.converted] == ["layer1.0.conv2"]
    (site,) = found.converted
    assert site.experts == 4
    assert site.measured_ms == pytest.approx(10.0)


def test_an_activation_counts_the_convolution_before_it() -> None:
    # Both activations are alike, but behind the larger convolution one decides on more.
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
    )
    found = plan(net, images(), FakeMeter(lambda v: 0.1), latency_budget=1.01, conv=None)
    assert [s.name for s in found.converted] == ["3"]


def test_it_is_deterministic_given_the_times(tiny_resnet: TinyNet) -> None:
    plans = [
        plan(tiny_resnet, tiny_resnet.example(), FakeMeter(factor=1.7), latency_budget=1.04)
        for _ in range(2)
    ]
    assert plans[0] == plans[1]


def test_a_preset_and_patterns_come_before_the_budget(tiny_resnet: TinyNet) -> None:
    meter = FakeMeter()
    found = plan(
        tiny_resnet,
        tiny_resnet.example(),
        meter,
        latency_budget=2.0,
        include=("layer1.*",),
        exclude=("layer1.0.conv1",),
    )
    assert {name for name, _ in meter.known} == {
        "layer1.0.conv2",
        "layer1.0.relu",
        "layer1.0.relu_1",
    }
    assert len(found.converted) == 3


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"latency_budget": 1.005}, r"no site fits the latency budget of 1\.005: the cheapest, .*"
         r"adds \+100\.000 ms, which makes 1\.01 times"),
        ({"macs_budget": 1.0}, r"no site fits the MACs budget of 1: the cheapest, .* MACs, which"),
        ({"params_budget": 1.001}, r"parameter budget of 1\.001: .* parameters, which makes 1\.0"),
    ],
)  # fmt: skip
def test_a_budget_that_no_site_fits_says_what_the_least_costs(
    tiny_resnet: TinyNet, settings: dict[str, float], text: str
) -> None:
    with pytest.raises(ds.NoSiteError, match=text):
        plan(tiny_resnet, tiny_resnet.example(), FakeMeter(), **settings)


def test_a_network_that_never_meets_it_is_refused(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.NoSiteError, match="nothing was measured within the latency budget"):
        plan(tiny_resnet, tiny_resnet.example(), FakeMeter(factor=100.0), latency_budget=1.05)


def test_without_any_site_no_budget_is_to_blame() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert plan(net, images(), FakeMeter(), latency_budget=1.1).sites == ()
    with pytest.raises(ds.NoSiteError, match="no convolution and no ReLU"):
        ds.convert(net, images(), ds.SurgeryConfig(macs_budget=1.1))


@pytest.mark.parametrize("budget", [0.99, 0, -1, float("nan"), float("inf"), "wide", True])
@pytest.mark.parametrize("name", ["latency_budget", "macs_budget", "params_budget"])
def test_a_budget_below_one_is_refused(name: str, budget: Any) -> None:
    with pytest.raises(ds.ConfigError, match="budget is a ratio, dynamic over static, of at least"):
        ds.SurgeryConfig(**{name: budget})


def test_convert_keeps_the_budget_and_loads_without_it(tmp_path: Path, tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    config = ds.SurgeryConfig(params_budget=2.0)
    dynamic = ds.convert(tiny_net, x, config)
    before = sum(p.numel() for p in tiny_net.parameters())
    assert before < sum(p.numel() for p in dynamic.parameters()) <= 2 * before
    assert ds.check_parity(tiny_net, dynamic, x).passed
    ds.save(dynamic, tmp_path)
    again = ds.load(tmp_path, tiny_net)
    assert [*dynamic_layers(again)] == [*dynamic_layers(dynamic)]
    assert torch.equal(again.eval()(x), dynamic.eval()(x))
    left = set(dynamic_layers(ds.convert(tiny_net, x))) - set(dynamic_layers(dynamic))
    assert left, "the budget left nothing out"


def test_convert_applies_a_plan_as_it_is(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    made = plan_in_place(tiny_net, Inputs(x), ds.SurgeryConfig(latency_budget=1.03), FakeMeter())
    dynamic = ds.convert(tiny_net, x, made)
    assert {s.name for s in made.converted} == set(dynamic_layers(dynamic))
    assert ds.check_parity(tiny_net, dynamic, x).passed
    for site in made.converted:
        layer = dynamic_layers(dynamic)[site.name]
        assert not isinstance(layer, DynamicConv) or layer.experts == site.experts


def test_a_plan_of_another_model_is_refused(tiny_resnet: TinyNet, tiny_mobile: TinyNet) -> None:
    made = ds.plan(tiny_resnet, tiny_resnet.example())
    with pytest.raises(ds.StorageError, match="made for"):
        ds.convert(tiny_mobile, tiny_mobile.example(), made)


def test_the_patient_is_left_static(tiny_resnet: TinyNet) -> None:
    ds.plan(tiny_resnet, tiny_resnet.example(), ds.SurgeryConfig(macs_budget=1.05))
    plan(tiny_resnet, tiny_resnet.example(), FakeMeter(), latency_budget=1.05)
    assert dynamic_layers(tiny_resnet) == {}
    assert isinstance(tiny_resnet, TinyResNet)


def test_the_configuration_survives_json() -> None:
    config = ds.SurgeryConfig(
        latency_budget=1.15,
        macs_budget=1.1,
        params_budget=2,
        preset="balanced",
        measure=MeasureConfig(form="plain", threads=2, rounds=7),
    )
    values = json.loads(json.dumps(config.to_dict()))
    assert ds.SurgeryConfig.from_dict(values) == config
    assert values["measure"] == {
        "form": "plain",
        "this_cpu": False,
        "threads": 2,
        "rounds": 7,
    }
