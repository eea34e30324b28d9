"""Fold as much of a BatchNorm as the algebra allows into a channel scale before it.

    s (f c) + t = (s f) c + t                          behind a scale or a gate
    s (f c + P z) + t = (s f) c + ((s P) z + t)        behind a decomposed convolution

with s = gamma / sqrt(var + eps) and t = beta - s mean. The scale costs nothing; the shift stays in
the first case, an addition where BatchNorm was.
"""

from __future__ import annotations

import onnx_ir as ir
from torch import Tensor

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.passes.fold_batch_norm import constant_batch_norm, scale_and_shift
from dynsurgeon.export.passes.scales import ChannelScale, only_used_by
from dynsurgeon.export.tensors import tensor_of


def split_norm(model: ir.Model) -> int:
    """Rewrite every BatchNorm behind a channel scale, and return how many."""
    norms = [node for node in model.graph if constant_batch_norm(node)]
    return sum(_behind_scale(model.graph, n) or _behind_residual(model.graph, n) for n in norms)


def _behind_scale(graph: ir.Graph, norm: ir.Node) -> bool:
    found = _alone(norm.inputs[0], norm)
    if found is None:
        return False
    emitter = Emitter(graph, norm)
    scale, shift = _beside_map(norm, found.scaled)
    y = _scaled(emitter, found, scale)
    emitter.replace_with(emitter.op("Add", [y, emitter.constant(shift)]))
    graph.remove(found.node, safe=True)
    return True


def _behind_residual(graph: ir.Graph, norm: ir.Node) -> bool:
    total = None if norm.inputs[0] is None else norm.inputs[0].producer()
    if total is None or total.op_type != "Add" or only_used_by(total.outputs[0]) is not norm:
        return False
    for one, other in (total.inputs, reversed(total.inputs)):
        found, conv = _alone(one, total), _residual(other, total)
        if found is not None and conv is not None:
            scale, shift = _beside_map(norm, found.scaled)
            _scale_residual(graph, conv, scale, shift)
            emitter = Emitter(graph, norm)
            emitter.replace_with(emitter.op("Add", [_scaled(emitter, found, scale), other]))
            for node in (total, found.node):
                graph.remove(node, safe=True)
            return True
    return False


def _alone(value: ir.Value | None, user: ir.Node) -> ChannelScale | None:
    """Return the channel scale that `user` alone looks at."""
    found = ChannelScale.of(value)
    alone = found is not None and only_used_by(found.node.outputs[0]) is user
    return found if alone else None


def _residual(value: ir.Value | None, user: ir.Node) -> ir.Node | None:
    """Return the convolution without a bias whose reshaped output `user` alone looks at."""
    while value is not None and only_used_by(value) is user and (node := value.producer()):
        if node.op_type == "Conv":
            return node if len(node.inputs) == 2 else None
        if node.op_type != "Reshape":
            return None
        value, user = node.inputs[0], node
    return None


def _scaled(emitter: Emitter, found: ChannelScale, scale: Tensor) -> ir.Value:
    factor = emitter.op("Mul", [found.factor, emitter.constant(scale)])
    factor.shape, factor.type = found.factor.shape, found.factor.type
    y = emitter.op("Mul", [found.scaled, factor])
    y.shape, y.type = found.scaled.shape, found.scaled.type
    return y


def _scale_residual(graph: ir.Graph, conv: ir.Node, scale: Tensor, shift: Tensor) -> None:
    """Multiply the filters of a convolution and give it a bias."""
    weight = conv.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    emitter = Emitter(graph, conv)
    filters = scale.reshape(-1, *[1] * (len(weight.shape) - 1))
    scaled = emitter.op("Mul", [weight, emitter.constant(filters)])
    bias = emitter.constant(shift.reshape(-1))
    y = emitter.op("Conv", [conv.inputs[0], scaled, bias], conv.attributes)
    y.shape, y.type = conv.outputs[0].shape, conv.outputs[0].type
    emitter.replace_with(y)


def _beside_map(norm: ir.Node, like: ir.Value) -> tuple[Tensor, Tensor]:
    """Return s and t ``(C, *ones)`` in the precision of the map."""
    assert like.shape is not None
    gamma = norm.inputs[1]
    assert gamma is not None
    ones, dtype = [1] * (len(like.shape) - 2), tensor_of(gamma).dtype
    scale, shift = (tensor.to(dtype).reshape(-1, *ones) for tensor in scale_and_shift(norm))
    return scale, shift
