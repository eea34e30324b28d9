"""A functional convolution as the module that it amounts to."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from dynsurgeon.operators.convolution import StaticConv
from dynsurgeon.surgery.calls import CallKey
from dynsurgeon.surgery.trace import OwnerTrace

OPERANDS = "_dynsurgeon_operands"
"""Where the module of a functional convolution keeps the names that its owner had for its parameters."""

_MODULES: dict[str, type[StaticConv]] = {
    "function:conv1d": nn.Conv1d,
    "function:conv2d": nn.Conv2d,
    "function:conv3d": nn.Conv3d,
    "function:conv_transpose1d": nn.ConvTranspose1d,
    "function:conv_transpose2d": nn.ConvTranspose2d,
    "function:conv_transpose3d": nn.ConvTranspose3d,
}
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


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
    conv = kind(
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
    return {**dict(zip(_TRANSPOSED if transposed else _ARGUMENTS, node.args)), **node.kwargs}


def input_node(node: fx.Node) -> Any:
    """Return what a call site's node takes as its input."""
    return node.args[0] if node.args else node.kwargs["input"]


def operand_nodes(node: fx.Node) -> list[fx.Node]:
    """Return the other nodes that a call site's node takes: weight and bias, in that order."""
    source = input_node(node)
    return [operand for operand in node.all_input_nodes if operand is not source]


def operand_names(node: fx.Node) -> tuple[str, ...]:
    """Return the owner's names for a functional convolution's weight and bias."""
    return tuple(str(operand.target) for operand in operand_nodes(node))


def functional_conv_obstacle(node: fx.Node, owner: nn.Module) -> str | None:
    """Return why a functional convolution can't get a module of its own, or None."""
    for operand in operand_nodes(node):
        if operand.op != "get_attr" or str(operand.target) not in owner._parameters:
            return "its weight is computed, or is no parameter of its owner"
        if len(operand.users) > 1:
            return f"its parameter {operand.target} is used elsewhere too"
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else tuple(value)
    return value
