"""Reshape to new leading sizes, and then the spatial sizes of a site's input."""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite


def with_spatial(
    site: ConvSite, emitter: Emitter, value: ir.Value, leading: tuple[int, ...]
) -> ir.Value:
    """Write the Reshape; the sizes are computed where they are free."""
    sizes = None if site.x.shape is None else site.x.shape[2:]
    if sizes is not None and all(isinstance(size, int) for size in sizes):
        return emitter.reshape(value, *leading, *(int(size) for size in sizes))  # type: ignore[arg-type]
    spatial = emitter.op("Shape", [site.x], {"start": 2})
    shape = emitter.op("Concat", [emitter.shape(*leading), spatial], {"axis": 0})
    return emitter.op("Reshape", [value, shape])
