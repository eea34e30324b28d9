"""The lines one after the other, by operators that every runtime has.

y = Max(a_1 x + b_1, …, a_K x + b_K)

Shift-Max adds ``c_k Gather(x)`` to each. A gain f and a lift t of x go into the coefficients:
``a (f x + t) + b = (a f) x + (a t + b)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import onnx_ir as ir
import torch

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.coefficients import emit_coefficients
from dynsurgeon.export.lines.site import LinesSite


def obstacle(site: LinesSite) -> str | None:
    """Say why this form can't stand here: it always can."""
    del site
    return None


def emit(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    rows = _rows(site, emitter)
    factors = [site.x] if site.shift is None else [site.x, _shifted(site, emitter)]
    lines = []
    for k in range(site.pieces):
        row = dict(zip(site.kinds, rows[k :: site.pieces], strict=True))
        offset = [_lifted(site, emitter, row["a"], row["b"])] if "b" in row else []
        slopes = [_gained(site, emitter, row["a"]), *[row[c] for c in "c" if c in row]]
        terms = [emitter.op("Mul", [x, a]) for x, a in zip(factors, slopes, strict=True)]
        lines.append(_sum(emitter, [*terms, *offset]))
    return emitter.op("Max", lines)


def _rows(site: LinesSite, emitter: Emitter) -> Sequence[ir.Value]:
    """Return all coefficients, each broadcastable against x."""
    table = emit_coefficients(site, emitter)
    if site.spatial:
        table = emitter.reshape(table, 0, site.rows * site.width, *[1] * site.spatial)
    return emitter.ops("Split", [table], {"axis": 1, "num_outputs": site.rows}, site.rows)


def _shifted(site: LinesSite, emitter: Emitter) -> ir.Value:
    # One copy of whole channels; Slice, Slice and Concat make two.
    assert site.shift is not None
    index = emitter.constant(torch.arange(site.width).roll(-site.shift))
    return emitter.op("Gather", [site.x, index], {"axis": 1})


def _gained(site: LinesSite, emitter: Emitter, slope: ir.Value) -> ir.Value:
    return slope if site.gain is None else emitter.op("Mul", [slope, site.gain])


def _lifted(site: LinesSite, emitter: Emitter, slope: ir.Value, offset: ir.Value) -> ir.Value:
    if site.lift is None:
        return offset
    return emitter.op("Add", [emitter.op("Mul", [slope, site.lift]), offset])


def _sum(emitter: Emitter, terms: Sequence[ir.Value]) -> ir.Value:
    return reduce(lambda one, other: emitter.op("Add", [one, other]), terms)
