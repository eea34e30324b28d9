"""Time a static network and its dynamic form: engines, batches and threads, a row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from dynsurgeon.bench.engines import DEFAULT_ENGINES, DYNAMIC, ENGINES, STATIC, Twins
from dynsurgeon.errors import ConfigError, UnsupportedModelError, suggest
from dynsurgeon.form_names import other_cpu
from dynsurgeon.messages import first_line
from dynsurgeon.progress import counted
from dynsurgeon.running.fresh import fresh_inputs
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.snapshot import unchanged
from dynsurgeon.timing.interleave import Comparison, Timing, interleaved
from dynsurgeon.timing.threads import torch_threads

Step = Callable[[str], None]


@dataclass(frozen=True)
class BenchRow:
    """One engine at one batch and number of threads.

    Attributes:
        engine: Name in `engines.ENGINES`.
        batch: Samples in the batch.
        threads: Threads of an operator.
        timings: Of ``"static"`` and ``"dynamic"``, interleaved; empty if the engine failed.
        problem: Why it failed, or None.
    """

    engine: str
    batch: int
    threads: int
    timings: dict[str, Timing]
    problem: str | None = None

    @property
    def comparison(self) -> Comparison | None:
        """Dynamic against static, if the engine ran."""
        return self.timings[DYNAMIC].against(self.timings[STATIC]) if self.timings else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        found = self.comparison
        return {
            "engine": self.engine,
            "batch": self.batch,
            "threads": self.threads,
            "problem": self.problem,
            **{name: timing.to_dict() for name, timing in self.timings.items()},
            **({} if found is None else found.to_dict()),
        }


def bench(
    twins: Twins,
    inputs: Inputs,
    *,
    engines: Sequence[str] = DEFAULT_ENGINES,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 30,
    step: Step = lambda what: None,
) -> list[BenchRow]:
    """Time both networks in every combination; the two of a row are interleaved.

    Args:
        twins: The networks; they stay as they are.
        inputs: Example inputs; each batch is drawn like them.
        engines: Names in `engines.ENGINES`.
        batches: Samples in a batch.
        threads: Threads of an operator.
        rounds: Timed rounds a row.
        step: Is told what is being measured.

    Returns:
        A row each. An engine that fails on this network has its reason in the row.

    Raises:
        ConfigError: An engine is unknown, or a number below 1.
        UnsupportedModelError: Every engine failed.
    """
    check_engines(engines)
    if min((*batches, *threads, rounds)) < 1:
        raise ConfigError("batches, threads and rounds must be at least 1")
    rows = []
    combinations = list(product(engines, batches, threads))
    for engine, batch, count in counted(combinations, "rows"):
        step(f"timing {engine} at batch {batch} with {count} threads")
        rows.append(_row(twins, inputs, engine, batch, count, rounds))
    if all(row.problem is not None for row in rows):
        raise UnsupportedModelError(f"no engine runs both networks: {rows[0].problem}")
    return rows


def check_engines(engines: Sequence[str]) -> None:
    """Raise `ConfigError` for an engine that is not in the table."""
    for name in engines:
        if name not in ENGINES:
            hint = suggest(name, ENGINES) or f"; known engines: {', '.join(ENGINES)}"
            raise ConfigError(f"unknown engine {name!r}{hint}")


def _row(
    twins: Twins, inputs: Inputs, engine: str, batch: int, threads: int, rounds: int
) -> BenchRow:
    drawn = fresh_inputs(inputs, batch, torch.Generator().manual_seed(0))
    try:
        with torch_threads(threads), unchanged(twins.static, twins.dynamic):
            calls = ENGINES[engine](twins, drawn, batch, threads)
            timings = interleaved(calls, rounds=rounds)
    except ConfigError:
        raise
    except Exception as error:
        # A compiler that is missing, an operator that can't be exported: the other rows stand.
        problem = other_cpu(error, twins.file or "the file") or error
        return BenchRow(engine, batch, threads, {}, problem=first_line(problem, named=True))
    return BenchRow(engine, batch, threads, timings)
