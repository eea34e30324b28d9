"""A convolution where each sample brings its own kernel: by the chosen form, or a forced one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from dynsurgeon.operators.execution.choice import choose
from dynsurgeon.operators.execution.form import Form
from dynsurgeon.operators.geometry import ConvGeometry

_forced: ContextVar[Form | None] = ContextVar("dynsurgeon_forced_form", default=None)


@contextmanager
def forced_form(form: Form) -> Iterator[None]:
    """Run every dynamic convolution in this context by `form`: for export, and to compare forms."""
    token = _forced.set(form)
    try:
        yield
    finally:
        _forced.reset(token)


def run_dynamic_convolution(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve each sample with its own mixture of kernels.

    Args:
        x: Input ``(N, C_in, *spatial)``.
        pi: Attention ``(N, K)``, rows summing to 1.
        weight: Bank ``(K, *kernel of the static convolution)``.
        bias: Bank of biases ``(K, C_out)``, or None.
        geometry: Stride, padding, dilation, groups.

    Returns:
        ``(N, C_out, *spatial)``.
    """
    form = _forced.get() or choose(x, pi, weight, geometry)
    return form(x, pi, weight, bias, geometry)
