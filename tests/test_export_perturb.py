"""The weights that a file is verified with: far from the start, and yet gentle on rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from export_nets import DynamicNet
from torch import Tensor, nn
from torch.func import functional_call

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.export.perturb import is_dynamic, perturbed_state, stable_perturbation
from dynsurgeon.operators import DynamicConv2d, DynamicReLUB, DynamicReLUC, KernelAttention


def start_net() -> nn.Module:
    """A converted network as it starts: equal kernels, DY-ReLUs that are ReLUs."""
    layers: list[nn.Module] = []
    for _ in range(4):
        conv = DynamicConv2d.from_static(nn.Conv2d(4, 4, 3, padding=1))
        layers += [conv, nn.BatchNorm2d(4), DynamicReLUB(4)]
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3), DynamicReLUC(4)).eval()


X = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> nn.Module:
    return start_net()


@pytest.fixture
def state(net: nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        return stable_perturbation(net, (X,), torch.Generator().manual_seed(0))


def attentions(net: nn.Module, state: dict[str, Tensor]) -> list[Tensor]:
    found: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _, __, pi: found.append(pi))
        for module in net.modules()
        if isinstance(module, KernelAttention)
    ]
    with torch.no_grad():
        functional_call(net, state, (X,))
    for handle in handles:
        handle.remove()
    return found


def test_attention_is_far_from_uniform_and_differs_between_samples(
    net: nn.Module, state: dict[str, Tensor]
) -> None:
    for pi in attentions(net, state):
        assert float(pi.max() - pi.min()) > 0.2
        assert float(pi.std(0).max()) > 1e-3


def test_kernels_and_lines_leave_their_start(net: nn.Module, state: dict[str, Tensor]) -> None:
    bank = state["0.weight"]
    assert float((bank - bank.mean(0)).abs().mean()) > 0.02 * float(bank.abs().mean())
    assert float(state["2.fc2.weight"].abs().min()) > 0
    assert float(state["13.spatial.weight"].abs().min()) > 0
    assert not torch.equal(state["1.running_mean"], net.get_buffer("1.running_mean"))


def test_outputs_differ_between_samples_and_stay_moderate(
    net: nn.Module, state: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        y = functional_call(net, state, (X,))
    assert float((y - y.mean(0)).abs().max()) > 1e-3 * float(y.abs().max())
    assert 1e-3 < float(y.abs().max()) < 1e3


def test_the_network_stays_as_it_is(net: nn.Module) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        stable_perturbation(net, (X,), torch.Generator().manual_seed(0))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not any(module.training for module in net.modules())


def test_the_same_seed_gives_the_same_weights(net: nn.Module) -> None:
    with torch.no_grad():
        a, b = (perturbed_state(net, (X,), torch.Generator().manual_seed(3)) for _ in range(2))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_tied_weight_changes_under_each_of_its_keys() -> None:
    net: Any = nn.Sequential(*[DynamicConv2d(4, 4, 3, padding=1) for _ in range(2)]).eval()
    net[1].weight = net[0].weight
    with torch.no_grad():
        state = perturbed_state(net, (X,), torch.Generator().manual_seed(0))
    assert state["0.weight"] is state["1.weight"]


def test_a_gentler_perturbation_is_taken_where_rounding_grows() -> None:
    # A softmax as sharp as this turns the last bits of its logits into other kernels.
    config = DynamicConvConfig(temperature=1e-6)
    net = nn.Sequential(*[DynamicConv2d(4, 4, 3, padding=1, config=config) for _ in range(6)])
    with torch.no_grad():
        strong = perturbed_state(net.eval(), (X,), torch.Generator().manual_seed(0), 1.0)
        chosen = stable_perturbation(net, (X,), torch.Generator().manual_seed(0))
    assert strong.keys() == chosen.keys()
    assert all(bool(tensor.isfinite().all()) for tensor in chosen.values())


def test_is_dynamic() -> None:
    assert is_dynamic(DynamicNet())
    assert is_dynamic(nn.Sequential(DynamicReLUB(3)))
    assert not is_dynamic(nn.Sequential(nn.Conv2d(3, 4, 3)))
