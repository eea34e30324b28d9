"""Trace a network to an ONNX graph in which each dynamic operation is still one node.

torch.onnx does the tracing and the translation of everything else. The graph keeps the names of the
state_dict and isn't optimised, so that other weights can take the place of the traced ones.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from dynsurgeon.compat import tree_map
from dynsurgeon.errors import ExportError
from dynsurgeon.export.operations import Standing, standing_for_operations
from dynsurgeon.export.passes.simplify import fold_computed
from dynsurgeon.export.signature import BATCH, Axes, free_axes
from dynsurgeon.export.target import Target
from dynsurgeon.messages import one_line
from dynsurgeon.operators.contract import dynamic_layers
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.quiet import quiet

LONGEST_MESSAGE = 240
"""Letters of torch's own message that are passed on."""


@dataclass(frozen=True)
class Captured:
    """A traced network.

    Attributes:
        model: Its graph, with a node for each dynamic convolution and each maximum of lines.
        weights: Names of the initialisers that are weights, and not constants of the graph.
        heads: Names of those among them that are weights of heads.
    """

    model: ir.Model
    weights: frozenset[str]
    heads: frozenset[str] = frozenset()


def capture(model: nn.Module, inputs: Inputs, target: Target) -> Captured:
    """Trace `model`, which must be in eval mode, on `inputs`.

    Args:
        model: The network.
        inputs: Inputs with `Target.traced_batch` samples.
        target: What the file is for.

    Raises:
        ExportError: torch.onnx can't export the model; says whether the dynamic layers are why.
    """
    axes = free_axes(inputs, target, target.traced_batch)
    try:
        traced = _trace(model, inputs, axes, target.opset, "nodes")
    except Exception as error:
        raise _explained(error, model, inputs, axes, target) from error
    weights = frozenset(traced.graph.initializers)
    fold_computed(traced, weights)
    traced.graph.name = type(model).__name__
    _check_free(traced.graph, axes)
    _check_opset(traced, target)
    return Captured(traced, weights, weights & heads_of(model))


def heads_of(model: nn.Module) -> set[str]:
    """Return the keys of the weights of all heads."""
    heads = [head for _, layer in dynamic_layers(model) for head in layer.heads()]
    layers = {layer for head in heads for layer in (head.hidden, head.last) if layer is not None}
    names = model.named_modules(remove_duplicate=False)
    return {f"{name}.weight" for name, module in names if module in layers}


def _trace(
    model: nn.Module,
    inputs: Inputs,
    axes: list[Axes],
    opset: int | None,
    operations: Standing,
) -> ir.Model:
    signature = inspect.signature(model.forward)
    args, kwargs = _told_apart(inputs, signature)
    # The exporter need not say anything: what it makes is verified, why it fails is told.
    with standing_for_operations(operations), quiet():
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=opset,
            dynamic_shapes=_shapes(args, kwargs, signature, axes) if any(axes) else None,
        )
    assert program is not None
    model_ir: ir.Model = program.model
    return model_ir


def _told_apart(
    inputs: Inputs, signature: inspect.Signature
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword inputs as torch.onnx understands them."""
    args, kwargs = inputs.args, inputs.kwargs
    if kwargs or not args or not isinstance(args[-1], dict):
        return args, kwargs
    # Without keyword inputs, torch.onnx would take a dict that comes last for them.
    name, last = signature.bind(*args).arguments.popitem()
    return args[:-1], {name: last}


def _shapes(
    args: tuple[Any, ...], kwargs: dict[str, Any], signature: inspect.Signature, axes: list[Axes]
) -> Any:
    """Return the free axes in the structure of the arguments, as torch.export takes them."""
    remaining = iter(axes)
    free_args, free_kwargs = tree_map(
        lambda leaf: (next(remaining) or None) if isinstance(leaf, Tensor) else None, (args, kwargs)
    )
    return signature.bind(*free_args, **free_kwargs).arguments


def _explained(
    error: Exception, model: nn.Module, inputs: Inputs, axes: list[Axes], target: Target
) -> ExportError:
    """Try simpler things, and say from what works who is at fault."""
    name = type(model).__name__
    says = one_line(error.__cause__ or error, limit=LONGEST_MESSAGE)
    if any(axes) and _can_trace(model, inputs, [{} for _ in axes], target, "nodes"):
        free = sorted({axis for named in axes for axis in named.values()})
        return ExportError(
            f"{name} can be exported, but not with free {', '.join(free)}: "
            f"{_WAY_OUT[not target.dynamic_size]}; torch.onnx.export says: {says}"
        )
    if _can_trace(model, inputs, axes, target, "static"):
        return ExportError(
            f"the dynamic layers of {name} can't be exported, though static ones can; "
            f"torch.onnx.export says: {says}"
        )
    return ExportError(
        f"{name} can't be exported with static convolutions either, so it is the model and not its "
        f"dynamic layers; torch.onnx.export says: {says}"
    )


def _can_trace(
    model: nn.Module,
    inputs: Inputs,
    axes: list[Axes],
    target: Target,
    operations: Standing,
) -> bool:
    try:
        _trace(model, inputs, axes, target.opset, operations)
    except Exception:
        return False
    return True


def _check_free(graph: ir.Graph, axes: list[Axes]) -> None:
    for value, free in zip(graph.inputs, axes, strict=True):
        for axis, name in free.items():
            size = None if value.shape is None else value.shape[axis]
            if isinstance(size, int):
                raise ExportError(
                    f"the model fixes the {name} of its input {value.name!r} to {size}: "
                    f"{_WAY_OUT[name == BATCH]}"
                )


_WAY_OUT = {True: "export it with a fixed batch=N", False: "export it without dynamic_size"}


def _check_opset(traced: ir.Model, target: Target) -> None:
    if target.opset is not None and traced.opset_imports[""] != target.opset:
        raise ExportError(
            f"torch.onnx can't write this model in opset {target.opset}, only in "
            f"{traced.opset_imports['']}: leave opset out, or ask for that one"
        )
