"""A line as a BatchNormalization with computed scale and offset: one operator instead of two.

    BatchNormalization(x; scale a, offset b, mean 0, variance 1, epsilon 0) = a x + b

onnxruntime runs it in one thread, so that it is for small maps, where starting an operator costs
more than the numbers do.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_coefficients
from dynsurgeon.export.lines.scaling import scaling_of
from dynsurgeon.export.lines.site import LinesSite

SMALL_MAP = 400
"""Places up to which this form is quicker than the others; 14 x 14 has 196, 28 x 28 has 784."""


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here, or None."""
    if site.kinds != "ab" or not site.tells_channels_apart or site.batch != 1:
        return "needs lines a channel, of one channel each, and one sample"
    places = site.places
    if places is None or not site.spatial or places > SMALL_MAP:
        return f"is for maps of at most {SMALL_MAP} places"
    return None


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    table = emitter.reshape(emit_coefficients(site, emitter), -1)
    rows = emitter.ops("Split", [table], {"axis": 0, "num_outputs": site.rows}, site.rows)
    scaling = scaling_of(site, emitter, lambda value: emitter.reshape(value, -1))
    mean = emitter.constant(site.alpha.new_zeros(site.width))
    variance = emitter.constant(site.alpha.new_ones(site.width))
    lines = []
    for k in range(site.pieces):
        line = scaling.line(emitter, dict(zip(site.kinds, rows[k :: site.pieces], strict=True)))
        inputs = [site.x, line["a"], line["b"], mean, variance]
        lines.append(emitter.op("BatchNormalization", inputs, {"epsilon": 0.0}))
    return emitter.op("Max", lines)
