"""What a lean algorithm with scaled places is: one operator for autograd, which computes again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import as_output
from dynsurgeon.operators.execution.function import differentiable_gradients
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.execution.plain import one_kernel_a_sample
from dynsurgeon.operators.geometry import ConvGeometry


class PlacedOperands(NamedTuple):
    """What an output is computed from; see `run_with_places`."""

    x: Tensor
    pi: Tensor
    places: Tensor
    weight: Tensor
    geometry: ConvGeometry


class PlacedGradients(NamedTuple):
    """Gradients of input, attention, factors and bank; each None where it isn't needed."""

    x: Tensor | None
    pi: Tensor | None
    places: Tensor | None
    weight: Tensor | None


class PlacedNeeds(NamedTuple):
    """Which of `PlacedGradients` are wanted."""

    x: bool
    pi: bool
    places: bool
    weight: bool


class PlacedAlgorithm(ABC):
    """An algorithm whose backward makes kernels again instead of keeping the forward's."""

    @abstractmethod
    def convolve(self, of: PlacedOperands) -> tuple[Tensor, Tensor | None]:
        """Return ``(N, C_out, *spatial)``, and what the backward needs besides."""

    @abstractmethod
    def gradients(
        self, grad: Tensor, of: PlacedOperands, kept: Tensor | None, needs: PlacedNeeds
    ) -> PlacedGradients:
        """Return the gradients for `grad`, the gradient of the output, and what `convolve` kept."""

    def __call__(self, of: PlacedOperands) -> Tensor:
        """Compute ``(N, C_out, *spatial)``, differentiably."""
        y: Tensor = _PlacedFunction.apply(*of, self)
        return y


def kernel_a_sample(of: PlacedOperands) -> Tensor:
    """Make every sample's kernel, and fold the batch into the groups of one convolution."""
    x, pi, places, weight, geometry = of
    bank = weight.flatten(1)
    mixed = mix(pi, bank) if len(bank) > 1 else bank
    # In runs as long as a filter: runtimes multiply each run by itself, and a place is short.
    runs = places.repeat(1, weight.shape[2]).unsqueeze(1).to(mixed.dtype)
    kernels = mixed.view(len(mixed), weight.shape[1], -1) * runs
    return one_kernel_a_sample(x, kernels.view(-1, *weight.shape[1:]).to(x.dtype), None, geometry)


def factors(places: Tensor, weight: Tensor) -> Tensor:
    """Return `places` ``(N, S)`` as what kernels ``(N, *kernel)`` of a bank are multiplied by."""
    return places.view(-1, 1, 1, *weight.shape[3:])


class _PlacedFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pi: Tensor,
        places: Tensor,
        weight: Tensor,
        geometry: ConvGeometry,
        algorithm: PlacedAlgorithm,
    ) -> Tensor:
        y, kept = algorithm.convolve(PlacedOperands(x, pi, places, weight, geometry))
        ctx.save_for_backward(x, pi, places, weight, kept)
        ctx.algorithm, ctx.geometry = algorithm, geometry
        return as_output(y, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, pi, places, weight, kept = ctx.saved_tensors
        of = PlacedOperands(x, pi, places, weight, ctx.geometry)
        needs = PlacedNeeds(*ctx.needs_input_grad[:4])
        if torch.is_grad_enabled():

            def run(x: Tensor, pi: Tensor, places: Tensor, weight: Tensor) -> Tensor:
                return kernel_a_sample(PlacedOperands(x, pi, places, weight, of.geometry))

            return *differentiable_gradients(run, of[:4], grad, needs), None, None
        return *ctx.algorithm.gradients(grad, of, kept, needs), None, None
