"""The weights that a file is verified with: far from the start, and yet gentle on rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from export_nets import DynamicNet
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.export.perturb import (
    ATTEMPTS,
    _swing,
    perturbed_state,
    stable_perturbation,
)
from dynsurgeon.operators import DynamicConv2d, DynamicReLUB, DynamicReLUC, KernelAttention
from dynsurgeon.operators.contract import is_dynamic
from dynsurgeon.operators.execution import forced_algorithm, grouped, stacked
from dynsurgeon.operators.odconv import ODConv
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.settings import ODConvConfig


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
        return stable_perturbation(net, [Inputs(X)], torch.Generator().manual_seed(0))


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
        stable_perturbation(net, [Inputs(X)], torch.Generator().manual_seed(0))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not any(module.training for module in net.modules())


def test_the_same_seed_gives_the_same_weights(net: nn.Module) -> None:
    with torch.no_grad():
        a, b = (perturbed_state(net, Inputs(X), torch.Generator().manual_seed(3)) for _ in range(2))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_tied_weight_changes_under_each_of_its_keys() -> None:
    net: Any = nn.Sequential(*[DynamicConv2d(4, 4, 3, padding=1) for _ in range(2)]).eval()
    net[1].weight = net[0].weight
    with torch.no_grad():
        state = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0))
    assert state["0.weight"] is state["1.weight"]


class Steep(nn.Module):
    """A wave so steep that a layer after another makes a rounding error larger."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(5 * x)


def steep_net() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(8):
        conv = DynamicConv2d.from_static(nn.Conv2d(4, 4, 3, padding=1))
        layers += [conv, nn.BatchNorm2d(4), Steep()]
    return nn.Sequential(*layers).eval()


def rounding(net: nn.Module, state: dict[str, Tensor]) -> float:
    """How far two exact algorithms lie apart, over the largest output."""
    found = []
    for form in (grouped, stacked):
        with forced_algorithm(form):
            found.append(functional_call(net, state, (X,)))
    return float((found[0] - found[1]).abs().max() / found[0].abs().max())


def test_weights_that_are_computed_at_each_access_are_left_alone() -> None:
    net: Any = nn.Sequential(DynamicConv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)).eval()
    torch.nn.utils.parametrizations.weight_norm(net[0])
    parametrize.register_parametrization(net[1], "weight", nn.Identity())
    with torch.no_grad():
        state = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0))
    assert not any("parametrizations" in name for name in state)
    assert all(tensor.shape == net.state_dict()[name].shape for name, tensor in state.items())


def test_a_module_under_two_names_changes_under_both() -> None:
    net: Any = nn.Sequential(DynamicConv2d(4, 4, 3, padding=1)).eval()
    net.again, weight = net[0], net[0].weight
    with torch.no_grad():
        state = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0))
    assert state["0.weight"] is state["again.weight"]
    assert net[0].weight is weight


def test_a_gentler_perturbation_is_taken_where_rounding_grows() -> None:
    net = steep_net()
    with torch.no_grad():
        strong = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0), *ATTEMPTS[0])
        chosen = stable_perturbation(net, [Inputs(X)], torch.Generator().manual_seed(0))
        assert rounding(net, strong) > 1e-5
        assert rounding(net, chosen) < 2e-6
    assert strong.keys() == chosen.keys()  # BatchNorm dampens the steepness; it isn't left alone
    assert float((chosen["1.running_var"] / strong["1.running_var"]).min()) > 2


def test_the_strongest_perturbation_is_taken_where_rounding_stays_small(
    net: nn.Module, state: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        strong = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0), *ATTEMPTS[0])
    assert strong.keys() == state.keys()
    assert all(torch.equal(strong[key], state[key]) for key in strong)


def test_a_sharp_softmax_is_moved_as_far_as_a_soft_one() -> None:
    config = DynamicConvConfig(temperature=1e-6)
    net = nn.Sequential(*[DynamicConv2d(4, 4, 3, padding=1, config=config) for _ in range(6)])
    with torch.no_grad():
        state = stable_perturbation(net.eval(), [Inputs(X)], torch.Generator().manual_seed(0))
        assert rounding(net, state) < 2e-6
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    for pi in attentions(net, state):
        assert 0.2 < float(pi.max() - pi.min()) < 0.99


