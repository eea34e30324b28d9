"""A copy of a model without its numbers, to try on what must not fail on the model itself."""

from __future__ import annotations

from torch import Tensor, nn

from dynsurgeon.running.copying import copy_of


def skeleton_of(model: nn.Module) -> nn.Module:
    """Copy a model with all its parameters and buffers on the meta device, where they cost nothing.

    Raises:
        UnsupportedModelError: It holds something that can't be copied.
    """
    tensors = (*model.parameters(), *model.buffers())
    return copy_of(model, {id(tensor): _without_numbers(tensor) for tensor in tensors})


def _without_numbers(tensor: Tensor) -> Tensor:
    bare = tensor.detach().to("meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(bare, requires_grad=tensor.requires_grad)
    return bare
