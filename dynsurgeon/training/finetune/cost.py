"""What the dynamic network costs beside its twin: the time of one sample, measured here and now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynsurgeon.timing.interleave import interleaved

SECONDS, ROUNDS = 10.0, 50
"""Bounds of the measurement."""


@dataclass(frozen=True)
class Cost:
    """Latency of both networks in torch, eager, at batch 1; `dynsurgeon bench` measures more.

    Attributes:
        device: What they ran on.
        threads: Threads of an operator on the CPU.
        static_ms: Median of the static network, in milliseconds.
        dynamic_ms: Median of the dynamic one.
        ratio: Median of the ratios round by round, dynamic over static.
        spread: Larger interquartile range of the two, over its median.
        rounds: Timed rounds.
    """

    device: str
    threads: int
    static_ms: float
    dynamic_ms: float
    ratio: float
    spread: float
    rounds: int

    def __str__(self) -> str:
        return (
            f"latency {self.ratio:.2f} of the static network's, {self.dynamic_ms:.2f} against "
            f"{self.static_ms:.2f} ms (torch, batch 1, {self.device}, {self.threads} threads)"
        )


def measure_cost(dynamic: nn.Module, static: nn.Module, sample: Tensor) -> Cost:
    """Time both networks in turn on one sample ``(C, ...)``, for about ten seconds at most."""
    calls = {"static": _call(static, sample), "dynamic": _call(dynamic, sample)}
    timings = interleaved(calls, rounds=ROUNDS, warmup=3, max_seconds=SECONDS)
    plain, found = timings["static"], timings["dynamic"]
    return Cost(
        device=next(dynamic.parameters()).device.type,
        threads=torch.get_num_threads(),
        static_ms=1e3 * plain.median,
        dynamic_ms=1e3 * found.median,
        ratio=found.against(plain).paired,
        spread=max(plain.spread, found.spread),
        rounds=len(plain.seconds),
    )


def _call(model: nn.Module, sample: Tensor) -> Callable[[], None]:
    inputs = sample.unsqueeze(0).to(next(model.parameters()))

    @torch.no_grad()
    def call() -> None:
        model(inputs)
        if inputs.device.type != "cpu":
            torch.accelerator.synchronize()

    return call
