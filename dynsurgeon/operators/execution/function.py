"""Lean algorithms as one operator: for autograd in eager mode, and for `torch.compile`.

Both call the same `LeanAlgorithm.output` and `LeanAlgorithm.gradients`. In eager mode an
`autograd.Function` does, which costs least. Under the compiler it is an operator of
`torch.library`, so that the compiler neither looks into the tiles nor undoes what they save.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
            run = partial(one_by_one, bias=None, geometry=ctx.geometry)
            return *differentiable_gradients(run, (x, pi, weight), grad, needs), None, None
        grads = ctx.algorithm.gradients(grad, Operands(x, pi, weight, ctx.geometry), kept, needs)
        return *grads, None, None


def differentiable_gradients(
    run: Callable[..., Tensor], tensors: Sequence[Tensor], grad: Tensor, needs: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients of what `run` computes, for gradients of gradients.

    Args:
        run: Computes the output of the tensors, by plain operators.
        tensors: What it is computed from.
        grad: The gradient of the output.
        needs: Which tensors' gradients are wanted.
    """
    # Some come from x: aliases keep its gradient apart from what flows through them.
    aliases = [tensor.view_as(tensor) for tensor in tensors]
    inputs = [alias for alias, needed in zip(aliases, needs, strict=True) if needed]
    y = run(*aliases)
    found = iter(torch.autograd.grad(y, inputs, grad, create_graph=True, materialize_grads=True))
    return [next(found) if needed else None for needed in needs]
