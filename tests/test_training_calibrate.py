from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet, TinyResNet, perturb_
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.recipe import recipe_of


def data(net: TinyNet, samples: int = 120) -> list[tuple[Tensor, Tensor]]:
    """Samples of four kinds that differ in the mean of their channels, and labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, *net.input_shape, generator=generator)
    kinds = torch.randn(4, net.input_shape[0], 1, 1, generator=generator) * 2
    labels = torch.arange(samples) % 10
    x = x + kinds[torch.arange(samples) % 4]
    return list(zip(torch.split(x, 50), torch.split(labels, 50), strict=True))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_function_stays_bit_for_bit(tiny_net: TinyNet) -> None:
    samples = data(tiny_net)
    model = ds.convert(tiny_net, tiny_net.example())
    before, banks = model(samples[0][0]), state(model)
    flags = [m.training for m in model.modules()]
    ds.calibrate(model, samples)
    assert torch.equal(model(samples[0][0]), before)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, banks[n])}
    assert changed
    assert all(".attention." in name for name in changed)
    assert [m.training for m in model.modules()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_it_is_fitted_to_what_training_sees(tiny_resnet: TinyNet) -> None:
    """A network that was pretrained on other images: its running statistics are of those."""
    with torch.no_grad():
        for module in tiny_resnet.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean += 2.0
    samples = data(tiny_resnet)
    entropies = {}
    for statistics in ("batch", "running"):
        model = ds.convert(tiny_resnet, tiny_resnet.example())
        before = state(model)
        ds.calibrate(model, samples, statistics=statistics)
        assert all(torch.equal(v, before[n]) for n, v in state(model).items() if "running" in n)
        ds.update_batch_norm(model, samples)  # as the statistics of a batch are
        sites = ds.attention_report(model, samples).sites
        entropies[statistics] = [site.entropy for site in sites]
    assert all(abs(found - 0.65) < 0.1 for found in entropies["batch"])
    assert any(abs(found - 0.65) > 0.15 for found in entropies["running"])


def test_samples_that_come_one_by_one_have_no_statistics(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    x = torch.cat([images for images, _ in data(tiny_resnet, 20)])
    with pytest.raises(ds.ConfigError, match="each batch holds a single sample"):
        ds.calibrate(model, torch.split(x, 1))
    assert ds.calibrate(model, torch.split(x, 1), statistics="running").samples == 20
    assert ds.calibrate(model, [x[:19], x[19:]]).samples == 19
    with pytest.raises(ds.ConfigError, match="statistics must be 'batch' or 'running'"):
        ds.calibrate(model, [x], statistics="both")  # type: ignore[arg-type]


@pytest.mark.parametrize(("entropy", "temperature"), [(0.65, 1.0), (0.3, 1.0), (0.8, 30.0)])
def test_the_attention_has_the_entropy_and_every_kernel_its_share(
    entropy: float, temperature: float, tiny_resnet: TinyNet
) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    samples = data(tiny_resnet)
    report = ds.calibrate(
        model, samples, entropy=entropy, temperature=temperature, statistics="running"
    )
    for site in report.sites:
        assert site.entropy == pytest.approx(entropy, abs=0.01)
        assert site.temperature == temperature
        assert site.spread == 0.0
        assert min(site.leads) > 0.05
        assert site.variation > 0.04
    again = ds.attention_report(model, samples)
    for before, after in zip(report.sites, again.sites, strict=True):
        assert before.entropy == pytest.approx(after.entropy, rel=1e-4)
        assert before.leads == pytest.approx(after.leads, abs=0.02)


def test_samples_of_four_kinds_lead_to_four_kernels() -> None:
    conv = ds.DynamicConv2d.from_static(nn.Conv2d(16, 4, 3))
    centres = torch.eye(16)[:4] * 5
    kinds = torch.arange(200) % 4
    x = centres[kinds].view(200, 16, 1, 1) + torch.randn(200, 16, 6, 6) * 0.5
    model = nn.Sequential(conv)
    ds.calibrate(model, [x], entropy=0.4)
    leading = conv.attention(x).argmax(1)
    routes = {(int(kind), int(k)) for kind, k in zip(kinds, leading, strict=True)}
    assert len(routes) == 4
    assert {k for _, k in routes} == {0, 1, 2, 3}


def test_each_attention_can_keep_its_temperature(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    convs = [m for m in model.modules() if isinstance(m, ds.DynamicConv2d)]
    convs[0].attention.temperature.fill_(7.0)
    report = ds.calibrate(model, data(tiny_resnet), temperature=None)
    assert [site.temperature for site in report.sites] == [7.0, *[30.0] * (len(convs) - 1)]
    assert all(site.entropy == pytest.approx(0.65, abs=0.01) for site in report.sites)


def test_kernels_separate_at_once() -> None:
    torch.manual_seed(0)
    spreads = {}
    for calibrated in (False, True):
        net = TinyResNet()
        model = ds.convert(net, net.example())
        samples = data(net)
        if calibrated:
            ds.calibrate(model, samples)
        optimizer = torch.optim.SGD(ds.parameter_groups(model, 0.05))
        for x, y in samples * 3:
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x), y))
            optimizer.step()
        report = ds.attention_report(model, samples)
        spreads[calibrated] = sum(site.spread for site in report.sites)
    assert spreads[True] > 5 * spreads[False]


def test_the_same_seed_gives_the_same_attention(tiny_resnet: TinyNet) -> None:
    states = []
    for seed in (3, 3):
        model = ds.convert(tiny_resnet, tiny_resnet.example())
        ds.calibrate(model, data(tiny_resnet), seed=seed)
        states.append(state(model))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_randomness_outside_is_not_touched(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    before = torch.random.get_rng_state()
    ds.calibrate(model, data(tiny_resnet))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_constant_inputs_leave_the_attention_alone(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    before = state(model)
    report = ds.calibrate(model, [torch.ones(20, 3, 16, 16)])
    assert len(report.notes) == len(report.sites)
    assert "attention left as it was, its input does not vary" in report.notes[0]
    after = model.state_dict()
    assert all(torch.equal(v, after[n]) for n, v in before.items() if "temperature" not in n)


def test_one_kernel_and_too_few_samples_are_noted(tiny_resnet: TinyNet) -> None:
    single = ds.SurgeryConfig(conv=ds.DynamicConvConfig(experts=1))
    model = ds.convert(tiny_resnet, tiny_resnet.example(), single)
    assert ds.calibrate(model, data(tiny_resnet)).notes[0].endswith("K is 1")
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    assert "3 samples are too few" in ds.calibrate(model, [tiny_resnet.example(3)]).notes[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    net = TinyResNet().to(dtype).eval()
    model = ds.convert(net, net.example())
    samples = [(x.to(dtype), y) for x, y in data(net)]
    before = model(samples[0][0])
    ds.calibrate(model, samples)
    assert torch.equal(model(samples[0][0]), before)


def test_frozen_networks_are_calibrated_too(tiny_resnet: TinyNet) -> None:
    tiny_resnet.requires_grad_(False)
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    before = [p.requires_grad for p in model.parameters()]
    report = ds.calibrate(model, data(tiny_resnet))
    assert not report.notes
    assert [p.requires_grad for p in model.parameters()] == before


def test_kernels_that_differ_are_refused(tiny_resnet: TinyNet) -> None:
    model = perturb_(ds.convert(tiny_resnet, tiny_resnet.example()))
    before = state(model)
    with pytest.raises(ds.UnsupportedModelError, match=r"layer1\.0\.conv1.* differ, so another"):
        ds.calibrate(model, data(tiny_resnet))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    zero_sum = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"))
    model = ds.convert(tiny_resnet, tiny_resnet.example(), zero_sum)
    with pytest.raises(ds.UnsupportedModelError, match="start='identical'"):
        ds.calibrate(model, data(tiny_resnet))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entropy": 1.0}, "entropy must be between 0 and 1, got 1.0"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"shrinkage": -1}, "shrinkage must be a number above 0"),
        ({"samples": 0}, "samples must be a whole number of at least 1"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str, tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    with pytest.raises(ds.ConfigError, match=message):
        ds.calibrate(model, data(tiny_resnet), **arguments)


def test_a_static_model_is_refused(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="no dynamic convolution; convert it first"):
        ds.calibrate(tiny_resnet, data(tiny_resnet))


def test_the_recipe_records_the_fit_and_keeps_it(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    x = tiny_resnet.example()
    model = ds.convert(tiny_resnet, x)
    assert recipe_of(model).fitted is False
    ds.calibrate(nn.Sequential(model), data(tiny_resnet))
    assert recipe_of(model).fitted is True
    assert recipe_of(copy.deepcopy(model)).fitted is True
    ds.save(model, tmp_path)
    loaded = ds.load(tmp_path, tiny_resnet)
    assert recipe_of(loaded).fitted is True
    again = ds.convert(ds.restore(loaded), x)
    assert recipe_of(again).fitted is False


def test_what_could_not_be_fitted_is_not_recorded(tiny_resnet: TinyNet) -> None:
    model = ds.convert(tiny_resnet, tiny_resnet.example())
    report = ds.calibrate(model, [torch.zeros(2, 3, 16, 16)])
    assert report.notes
    assert recipe_of(model).fitted is False


def test_odconv_is_calibrated_and_its_factors_stay(tiny_resnet: TinyNet) -> None:
    config = ds.SurgeryConfig(conv=ds.ODConvConfig(experts=4), activation=None)
    model = ds.convert(tiny_resnet, tiny_resnet.example(), config)
    samples = data(tiny_resnet)
    before, former = model(samples[0][0]), state(model)
    ds.calibrate(model, samples)
    assert torch.equal(model(samples[0][0]), before)
    changed = {n for n, v in state(model).items() if not torch.equal(v, former[n])}
    assert changed
    assert all(".attention." in name for name in changed)
    ds.update_batch_norm(model, samples)
    entropies = [site.entropy for site in ds.attention_report(model, samples).sites]
    assert all(abs(found - 0.65) < 0.1 for found in entropies)
