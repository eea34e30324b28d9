"""The greedy choice: small cases by hand, and what must hold of every one."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsurgeon.budgets.knapsack import Option, broken, capacity, choose, total


def option(site: str, worth: float, experts: int | None = 4, **costs: float) -> Option:
    return Option(site, experts, costs, worth)


def names(taken: dict[str, Option]) -> set[str]:
    return set(taken)


@pytest.mark.parametrize(("parts", "share"), [(1, 0.0), (2, 0.5), (4, 0.75), (8, 0.875)])
def test_capacity_grows_ever_more_slowly_with_the_kernels(parts: int, share: float) -> None:
    assert capacity(1000, parts) == 1000 * share


def test_two_lines_are_worth_four_kernels() -> None:
    assert capacity(1000, 2, activation=True) == capacity(1000, 4)


def test_the_best_by_capacity_a_cost_comes_first() -> None:
    options = [
        option("large", 10, ms=5),
        option("good", 6, ms=2),
        option("cheap", 1, ms=1),
    ]
    assert names(choose(options, {"ms": 2})) == {"good"}
    assert names(choose(options, {"ms": 3})) == {"good", "cheap"}
    assert names(choose(options, {"ms": 7})) == {"good", "large"}
    assert names(choose(options, {"ms": 8})) == {"good", "large", "cheap"}


def test_a_site_gets_more_kernels_where_they_fit() -> None:
    options = [option("a", 4, 2, ms=1), option("a", 6, 4, ms=3), option("b", 4, 2, ms=1)]
    assert {n: o.choice for n, o in choose(options, {"ms": 2}).items()} == {"a": 2, "b": 2}
    assert {n: o.choice for n, o in choose(options, {"ms": 4}).items()} == {"a": 4, "b": 2}


def test_more_kernels_that_cost_no_more_are_taken_at_once() -> None:
    options = [option("a", 4, 2, ms=2), option("a", 6, 4, ms=1)]
    assert choose(options, {"ms": 1})["a"].choice == 4


def test_every_budget_counts() -> None:
    options = [option("a", 5, ms=1, MACs=9), option("b", 5, ms=9, MACs=1)]
    assert names(choose(options, {"ms": 10, "MACs": 10})) == {"a", "b"}
    assert names(choose(options, {"ms": 5, "MACs": 10})) == {"a"}
    assert names(choose(options, {"ms": 10, "MACs": 5})) == {"b"}
    assert choose(options, {"ms": 5, "MACs": 5}) == {}


def test_nothing_may_be_spent() -> None:
    options = [option("a", 5, ms=1), option("free", 2, ms=0), option("saves", 1, ms=-1)]
    assert names(choose(options, {"ms": 0})) == {"free", "saves"}


def test_what_a_site_saves_another_may_spend() -> None:
    options = [option("a", 5, ms=2), option("saves", 1, ms=-1)]
    assert names(choose(options, {"ms": 1})) == {"a", "saves"}


def test_without_capacity_nothing_is_taken() -> None:
    assert choose([option("a", 0.0, ms=0)], {"ms": 1}) == {}
    assert choose([], {"ms": 1}) == {}


def test_ties_go_by_order() -> None:
    options = [option(name, 1, ms=1) for name in "abc"]
    assert names(choose(options, {"ms": 2})) == {"a", "b"}
    assert names(choose(options[::-1], {"ms": 2})) == {"b", "c"}


def test_the_budgets_that_are_broken_are_named() -> None:
    taken = {"a": option("a", 1, ms=3, MACs=1)}
    used = {name: total(taken, name) for name in ("ms", "MACs")}
    most = {"ms": 4.0, "MACs": 10.0}
    assert broken(option("b", 1, ms=2, MACs=1), taken, used, most) == ["ms"]
    assert broken(option("b", 1, ms=2, MACs=10), taken, used, most) == ["ms", "MACs"]
    assert broken(option("b", 1, ms=1, MACs=9), taken, used, most) == []
    assert broken(option("a", 2, 8, ms=4, MACs=1), taken, used, most) == []
    assert broken(option("b", 1, ms=-1, MACs=0), taken, {"ms": 5.0, "MACs": 1.0}, most) == []


costs = st.integers(0, 20)
options = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(1, 30), costs, costs), max_size=8
).map(
    lambda rows: [
        option(site, worth, index, ms=ms, MACs=macs)
        for index, (site, worth, ms, macs) in enumerate(rows)
    ]
)


@given(options, costs, costs)
def test_budgets_are_kept_and_nothing_that_fits_is_left(
    given_options: list[Option], ms: int, macs: int
) -> None:
    most = {"ms": float(ms), "MACs": float(macs)}
    taken = choose(given_options, most)
    assert taken == choose(given_options, most)
    assert all(total(taken, name) <= most[name] for name in most)
    used = {name: total(taken, name) for name in most}
    for one in given_options:
        if one.capacity > (taken[one.site].capacity if one.site in taken else 0):
            assert broken(one, taken, used, most)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6), st.integers(1, 30))
def test_it_is_at_least_half_as_good_as_the_best_or_its_largest_item(
    rows: list[tuple[int, int]], most: int
) -> None:
    given_options = [option(str(i), worth, ms=ms) for i, (worth, ms) in enumerate(rows)]
    found = sum(o.capacity for o in choose(given_options, {"ms": float(most)}).values())
    best = 0.0
    for mask in product((False, True), repeat=len(rows)):
        chosen = [o for o, used in zip(given_options, mask, strict=True) if used]
        if sum(o.costs["ms"] for o in chosen) <= most:
            best = max(best, sum(o.capacity for o in chosen))
    largest = max((o.capacity for o in given_options if o.costs["ms"] <= most), default=0.0)
    assert max(found, largest) >= best / 2
