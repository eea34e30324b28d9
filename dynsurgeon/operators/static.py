"""The static operators that are known: modules, functions and methods, and what each computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.forms import ActivationForm

STATIC_CONVOLUTIONS: dict[type[nn.Module], int] = {
    nn.Conv1d: 1,
    nn.Conv2d: 2,
    nn.Conv3d: 3,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 2,
    nn.ConvTranspose3d: 3,
}
"""Static convolutions, with their number of spatial axes."""

CONVOLUTION_FUNCTIONS: dict[str, type[StaticConv]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d,
}
"""Functional convolutions, with the module that each amounts to."""

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu",
    nn.PReLU: "prelu",
    nn.Hardswish: "hardswish",
    nn.SiLU: "silu",
    nn.GELU: "gelu",
}
"""Static activation modules, by the name of their function."""

FUNCTIONS: dict[Callable[..., Any], str] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    Tensor.relu: "relu",
    Tensor.relu_: "relu",
    F.relu6: "relu6",
    F.leaky_relu: "leaky_relu",
    F.leaky_relu_: "leaky_relu",
    F.hardswish: "hardswish",
    F.silu: "silu",
    F.gelu: "gelu",
    **{getattr(F, name): name for name in CONVOLUTION_FUNCTIONS},
}
"""Functions and methods that make a call site, by the name of what they compute."""

METHODS = {"relu", "relu_"}
"""Names under which `torch.fx` records the tensor methods of `FUNCTIONS`."""

INPLACE_FUNCTIONS = {F.relu_, torch.relu_, Tensor.relu_, F.leaky_relu_}
"""The functions of `FUNCTIONS` that always write into their input."""


def describe_activation(module: nn.Module) -> ActivationForm:
    """Say what a static activation is; a subclass is what it inherits its forward from.

    Raises:
        UnsupportedModelError: It is none that a DY-ReLU can start from.
    """
    kind = type(module)
    base = next((base for base in kind.__mro__ if base in ACTIVATIONS), None)
    if base is None or kind.forward is not base.forward:
        known = ", ".join(activation.__name__ for activation in ACTIVATIONS)
        raise UnsupportedModelError(
            f"no DY-ReLU starts at a {kind.__name__}; known activations: {known}"
        )
    name = ACTIVATIONS[base]
    if isinstance(module, nn.PReLU):
        if module.weight.is_meta:
            raise UnsupportedModelError("a PReLU's slopes are on the meta device: load them first")
        return describe_function(name, tuple(module.weight.detach().double().tolist()))
    if isinstance(module, nn.LeakyReLU):
        return describe_function(name, module.negative_slope)
    if isinstance(module, nn.GELU):
        return describe_function(name, approximate=module.approximate)
    return describe_function(name)


def describe_function(
    name: str, slope: float | tuple[float, ...] | None = None, **options: Any
) -> ActivationForm:
    """Say what a functional activation is, by its name in `FUNCTIONS` and its arguments."""
    if slope is None:
        slope = 0.01 if name == "leaky_relu" else 0.0
    ceiling = 6.0 if name == "relu6" else None
    return ActivationForm(function=name, slope=slope, ceiling=ceiling, options=options)
