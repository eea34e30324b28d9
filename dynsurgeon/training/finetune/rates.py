"""The optimizer, and how learning rate and temperature go over training."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.optim import Optimizer

from dynsurgeon.errors import ConfigError
from dynsurgeon.operators.contract import is_dynamic, temperatures
from dynsurgeon.training.bank_steps import balance_banks
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.groups import parameter_groups
from dynsurgeon.training.schedule import TemperatureSchedule


def make_optimizer(model: nn.Module, settings: FinetuneSettings) -> Optimizer:
    """Build the optimizer of a dynamic or a static network, over the groups of its parameters.

    Under SGD the banks are balanced (`balance_banks`).

    Raises:
        PatternError: A name in ``settings.freeze`` selects nothing.
        ConfigError: Nothing is left to train.
    """
    assert not isinstance(settings.lr, str)  # chosen before
    groups = parameter_groups(
        model,
        settings.lr,
        weight_decay=settings.weight_decay,
        bank_factor=_bank_factor(settings),
        attention_factor=settings.attention_factor,
        relu_factor=settings.relu_factor,
        freeze=_freeze(model, settings),
    )
    if not groups:
        raise ConfigError("no parameter is left to train: all are frozen")
    for group in groups:
        group["initial_lr"] = group["lr"]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    momentum = settings.momentum
    optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0)
    balance_banks(optimizer, model)
    return optimizer


def _bank_factor(settings: FinetuneSettings) -> float | None:
    if settings.bank_factor is None and settings.optimizer == "adamw":
        return 1.0  # a step is as long for a gradient that is K times smaller
    return settings.bank_factor


def _freeze(model: nn.Module, settings: FinetuneSettings) -> tuple[str, ...]:
    # A static network has none of the groups that the dynamic one has, nor all of its names.
    if is_dynamic(model):
        return settings.freeze
    names = ["rest", *(name for name, _ in model.named_parameters())]
    return tuple(p for p in settings.freeze if any(fnmatchcase(name, p) for name in names))


def make_schedule(
    model: nn.Module, settings: FinetuneSettings, steps: int
) -> TemperatureSchedule | None:
    """Build the temperature schedule for epochs of `steps` steps, if there is a temperature.

    It begins where the network's own temperature is, unless the settings say otherwise.
    """
    found = temperatures(model)
    kernel = [float(each.value) for each in found if each.over == "kernels"]
    spatial = [float(each.value) for each in found if each.over == "places"]
    end = settings.temperature_end
    if end is None or not (kernel or spatial):
        return None
    return TemperatureSchedule(
        model,
        settings.temperature_start or max(kernel, default=end),
        end,
        max(round(min(settings.temperature_epochs, settings.epochs) * steps), 1),
        spatial_start=max(spatial, default=end),
    )


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step over the largest one.

    It rises linearly over the first `warmup` steps, the first of which is not idle, and falls from
    1 to almost 0 on half a cosine (arXiv 1608.03983, eq. 5, without restarts).

    Args:
        step: The step, from 0.
        steps: All steps of the run.
        warmup: Steps of the warm-up.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set the rate of every group to its own largest rate, ``"initial_lr"``, times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
