"""A fixed batch: mix a kernel for each sample and convolve them all as groups of one sample.

The number of groups is an attribute in ONNX, so the batch can't be free.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite
from dynsurgeon.export.tensors import derived_initializer


def obstacle(site: ConvSite) -> str | None:
    """Say why this form can't stand here, or None."""
    return "needs a fixed batch" if site.batch is None else None


def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    batch = site.batch
    assert batch is not None
    rest = [0] * site.geometry.spatial  # keep the spatial sizes, whatever they are
    mixed = emitter.op("MatMul", [site.pi, emitter.flat_bank(site.weight)])
    kernels = emitter.reshape(mixed, batch * site.kernel_shape[0], *site.kernel_shape[1:])
    inputs = [emitter.reshape(site.x, 1, -1, *rest), kernels]
    if site.mixes_biases:
        inputs.append(emitter.reshape(emitter.op("MatMul", [site.pi, site.bias]), -1))
    elif site.bias is not None:
        inputs.append(_repeated(site.bias, emitter, batch))
    y = emitter.op(site.operator, inputs, site.attributes(batch * site.geometry.groups))
    return emitter.reshape(y, batch, site.out_channels, *rest)


def _repeated(bias: ir.Value, emitter: Emitter, batch: int) -> ir.Value:
    return derived_initializer(emitter.graph, bias, f"times{batch}", lambda t: t.repeat(batch))
