"""How a convolution runs when each sample brings its own kernel.

Every algorithm computes ``y_n = sum_k pi_nk (W_k * x_n + b_k)``, written around the first kernel so
that identical kernels give the static convolution (`mixing`). Algorithms differ in what they keep
in memory and in how often they convolve; `choice` holds the table that picks one.
"""

from dynsurgeon.operators.execution.algorithm import Algorithm, LeanAlgorithm
from dynsurgeon.operators.execution.choice import choose
from dynsurgeon.operators.execution.convolve import forced_algorithm, run_dynamic_convolution
from dynsurgeon.operators.execution.lean import LEAN_ALGORITHMS
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.execution.plain import (
    averaged,
    grouped,
    one_by_one,
    scale_input,
    stack_kernels,
    stacked,
)

__all__ = [
    "LEAN_ALGORITHMS",
    "Algorithm",
    "LeanAlgorithm",
    "averaged",
    "choose",
    "forced_algorithm",
    "grouped",
    "mix",
    "one_by_one",
    "run_dynamic_convolution",
    "scale_input",
    "stack_kernels",
    "stacked",
]
