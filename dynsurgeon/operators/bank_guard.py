"""Refuse a BatchNorm that foreign code folds into a dynamic layer as if it were a static one.

`torch.nn.utils.fusion.fuse_conv_bn_eval` and its kin scale axis 0 of the weight, of a transposed
convolution axis 1, and replace the bias. Of a bank these are the axes of the kernels and of the
input's channels. Mostly the sizes don't fit, which is an error; where they do, the network would
compute something else in silence. A constant kernel takes the scale, but what is added after it
would be multiplied by what the layer says of each sample.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError

_SCALED = "_weight_was_scaled"
_ROUNDINGS = 16


def check_replaced(layer: nn.Module, name: str, value: Any) -> None:
    """Look at a parameter that is about to be replaced.

    Args:
        layer: The dynamic convolution.
        name: The attribute that is set.
        value: What it is set to.

    Raises:
        UnsupportedModelError: First the bank was scaled along a wrong axis, and now the bias is
            replaced.
    """
    if name not in ("weight", "bias") or not isinstance(value, nn.Parameter):
        return
    if name == "weight":
        former = layer._parameters.get("weight")
        geometry = vars(layer).get("geometry")
        axes = (0, 1) if geometry is not None and geometry.transposed else (0,)
        vars(layer)[_SCALED] = former is not None and _scaled_along(axes, former, value)
    elif vars(layer).pop(_SCALED, False):
        raise UnsupportedModelError(
            f"a BatchNorm was folded into a {type(layer).__name__} as if it were static: fold "
            "with a method of the converted model (model.fuse()), or keep BatchNorm"
        )


@torch.no_grad()
def _scaled_along(axes: tuple[int, ...], old: Tensor, new: Tensor) -> bool:
    if old.shape[1:] == new.shape[1:] and len(old) == 1 < len(new):
        return True  # a bank of one kernel was spread over the numbers of the channels
    same = old.shape == new.shape and old.device == new.device and old.dtype == new.dtype
    if not same or old.is_meta or type(new) is not nn.Parameter or torch.compiler.is_compiling():
        return False
    return any(_is_scaled(old.movedim(axis, 0), new.movedim(axis, 0)) for axis in axes)


def _is_scaled(old: Tensor, new: Tensor) -> bool:
    # Whether each row was multiplied by a number of its own.
    rows, scaled = old.flatten(1), new.flatten(1)
    size = rows.square().sum(1, keepdim=True)
    factors = (rows * scaled).sum(1, keepdim=True) / size
    tolerance = _ROUNDINGS * torch.finfo(old.dtype).eps
    uneven = not torch.allclose(factors, factors[:1].expand_as(factors), rtol=1e-3, atol=0)
    return uneven and torch.allclose(scaled, factors * rows, rtol=tolerance, atol=0)
