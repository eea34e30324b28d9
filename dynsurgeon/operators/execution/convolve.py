"""A convolution where each sample brings its own kernel, by the algorithm that is chosen."""

from __future__ import annotations

from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Algorithm
from dynsurgeon.operators.execution.choice import choose
from dynsurgeon.operators.forced import Forced
from dynsurgeon.operators.geometry import ConvGeometry

forced_algorithm: Forced[Algorithm] = Forced("dynsurgeon_forced_algorithm")
"""Runs every dynamic convolution in its context by one algorithm: for export, and to compare."""


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
    algorithm = forced_algorithm.get() or choose(x, pi, weight, geometry)
    return algorithm(x, pi, weight, bias, geometry)
