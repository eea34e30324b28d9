"""Any batch and constant kernels, at K times the multiply-adds: for runtimes that need those.

    y = Conv([pi_1 x, …, pi_K x], [W_1, …, W_K]) + pi biases

In each group the K scaled copies of the input lie side by side, as in
`operators.execution.stacked`.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.reshaping import with_spatial
from dynsurgeon.export.forms.site import ConvSite
from dynsurgeon.export.tensors import derived_initializer
from dynsurgeon.operators.execution import stack_kernels


def obstacle(site: ConvSite) -> str | None:
    """Say why this form can't stand here: it always can."""
    del site
    return None


def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
    """Write the nodes of this form."""
    bank = derived_initializer(
        emitter.graph, site.weight, "stacked", lambda t: stack_kernels(t, site.geometry)
    )
    group = site.geometry.groups
    inputs = [_scaled_input(site, emitter), bank]
    if site.bias is not None and not site.mixes_biases:
        inputs.append(site.bias)
    y = emitter.op(site.operator, inputs, site.attributes(group))
    if not site.mixes_biases:
        return y
    bias = emitter.op("MatMul", [site.pi, site.bias])
    ones = [1] * site.geometry.spatial
    return emitter.op("Add", [y, emitter.reshape(bias, 0, site.out_channels, *ones)])


def _scaled_input(site: ConvSite, emitter: Emitter) -> ir.Value:
    experts, groups = site.bank.shape[0], site.geometry.groups
    channels = _in_channels(site)
    ones = [1] * site.geometry.spatial
    by_group = with_spatial(site, emitter, site.x, (0, groups, 1, channels // groups))
    weights = emitter.reshape(site.pi, 0, 1, experts, 1, *ones)
    scaled = emitter.op("Mul", [by_group, weights])
    return with_spatial(site, emitter, scaled, (0, experts * channels))


def _in_channels(site: ConvSite) -> int:
    shape = site.kernel_shape
    return shape[0] if site.geometry.transposed else shape[1] * site.geometry.groups
