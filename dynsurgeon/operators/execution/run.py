"""A convolution where each sample brings its own kernel: by the chosen form, or a forced one."""

from __future__ import annotations

from torch import Tensor

from dynsurgeon.operators.execution.choice import choose
from dynsurgeon.operators.execution.form import Form
from dynsurgeon.operators.forced import Forced
from dynsurgeon.operators.geometry import ConvGeometry

forced_form: Forced[Form] = Forced("dynsurgeon_forced_form")
"""Runs every dynamic convolution in its context by one form: for export, and to compare forms."""


def run_dynamic_convolution(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve each sample with its own mixture of kernels.

    Args:
        x: Input ``(N, C_in, *spatial)``.
        pi: Attention ``(N, K)``, rows summing to 1.
        weight: Bank ``(K, *kernel of the static convolution)``.
        bias: Bank of biases ``(K, C_out)``, or None.
        geometry: Stride, padding, dilation, groups.

    Returns:
        ``(N, C_out, *spatial)``.
    """
    form = forced_form.get() or choose(x, pi, weight, geometry)
    return form(x, pi, weight, bias, geometry)
