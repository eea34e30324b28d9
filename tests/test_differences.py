"""How far apart outputs are: `test_compare.py` and `test_export_verify.py` have it in use."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dynsurgeon.running.differences import (
    FAR,
    SAME,
    Difference,
    agree,
    difference,
    is_within,
    largest_difference,
    worse,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("expected", "found", "gap", "scale"),
    [
        (torch.tensor([-4.0, 1.0]), torch.tensor([-4.0, 1.5]), 0.5, 4.0),
        (torch.tensor([-4.0, INF]), torch.tensor([-4.0, INF]), 0.0, 4.0),
        (torch.tensor([NAN, 1.0]), torch.tensor([NAN, 1.0]), 0.0, 1.0),
        (torch.tensor([NAN, 1.0]), torch.tensor([0.0, 1.0]), INF, 1.0),
        (torch.tensor([0.0, 1.0]), torch.tensor([NAN, 1.0]), INF, 1.0),
        (torch.tensor([-INF, 2.0]), torch.tensor([-INF, 2.5]), 0.5, 2.0),
        (torch.tensor([INF, 2.0]), torch.tensor([-INF, 2.0]), INF, 2.0),
        (torch.tensor([INF, 2.0]), torch.tensor([9.0, 2.0]), INF, 2.0),
        (torch.tensor([1.0]).half(), torch.tensor([1.5]).double(), 0.5, 1.0),
        (torch.tensor([True]), torch.tensor([False]), 1.0, 1.0),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 5j]), 3.0, 2.0),
        (torch.tensor([1 + 0j]), torch.tensor([1.0]), INF, 0.0),
        (torch.zeros(2), torch.zeros(3), INF, 0.0),
        (torch.zeros(2), None, INF, 0.0),
        (torch.zeros(0, 3), torch.zeros(0, 3), 0.0, 0.0),
    ],
)
def test_difference(expected: Any, found: Any, gap: float, scale: float) -> None:
    assert difference(expected, found) == (gap, scale)


@pytest.mark.parametrize(
    ("gap", "scale", "relative", "or_gap"),
    [(0.0, 0.0, 0.0, 0.0), (0.0, 5.0, 0.0, 0.0), (1.0, 4.0, 0.25, 0.25), (1.0, 0.0, INF, 1.0)],
)
def test_relative(gap: float, scale: float, relative: float, or_gap: float) -> None:
    found = Difference(gap, scale)
    assert (found.relative, found.relative_or_gap) == (relative, or_gap)


def test_the_worse_one_is_the_larger_one_for_its_scale() -> None:
    near, far = Difference(2.0, 100.0), Difference(1.0, 2.0)
    assert worse(near, far) == worse(far, near) == far
    assert worse(near, FAR) == FAR
    assert worse(Difference(0.0, 1.0), Difference(0.0, 9.0)).scale == 9.0  # neither is worse


def test_the_largest_difference_of_lists() -> None:
    one, two = torch.tensor([100.0]), torch.tensor([2.0])
    assert largest_difference([], []) == SAME
    assert largest_difference([one, two], [one + 2, two + 1]) == (1.0, 2.0)
    assert largest_difference([one], [one, two]) == FAR


def test_a_tolerance_is_a_share_of_the_largest_value_and_something_on_top() -> None:
    expected = torch.tensor([100.0, 0.0])
    assert is_within(expected, expected + 2, (0.01, 1.0))
    assert not is_within(expected, expected + 2.1, (0.01, 1.0))
    assert not is_within(expected, expected.double(), (1.0, 1.0))
    assert not is_within(expected, torch.zeros(3), (1.0, 1000.0))


def test_an_infinity_lends_its_size_to_no_tolerance() -> None:
    expected = torch.tensor([INF, 1.0])
    assert not is_within(expected, torch.tensor([INF, 1.5]), (0.1, 0.0))


def test_whole_numbers_must_be_equal() -> None:
    large = torch.tensor([2**60])  # which float64 can't tell from its neighbours
    assert is_within(large, large.clone(), (0.0, 0.0))
    assert not is_within(large, large + 1, (1.0, 1.0))
    assert not is_within(torch.tensor([True]), torch.tensor([False]), (1.0, 1.0))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.ones(3), torch.ones(3), True),
        (torch.ones(3), torch.ones(3) + 1e-7, True),
        (torch.ones(3), torch.ones(3) + 1e-4, False),
        (torch.ones(3), torch.ones(4), False),
        (torch.ones(3), torch.ones(3).double(), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([NAN, 1]), torch.tensor([NAN, 1]), True),
        (torch.tensor([NAN, 1]), torch.tensor([1.0, 1]), False),
        (torch.tensor([INF, 1]), torch.tensor([INF, 1]), True),
        (torch.tensor([1j, 1]), torch.tensor([1j, 1 + 1e-7j]), True),
        (torch.tensor([1j, 1]), torch.tensor([1j, 1 + 1e-4j]), False),
        (torch.zeros(0), torch.zeros(0), True),
        ({"a": torch.ones(1), "b": "x"}, {"a": torch.ones(1), "b": "y"}, True),
        ([torch.ones(1)], [torch.ones(1), torch.ones(1)], False),
    ],
)
def test_nested_outputs_agree(one: Any, other: Any, same: bool) -> None:
    assert agree(one, other, roundings=16) == same


def test_more_roundings_may_be_further_off_but_not_far() -> None:
    one = torch.ones(3)
    assert agree(one, one + 1e-4, roundings=2**14)
    assert not agree(one, one + 1e-2, roundings=2**14)
