"""The lines one after the other, by operators that every runtime has.

y = Max(a_1 x + b_1, …, a_K x + b_K)

Shift-Max adds ``c_k Gather(x)`` to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_coefficients
from dynsurgeon.export.lines.scaling import scaling_of, second_channels
from dynsurgeon.export.lines.site import LinesSite


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here: it always can."""
    del site
    return None


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    rows, scaling = _rows(site, emitter), scaling_of(site, emitter)
    maps = {"a": site.x}
    if site.shift is not None:
        maps["c"] = second_channels(site, emitter)
    lines = []
    for k in range(site.pieces):
        line = scaling.line(emitter, dict(zip(site.kinds, rows[k :: site.pieces], strict=True)))
        terms = [emitter.op("Mul", [x, line[kind]]) for kind, x in maps.items()]
        lines.append(_sum(emitter, [*terms, *([line["b"]] if "b" in line else [])]))
    return emitter.op("Max", lines)


def _rows(site: LinesSite, emitter: Emitter) -> Sequence[ir.Value]:
    """Return all coefficients, each broadcastable against x."""
    table = emit_coefficients(site, emitter)
    if site.spatial:
        table = emitter.reshape(table, 0, site.rows * site.width, *[1] * site.spatial)
    return emitter.ops("Split", [table], {"axis": 1, "num_outputs": site.rows}, site.rows)


def _sum(emitter: Emitter, terms: Sequence[ir.Value]) -> ir.Value:
    return reduce(lambda one, other: emitter.op("Add", [one, other]), terms)
