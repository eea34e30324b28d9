"""Two lines as depthwise 1x1 convolutions with computed kernels, which onnxruntime fuses with more.

    max(a_1 x + b_1, a_2 x + b_2) = relu((a_1 - a_2) x + (b_1 - b_2)) + (a_2 x + b_2)

The first convolution fuses with its ReLU, the second with the addition: two passes over the map
instead of five. Shift-Max's lines are two convolutions each. The rows come out of a small product,

    (a_1 - a_2, a_2, …) = M tanh(theta / 2) + c

In the layout `native` they stay in blocks of channels; in standard operators each channel costs a
little, which small maps don't pay back.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_delta
from dynsurgeon.export.lines.normalised import SMALL_MAP
from dynsurgeon.export.lines.scaling import Line, scaling_of, second_channels
from dynsurgeon.export.lines.site import LinesSite

ALIGNMENT = 4
"""onnxruntime reorders maps of a multiple of so many channels alone."""


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here, or None."""
    if site.pieces != 2 or site.spatial != 2 or site.batch != 1:
        return "needs two lines on a map of two axes, and one sample"
    if not site.tells_channels_apart or site.width % ALIGNMENT:
        return f"needs lines a channel, and a multiple of {ALIGNMENT} channels"
    return None


def obstacle_outside_blocks(site: LinesSite) -> str | None:
    """Say why this form isn't worth it here in standard operators, or None."""
    if site.places is not None and site.places <= SMALL_MAP:
        return f"is for maps of more than {SMALL_MAP} places"
    return obstacle(site)


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    rows = _rows(site, emitter)
    scaling = scaling_of(site, emitter, lambda value: emitter.reshape(value, -1, 1, 1, 1))
    steep, line = (
        scaling.line(emitter, dict(zip(site.kinds, rows[k::2], strict=True))) for k in range(2)
    )
    maps = {"a": site.x}
    if site.shift is not None:
        maps["c"] = second_channels(site, emitter)
    above = _convolved(site, emitter, maps, steep, None)
    return _convolved(site, emitter, maps, line, emitter.op("Relu", [above]))


def _convolved(
    site: LinesSite,
    emitter: Emitter,
    maps: Line,
    line: Line,
    added: ir.Value | None,
) -> ir.Value:
    """Write a line, and what is added to it, as one convolution for each of its maps."""
    geometry = {"group": site.width, "kernel_shape": [1, 1]}
    for kind, x in maps.items():
        inputs = [x, line[kind]]
        if kind == "a" and "b" in line:
            inputs.append(emitter.reshape(line["b"], site.width))
        y = emitter.op("Conv", inputs, geometry)
        added = y if added is None else emitter.op("Add", [y, added])
    assert added is not None
    return added


def _rows(site: LinesSite, emitter: Emitter) -> list[ir.Value]:
    """Return, for each kind of coefficient, the lines' difference and the second line's."""
    delta = emitter.reshape(emit_delta(site, emitter), site.rows, site.width)
    scale, start = (emitter.constant(tensor) for tensor in _product(site))
    table = emitter.op("Gemm", [scale, delta, start])
    table = emitter.reshape(table, site.rows * site.width, 1, 1, 1)
    return list(emitter.ops("Split", [table], {"axis": 0, "num_outputs": site.rows}, site.rows))


def _product(site: LinesSite) -> tuple[Tensor, Tensor]:
    """Return M ``(rows, rows)`` and c ``(rows, C)``; theta's rows are a_1, a_2, and so on."""
    pair = site.alpha.new_tensor([[1, -1], [0, 1]])
    turn = torch.kron(torch.eye(len(site.kinds), dtype=pair.dtype), pair)
    by_row = site.reach().view(site.rows, site.width)[:, 0]
    return turn * by_row, turn @ site.start().view(site.rows, site.width)
