"""A convolution where each sample mixes its kernel and scales the places of it: ODConv's.

    y_n = sum_k pi_nk (a_n W_k) * x_n                    a_n: a factor for each place of the kernel

Where the batch is free, each place of each kernel is a kernel of its own; where other plain
operators are wanted, a kernel is made for each sample, or the factors go into the unfolded input;
else one of `places_lean` runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Algorithm
from dynsurgeon.operators.execution.choice import FEW_SAMPLES, LARGE_MAP, Workload, lean_applies
from dynsurgeon.operators.execution.columns import unfold
from dynsurgeon.operators.execution.context import (
    is_compiling,
    is_exporting,
    needs_plain_operators,
)
from dynsurgeon.operators.execution.convolve import forced_algorithm, run_dynamic_convolution
from dynsurgeon.operators.execution.places_function import (
    PlacedAlgorithm,
    PlacedOperands,
    kernel_a_sample,
)
from dynsurgeon.operators.execution.places_lean import (
    POINTWISE,
    InKernels,
    InUnfoldedInput,
    flat_kernels,
    scaled_columns,
)
from dynsurgeon.operators.execution.plain import stacked
from dynsurgeon.operators.geometry import ConvGeometry


def run_with_places(
    x: Tensor, pi: Tensor, places: Tensor, weight: Tensor, geometry: ConvGeometry
) -> Tensor:
    """Convolve each sample with its own mixture of kernels, their places scaled.

    Args:
        x: Input ``(N, C_in, *spatial)``.
        pi: Attention ``(N, K)``, rows summing to 1.
        places: Factors ``(N, S)``, one for each of the S places of a kernel.
        weight: Bank ``(K, *kernel of the static convolution)``.
        geometry: Stride, padding, dilation, groups.

    Returns:
        ``(N, C_out, *spatial)``, without a bias.
    """
    of = PlacedOperands(x, pi, places, weight, geometry)
    if isinstance(x.shape[0], torch.SymInt) or x.shape[0] == 0:
        return place_by_place(of)
    if (forced := forced_algorithm.get()) is not None and not is_exporting():
        return place_by_place(of, forced)
    work = Workload(x, weight, geometry)
    if not lean_applies(work) or is_compiling() or needs_plain_operators(x, pi, places, weight):
        return unfolded(of) if _unfolds_to_less(work) else kernel_a_sample(of)
    return _choose(work)(of)


def unfolded(of: PlacedOperands) -> Tensor:
    """Scale the unfolded input by plain operators, of an image without groups.

    It takes less memory than a kernel for each sample where there are more filters than places.
    """
    x, pi, places, weight, geometry = of
    columns = scaled_columns(unfold(x, weight, geometry), places)
    y = run_dynamic_convolution(columns, pi, flat_kernels(weight), None, POINTWISE)
    return y.reshape(len(x), -1, *geometry.out_sizes(x, weight))


def place_by_place(of: PlacedOperands, algorithm: Algorithm = stacked) -> Tensor:
    """Run a dynamic convolution with a kernel for each place of each kernel.

    It is dear, but with *stacked* the same graph for every batch, and any algorithm can compute it.
    """
    x, pi, places, weight, geometry = of
    count = places.shape[1]
    masks = torch.eye(count, dtype=weight.dtype, device=x.device)
    masks = masks.view(count, 1, 1, *weight.shape[3:])
    kernels = (weight.unsqueeze(1) * masks).flatten(0, 1)
    shares = (pi.unsqueeze(2) * places.unsqueeze(1)).flatten(1)
    # An empty first kernel makes the shares sum to 1, as the algorithms want it.
    bank = torch.cat([torch.zeros_like(kernels[:1]), kernels])
    shares = torch.cat([1 - shares.sum(1, keepdim=True), shares], 1)
    return algorithm(x, shares.to(x.dtype), bank, None, geometry)


def _unfolds_to_less(work: Workload) -> bool:
    # A graph that is exported needs the bank as it is.
    possible = work.dense_image and work.geometry.symmetric(work.weight.shape[3:])
    return possible and work.out_places < work.weight.shape[1] and not is_exporting()


def _choose(work: Workload) -> PlacedAlgorithm:
    small = work.out_places < LARGE_MAP and work.batch >= FEW_SAMPLES
    return InUnfoldedInput() if small and work.dense_image else InKernels()
