"""What a site adds to a network's time, and what the whole network takes: measured, not guessed.

Both in onnxruntime on this machine's CPU, at batch 1, static and dynamic interleaved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol, Self

from torch import nn

from dynsurgeon.budgets.excerpt import Shape, dynamic_excerpt, excerpt_input, static_excerpt
from dynsurgeon.config import MeasureConfig
from dynsurgeon.errors import ExportError
from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.decide.draft import Variant
from dynsurgeon.surgery.decide.rows import Latency
from dynsurgeon.timing.interleave import Timing

PROBE_ROUNDS, PROBE_SECONDS = 50, 3.0
STATIC, DYNAMIC, STATIC_EXCERPT = "static", "dynamic", "static-excerpt"

FLOOR = 1e-6
"""Seconds that a dynamic layer takes at the least: a difference below that is the clock's noise."""


class Meter(Protocol):
    """Measures for a latency budget. Tests give one that knows its answers."""

    def static_seconds(self) -> float:
        """Return what the static network takes."""

    def site_seconds(self, variants: Sequence[Variant]) -> list[float]:
        """Return what a site adds in each of its variants."""

    def network(self, dynamic: nn.Module) -> Latency:
        """Compare a dynamic form of the network with the static one."""


class OnnxMeter:
    """Measures in onnxruntime; a context manager, for the files it writes.

    Args:
        model: The static network.
        inputs: What it runs on.
        config: Form, threads and rounds.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, config: MeasureConfig) -> None:
        from dynsurgeon.timing.store import TimeStore, times_file

        self._model, self._inputs = model, inputs
        self._config = config
        self._threads = config.threads or os.cpu_count() or 1
        self._store = TimeStore(times_file(self._threads))
        self._folder = TemporaryDirectory(prefix="dynsurgeon-latency-")
        self._static: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def static_seconds(self) -> float:
        """Return the median of the static network's times."""
        files = {STATIC: self._static_file()}
        return self._time(files, self._inputs, self._config.rounds)[STATIC].median

    def site_seconds(self, variants: Sequence[Variant]) -> list[float]:
        """Return what a site adds in each variant: the difference of the fastest rounds."""
        totals = [0.0] * len(variants)
        for shape in variants[0].shapes:
            for index, seconds in enumerate(self._at_shape(variants, shape)):
                totals[index] += seconds
        return totals

    def network(self, dynamic: nn.Module) -> Latency:
        """Compare medians; the ratio is the larger of theirs and the median of the rounds' own."""
        files = {STATIC: self._static_file(), DYNAMIC: self._write(dynamic, DYNAMIC)}
        timings = self._time(files, self._inputs, self._config.rounds)
        found = timings[DYNAMIC].against(timings[STATIC])
        return Latency(
            static_ms=1e3 * timings[STATIC].median,
            dynamic_ms=1e3 * timings[DYNAMIC].median,
            ratio=max(found.ratio, found.paired),
            form=self._config.form,
            threads=self._threads,
        )

    def _at_shape(self, variants: Sequence[Variant], shape: Shape) -> list[float]:
        keys = [_key(variant, shape, self._config) for variant in variants]
        known = [self._store.get(key) for key in keys]
        if None in known:
            measured = self._measure_excerpts(variants, shape)
            for key, seconds in zip(keys, measured, strict=True):
                self._store.put(key, seconds)
            return measured
        return [seconds for seconds in known if seconds is not None]

    def _measure_excerpts(self, variants: Sequence[Variant], shape: Shape) -> list[float]:
        x = excerpt_input(shape)
        files = {STATIC: self._write(static_excerpt(variants[0], shape), STATIC_EXCERPT, x)}
        for index, variant in enumerate(variants):
            excerpt = dynamic_excerpt(variant, shape)
            files[str(index)] = self._write(excerpt, f"excerpt-{index}", x)
        timings = self._time(files, Inputs(x), PROBE_ROUNDS, PROBE_SECONDS)
        base = timings[STATIC].least
        return [max(timings[str(i)].least - base, FLOOR) for i in range(len(variants))]

    def _static_file(self) -> Path:
        if self._static is None:
            self._static = self._write(self._model, STATIC)
        return self._static

    def _write(self, model: nn.Module, name: str, inputs: Any = None) -> Path:
        from dynsurgeon.export import export_onnx
        from dynsurgeon.timing.threads import torch_threads

        path = Path(self._folder.name) / f"{name}.onnx"
        inputs = self._inputs if inputs is None else inputs
        chosen = {"form": self._config.form, "this_cpu": self._config.this_cpu}
        choice: dict[str, Any] = {} if name in (STATIC, STATIC_EXCERPT) else chosen
        try:
            with torch_threads(self._threads):
                export_onnx(model, path, inputs, batch=1, **choice)
        except ExportError as error:
            raise ExportError(
                f"a latency budget is measured in onnxruntime, and {error}; the budgets of MACs "
                "and parameters need no export"
            ) from error
        return path

    def _time(
        self, files: dict[str, Path], inputs: Any, rounds: int, max_seconds: float | None = None
    ) -> dict[str, Timing]:
        from dynsurgeon.export.signature import tensors
        from dynsurgeon.running.fresh import tiled
        from dynsurgeon.runtimes.onnxruntime import timed_session
        from dynsurgeon.timing.interleave import interleaved

        fed = tensors(tiled(inputs, 1))
        calls = {n: timed_session(p, fed, threads=self._threads) for n, p in files.items()}
        return interleaved(calls, rounds=rounds, max_seconds=max_seconds)


def _key(variant: Variant, shape: Shape, config: MeasureConfig) -> str:
    """Return what the time of a variant depends on, as text: not its name, nor its weights."""
    recipe, static = variant.recipe, variant.static
    settings = {k: v for k, v in recipe.settings.items() if k not in ("start", "spread")}
    geometry = repr(static) if isinstance(static, StaticConv) else recipe.form
    place = [list(shape[1:]), recipe.inplace, config.form, config.this_cpu]
    signature = [recipe.operator, geometry, settings, *place]
    return json.dumps(signature, sort_keys=True)
