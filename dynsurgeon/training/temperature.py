"""Set the softmax temperature of a dynamic network: the paper anneals it from 30 to 1."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import nn

from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.contract import temperatures


@torch.no_grad()
def set_temperature(model: nn.Module, temperature: float) -> None:
    """Set tau of every kernel attention and of every DY-ReLU-C in `model`.

    Raises:
        ConfigError: The temperature is not a number above 0.
        UnsupportedModelError: Nothing in the model has a temperature.
    """
    is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not is_number or not 0 < temperature < math.inf:
        raise ConfigError(f"temperature must be a number above 0, got {temperature!r}")
    found = temperatures(model)
    if not found:
        raise UnsupportedModelError("no module has a temperature: the model has no dynamic layer")
    for each in found:
        each.value.fill_(temperature)
