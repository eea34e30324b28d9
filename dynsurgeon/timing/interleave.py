"""Time several callables interleaved in one process, so that the machine's moods meet them all.

Two programs timed one after the other differ by whatever the machine did meanwhile: clock, heat,
neighbours. Here every round calls each candidate once, each round beginning with another one, and
a ratio is taken of medians, and again round by round, where drift cancels.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from dynsurgeon.errors import ConfigError
from dynsurgeon.progress import counted

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Seconds that one candidate took, a round each.

    Attributes:
        seconds: Wall-clock seconds of each round, in order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of all rounds, in seconds."""
        return median(self.seconds)

    @property
    def least(self) -> float:
        """Fastest round, in seconds: what the machine can do when nothing disturbs it."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range over the median; 0 for a single round."""
        if len(self.seconds) < 2 or self.median == 0:
            return 0.0
        first, _, third = quantiles(self.seconds, n=4, method="inclusive")
        return (third - first) / self.median

    def against(self, baseline: Timing) -> Comparison:
        """Compare with `baseline`, timed in the same rounds."""
        return Comparison(baseline, self)

    def to_dict(self) -> dict[str, Any]:
        """Return median, least (milliseconds), spread and rounds as plain JSON values."""
        return {
            "median_ms": 1e3 * self.median,
            "least_ms": 1e3 * self.least,
            "spread": self.spread,
            "rounds": len(self.seconds),
        }


@dataclass(frozen=True)
class Comparison:
    """Two timings of the same rounds, as ratios candidate / baseline.

    Attributes:
        baseline: What is compared with.
        candidate: What is compared.
    """

    baseline: Timing
    candidate: Timing

    @property
    def ratio(self) -> float:
        """Ratio of the medians."""
        return self.candidate.median / self.baseline.median

    @property
    def paired(self) -> float:
        """Median of the ratios round by round: slow drift of the machine cancels in it."""
        pairs = zip(self.candidate.seconds, self.baseline.seconds, strict=False)
        return median(one / other for one, other in pairs)

    @property
    def least(self) -> float:
        """Ratio of the fastest rounds."""
        return self.candidate.least / self.baseline.least

    def to_dict(self) -> dict[str, Any]:
        """Return the three ratios as plain JSON values."""
        return {"ratio": self.ratio, "paired_ratio": self.paired, "least_ratio": self.least}


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    warmup: int = 3,
    max_seconds: float | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time the candidates, one call of each a round.

    Args:
        candidates: What to call, by name.
        rounds: Timed rounds.
        warmup: Calls of each candidate before the first timed round.
        max_seconds: Stop after this much time, warm-up included, and at least one timed round;
            None for no limit.
        clock: What the time is read from, in seconds.

    Returns:
        A timing a candidate, in the order given; all have the same number of rounds.

    Raises:
        ConfigError: There is no candidate, or `rounds` is below 1 or `warmup` below 0.
    """
    if not candidates:
        raise ConfigError("there is nothing to time: pass at least one candidate")
    if rounds < 1 or warmup < 0:
        raise ConfigError(f"rounds must be at least 1 and warmup 0, got {rounds} and {warmup}")
    begin = clock()

    def is_over() -> bool:
        return max_seconds is not None and clock() - begin >= max_seconds

    for _ in range(warmup):
        for call in candidates.values():
            call()
        if is_over():
            break
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with _no_garbage_collection():
        for index in counted(range(rounds), "rounds"):
            for name in _rotated(list(candidates), index):
                seconds[name].append(_timed(candidates[name], clock))
            if is_over():
                break
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _timed(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def _rotated(names: list[str], by: int) -> list[str]:
    # Who runs after whom matters (caches, threads going to sleep), so nobody is always second.
    start = by % len(names)
    return names[start:] + names[:start]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
