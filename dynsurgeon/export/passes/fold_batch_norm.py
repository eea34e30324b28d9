"""Fold a BatchNorm into the convolution before it; into every kernel of the bank, if dynamic.

    s (sum_k pi_k W_k * x + sum_k pi_k b_k) + t = sum_k pi_k (s W_k) * x + sum_k pi_k (s b_k + t)

because sum_k pi_k = 1. Here s = gamma / sqrt(var + eps) and t = beta - s mean. Runtimes do the same
with constant kernels by themselves, but never with computed ones. Without biases of its own, a
dynamic convolution gets t as one bias for all kernels: a constant, so that nothing is mixed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.forms.site import is_dynamic_conv
from dynsurgeon.export.tensors import new_initializer, set_tensor, tensor_of
from dynsurgeon.graphs.initializers import is_constant

DEFAULT_EPSILON = 1e-5


def fold_batch_norm(model: ir.Model) -> int:
    """Fold every BatchNorm that can be, and return how many."""
    convolutions = [_Convolution.of(node) for node in model.graph]
    return sum(_fold(model.graph, c) for c in convolutions if c is not None)


@dataclass(frozen=True)
class _Convolution:
    """A static or a dynamic convolution: its kernels as a bank, of one if it is static."""

    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None
    dynamic: bool
    transposed: bool

    @classmethod
    def of(cls, node: ir.Node) -> _Convolution | None:
        dynamic = is_dynamic_conv(node)
        if not dynamic and node.op_type not in ("Conv", "ConvTranspose"):
            return None
        weight, bias = (*node.inputs[2 if dynamic else 1 :], None)[:2]
        transposed = node.attributes.get_int("transposed", node.op_type == "ConvTranspose")
        return None if weight is None else cls(node, weight, bias, dynamic, bool(transposed))

    @property
    def alone(self) -> bool:
        """Whether this node alone uses its weights."""
        weights = [value for value in (self.weight, self.bias) if value is not None]
        return all(is_constant(value) and len(value.uses()) == 1 for value in weights)

    def scaled_bank(self, scale: Tensor) -> Tensor:
        """Return the kernels with each output channel multiplied."""
        weight = tensor_of(self.weight)
        bank = weight if self.dynamic else weight[None]
        # The output channels of a transposed kernel lie split over the groups of its inputs.
        groups = self.node.attributes.get_int("group", 1) if self.transposed else 1
        by_group = bank.reshape(len(bank), groups, bank.shape[1] // groups, *bank.shape[2:])
        tail = [1] * (bank.dim() - 3)
        lead = (1, groups, 1, -1) if self.transposed else (1, 1, -1, 1)
        return (by_group * scale.to(_at_least_fp32(bank)).view(*lead, *tail)).view_as(weight)

    def scaled_biases(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Return the biases after multiplication and shift of each channel."""
        if self.bias is not None:
            return scale * tensor_of(self.bias).double() + shift
        return shift


def _fold(graph: ir.Graph, convolution: _Convolution) -> bool:
    norm = _batch_norm_after(convolution.node)
    if norm is None or not convolution.alone:
        return False
    scale, shift = scale_and_shift(norm)
    dtype = tensor_of(convolution.weight).dtype
    biases = convolution.scaled_biases(scale, shift).to(dtype)
    set_tensor(convolution.weight, convolution.scaled_bank(scale).to(dtype))
    node = convolution.node
    if convolution.bias is None:
        place = 3 if convolution.dynamic else 2
        node.resize_inputs(place + 1)
        name = _bias_name(graph, str(convolution.weight.name))
        node.replace_input_with(place, new_initializer(graph, name, biases))
    else:
        set_tensor(convolution.bias, biases)
    norm.outputs[0].replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    return True


def _batch_norm_after(node: ir.Node) -> ir.Node | None:
    """Return the BatchNorm of constants that alone uses the node's output, or None."""
    output = node.outputs[0]
    user = next((use.node for use in output.uses()), None)
    if user is None or len(output.uses()) != 1 or output.is_graph_output():
        return None
    return user if constant_batch_norm(user) else None


def constant_batch_norm(node: ir.Node) -> bool:
    """Whether a node is a BatchNorm of constants, in evaluation mode."""
    if node.op_type != "BatchNormalization" or not all(map(is_constant, node.inputs[1:5])):
        return False
    return not any(value.uses() for value in node.outputs[1:])


def scale_and_shift(norm: ir.Node) -> tuple[Tensor, Tensor]:
    """Return s and t ``(C,)`` in double precision, a BatchNorm being ``s x + t``."""
    gamma, beta, mean, var = (tensor_of(v).double() for v in norm.inputs[1:5] if v is not None)
    epsilon = norm.attributes.get_float("epsilon", DEFAULT_EPSILON)
    scale = gamma / torch.sqrt(var + epsilon)
    return scale, beta - scale * mean


def _at_least_fp32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _bias_name(graph: ir.Graph, weight: str) -> str:
    name = f"{weight.removesuffix('weight')}bias"
    return name if name not in graph.initializers else f"{name}_folded"
