"""One sample: mix one kernel and convolve with it.

    W = pi bank        y = Conv(x, W, pi biases)

The cheapest form: the bank is read once, at memory speed, and a Conv whose kernel is computed still
fuses with the activation after it. Batches other than 1 come from a Scan around it.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite


def obstacle(site: ConvSite) -> str | None:
    """Say why this form can't stand here, or None."""
    return None if site.batch == 1 else f"needs one sample, got {site.batch or 'a free batch'}"


def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    # A softmax that goes into one product alone is taken for attention by OpenVINO 2026.4 (with one
    # thread), whose loader then fails because the bank has another rank.
    alone = not site.mixes_biases
    pi = emitter.reshape(site.pi, 1, 1, -1) if alone else site.pi
    mixed = emitter.mixed_kernel(pi, site.weight)
    inputs: list[ir.Value | None] = [site.x, emitter.reshape(mixed, *site.kernel_shape)]
    bias = site.bias
    if site.mixes_biases:
        bias = emitter.reshape(emitter.op("MatMul", [site.pi, bias]), site.out_channels)
    if bias is not None:
        inputs.append(bias)
    return emitter.op(site.operator, inputs, site.attributes(site.geometry.groups))
