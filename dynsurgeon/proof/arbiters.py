"""Comparisons made again in ways that tell a rounding that was blown up from a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from torch import nn

from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.execution import forced_algorithm, one_by_one
from dynsurgeon.running.copying import double_of
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import as_double

T = TypeVar("T")

Comparing = Callable[[nn.Module, nn.Module, Inputs], T]
"""Compares the original and the dynamic model on inputs."""


def arbiters(
    compare: Comparing[T],
    model: nn.Module,
    dynamic: nn.Module,
    inputs: Inputs,
    *,
    in_double: bool,
) -> Iterator[tuple[str, T]]:
    """Yield what `compare` finds in ways that round less, each with a phrase that says which.

    Args:
        compare: The comparison.
        model: The original.
        dynamic: What it became.
        inputs: What to run on.
        in_double: Whether to compare copies in float64, where the models run so.
    """
    with forced_algorithm(one_by_one):
        again = compare(model, dynamic, inputs)
    yield "in the form that rounds as the static convolution does", again
    if in_double:
        with suppress(ConfigError, UnsupportedModelError):  # not every model runs in float64
            one, other = double_of(model), double_of(dynamic)
            yield "in float64", compare(one, other, as_double(inputs))
