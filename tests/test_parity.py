from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import TinyNet, perturb_
from surgery_nets import (
    EVERY,
    Arguments,
    Grandparent,
    Kernels,
    Nested,
    SharedPReLU,
    Structures,
    dynamic_layers,
    images,
)
from torch import Tensor, nn

import dynsurgeon as ds

CONV = "layer2.0.conv1"


def pair(net: TinyNet, start: Any = "identical") -> tuple[Any, Tensor]:
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start=start, temperature=2.0))
    return ds.convert(net, net.example(), config), net.example()


@pytest.mark.parametrize("start", ["identical", "zero-sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_converted_network_passes(start: Any, dtype: torch.dtype, tiny_net: TinyNet) -> None:
    dynamic, x = pair(tiny_net.to(dtype), start)
    receipt = ds.check_parity(tiny_net, dynamic, x)
    assert receipt.passed
    assert receipt.tolerance == {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert receipt.max_rel <= receipt.tolerance
    assert receipt.modes == ("eval", "train")
    assert {site.name for site in receipt.sites} == set(dynamic_layers(dynamic))
    assert receipt.max_rel == max(receipt.output_rel.values())


def _perturb_one_kernel(dynamic: Any) -> None:
    with torch.no_grad():
        dynamic.get_submodule(CONV).weight[1] += 0.3


def _perturb_a_bias(dynamic: Any) -> None:
    with torch.no_grad():
        dynamic.layer1[0].relu_1.fc2.bias += 0.3


def _swap(dynamic: Any) -> None:
    block = dynamic.layer1[0]
    block.conv1, block.conv2 = block.conv2, block.conv1


def _swap_activations(dynamic: Any) -> None:
    perturb_(dynamic.layer2[0].relu)
    block = dynamic.layer2[0]
    block.relu, block.relu_1 = block.relu_1, block.relu


def _replace(dynamic: Any) -> None:
    dynamic.layer2[0].bn2 = nn.Identity()


def _break(dynamic: Any) -> None:
    dynamic.layer2[0].conv1, dynamic.layer1[0].conv1 = (
        dynamic.layer1[0].conv1,
        dynamic.layer2[0].conv1,
    )


def _only_in_train_mode(dynamic: Any) -> None:
    dynamic.fc.register_forward_hook(
        lambda module, args, output: output * 1.01 if module.training else output
    )


TAMPERED: dict[str, tuple[Callable[[Any], None], str | None]] = {
    "one kernel": (_perturb_one_kernel, CONV),
    "an activation": (_perturb_a_bias, "layer1.0.relu_1"),
    "swapped convolutions": (_swap, None),
    "swapped activations": (_swap_activations, None),
    "a static layer": (_replace, None),
    "broken": (_break, None),
    "train mode alone": (_only_in_train_mode, None),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_network_fails(what: str, tiny_resnet: TinyNet) -> None:
    tamper, site = TAMPERED[what]
    dynamic, x = pair(tiny_resnet)
    tamper(dynamic)
    receipt = ds.check_parity(tiny_resnet, dynamic, x)
    assert not receipt.passed
    assert receipt.max_rel > receipt.tolerance
    assert "FAILED" in str(receipt)
    if site is not None:
        # Everything before the site is exact; it is the first that is not, and among the worst.
        first = next(s for s in receipt.sites if s.max_rel > 1e-4)
        assert first.name == site
        assert site in {s.name for s in receipt.worst_sites(len(receipt.sites) // 2)}
    if what == "train mode alone":
        assert receipt.output_rel["eval"] <= receipt.tolerance < receipt.output_rel["train"]


def test_the_worst_site_is_named_when_it_is_the_only_one(tiny_mobile: TinyNet) -> None:
    dynamic, x = pair(tiny_mobile)
    with torch.no_grad():
        dynamic.features[4][0].weight[0] += 1
    receipt = ds.check_parity(tiny_mobile, dynamic, x)
    assert not receipt.passed
    assert {s.name for s in receipt.worst_sites(2)} == {"features.4.0"}


@pytest.mark.parametrize("kind", [Kernels, SharedPReLU, Grandparent, Nested, Arguments])
def test_difficult_networks_fail_once_perturbed(kind: type[TinyNet]) -> None:
    net = kind()
    dynamic = ds.convert(net, net.example(), EVERY)
    assert ds.check_parity(net, dynamic, net.example()).passed
    receipt = ds.check_parity(net, perturb_(dynamic), net.example())
    assert not receipt.passed
    assert {s.name for s in receipt.sites} == set(dynamic_layers(dynamic))


def test_nested_inputs() -> None:
    net = Structures()
    dynamic = ds.convert(net, net.example(), EVERY)
    assert ds.check_parity(net, dynamic, net.example()).passed
    assert not ds.check_parity(net, perturb_(dynamic), net.example()).passed


def test_the_inputs_are_fresh_and_follow_the_seed(tiny_resnet: TinyNet) -> None:
    seen: list[Tensor] = []
    dynamic, x = pair(tiny_resnet)
    perturb_(dynamic)
    tiny_resnet.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    receipts = [ds.check_parity(tiny_resnet, dynamic, x, seed=seed) for seed in (0, 0, 1)]
    assert not any(torch.equal(x, one[: len(x)]) for one in seen)
    assert receipts[0].max_abs == receipts[1].max_abs != receipts[2].max_abs


def test_both_models_are_left_as_they_were(tiny_dual: TinyNet) -> None:
    dynamic, x = pair(tiny_dual)
    net: Any = nn.Sequential(nn.BatchNorm2d(3), tiny_dual).train()
    other: Any = nn.Sequential(copy.deepcopy(net[0]), dynamic).train()
    config = ds.SurgeryConfig()
    other = ds.convert(net, x, config)
    net[0].eval()
    for tampered in (False, True):
        if tampered:
            perturb_(other)
        before = [
            ({n: v.clone() for n, v in m.state_dict().items()}, [c.training for c in m.modules()])
            for m in (net, other)
        ]
        states = random.getstate(), torch.get_rng_state()
        assert ds.check_parity(net, other, x).passed != tampered
        for model, (state, modes) in zip((net, other), before, strict=True):
            assert all(torch.equal(state[n], v) for n, v in model.state_dict().items())
            assert [c.training for c in model.modules()] == modes
        assert random.getstate() == states[0]
        assert torch.equal(torch.get_rng_state(), states[1])
        assert x.equal(tiny_dual.example())


class Sensitive(TinyNet):
    """BatchNorm over nearly equal values blows their roundings up a thousandfold."""

    input_shape = (3, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        nn.init.normal_(self.stem.weight, std=1e-2)
        nn.init.constant_(self.stem.get_parameter("bias"), 100.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(self.stem(x)))
        return y


def test_a_rounding_that_is_blown_up_is_told_from_a_fault() -> None:
    net = Sensitive()
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"))
    dynamic: Any = ds.convert(net, net.example(), config)
    receipt = ds.check_parity(net, dynamic, net.example())
    assert receipt.passed
    assert receipt.max_rel > receipt.tolerance
    assert "in float64" in receipt.notes[-1]
    with torch.no_grad():
        dynamic.conv.weight[0] *= 1.1
    assert not ds.check_parity(net, dynamic, net.example()).passed


class Boxes(nn.Module):
    """Rejects inputs that are no valid boxes, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        if not (boxes[:, 0] < boxes[:, 1]).all():
            raise ValueError("degenerate boxes")
        y: Tensor = self.conv(x) * boxes.sum()
        return y


def test_inputs_that_can_not_be_random_are_used_as_they_are() -> None:
    net = Boxes()
    example = (images(), torch.tensor([[0.0, 1.0]] * 8))
    receipt = ds.check_parity(net, ds.convert(net, example, EVERY), example)
    assert receipt.passed
    assert "compared on the example inputs: the model rejects random ones" in receipt.notes


def test_a_pair_that_can_not_be_copied_gets_no_float64_and_no_error(
    tiny_resnet: TinyNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamic, x = pair(tiny_resnet)
    with torch.no_grad():
        next(p for p in dynamic.parameters() if p.dim() == 5).mul_(2)

    def refuse(model: nn.Module) -> nn.Module:
        raise ds.UnsupportedModelError("can't be copied")

    monkeypatch.setattr("dynsurgeon.proof.arbiters.double_of", refuse)
    assert not ds.check_parity(tiny_resnet, dynamic, x).passed


def test_what_is_not_a_pair_is_refused(tiny_resnet: TinyNet) -> None:
    dynamic, x = pair(tiny_resnet)
    with pytest.raises(ds.UnsupportedModelError, match="was not converted by dynsurgeon"):
        ds.check_parity(tiny_resnet, tiny_resnet, x)
    with pytest.raises(ds.UnsupportedModelError, match="already dynamic"):
        ds.check_parity(dynamic, dynamic, x)
    with pytest.raises(ds.ConfigError, match="must be a tensor, a tuple"):
        ds.check_parity(tiny_resnet, dynamic, None)
    with pytest.raises(ds.ConfigError, match="can't run on inputs like these"):
        ds.check_parity(tiny_resnet, dynamic, images(channels=4))


def test_a_network_that_does_not_run_in_float64_fails_without_an_error() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x.float())
            return y

    net = Single()
    dynamic = perturb_(ds.convert(net, images(), EVERY))
    receipt = ds.check_parity(net, dynamic, images())
    assert not receipt.passed
    assert not any("float64" in note for note in receipt.notes)
