"""Choose what gives most within budgets: a knapsack, filled greedily.

The *dynamic capacity* of a site is the multiply-adds whose result it makes depend on the input in
a way of their own (those of a convolution, or of the convolution before an activation), times
1 - 1/n for its n kernels or lines.

The factor is the share of the n parts that the input decides: their weights sum to one, as do the
pieces of a maximum, so one of them is settled by the others. It makes the second kernel worth more
than the third, as arXiv 1912.03458 found of K. Capacities of sites add up.

What counts in the end is what they gain. On the network of docs/accuracy.md K = 2, 4 and 8 gained
+0.51, +0.82 and +1.08 points, in proportion to 1/2, 3/4 and 7/8 within the noise; DY-ReLU-B's two
lines gained as much as four kernels (+0.68 and +0.67, five seeds). So an activation counts one and
a half times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Costs = Mapping[str, float]
"""What something costs, by the name of the budget that it is paid from."""

FULL = 1 + 1e-9
"""A budget may be used up to its last unit, and sums of floats are not exact."""


@dataclass(frozen=True)
class Option:
    """One way to make one site dynamic.

    Attributes:
        site: Name of the site.
        choice: What to make of it: the settings of its operator.
        costs: What it adds to the network, by budget; below 0 if it saves.
        capacity: Its dynamic capacity.
    """

    site: str
    choice: Any
    costs: Costs
    capacity: float


ACTIVATION_WORTH = 1.5
"""What the capacity of an activation gains, over that of a convolution."""


def capacity(macs: int, parts: int, *, activation: bool = False) -> float:
    """Return the dynamic capacity of a site with `parts` kernels or lines, by what it gains."""
    return macs * (1 - 1 / parts) * (ACTIVATION_WORTH if activation else 1.0)


def choose(options: Sequence[Option], allowances: Costs) -> dict[str, Option]:
    """Take options, one a site at most, by capacity a share of the budgets until nothing fits.

    Each step is the best of all that still fit: another site, or more kernels for one that is in.

    Args:
        options: Everything there is, in a fixed order that settles ties.
        allowances: How much may be added, by budget; each option has a cost for each.

    Returns:
        The option taken, by site.
    """
    taken: dict[str, Option] = {}
    used = dict.fromkeys(allowances, 0.0)
    while True:
        steps = [(_worth(o, taken.get(o.site), allowances), o) for o in options]
        better = [(worth, o) for worth, o in steps if worth > 0]
        fitting = [(w, o) for w, o in better if not broken(o, taken, used, allowances)]
        if not fitting:
            return taken
        _, best = max(fitting, key=lambda step: step[0])
        for name in used:
            used[name] += _added(best, taken.get(best.site), name)
        taken[best.site] = best


def broken(
    option: Option, taken: Mapping[str, Option], used: Costs, allowances: Costs
) -> list[str]:
    """Return the budgets that an option would break on top of what is taken."""
    before = taken.get(option.site)
    return [
        name
        for name, most in allowances.items()
        if (added := _added(option, before, name)) > 0 and used[name] + added > most * FULL
    ]


def total(taken: Mapping[str, Option], name: str) -> float:
    """Return what everything taken costs of one budget."""
    return sum(option.costs[name] for option in taken.values())


def _worth(option: Option, before: Option | None, allowances: Costs) -> float:
    """Return the capacity gained a share of the budgets; 0 if the step gains nothing."""
    gain = option.capacity - (before.capacity if before else 0.0)
    if gain <= 0:
        return 0.0
    shares = [
        max(_added(option, before, name), 0.0) / most if most > 0 else float("inf")
        for name, most in allowances.items()
        if _added(option, before, name) > 0
    ]
    share = sum(shares)
    return gain / share if share > 0 else float("inf")


def _added(option: Option, before: Option | None, name: str) -> float:
    return option.costs[name] - (before.costs[name] if before else 0.0)