def bottleneck_net() -> nn.Module:
    """Depthwise convolutions between ReLU6, as deep as in a mobile network."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(12):
        for conv in (nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)):
            layers += [DynamicConv2d.from_static(conv), nn.BatchNorm2d(16), nn.ReLU6()]
    return nn.Sequential(nn.Conv2d(3, 16, 1), *layers).eval()


def test_a_channel_that_is_dead_where_weights_were_fitted_is_not_magnified_elsewhere() -> None:
    conv = DynamicConv2d.from_static(nn.Conv2d(2, 2, 1, groups=2))
    assert conv.bias is not None
    net = nn.Sequential(conv, nn.BatchNorm2d(2)).eval()
    seen = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    seen[:, 1] = 1e-7 * seen[:, 0]
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()
        state = perturbed_state(net, Inputs(seen), torch.Generator().manual_seed(0))
        other = functional_call(net, state, (seen[:, :1].expand_as(seen),))
    assert float(state["1.running_var"].min()) > 1e-2 * float(state["1.running_var"].max())
    assert float(other.abs().max()) < 20


def test_where_rounding_grows_anyhow_a_fault_must_still_stand_out() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = DynamicConv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv((x + 1e4) * 1.1 - 1.1e4)
            return (y + 1e3) * 1.1 - 1.1e3

    torch.manual_seed(0)
    net = Shifted().eval()
    with torch.no_grad():
        chosen = stable_perturbation(net, [Inputs(X)], torch.Generator().manual_seed(0))
        strong = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0))
        spread, usual = (
            float((state["conv.weight"] - net.conv.weight).std()) for state in (chosen, strong)
        )
    assert spread == pytest.approx(usual, rel=0.3)  # the gentlest would be a tenth of it


def test_the_network_must_be_tame_on_batches_it_was_not_fitted_to() -> None:
    net, wild = start_net(), torch.full_like(X, float("nan"))
    with torch.no_grad():
        tame = stable_perturbation(net, [Inputs(X)], torch.Generator().manual_seed(0))
        chosen = stable_perturbation(
            net, [Inputs(wild), Inputs(X)], torch.Generator().manual_seed(0)
        )
    assert "1.running_mean" in tame
    assert "1.running_mean" not in chosen  # the last, gentlest attempts leave BatchNorm alone


def test_swapped_attention_shows_in_the_output_of_a_deep_network() -> None:
    net = bottleneck_net()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    with torch.no_grad():
        state = stable_perturbation(net, [Inputs(x)], generator)
        right = functional_call(net, state, (x,))
        for swap in (lambda pi: pi.roll(1, 0), lambda pi: pi.roll(1, 1)):
            swapped = [
                module.register_forward_hook(lambda _, __, pi, swap=swap: swap(pi))
                for module in net.modules()
                if isinstance(module, KernelAttention)
            ]
            wrong = functional_call(net, state, (x,))
            for handle in swapped:
                handle.remove()
            # The tolerance of the check is 1e-5 of the largest output.
            assert float((wrong - right).abs().max()) > 2e-4 * float(right.abs().max())


def test_is_dynamic() -> None:
    assert is_dynamic(DynamicNet())
    assert is_dynamic(nn.Sequential(DynamicReLUB(3)))
    assert not is_dynamic(nn.Sequential(nn.Conv2d(3, 4, 3)))


@pytest.mark.parametrize("space", [True, False])
def test_one_kernel_with_factors_rounds_in_two_ways(space: bool) -> None:
    layers = [ODConv(nn.Conv2d(4, 4, 3, padding=1), ODConvConfig(1, space=space)) for _ in range(3)]
    net = nn.Sequential(*layers).eval()
    state = perturbed_state(net, Inputs(X), torch.Generator().manual_seed(0))
    assert _swing(net, state, [Inputs(X)]) > 0, "no choice of strength would see rounding"
