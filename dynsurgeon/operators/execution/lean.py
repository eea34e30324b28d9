"""The table of lean algorithms, by name."""

from __future__ import annotations

from dynsurgeon.operators.execution.algorithm import BY_NAME
from dynsurgeon.operators.execution.folded import Folded
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.execution.outputs import Outputs
from dynsurgeon.operators.execution.pointwise import Pointwise
from dynsurgeon.operators.execution.separate import Separate
from dynsurgeon.operators.execution.tiled import Tiled

LEAN_ALGORITHMS: dict[str, CallableAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (Folded(), Separate(), Tiled(), Pointwise(), Outputs())
}
BY_NAME.update(LEAN_ALGORITHMS)
