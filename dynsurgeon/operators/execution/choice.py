"""The table that says which algorithm runs, by shape, memory format and device.

The first branch that holds is taken. The bounds were measured by `benchmarks/torch_layers.py` on
the layers of resnet18, mobilenet_v2 and resnext50 in float32 on a CPU: docs/performance-torch.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynsurgeon.operators.execution import plain
from dynsurgeon.operators.execution.algorithm import Algorithm, is_channels_last
from dynsurgeon.operators.execution.context import is_exporting, needs_plain_operators
from dynsurgeon.operators.execution.lean import LEAN_ALGORITHMS
from dynsurgeon.operators.geometry import ConvGeometry

LARGE_MAP = 100
"""From this many places of a map on, mixing a kernel costs little beside convolving with it."""

SMALL_MAP = 25
"""Below this many places of the output, mixed kernels cost more than K convolutions."""

NUMBERS_A_PLACE = 2000
"""Numbers in a kernel, over the places of its output, up to which mixed kernels cost little."""

LARGE_KERNEL = 200_000
"""Numbers in a kernel from which few samples' kernels fit into the cache at a time."""

LARGE_SAMPLE = 500_000
"""Multiply-adds a sample below which calling a convolution takes longer than what it computes."""

FEW_SAMPLES = 4
"""Below this many, what the static convolution computes comes out bit for bit at no great cost."""


@dataclass(frozen=True)
class Workload:
    """What the choice looks at."""

    x: Tensor
    weight: Tensor
    geometry: ConvGeometry

    @property
    def batch(self) -> int:
        return self.x.shape[0]

    @property
    def places(self) -> int:
        return math.prod(self.x.shape[2:])

    @property
    def out_places(self) -> int:
        return math.prod(self.geometry.out_sizes(self.x, self.weight))

    @property
    def large_map(self) -> bool:
        return min(self.places, self.out_places) >= LARGE_MAP

    @property
    def channels_last(self) -> bool:
        return is_channels_last(self.x)

    @property
    def dense_image(self) -> bool:
        """Whether this is an ordinary 2d convolution without groups."""
        geometry = self.geometry
        return geometry.spatial == 2 and geometry.groups == 1 and not geometry.transposed

    @property
    def pointwise(self) -> bool:
        return self.dense_image and self.geometry.is_pointwise(self.weight.shape[3:])

    @property
    def kernel(self) -> int:
        """Numbers in one kernel."""
        return self.weight[0].numel()

    @property
    def cheap_to_mix(self) -> bool:
        return self.kernel < NUMBERS_A_PLACE * self.out_places

    @property
    def worth_a_call(self) -> bool:
        """Whether a convolution for each sample is better than one for a chunk of them."""
        unlike_others = self.channels_last or self.kernel >= LARGE_KERNEL
        return unlike_others and self.out_places * self.kernel >= LARGE_SAMPLE

    @property
    def worth_tiles(self) -> bool:
        """Whether the mixed kernels are so large that unfolding the input is small beside them."""
        large = self.kernel >= LARGE_KERNEL and self.out_places >= SMALL_MAP
        return self.dense_image and large and self.batch >= FEW_SAMPLES


@dataclass(frozen=True)
class Branch:
    """An algorithm and when it runs."""

    algorithm: Algorithm
    when: Callable[[Workload], bool]


LEAN = (
    Branch(LEAN_ALGORITHMS["folded"], lambda work: work.batch == 1),
    Branch(LEAN_ALGORITHMS["pointwise"], lambda work: work.pointwise and work.channels_last),
    Branch(LEAN_ALGORITHMS["folded"], lambda work: work.pointwise and work.batch < FEW_SAMPLES),
    Branch(LEAN_ALGORITHMS["tiled"], lambda work: work.pointwise),
    Branch(LEAN_ALGORITHMS["separate"], lambda work: work.large_map and work.worth_a_call),
    Branch(LEAN_ALGORITHMS["folded"], lambda work: work.large_map or work.cheap_to_mix),
    Branch(LEAN_ALGORITHMS["tiled"], lambda work: work.worth_tiles and not work.channels_last),
    Branch(LEAN_ALGORITHMS["outputs"], lambda work: work.dense_image),
    Branch(plain.stacked, lambda work: True),
)  # fmt: skip
"""On a CPU in float32 or float64, with an autograd that needs no plain operators."""

PLAIN = (
    Branch(plain.averaged, lambda work: work.batch == 0),
    Branch(plain.grouped, lambda work: work.batch == 1 or work.places >= LARGE_MAP),
    Branch(plain.stacked, lambda work: True),
)
"""Everywhere else."""


def choose(x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry) -> Algorithm:
    """Return the algorithm for these tensors."""
    # Under export the batch is symbolic: any question about it would fix it in the graph.
    if is_exporting():
        return plain.stacked
    work = Workload(x, weight, geometry)
    branches = LEAN if lean_applies(work) and not needs_plain_operators(x, pi, weight) else PLAIN
    return next(branch.algorithm for branch in branches if branch.when(work))


def lean_applies(work: Workload) -> bool:
    """Whether lean algorithms compute it: on a CPU, in float32 or float64, padded evenly."""
    measured = work.x.device.type == "cpu" and work.x.dtype in (torch.float32, torch.float64)
    same = work.x.dtype == work.weight.dtype
    return measured and same and work.batch > 0 and work.geometry.symmetric(work.weight.shape[3:])
