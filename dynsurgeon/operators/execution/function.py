"""Lean algorithms as one operator: for autograd in eager mode, and for `torch.compile`.

Both call the same `LeanAlgorithm.output` and `LeanAlgorithm.gradients`. In eager mode an
`autograd.Function` does, which costs least. Under the compiler it is an operator of
`torch.library`, so that the compiler neither looks into the tiles nor undoes what they save.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.execution import operator
from dynsurgeon.operators.execution.algorithm import LeanAlgorithm, Needs, Operands
from dynsurgeon.operators.execution.context import is_compiling
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.execution.plain import one_by_one
from dynsurgeon.operators.geometry import ConvGeometry


class CallableAlgorithm(LeanAlgorithm):
    """One that is called like any `Algorithm`; autograd and the compiler see one operator."""

    def __call__(
        self, x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
    ) -> Tensor:
        """Compute ``(N, C_out, *spatial)``, differentiably."""
        return apply(self, x, pi, weight, bias, geometry)


def apply(
    algorithm: LeanAlgorithm,
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: ConvGeometry,
) -> Tensor:
    """Run a lean algorithm; see `run_dynamic_convolution` for the arguments."""
    if bias is not None:
        offsets = mix(pi, bias).view(len(pi), -1, *[1] * geometry.spatial)
        return apply(algorithm, x, pi, weight, None, geometry) + offsets
    if is_compiling():
        return operator.call(algorithm, x, pi, weight, geometry)
    y: Tensor = _LeanFunction.apply(x, pi, weight, algorithm, geometry)
    return y


class _LeanFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pi: Tensor,
        weight: Tensor,
        algorithm: LeanAlgorithm,
        geometry: ConvGeometry,
    ) -> Tensor:
        y, kept = algorithm.output(x, pi, weight, geometry)
        ctx.save_for_backward(x, pi, weight, kept)
        ctx.algorithm, ctx.geometry = algorithm, geometry
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, pi, weight, kept = ctx.saved_tensors
        needs = Needs(*ctx.needs_input_grad[:3])
        if torch.is_grad_enabled():
            return *_differentiable(grad, x, pi, weight, ctx.geometry, needs), None, None
        grads = ctx.algorithm.gradients(grad, Operands(x, pi, weight, ctx.geometry), kept, needs)
        return *grads, None, None


def _differentiable(
    grad: Tensor, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry, needs: Needs
) -> list[Tensor | None]:
    """Return the gradients as a graph of plain operators, for gradients of gradients."""
    # pi comes from x: aliases keep the gradient of x apart from what flows through pi.
    x, pi, weight = (tensor.view_as(tensor) for tensor in (x, pi, weight))
    y = one_by_one(x, pi, weight, None, geometry)
    inputs = [t for t, needed in zip((x, pi, weight), needs, strict=True) if needed]
    found = iter(torch.autograd.grad(y, inputs, grad, create_graph=True, materialize_grads=True))
    return [next(found) if needed else None for needed in needs]
