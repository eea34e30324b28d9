"""`balance_banks`: the mean kernel learns as the static one, whatever the attention is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import dynsurgeon as ds

EXPERTS = 3


def _conv() -> nn.Conv2d:
    return nn.Conv2d(4, 6, 3, padding=1)


def _dynamic(static: nn.Conv2d, sharpness: float) -> ds.DynamicConv2d:
    config = ds.DynamicConvConfig(experts=EXPERTS, temperature=1.0)
    module = ds.DynamicConv2d.from_static(static, config)
    with torch.no_grad():
        module.attention.fc2.weight.mul_(sharpness)
    return module


def _step(module: nn.Module, x: Tensor, *, balanced: bool, lr: float = 0.1) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    if balanced:
        ds.balance_banks(optimizer, module)
    module(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 300.0])
def test_the_mean_kernel_moves_as_the_static_kernel(sharpness: float) -> None:
    static, x = _conv(), torch.randn(8, 4, 5, 5)
    dynamic = _dynamic(static, sharpness)
    _step(static, x, balanced=False, lr=1e-3)
    _step(dynamic, x, balanced=True, lr=1e-3)
    torch.testing.assert_close(dynamic.weight.mean(0), static.weight)
    assert static.bias is not None
    assert dynamic.bias is not None
    torch.testing.assert_close(dynamic.bias.mean(0), static.bias)


def test_without_it_the_mean_kernel_lags() -> None:
    static, x = _conv(), torch.randn(8, 4, 5, 5)
    dynamic, start = _dynamic(static, 1.0), static.weight.detach().clone()
    _step(static, x, balanced=False, lr=1e-3)
    _step(dynamic, x, balanced=False, lr=1e-3)
    torch.testing.assert_close(
        dynamic.weight.mean(0) - start, (static.weight - start) / EXPERTS, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("bank_factor", [None, 0.5])
def test_with_groups_the_banks_own_rate_is_that_at_which_kernels_part(
    bank_factor: float | None,
) -> None:
    static, x = _conv(), torch.randn(8, 4, 5, 5)
    plain, balanced = (_dynamic(static, 300.0) for _ in range(2))
    balanced.load_state_dict(plain.state_dict())
    _step(static, x, balanced=False, lr=1e-3)
    for module in (plain, balanced):
        groups = ds.parameter_groups(module, 1e-3, weight_decay=0.0, bank_factor=bank_factor)
        optimizer = torch.optim.SGD(groups)
        if module is balanced:
            ds.balance_banks(optimizer, module)
        module(x).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(balanced.weight.mean(0), static.weight)
    apart = [module.weight - module.weight.mean(0) for module in (plain, balanced)]
    torch.testing.assert_close(*apart, rtol=1e-3, atol=1e-6)


def test_what_sets_the_kernels_apart_keeps_its_rate() -> None:
    x = torch.randn(8, 4, 5, 5)
    one = _dynamic(_conv(), 300.0)
    other = copy.deepcopy(one)
    _step(one, x, balanced=False, lr=1e-3)
    _step(other, x, balanced=True, lr=1e-3)
    apart = [module.weight - module.weight.mean(0) for module in (one, other)]
    assert float(apart[0].detach().abs().max()) > 1e-3
    torch.testing.assert_close(*apart, rtol=1e-3, atol=1e-6)


def test_a_removed_hook_changes_nothing() -> None:
    module, x = _dynamic(_conv(), 1.0), torch.randn(4, 4, 5, 5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    handle = ds.balance_banks(optimizer, module)
    module(x).square().sum().backward()
    assert module.weight.grad is not None
    before = module.weight.grad.clone()
    handle.remove()
    optimizer.step()
    assert torch.equal(module.weight.grad, before)


def test_frozen_and_single_kernels_are_left_alone() -> None:
    frozen = _dynamic(_conv(), 1.0)
    frozen.weight.requires_grad_(False)
    alone = ds.DynamicConv2d.from_static(_conv(), ds.DynamicConvConfig(experts=1))
    for module in (frozen, alone):
        before = module.weight.detach().clone()
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
        ds.balance_banks(optimizer, module)
        module(torch.randn(2, 4, 5, 5)).square().sum().backward()
        gradient = None if module.weight.grad is None else module.weight.grad.clone()
        optimizer.step()
        moved = before if gradient is None else before - 0.1 * gradient
        torch.testing.assert_close(module.weight.detach(), moved)


def test_an_optimizer_of_another_model_is_refused() -> None:
    one, other = _dynamic(_conv(), 1.0), _dynamic(_conv(), 1.0)
    with pytest.raises(ds.ConfigError, match="none of the model's banks"):
        ds.balance_banks(torch.optim.SGD(other.parameters(), lr=0.1), one)
    ds.balance_banks(torch.optim.SGD(_conv().parameters(), lr=0.1), _conv())  # nothing to balance
