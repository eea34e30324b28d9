"""Initialisers of an ONNX graph as torch tensors and back, without a copy."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor


def tensor_of(value: ir.Value) -> Tensor:
    """Return an initialiser's values, on the CPU; don't write into them."""
    constant = value.const_value
    assert constant is not None, f"{value.name} is no constant"
    raw = constant.raw
    if isinstance(raw, Tensor):
        return raw.detach().cpu()
    return torch.from_numpy(constant.numpy().copy())


def constant_tensor(value: ir.Value) -> Tensor | None:
    """Return the values of an initialiser or of a Constant node; None of what is computed."""
    found = ir.convenience.get_const_tensor(value)
    return None if found is None else torch.from_numpy(found.numpy().copy())


def set_tensor(value: ir.Value, tensor: Tensor) -> None:
    """Give an initialiser other values."""
    constant = TorchTensor(tensor.detach().contiguous(), name=value.name)
    value.const_value = constant
    value.shape = ir.Shape(tensor.shape)
    value.dtype = constant.dtype


def new_initializer(graph: ir.Graph, name: str, tensor: Tensor) -> ir.Value:
    """Add an initialiser to a graph; its name must be free."""
    value = ir.Value(name=name)
    set_tensor(value, tensor)
    graph.register_initializer(value)
    return value


def derived_initializer(
    graph: ir.Graph, source: ir.Value, how: str, transform: Callable[[Tensor], Tensor]
) -> ir.Value:
    """Return the initialiser that holds ``transform(source)``, added at the first call.

    It is named after its source; `naming` gives it the source's own name where that is left free.

    Args:
        graph: The graph that owns both.
        source: The initialiser to start from, which stays as it is.
        how: Name of the transformation: the same name means the same values.
        transform: The transformation.
    """
    name = f"{source.name}{DERIVED}{how}"
    known = graph.initializers.get(name)
    return new_initializer(graph, name, transform(tensor_of(source))) if known is None else known


DERIVED = "#"
"""Stands between the name of an initialiser and how another one was derived from it."""
