"""Run a network in torch on inputs of other sizes than those it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dynsurgeon.errors import ExportError
from dynsurgeon.export.signature import tensors
from dynsurgeon.surgery.inputs import Inputs
from dynsurgeon.surgery.run import copied

State = Mapping[str, Tensor]


def run(model: nn.Module, inputs: Inputs, state: State | None = None) -> Any:
    """Run `model` on copies of `inputs`, with `state` in place of its own weights.

    Raises:
        ExportError: The model can't take inputs of these shapes.
    """
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 is no fp32
            return call_with(model, state or {}, inputs)
    except Exception as error:
        if not inputs.fit(model.forward):
            raise ExportError(
                f"{type(model).__name__} can't be called with these inputs: {first_line(error)}"
            ) from error
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors(inputs))
        raise ExportError(
            f"{type(model).__name__} itself fails on inputs of the shape {shapes} "
            f"({first_line(error)}): the first axis of every input must be the batch, and height "
            "and width must be free if dynamic_size is asked for"
        ) from error


def call_with(model: nn.Module, state: State, inputs: Inputs) -> Any:
    """Call `model` on copies of `inputs`, with `state` in place of its own weights."""
    fed = copied(inputs)
    return functional_call(model, dict(state), fed.args, fed.kwargs)


def first_line(error: BaseException) -> str:
    """Return an error's first line of text."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
