"""Meet a latency budget by trial: choose by the sites' times, measure the whole, move, repeat.

Milliseconds of sites don't add up: layers share caches and memory layouts. So what the choice may
spend, in the sites' own times, is moved until the measured ratio of the whole lies in the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dynsurgeon.budgets.knapsack import Option
from dynsurgeon.errors import NoSiteError
from dynsurgeon.progress import counted
from dynsurgeon.surgery.decide.rows import Latency

ATTEMPTS, STEPS = 6, 30
"""Measurements of the whole network, at most (each costs an export), and moves between them."""

AIM, ENOUGH = 0.9, 0.75
"""Shares of the time that a budget allows: to aim at, and from which on a choice is good enough.

The rest is for the machine, on which the same network takes a little more another time.
"""

NARROW = 0.03
"""Relative distance of a bracket's ends at which there is nothing more to find."""

Chosen = dict[str, Option]


@dataclass(frozen=True)
class MeasuredChoice:
    """A choice of sites, and the whole network's latency with it.

    Attributes:
        chosen: Options by site.
        allowance: Seconds, in the sites' own times, that it was chosen within.
        latency: What was measured of the whole.
    """

    chosen: Chosen
    allowance: float
    latency: Latency

    @property
    def capacity(self) -> float:
        """Dynamic capacity of all that was chosen."""
        return capacity_of(self.chosen)


@dataclass
class Search:
    """The search for the largest choice within a latency budget.

    Attributes:
        budget: Most that the ratio dynamic / static may be.
        allowance: Seconds that the budget allows.
        choose: Chooses sites within so many seconds of their own times.
        measure: Measures the whole network with a choice.
        complete: A choice of everything there is.
    """

    budget: float
    allowance: float
    choose: Callable[[float], Chosen]
    measure: Callable[[Chosen], Latency]
    complete: float
    measured: list[MeasuredChoice] = field(default_factory=list)

    def run(self) -> MeasuredChoice:
        """Search, and return the choice of most capacity within the budget.

        Raises:
            NoSiteError: No choice was within the budget.
        """
        low, high, spend = 0.0, float("inf"), AIM * self.allowance
        for _ in counted(range(STEPS), "networks at most"):
            found = self._try(spend)
            if found is None:
                break
            excess = found.latency.ratio - 1
            if excess <= self.budget - 1:
                low = spend
                if excess >= ENOUGH * (self.budget - 1) or found.capacity >= self.complete:
                    break
            else:
                high = spend
            spend = self._next(spend, excess, low, high)
            if high - low < NARROW * high:
                break
        return self._best()

    def _try(self, spend: float) -> MeasuredChoice | None:
        chosen = self.choose(spend)
        known = next((found for found in self.measured if found.chosen == chosen), None)
        if known is not None:  # a slightly other sum chose the same: nothing new to measure
            return replace(known, allowance=spend)
        if len(self.measured) == ATTEMPTS:
            return None
        self.measured.append(MeasuredChoice(chosen, spend, self.measure(chosen)))
        return self.measured[-1]

    def _next(self, spend: float, excess: float, low: float, high: float) -> float:
        aimed = AIM * (self.budget - 1)
        moved = spend * min(max(aimed / excess if excess > 0 else 2.0, 0.25), 2.0)
        if low < moved < high:
            return moved
        return (low + high) / 2

    def _best(self) -> MeasuredChoice:
        within = [found for found in self.measured if found.latency.ratio <= self.budget]
        if within:
            return max(within, key=lambda found: found.capacity)
        least = min(self.measured, key=lambda found: found.latency.ratio)
        raise NoSiteError(
            f"nothing was measured within the latency budget of {self.budget:g}: the least that "
            f"was tried, {len(least.chosen)} sites, takes {least.latency.ratio:.3f} times the "
            "static network's time"
        )


def capacity_of(chosen: Mapping[str, Option]) -> float:
    """Return the dynamic capacity of a choice."""
    return sum(option.capacity for option in chosen.values())
