"""Any batch and constant kernels: K convolutions of the same input, then mix what they give.

    y = sum_k pi_k (Conv(x, W_k) + b_k)

K times the multiply-adds, like *portable*; but each convolution is as cheap as the static one,
which pays for depthwise ones in runtimes that are slow at those with computed kernels.
"""

from __future__ import annotations

import onnx_ir as ir
from torch import Tensor

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite
from dynsurgeon.export.tensors import derived_initializer


def obstacle(site: ConvSite) -> str | None:
    """Say why this form can't stand here: it always can."""
    del site
    return None


def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    experts = len(site.bank)
    outputs = [emitter.op(site.operator, *_expert(site, emitter, k)) for k in range(experts)]
    if experts == 1:
        return outputs[0]
    rows = emitter.reshape(site.pi, 0, experts, *[1] * site.geometry.spatial)
    shares = emitter.ops("Split", [rows], {"axis": 1, "num_outputs": experts}, experts)
    weighted = [emitter.op("Mul", [y, pi]) for y, pi in zip(outputs, shares, strict=True)]
    return emitter.op("Sum", weighted)


def _expert(site: ConvSite, emitter: Emitter, k: int) -> tuple[list[ir.Value], dict[str, object]]:
    def row(bank: Tensor) -> Tensor:
        return bank[k]

    inputs = [site.x, derived_initializer(emitter.graph, site.weight, f"expert{k}", row)]
    if site.mixes_biases and site.bias is not None:
        inputs.append(derived_initializer(emitter.graph, site.bias, f"expert{k}", row))
    elif site.bias is not None:
        inputs.append(site.bias)
    return inputs, site.attributes(site.geometry.groups)
