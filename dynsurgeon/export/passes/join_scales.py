"""A channel scale, and the shift behind it, as one operator that takes what follows with it.

    f x + t        Conv(x; kernel f, bias t) a group a channel, or BatchNormalization(x; f, t, 0, 1)

onnxruntime fuses the convolution with an addition and a ReLU behind it: one pass over the map where
there were up to four. As for lines, small maps get the other one (`lines.normalised`). In the
layout `native` every scale becomes a convolution, a network's own gates too, and stays in blocks of
channels. For one sample, in onnxruntime's CPU provider.
"""

from __future__ import annotations

import onnx_ir as ir
from torch import Tensor

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.normalised import SMALL_MAP
from dynsurgeon.export.lines.pointwise import ALIGNMENT
from dynsurgeon.export.passes.scales import ChannelScale, only_used_by
from dynsurgeon.export.tensors import constant_tensor

MAP_AXES = 4


def join_scales(model: ir.Model, *, in_blocks: bool) -> int:
    """Join every channel scale of one sample's map with the shift behind it, and return how many.

    Args:
        model: The model, changed in place.
        in_blocks: Whether it will be laid out in blocks of channels.
    """
    products = [node for node in model.graph if node.op_type == "Mul"]
    return sum(_join(model.graph, ChannelScale.of(node.outputs[0]), in_blocks) for node in products)


def _join(graph: ir.Graph, scale: ChannelScale | None, in_blocks: bool) -> bool:
    if scale is None or not _is_one_map(scale.scaled):
        return False
    channels, places = _sizes(scale.scaled)
    add, shift = _shift_behind(scale, channels)
    blocks = in_blocks and channels % ALIGNMENT == 0
    if add is None and not blocks:
        return False
    emitter = Emitter(graph, scale.node if add is None else add)
    old = emitter.node.outputs[0]
    offset = None if shift is None else emitter.constant(shift.reshape(-1))
    if blocks or places > SMALL_MAP:
        kernel = emitter.reshape(scale.factor, channels, 1, 1, 1)
        inputs = [scale.scaled, kernel] if offset is None else [scale.scaled, kernel, offset]
        y = emitter.op("Conv", inputs, {"group": channels, "kernel_shape": [1, 1]})
    else:
        assert shift is not None
        assert offset is not None
        mean, variance = emitter.constant(shift.new_zeros(channels)), shift.new_ones(channels)
        factor = emitter.reshape(scale.factor, channels)
        inputs = [scale.scaled, factor, offset, mean, emitter.constant(variance)]
        y = emitter.op("BatchNormalization", inputs, {"epsilon": 0.0})
    y.shape, y.type = old.shape, old.type
    emitter.replace_with(y)
    if add is not None:
        graph.remove(scale.node, safe=True)
    return True


def _shift_behind(scale: ChannelScale, channels: int) -> tuple[ir.Node | None, Tensor | None]:
    """Return the addition of a constant a channel behind a scale, if nothing else is behind it."""
    add = only_used_by(scale.node.outputs[0])
    if add is None or add.op_type != "Add" or add.inputs[1] is None:
        return None, None
    shift = constant_tensor(add.inputs[1])
    fits = shift is not None and tuple(shift.shape) == (channels, *[1] * (MAP_AXES - 2))
    return (add, shift) if fits else (None, None)


def _is_one_map(value: ir.Value) -> bool:
    known = [size for size in value.shape or () if isinstance(size, int)]
    return len(known) == MAP_AXES and known[0] == 1 and value.dtype == ir.DataType.FLOAT


def _sizes(value: ir.Value) -> tuple[int, int]:
    """Return channels and places of a map whose sizes are known."""
    _, channels, height, width = (int(size) for size in value.shape or ())  # type: ignore[arg-type]
    return channels, height * width
