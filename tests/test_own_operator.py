"""An operator that dynsurgeon has never heard of goes all the way, from a plan to onnxruntime.

It is what a user writes: settings, a layer, one registration. Nothing else knows of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
import pytest
import torch
from finetune_helpers import SHAPE, blobs, static_net
from nets import TinyNet
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators.attention import squeeze_layer
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.registry import OPERATORS


@dataclass(frozen=True)
class GateConfig:
    """Settings of the gate."""

    reduction: int = 4


class GatedConv2d(ds.ConvolutionLayer):
    """``y = (W * x + b) 2 sigmoid(g(x))``, with a gate a channel that starts at 1."""

    def __init__(self, static: StaticConv, config: GateConfig) -> None:
        super().__init__()
        self.stride, self.padding = static.stride, static.padding
        self.dilation, self.groups = static.dilation, static.groups
        self.weight = nn.Parameter(static.weight.detach().clone())
        bias = static.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        like: dict[str, Any] = {"device": static.weight.device, "dtype": static.weight.dtype}
        self.fc1 = squeeze_layer(static.in_channels, config.reduction, **like)
        self.fc2 = nn.Linear(self.fc1.out_features, static.out_channels, **like)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    @classmethod
    def from_static(cls, static: StaticConv, config: GateConfig | None = None) -> Self:
        return cls(static, config or GateConfig()).train(static.training)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        gate = 2 * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return y * gate[:, :, None, None]

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        head = self.fc1.weight.numel() + self.fc2.weight.numel()
        return math.prod(taken[1:]) + head + math.prod(given[1:])

    def heads(self) -> Iterable[ds.Head]:
        yield ds.Head(self.fc2, 1.0, self.fc1)

    def held(self) -> Iterable[str]:
        return ("weight", "bias")

    def static_obstacle(self) -> str | None:
        learned = self.fc2.weight.any() or self.fc2.bias.any()
        return "has a gate that depends on its input" if learned else None

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        return {"weight": self.weight, "bias": self.bias}


GATE = ds.Operator("gate", "conv", GateConfig, {nn.Conv2d: GatedConv2d})


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    ds.register_operator(GATE)
    yield
    OPERATORS.remove(GATE)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def learned(model: nn.Module) -> nn.Module:
    """Give every gate something to say."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, GatedConv2d):
                module.fc2.weight.normal_(generator=generator)
    return model


def gated(net: nn.Module, x: Tensor, **settings: Any) -> nn.Module:
    return ds.convert(net, x, ds.SurgeryConfig(conv="gate", **settings))


def test_it_is_planned_with_its_cost(tiny_resnet: TinyNet, x: Tensor) -> None:
    plan = ds.plan(tiny_resnet, x, ds.SurgeryConfig(conv=GateConfig(reduction=1), activation=None))
    assert {site.operator for site in plan.converted} == {"GatedConv2d"}
    for site in plan.converted:
        conv = tiny_resnet.get_submodule(site.name)
        assert isinstance(conv, nn.Conv2d)
        hidden = max(conv.in_channels, 4)
        head = (conv.in_channels + 1) * hidden + (hidden + 1) * conv.out_channels
        assert site.params_after - site.params_before == head
        assert site.macs_after > site.macs_before


def test_it_converts_exactly_and_is_proven(tiny_net: TinyNet, x: Tensor) -> None:
    dynamic = gated(tiny_net, x)
    assert torch.equal(dynamic.eval()(x), tiny_net.eval()(x))
    receipt = ds.check_parity(tiny_net, dynamic, x)
    assert receipt.passed
    assert receipt.gradient_rel is not None
    wrong = learned(ds.convert(tiny_net, x, ds.SurgeryConfig(conv="gate")))
    assert not ds.check_parity(tiny_net, wrong, x).passed


