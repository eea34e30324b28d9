"""Timing on a clock that the candidates themselves move."""

from __future__ import annotations

import gc
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsurgeon.errors import ConfigError
from dynsurgeon.timing.interleave import Comparison, Timing, interleaved


class Machine:
    """A clock, and programs that take the time they say; slower by a factor while it is busy."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.now

    def program(self, name: str, seconds: float, drift: float = 0.0) -> object:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds * (1 + drift * len(self.calls))

        return call


def test_each_round_calls_each_candidate_once_and_begins_with_another() -> None:
    machine = Machine()
    programs = {name: machine.program(name, 1.0) for name in "abc"}
    timings = interleaved(programs, rounds=3, warmup=1, clock=machine.clock)  # type: ignore[arg-type]
    assert list(timings) == ["a", "b", "c"]
    assert "".join(machine.calls) == "abc" + "abc" + "bca" + "cab"
    assert all(timing.seconds == (1.0, 1.0, 1.0) for timing in timings.values())


def test_the_ratio_survives_a_machine_that_slows_down() -> None:
    machine = Machine()
    programs = {
        "static": machine.program("static", 1.0, drift=0.01),
        "dynamic": machine.program("dynamic", 1.5, drift=0.01),
    }
    timings = interleaved(programs, rounds=40, warmup=0, clock=machine.clock)  # type: ignore[arg-type]
    assert timings["dynamic"].spread > 0.1
    assert timings["dynamic"].against(timings["static"]).paired == pytest.approx(1.5, rel=0.02)


def test_time_runs_out_in_warm_up_and_in_rounds() -> None:
    machine = Machine()
    slow = {"slow": machine.program("slow", 10.0)}
    timings = interleaved(slow, warmup=5, max_seconds=5.0, clock=machine.clock)  # type: ignore[arg-type]
    assert machine.calls == ["slow"] * 2  # one to warm up, one timed
    assert timings["slow"].seconds == (10.0,)
    machine.now, machine.calls = 0.0, []
    timings = interleaved(slow, warmup=1, max_seconds=35.0, clock=machine.clock)  # type: ignore[arg-type]
    assert len(timings["slow"].seconds) == 3


def test_no_garbage_is_collected_meanwhile_and_collection_is_on_again() -> None:
    states: list[bool] = []
    interleaved({"a": lambda: states.append(gc.isenabled())}, rounds=2, warmup=0)
    assert states == [False, False]
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        interleaved({"a": _fail}, rounds=1, warmup=0)
    assert gc.isenabled()


def _fail() -> None:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("candidates", "rounds", "warmup", "text"),
    [
        ({}, 1, 0, "nothing to time"),
        ({"a": _fail}, 0, 0, "rounds must be at least 1"),
        ({"a": _fail}, 1, -1, "warmup"),
    ],
)
def test_nonsense_is_refused(
    candidates: dict[str, object], rounds: int, warmup: int, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        interleaved(candidates, rounds=rounds, warmup=warmup)  # type: ignore[arg-type]


def test_a_timing_by_hand() -> None:
    timing = Timing((4.0, 1.0, 2.0, 3.0, 5.0))
    assert (timing.median, timing.least) == (3.0, 1.0)
    assert timing.spread == pytest.approx((4.0 - 2.0) / 3.0)
    assert Timing((2.0,)).spread == 0.0
    assert timing.to_dict() == {
        "median_ms": 3000.0,
        "least_ms": 1000.0,
        "spread": pytest.approx(2 / 3),
        "rounds": 5,
    }


def test_a_comparison_by_hand() -> None:
    found = Comparison(Timing((1.0, 2.0, 4.0)), Timing((3.0, 2.0, 6.0)))
    assert found.ratio == 3.0 / 2.0
    assert found.paired == median([3.0, 1.0, 1.5])
    assert found.least == 2.0
    assert found.to_dict() == {"ratio": 1.5, "paired_ratio": 1.5, "least_ratio": 2.0}


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=20),
    st.floats(0.1, 10),
)
def test_a_constant_factor_is_every_ratio(seconds: list[float], factor: float) -> None:
    base = Timing(tuple(seconds))
    scaled = Timing(tuple(factor * s for s in seconds))
    found = scaled.against(base)
    for ratio in (found.ratio, found.paired, found.least):
        assert ratio == pytest.approx(factor)
    assert scaled.spread == pytest.approx(base.spread)
