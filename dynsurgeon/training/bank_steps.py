"""Steps of the kernels: their mean moves as the static kernel would, whatever the attention is.

With the static network's gradient ``G = sum_n G_n`` over samples, kernel k gets
``g_k = sum_n pi_k(x_n) G_n``, and since the attention sums to 1, all g_k sum to G. So under plain
steps the mean kernel moves by ``1/K`` of what the static one would. A rate K times as high for all
of the bank makes up for that while the attention is flat, and diverges once it is sharp: then a
kernel's own samples move it K times too far. Only the mean has to catch up. Where the bank's rate
is f times the ordinary one,

    g_k  ->  (K / f) mean_j g_j  +  (g_k - mean_j g_j)

moves the mean kernel as the static one, at any attention; f is the rate at which kernels part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dynsurgeon.errors import ConfigError
from dynsurgeon.operators.contract import DynamicLayer


def balance_banks(optimizer: Optimizer, model: nn.Module) -> RemovableHandle:
    """Let the mean kernel of every dynamic convolution learn as fast as the static kernel would.

        optimizer = torch.optim.SGD(ds.parameter_groups(model, lr=0.1), momentum=0.9)
        ds.balance_banks(optimizer, model)

    The gradients of the banks are changed in place just before each step, after they were clipped
    or unscaled. For SGD, with or without momentum; Adam and its like divide by the size of a
    gradient, so their kernels move at full speed as it is.

    Args:
        optimizer: Takes the steps. A group's ``"factor"``, its rate over the ordinary one, is 1
            where there is none; `parameter_groups` writes it.
        model: The converted network that it trains, wrapped or not.

    Returns:
        A handle; its ``remove()`` undoes it.

    Raises:
        ConfigError: The optimizer takes steps of none of the model's banks: it is of another model.
    """
    banks = {bank for module in model.modules() for bank in _banks(module)}
    stepped = {p for group in optimizer.param_groups for p in group["params"]}
    if not stepped & banks and any(bank.requires_grad for bank in banks):
        raise ConfigError(
            "the optimizer trains none of the model's banks of kernels: build it on this model's "
            "parameters, as ds.parameter_groups gives them"
        )

    def change(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter in banks and parameter.grad is not None:
                        _balance(parameter.grad, group.get("factor", 1.0))

    return optimizer.register_step_pre_hook(change)


def _banks(module: nn.Module) -> list[nn.Parameter]:
    if not isinstance(module, DynamicLayer) or not module.sums_to_one:
        return []
    return [bank for bank in module.banks().values() if len(bank) > 1]


def _balance(grad: Tensor, factor: float) -> None:
    """Scale the mean over the kernels, and leave what sets them apart."""
    if factor > 0:
        grad.add_(grad.mean(0, keepdim=True), alpha=len(grad) / factor - 1)
