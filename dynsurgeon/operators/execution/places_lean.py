"""Lean algorithms with a factor for each place of the kernel; see `places`.

- `InKernels`: kernels are mixed and scaled for a chunk of samples at a time, as in `folded`. Any
  geometry.
- `InUnfoldedInput`: a place of the kernel is a row of the unfolded input, so the factors go there,
  and what is left is a dynamic convolution of 1x1 with C * S channels: *tiled* or *outputs*. For
  small maps of two axes without groups, where a kernel for each sample outweighs all else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dynsurgeon.operators.execution import folded
from dynsurgeon.operators.execution.algorithm import LeanAlgorithm, Needs, Operands
from dynsurgeon.operators.execution.choice import SMALL_MAP
from dynsurgeon.operators.execution.columns import refold, unfold
from dynsurgeon.operators.execution.lean import LEAN_ALGORITHMS
from dynsurgeon.operators.execution.places_function import (
    PlacedAlgorithm,
    PlacedGradients,
    PlacedNeeds,
    PlacedOperands,
    factors,
)
from dynsurgeon.operators.execution.plain import one_kernel_a_sample
from dynsurgeon.operators.geometry import ConvGeometry

POINTWISE = ConvGeometry(spatial=2, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)


class InKernels(PlacedAlgorithm):
    """Scale the mixed kernels, chunk by chunk."""

    def convolve(self, of: PlacedOperands) -> tuple[Tensor, None]:
        """Convolve once a chunk, with as many times the groups as it has samples."""
        maps = [
            one_kernel_a_sample(of.x[part], kernels, None, of.geometry)
            for part, _, kernels in _chunks(of)
        ]
        return torch.cat(maps), None

    def gradients(
        self, grad: Tensor, of: PlacedOperands, kept: Tensor | None, needs: PlacedNeeds
    ) -> PlacedGradients:
        """Differentiate each of these convolutions; from the kernels to factors, bank and pi."""
        found = PlacedGradients(*(
            torch.zeros_like(each, memory_format=torch.contiguous_format) if needed else None
            for each, needed in zip(of[:4], needs, strict=True)
        ))  # fmt: skip
        for part, mixed, kernels in _chunks(of):
            x = of.x[part]
            by_x, by_kernels = of.geometry.convolve_backward(
                folded.fold(grad[part]), folded.fold(x), kernels.flatten(0, 1),
                len(kernels) * of.geometry.groups, needs.x, any(needs[1:]),
            )  # fmt: skip
            if found.x is not None and by_x is not None:
                found.x[part] = by_x.view(x.shape)
            if by_kernels is not None:
                _unscale(by_kernels.view(mixed.shape), mixed, part, of, found)
        return found


class InUnfoldedInput(PlacedAlgorithm):
    """Scale the rows of the unfolded input."""

    def convolve(self, of: PlacedOperands) -> tuple[Tensor, Tensor | None]:
        """Unfold, scale, and convolve with 1x1 kernels."""
        columns = scaled_columns(unfold(of.x, of.weight, of.geometry), of.places)
        y, kept = _algorithm(of).convolve(columns, of.pi, flat_kernels(of.weight), POINTWISE)
        return y.reshape(len(y), -1, *of.geometry.out_sizes(of.x, of.weight)), kept

    def gradients(
        self, grad: Tensor, of: PlacedOperands, kept: Tensor | None, needs: PlacedNeeds
    ) -> PlacedGradients:
        """Differentiate the 1x1 convolution, then go from its input to factors and input."""
        x, pi, places, weight, geometry = of
        columns = unfold(x, weight, geometry)
        inner = Needs(needs.x or needs.places, needs.pi, needs.weight)
        operands = Operands(scaled_columns(columns, places), pi, flat_kernels(weight), POINTWISE)
        by_columns, for_pi, for_weight = _algorithm(of).gradients(
            grad.flatten(2).unsqueeze(3), operands, kept, inner
        )
        for_x = for_places = None
        if by_columns is not None:
            by_columns = by_columns.reshape(len(x), x.shape[1], places.shape[1], -1)
            if needs.places:
                for_places = (by_columns * columns.view_as(by_columns)).sum((1, 3))
            if needs.x:
                for_x = refold(
                    scaled_columns(by_columns.flatten(1, 2), places)[..., 0], x, weight, geometry
                )
        return PlacedGradients(
            for_x, for_pi, for_places, None if for_weight is None else for_weight.view_as(weight)
        )


def _chunks(of: PlacedOperands) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield samples, their mixed kernels ``(n, *kernel)``, and these scaled; always two buffers."""
    buffer = None
    for part, mixed in folded.chunks(of.pi, of.weight):
        buffer = torch.empty_like(mixed) if buffer is None else buffer  # the first is the largest
        kernels = buffer[: len(mixed)]
        yield part, mixed, torch.mul(mixed, factors(of.places[part], of.weight), out=kernels)


def _unscale(
    by_kernels: Tensor, mixed: Tensor, part: slice, of: PlacedOperands, found: PlacedGradients
) -> None:
    """Go from the gradient of some samples' kernels to those of factors, attention and bank."""
    if found.places is not None:
        found.places[part] = (by_kernels * mixed).sum((1, 2)).flatten(1)
    by_mixed = (by_kernels * factors(of.places[part], of.weight)).flatten(1)
    if found.pi is not None:
        found.pi[part] = by_mixed @ of.weight.flatten(1).t()
    if found.weight is not None:
        found.weight.view(len(of.weight), -1).addmm_(of.pi[part].t(), by_mixed)


def scaled_columns(columns: Tensor, places: Tensor) -> Tensor:
    """Multiply columns ``(N, C * S, places)`` to an input ``(N, C * S, places, 1)``."""
    by_place = columns.view(len(columns), -1, places.shape[1], columns.shape[2])
    by_place = by_place * places.view(len(places), 1, -1, 1).to(columns.dtype)
    return by_place.view(*columns.shape, 1)


def flat_kernels(weight: Tensor) -> Tensor:
    """Return the bank as kernels of 1x1 ``(K, C_out, C * S, 1, 1)``."""
    return weight.reshape(*weight.shape[:2], -1, 1, 1)


def _algorithm(of: PlacedOperands) -> LeanAlgorithm:
    # One kernel is not mixed at all, and *outputs* is then a plain product.
    middling = math.prod(of.geometry.out_sizes(of.x, of.weight)) >= SMALL_MAP
    return LEAN_ALGORITHMS["tiled" if middling and len(of.weight) > 1 else "outputs"]
