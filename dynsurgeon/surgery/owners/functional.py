"""A functional convolution as the module that it amounts to."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.static import CONVOLUTION_FUNCTIONS
from dynsurgeon.surgery.owners.trace import OwnerTrace
from dynsurgeon.surgery.sites.calls import CallKey

OPERANDS = "_dynsurgeon_operands"
"""Where a functional convolution's module keeps its owner's names for weight and bias."""

PARAMETERS = "_dynsurgeon_parameters"
"""Where an owner keeps the names of the parameters that it had, in order."""

_MODULES = {f"function:{name}": kind for name, kind in CONVOLUTION_FUNCTIONS.items()}
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (*_ARGUMENTS[:5], "output_padding", "groups", "dilation")


def static_conv_of(trace: OwnerTrace, key: CallKey) -> StaticConv | None:
    """Return a module that computes the functional convolution `key` and shares its parameters."""
    for mode in trace.graphs:
        for node in trace.call_nodes(mode):
            if node.meta["call"] == key:
                return conv_of_node(node, trace.owner)
    return None


def conv_of_node(node: fx.Node, owner: nn.Module) -> StaticConv:
    """Build the static convolution module that `node` amounts to, on the owner's own parameters."""
    kind = _MODULES[node.meta["call"].label]
    arguments = call_arguments(node)
    weight = owner._parameters[str(arguments.pop("weight").target)]
    bias_node = arguments.pop("bias", None)
    assert weight is not None
    groups = arguments.get("groups", 1)
    transposed = issubclass(kind, nn.modules.conv._ConvTransposeNd)
    inside, outside = weight.shape[1] * groups, weight.shape[0]
    conv: StaticConv = kind(
        outside if transposed else inside,
        inside if transposed else outside,
        tuple(weight.shape[2:]),
        bias=bias_node is not None,
        device="meta",
        dtype=weight.dtype,
        **{name: _plain(value) for name, value in arguments.items() if name != "input"},
    )
    conv.weight = weight
    if bias_node is not None:
        conv.bias = owner._parameters[str(bias_node.target)]
    return conv.train(owner.training)


def call_arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a functional convolution by name."""
    transposed = "transpose" in node.meta["call"].label
    names = _TRANSPOSED if transposed else _ARGUMENTS
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def input_node(node: fx.Node) -> Any:
    """Return what a call site's node takes as its input."""
    return node.args[0] if node.args else node.kwargs["input"]


def operand_nodes(node: fx.Node) -> list[fx.Node]:
    """Return the nodes of a functional convolution's weight and bias, in that order."""
    if node.meta["call"].label not in _MODULES:
        return []
    arguments = call_arguments(node)
    operands = (arguments.get(name) for name in ("weight", "bias"))
    return [operand for operand in operands if isinstance(operand, fx.Node)]


def operand_names(node: fx.Node) -> tuple[str, ...]:
    """Return the owner's names for a functional convolution's weight and bias."""
    return tuple(str(operand.target) for operand in operand_nodes(node))


def call_obstacle(trace: OwnerTrace, key: CallKey, shared: set[int]) -> str | None:
    """Return why a call in an owner's forward can't become that of a module, or None.

    Args:
        trace: The trace of its owner.
        key: The call site.
        shared: Ids of parameters that other modules have or read too.
    """
    for node in (n for mode in trace.graphs for n in trace.call_nodes(mode)):
        if node.meta["call"] != key:
            continue
        operands = operand_nodes(node)
        for operand in operands:
            name = str(operand.target)
            if operand.op != "get_attr" or name not in trace.owner._parameters:
                return "its weight is computed, or is no parameter of its owner"
            parameter = trace.owner._parameters[name]
            if id(parameter) in shared or _has_other_users(trace, name, key):
                return f"its parameter {name} is used elsewhere too"
        if set(node.all_input_nodes) - {input_node(node), *operands}:
            return "its further arguments are computed"
    return None


def _has_other_users(trace: OwnerTrace, name: str, key: CallKey) -> bool:
    users = (
        user
        for graph in trace.graphs.values()
        for node in graph.nodes
        if node.op == "get_attr" and node.target == name
        for user in node.users
    )
    return any(user.meta.get("call") != key for user in users)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else tuple(value)
    return value
