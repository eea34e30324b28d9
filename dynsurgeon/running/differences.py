"""How far apart two outputs are, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynsurgeon.running.run import tensors_of

Tolerance = tuple[float, float]
"""Allowed difference: the first times the expected output's largest value, plus the second."""


class Difference(NamedTuple):
    """How far a tensor is from the one that was expected.

    Attributes:
        gap: Largest absolute difference.
        scale: Largest absolute value that was expected, of those that are finite.
    """

    gap: float
    scale: float

    @property
    def relative(self) -> float:
        """The gap over the scale: infinite where anything differs from zeros."""
        return 0.0 if self.gap == 0 else self.gap / self.scale if self.scale else float("inf")

    @property
    def relative_or_gap(self) -> float:
        """The gap over the scale, and the gap itself where zeros were expected."""
        return self.gap / self.scale if self.scale else self.gap


SAME = Difference(0.0, 0.0)
FAR = Difference(float("inf"), 0.0)
"""What is of another shape, or missing."""


def difference(expected: Tensor, found: Tensor | None) -> Difference:
    """Return how far `found` is from `expected`, whatever the precision of each.

    NaN equals NaN alone, and each infinity itself. Complex numbers count as pairs.
    """
    if found is None or expected.shape != found.shape:
        return FAR
    if expected.is_complex() != found.is_complex():
        return FAR
    if not expected.numel():
        return SAME
    e = _doubles(expected)
    scale = float(e.abs().nan_to_num(0, 0, 0).max())
    if expected.dtype == found.dtype and torch.equal(expected, found):  # the usual case
        return Difference(0.0, scale)
    f = _doubles(found)
    same = (e == f) | (e.isnan() & f.isnan())
    gap = (e - f).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(same, 0.0)
    return Difference(float(gap.max()), scale)


def largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Difference:
    """Return the worst difference of two lists; infinite if one is longer."""
    if len(expected) != len(found):
        return FAR
    return reduce(worse, map(difference, expected, found), SAME)


def worse(one: Difference, other: Difference) -> Difference:
    """Return the difference that is the larger one for its scale."""
    return max(one, other, key=lambda difference: (difference.relative, difference))


def is_within(expected: Tensor, found: Tensor, tolerance: Tolerance) -> bool:
    """Whether two tensors of one shape and dtype agree; whole numbers must be equal."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if torch.equal(expected, found):
        return True
    relative, absolute = tolerance
    gap, scale = difference(expected, found)
    return _rounds(expected) and gap <= relative * scale + absolute


def agree(expected: Any, found: Any, *, roundings: int) -> bool:
    """Whether two nested outputs hold the same numbers.

    Args:
        expected: The one.
        found: The other; what is no tensor in either is not looked at.
        roundings: Roundings, of a tensor's largest value, that its numbers may differ by.
    """
    ours, theirs = tensors_of(expected), tensors_of(found)
    return len(ours) == len(theirs) and all(
        is_within(e, f, (roundings * torch.finfo(e.dtype).eps if _rounds(e) else 0.0, 0.0))
        for e, f in zip(ours, theirs, strict=True)
    )


def _rounds(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _doubles(tensor: Tensor) -> Tensor:
    pairs = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return pairs.double()
