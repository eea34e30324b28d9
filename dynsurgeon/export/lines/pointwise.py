"""Two lines as two depthwise 1x1 convolutions, which onnxruntime keeps in blocks of channels.

    max(a_1 x + b_1, a_2 x + b_2) = relu((a_1 - a_2) x + (b_1 - b_2)) + (a_2 x + b_2)

The first convolution fuses with its ReLU, the second with the addition: two passes over the map,
and no reordering between convolutions. The four rows come out of one small product,

    (a_1 - a_2, b_1 - b_2, a_2, b_2) = M tanh(theta / 2) + c

For the layout `native` alone: elsewhere a depthwise convolution with a computed kernel is slow.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_delta
from dynsurgeon.export.lines.site import LinesSite

ALIGNMENT = 4
"""onnxruntime reorders maps of a multiple of so many channels alone."""


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here, or None."""
    if site.pieces != 2 or site.spatial != 2 or site.kinds != "ab":
        return "needs two lines of one channel on a map of two axes"
    channels = None if site.x.shape is None else site.x.shape[1]
    if site.width != channels or site.width % ALIGNMENT:
        return f"needs lines a channel, and a multiple of {ALIGNMENT} channels"
    return None


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    channels = site.width
    delta = emitter.reshape(emit_delta(site, emitter), 4, channels)
    scale, start = (emitter.constant(tensor) for tensor in _product(site))
    table = emitter.reshape(emitter.op("Gemm", [scale, delta, start]), 4 * channels, 1, 1, 1)
    rows = emitter.ops("Split", [table], {"axis": 0, "num_outputs": 4}, 4)
    steep, step = _behind_scale(site, emitter, *rows[:2])
    slope, offset = _behind_scale(site, emitter, *rows[2:])
    geometry = {"group": channels, "kernel_shape": [1, 1]}
    above = emitter.op("Conv", [site.x, steep, emitter.reshape(step, channels)], geometry)
    line = emitter.op("Conv", [site.x, slope, emitter.reshape(offset, channels)], geometry)
    return emitter.op("Add", [line, emitter.op("Relu", [above])])


def _behind_scale(
    site: LinesSite, emitter: Emitter, slope: ir.Value, offset: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Take a gain f and a lift t of x into a line: ``a (f x + t) + b = (a f) x + (a t + b)``."""
    if site.lift is not None:
        lift = emitter.reshape(site.lift, -1, 1, 1, 1)
        offset = emitter.op("Add", [emitter.op("Mul", [slope, lift]), offset])
    if site.gain is not None:
        slope = emitter.op("Mul", [slope, emitter.reshape(site.gain, -1, 1, 1, 1)])
    return slope, offset


def _product(site: LinesSite) -> tuple[Tensor, Tensor]:
    """Return M ``(4, 4)`` and c ``(4, 1)`` or ``(4, C)``; theta's rows are a_1, a_2, b_1, b_2."""
    turn = site.alpha.new_tensor([[1, -1, 0, 0], [0, 0, 1, -1], [0, 1, 0, 0], [0, 0, 0, 1]])
    reach = torch.tensor([site.lambda_a] * 2 + [site.lambda_b] * 2, dtype=turn.dtype)
    return turn * reach, turn @ torch.cat([site.alpha, site.beta])
