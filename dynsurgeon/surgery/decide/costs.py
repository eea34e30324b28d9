"""Parameters and multiply-accumulates of a call site, before and after.

MACs are counted a sample, as the papers count MAdds: pooling, attention, mixing of the kernels and
the convolution itself; an activation costs its lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dynsurgeon.operators.contract import DynamicLayer, StaticConv
from dynsurgeon.surgery.sites.survey import Execution


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates a sample."""

    params: int = 0
    macs: int = 0


def parameter_count(module: nn.Module) -> int:
    """Count the parameters of a module, each once."""
    return sum(parameter.numel() for parameter in module.parameters())


def static_conv_cost(conv: StaticConv, executions: list[Execution], batch: int) -> Cost:
    """Cost of a static convolution."""

    def once(execution: Execution) -> int:
        shape = execution.input_shape if conv.transposed else execution.output_shape
        return conv.weight.numel() * math.prod(shape[2:])

    return Cost(parameter_count(conv), _total(executions, once, batch))


def dynamic_cost(
    dynamic: DynamicLayer, before: Cost, executions: list[Execution], batch: int
) -> Cost:
    """Cost of a dynamic layer, given that of the static operator."""

    def added(execution: Execution) -> int:
        return dynamic.added_multiply_adds(execution.input_shape, execution.output_shape)

    return Cost(parameter_count(dynamic), before.macs + _total(executions, added, batch))


def _total(executions: list[Execution], once: Callable[[Execution], int], batch: int) -> int:
    in_eval = [e for e in executions if e.mode == "eval"]
    return sum(once(e) * e.input_shape[0] for e in in_eval) // batch
