"""How a convolution runs when each sample brings its own kernel.

Every form computes ``y_n = sum_k pi_nk (W_k * x_n + b_k)``, written around the first kernel so that
identical kernels give the static convolution (`mixing`). Forms differ in what they keep in memory
and in how often they convolve; `choice` holds the table that picks one.
"""

from dynsurgeon.operators.execution.choice import choose
from dynsurgeon.operators.execution.form import Form, LeanForm
from dynsurgeon.operators.execution.lean import LEAN_FORMS
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.execution.plain import (
    averaged,
    grouped,
    one_by_one,
    scale_input,
    stack_kernels,
    stacked,
)
from dynsurgeon.operators.execution.run import forced_form, run_dynamic_convolution

__all__ = [
    "LEAN_FORMS",
    "Form",
    "LeanForm",
    "averaged",
    "choose",
    "forced_form",
    "grouped",
    "mix",
    "one_by_one",
    "run_dynamic_convolution",
    "scale_input",
    "stack_kernels",
    "stacked",
]
