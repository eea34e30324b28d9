"""What an argument is made of, as far as it holds for every batch: axes of tensors, items of lists.

A forward may ask for these in Python (``if x.dim() == 3``, ``len(inputs)``). What the observed runs
answered is fixed in a trace, together with a check that raises where a later run would answer
something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, fx

from dynsurgeon.errors import ConfigError

Structure: TypeAlias = "int | list[Structure] | None"
"""The number of a tensor's axes; of a tuple or list, what each item is; None of anything else.

That of an argument without items, ``*args`` or ``**kwargs`` or a list, is an empty list."""


def structure_of(value: Any) -> Structure:
    """Describe one value of an argument."""
    if isinstance(value, Tensor):
        return value.dim()
    if isinstance(value, Mapping):
        return None if value else []
    return [structure_of(item) for item in value] if isinstance(value, (tuple, list)) else None


def merged(one: Structure, other: Structure) -> Structure:
    """Return what holds of both."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [merged(a, b) for a, b in zip(one, other, strict=True)]
    return one if one == other else None


def without_lengths(structure: Structure, length: int) -> Structure:
    """Return a structure that says nothing of lists of this length, which may be the batch's."""
    if not isinstance(structure, list):
        return structure
    return None if len(structure) == length else [without_lengths(s, length) for s in structure]


def require_axes(value: Any, axes: int, what: str) -> None:
    """Raise unless `value` is a tensor of this many axes.

    Raises:
        ConfigError: It is not, so that the traced forward around this call would compute nonsense.
    """
    if not isinstance(value, fx.Proxy) and not (isinstance(value, Tensor) and value.dim() == axes):
        found = f"{value.dim()} axes" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(_misfit(what, f"a tensor of {axes} axes", found))


def require_items(value: Any, count: int, what: str) -> None:
    """Raise unless `value` is a tuple, list or dictionary of this many items.

    Raises:
        ConfigError: It is not; see `require_axes`.
    """
    whole = isinstance(value, (tuple, list, dict))
    if not isinstance(value, fx.Proxy) and not (whole and len(value) == count):
        found = f"{len(value)} items" if whole else type(value).__name__
        raise ConfigError(_misfit(what, f"{count} items", found))


def _misfit(what: str, wanted: str, found: str) -> str:
    return (
        f"{what} was {wanted} when the model was converted, and is {found} now: convert the static "
        "model on example inputs of this kind"
    )
