"""The lines one after the other, by operators that every runtime has.

y = Max(a_1 x + b_1, …, a_K x + b_K)
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_coefficients
from dynsurgeon.export.lines.site import LinesSite


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here: it always can."""
    del site
    return None


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    count = site.pieces
    table = emit_coefficients(site, emitter)
    if site.spatial:
        table = emitter.reshape(table, 0, 2 * count * site.width, *[1] * site.spatial)
    rows = emitter.ops("Split", [table], {"axis": 1, "num_outputs": 2 * count}, 2 * count)
    lines = [
        emitter.op("Add", [emitter.op("Mul", [site.x, slope]), offset])
        for slope, offset in zip(rows[:count], rows[count:], strict=True)
    ]
    return emitter.op("Max", lines)