def test_a_gradient_that_it_loses_is_found(
    tiny_net: TinyNet, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamic = gated(tiny_net, x, activation=None)
    whole = GatedConv2d.forward
    monkeypatch.setattr(GatedConv2d, "forward", lambda self, x: whole(self, x.detach()))
    assert not ds.check_parity(tiny_net, dynamic, x).passed


def test_it_is_saved_and_loaded(tiny_net: TinyNet, x: Tensor, tmp_path: Path) -> None:
    dynamic = learned(gated(tiny_net, x))
    ds.save(dynamic, tmp_path)
    again = ds.load(tmp_path, tiny_net)
    assert torch.equal(again.eval()(x), dynamic.eval()(x))


def test_a_recipe_of_an_operator_that_is_not_registered(
    tiny_net: TinyNet, x: Tensor, tmp_path: Path
) -> None:
    ds.save(gated(tiny_net, x), tmp_path)
    OPERATORS.remove(GATE)
    try:
        with pytest.raises(ds.StorageError, match=r"unknown operator 'GatedConv2d'.*register"):
            ds.load(tmp_path, tiny_net)
    finally:
        OPERATORS.append(GATE)


def test_it_is_restored_while_it_has_learned_nothing(tiny_net: TinyNet, x: Tensor) -> None:
    dynamic = gated(tiny_net, x)
    static = ds.restore(dynamic)
    assert {k: type(m) for k, m in static.named_modules()} == {
        k: type(m) for k, m in tiny_net.named_modules()
    }
    assert torch.equal(static.eval()(x), tiny_net.eval()(x))
    with pytest.raises(ds.RestoreError, match="has a gate that depends on its input"):
        ds.restore(learned(dynamic))


def test_it_is_trained_in_groups_of_its_own(tiny_net: TinyNet, x: Tensor) -> None:
    dynamic = gated(tiny_net, x, activation=None)
    groups = {group["name"]: group for group in ds.parameter_groups(dynamic, 0.1)}
    heads = {p for m in dynamic.modules() if isinstance(m, GatedConv2d)
             for p in (m.fc1.weight, m.fc2.weight)}  # fmt: skip
    assert set(groups["head"]["params"]) == heads
    optimizer = torch.optim.SGD(ds.parameter_groups(dynamic, 0.1), momentum=0.9)
    ds.balance_banks(optimizer, dynamic)
    before = {p: p.detach().clone() for p in heads}
    for _ in range(2):  # the hidden layer gets a gradient once the last one has moved
        dynamic.train()(x).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(p, before[p]) for p in heads)


def test_it_is_fine_tuned() -> None:
    net = static_net()
    dynamic = ds.convert(net, torch.randn(1, *SHAPE), ds.SurgeryConfig(conv="gate"))
    settings = ds.FinetuneSettings(epochs=1, batch=8, lr=0.05)
    result = ds.finetune(dynamic, blobs(), settings)
    gates = [m for m in result.model.modules() if isinstance(m, GatedConv2d)]
    assert gates
    assert all(m.fc2.weight.any() for m in gates)


def test_it_is_exported_with_a_free_batch(tiny_net: TinyNet, x: Tensor, tmp_path: Path) -> None:
    dynamic = learned(gated(tiny_net, x)).eval()
    result = ds.export_onnx(dynamic, tmp_path / "net.onnx", x[:1])
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    for images in (x[:1], x):
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(found, dynamic(images).detach().numpy(), rtol=1e-3, atol=1e-5)
    assert result.passed


def test_sites_can_have_different_operators(tiny_resnet: TinyNet, x: Tensor) -> None:
    names = [
        site.name for site in ds.plan(tiny_resnet, x).converted if "Conv" in str(site.operator)
    ]
    overrides = {names[0]: {"conv": "gate", "conv.reduction": 1}}
    dynamic = ds.convert(tiny_resnet, x, ds.SurgeryConfig(overrides=overrides))
    first = dynamic.get_submodule(names[0])
    assert isinstance(first, GatedConv2d)
    assert first.fc1.out_features == max(first.fc1.in_features, 4)
    assert isinstance(dynamic.get_submodule(names[1]), ds.DynamicConv2d)
    assert torch.equal(dynamic.eval()(x), tiny_resnet.eval()(x))


def test_a_site_that_it_has_no_layer_for_says_so(x: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 3, 3), nn.Conv2d(3, 3, 1))
    plan = ds.plan(net, x, ds.SurgeryConfig(conv="gate"))
    reasons = {site.name: site.reason for site in plan.skipped}
    assert reasons["1"] == "the operator gate has no form of ConvTranspose2d"


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (ds.Operator("gate", "conv", GateConfig, {nn.Conv2d: GatedConv2d}), "there is an operator"),
        (ds.Operator("door", "conv", GateConfig, {nn.Conv2d: GatedConv2d}), "are those of 'gate'"),
        (ds.Operator("door", "conv", dict, {}), "must be a dataclass"),
    ],
)
def test_what_can_not_be_told_apart_is_refused(operator: ds.Operator, message: str) -> None:
    with pytest.raises(ds.ConfigError, match=message):
        ds.register_operator(operator)


def test_a_layer_of_a_taken_name_is_refused() -> None:
    @dataclass(frozen=True)
    class Other:
        pass

    layer = type("DynamicConv2d", (GatedConv2d,), {})
    with pytest.raises(ds.ConfigError, match="is called DynamicConv2d already"):
        ds.register_operator(ds.Operator("door", "conv", Other, {nn.Conv2d: layer}))
