"""A 1x1 convolution as a product of matrices, a kernel for each sample.

    (N, O, I) = pi bank        y = (N, O, I) (N, I, places) + pi biases

Any batch without a Scan, since nothing here needs the batch as an attribute.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.reshaping import with_spatial
from dynsurgeon.export.forms.site import ConvSite
from dynsurgeon.export.tensors import derived_initializer


def obstacle(site: ConvSite) -> str | None:
    """Say why this form can't stand here, or None."""
    geometry = site.geometry
    steps = (*geometry.stride, *site.kernel_shape[2:])
    simple = all(step == 1 for step in steps) and not any(site.pads)
    if geometry.transposed or geometry.groups > 1 or not simple:
        return "needs a 1x1 convolution of one group, without stride or padding"
    return None


def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    out, into = site.kernel_shape[:2]
    mixed = emitter.op("MatMul", [site.pi, emitter.flat_bank(site.weight)])
    places = emitter.reshape(site.x, 0, into, -1)
    y = emitter.op("MatMul", [emitter.reshape(mixed, -1, out, into), places])
    if site.mixes_biases:
        bias = emitter.op("MatMul", [site.pi, site.bias])
        y = emitter.op("Add", [y, emitter.reshape(bias, 0, out, 1)])
    elif site.bias is not None:
        column = derived_initializer(emitter.graph, site.bias, "column", lambda t: t.unsqueeze(1))
        y = emitter.op("Add", [y, column])
    return with_spatial(site, emitter, y, (0, out))
