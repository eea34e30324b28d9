"""The search meets its budget on networks whose sites' times do not add up."""

from __future__ import annotations

import pytest

from dynsurgeon.budgets.knapsack import Option, choose
from dynsurgeon.budgets.search import ATTEMPTS, ENOUGH, Chosen, Search, capacity_of
from dynsurgeon.errors import NoSiteError
from dynsurgeon.surgery.decide.rows import Latency

STATIC = 10.0
OPTIONS = [Option(f"s{i}", None, {"latency": 0.1}, 1.0) for i in range(40)]


class Network:
    """Takes `factor` times what its sites take alone, and `fixed` seconds for the first."""

    def __init__(self, factor: float, fixed: float = 0.0) -> None:
        self.factor, self.fixed = factor, fixed
        self.measured: list[int] = []

    def measure(self, chosen: Chosen) -> Latency:
        self.measured.append(len(chosen))
        added = self.fixed + self.factor * sum(o.costs["latency"] for o in chosen.values())
        ratio = (STATIC + added) / STATIC
        return Latency(1e3 * STATIC, 1e3 * (STATIC + added), ratio, "rule", 1)

    def search(self, budget: float) -> Search:
        return Search(
            budget=budget,
            allowance=(budget - 1) * STATIC,
            choose=lambda spend: choose(OPTIONS, {"latency": spend}) or {"s0": OPTIONS[0]},
            measure=self.measure,
            complete=float(len(OPTIONS)),
        )


@pytest.mark.parametrize("factor", [0.2, 0.5, 0.9, 1.0, 1.3, 2.0, 5.0])
@pytest.mark.parametrize("budget", [1.05, 1.15, 1.3])
def test_the_budget_is_met_and_used(factor: float, budget: float) -> None:
    network = Network(factor)
    if 1 + factor * 0.1 / STATIC > budget:
        return
    found = network.search(budget).run()
    assert found.latency.ratio <= budget
    everything = len(found.chosen) == len(OPTIONS)
    one_more = factor * 0.1 / STATIC
    assert everything or found.latency.ratio - 1 + one_more >= ENOUGH * (budget - 1) - 1e-9
    assert len(network.measured) <= ATTEMPTS


def test_a_fixed_cost_is_found_too() -> None:
    network = Network(1.0, fixed=1.0)
    found = network.search(1.15).run()
    assert 1.10 < found.latency.ratio <= 1.15
    assert 1 <= len(found.chosen) <= 5


def test_nothing_is_measured_twice() -> None:
    network = Network(3.0)
    network.search(1.15).run()
    assert len(network.measured) == len(set(network.measured))


def test_everything_at_once_is_enough() -> None:
    network = Network(0.01)
    found = network.search(2.0).run()
    assert len(found.chosen) == len(OPTIONS)
    assert network.measured == [40]


def test_what_is_never_within_says_what_the_least_takes() -> None:
    network = Network(1.0, fixed=5.0)
    with pytest.raises(
        NoSiteError, match=r"latency budget of 1\.15: the least .* 1 sites, .*1\.51"
    ):
        network.search(1.15).run()
    assert min(network.measured) == 1


def test_of_those_within_the_one_of_most_capacity_is_taken() -> None:
    class Moody(Network):
        def measure(self, chosen: Chosen) -> Latency:
            found = super().measure(chosen)
            return found if len(self.measured) > 1 else Latency(1.0, 1.02, 1.02, "rule", 1)

    network = Moody(1.0)
    found = network.search(1.15).run()
    within = [t for t in network.measured if 1 + t * 0.1 / STATIC <= 1.15]
    assert capacity_of(found.chosen) == max(within)
