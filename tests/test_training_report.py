from __future__ import annotations

import json
import math
from collections import UserDict

import pytest
import torch
from nets import TinyFunctional, TinyNet, TinyResNet, TinySharedConv, perturb_
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.training.report import HEADER, entropy_of, kernel_spread


def attention_by_hand(conv: ds.DynamicConv2d, sample: Tensor) -> list[float]:
    attention = conv.attention
    pooled = sample.double().flatten(1).mean(1)
    hidden = (attention.fc1.weight.double() @ pooled + attention.fc1.bias.double()).clamp(min=0)
    z = attention.fc2.weight.double() @ hidden + attention.fc2.bias.double()
    scaled = [math.exp(v / float(attention.temperature)) for v in z.tolist()]
    return [v / sum(scaled) for v in scaled]


def test_the_numbers_of_one_layer_against_plain_loops() -> None:
    conv = ds.DynamicConv2d(3, 4, 3, config=ds.DynamicConvConfig(experts=3))
    perturb_(conv)
    x = torch.randn(7, 3, 5, 5)
    rows = [attention_by_hand(conv, sample) for sample in x]
    means = [sum(row[k] for row in rows) / 7 for k in range(3)]
    variances = [sum((row[k] - means[k]) ** 2 for row in rows) / 7 for k in range(3)]
    leads = [sum(max(row) == row[k] for row in rows) / 7 for k in range(3)]
    entropies = [-sum(p * math.log(p) for p in row) / math.log(3) for row in rows]
    bank = conv.weight.detach().double()
    mean = bank.mean(0)
    spread = ((bank - mean) ** 2).mean().sqrt() / (mean**2).mean().sqrt()

    report = ds.attention_report(nn.Sequential(conv), [x[:4], x[4:]])
    (site,) = report.sites
    assert (site.name, site.experts, site.temperature) == ("0", 3, 30.0)
    assert report.samples == 7
    assert site.entropy == pytest.approx(sum(entropies) / 7, rel=1e-5)
    assert site.variation == pytest.approx(math.sqrt(sum(variances) / 3), rel=1e-4)
    concentration = sum(p * p for row in rows for p in row) / 7
    assert site.concentration == pytest.approx(concentration, rel=1e-5)
    assert site.leads == pytest.approx(leads)
    assert site.spread == pytest.approx(float(spread), rel=1e-6)


def test_the_ends_of_entropy_and_spread() -> None:
    assert float(entropy_of(torch.full((5, 4), 0.25))) == pytest.approx(1.0)
    assert float(entropy_of(torch.eye(4))) == 0.0
    assert float(entropy_of(torch.ones(5, 1))) == 1.0
    kernel = torch.randn(1, 2, 3)
    assert kernel_spread(kernel.repeat(4, 1, 1)) == 0.0
    assert kernel_spread(torch.zeros(4, 2)) == 0.0
    assert kernel_spread(torch.tensor([[1.0], [-1.0]])) == math.inf


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_is(training: bool, tiny_dual: TinyNet) -> None:
    model = ds.convert(tiny_dual, tiny_dual.example()).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    report = ds.attention_report(model, [tiny_dual.example()])
    assert model.training is training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert len(report.sites) == len([m for m in model.modules() if isinstance(m, ds.DynamicConv2d)])


def test_it_says_the_same_in_any_batches(tiny_resnet: TinyNet) -> None:
    model = perturb_(ds.convert(tiny_resnet, tiny_resnet.example()))
    x = tiny_resnet.example(12)
    whole, pieces = ds.attention_report(model, [x]), ds.attention_report(model, torch.split(x, 5))
    for a, b in zip(whole.sites, pieces.sites, strict=True):
        assert a.entropy == pytest.approx(b.entropy, rel=1e-5)
        assert a.leads == pytest.approx(b.leads)


def test_forms_of_batches() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = perturb_(TinyResNet())

        def forward(self, images: Tensor) -> Tensor:
            y: Tensor = self.net(images)
            return y

    net = Named()
    x, labels = TinyResNet().example(6), torch.arange(6)
    model = ds.convert(net, x)
    reports = [
        ds.attention_report(model, batches)
        for batches in (
            [x],
            [(x, labels)],
            [[x, labels]],
            [{"images": x}],
            [UserDict(images=x)],
            [ds.Inputs(images=x)],
            iter([x]),
        )
    ]
    assert all(report == reports[0] for report in reports)
    assert reports[0].samples == 6


def test_a_site_that_runs_three_times_counts_them_all() -> None:
    net = perturb_(TinySharedConv())
    assert isinstance(net, TinyNet)
    model = ds.convert(net, net.example())
    report = ds.attention_report(model, [net.example(4)], samples=4)
    assert {site.name for site in report.sites} >= {"head"}
    assert report.samples == 4


def test_it_stops_when_it_has_seen_enough(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    endless = iter(lambda: tiny_resnet.example(4), None)
    assert ds.attention_report(model, endless, samples=10).samples == 12


def test_the_table_and_the_plain_values(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    report = ds.attention_report(model, [tiny_resnet.example(4)])
    lines = str(report).splitlines()
    assert lines[0].split() == list(HEADER)
    assert [line.split()[0] for line in lines[2:-1]] == [site.name for site in report.sites]
    assert lines[-1] == "4 samples"
    values = json.loads(json.dumps(report.to_dict()))
    assert values["sites"][0]["name"] == report.sites[0].name
    assert values["samples"] == 4
    assert type(report).from_dict(values) == report


def test_what_is_refused(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="TinyResNet has no dynamic convolution"):
        ds.attention_report(tiny_resnet, [tiny_resnet.example()])
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    with pytest.raises(ds.ConfigError, match="there is no sample in batches"):
        ds.attention_report(model, [])
    with pytest.raises(ds.ConfigError, match=r"got one Tensor: wrap it in \[ \]"):
        ds.attention_report(model, tiny_resnet.example())
    idle = nn.Sequential(nn.Identity())
    idle.spare = ds.DynamicConv2d(3, 3, 3)
    idle.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ds.UnsupportedModelError, match="no dynamic convolution ran"):
        ds.attention_report(idle, [torch.randn(2, 3, 4, 4)])


def test_a_site_that_does_not_run_is_noted() -> None:
    net = TinyFunctional()
    model = ds.convert(net, net.example())
    model.spare = ds.DynamicConv2d(3, 3, 3)
    report = ds.attention_report(model, [net.example()])
    assert report.notes == ("spare did not run on these batches",)
    assert str(report).endswith("note: spare did not run on these batches")
