"""What the exported file takes beside the static network's: a second or two after an export.

Both in onnxruntime on this machine's CPU, interleaved. Where the file's target allows it, the file
laid out for this CPU is timed in the same rounds, so that a user learns what that would save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.export.detectors.one_image import one_image, takes_images
from dynsurgeon.export.exporter import write_unproven
from dynsurgeon.export.result import ExportResult
from dynsurgeon.export.signature import tensors
from dynsurgeon.form_names import THIS_CPU
from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT
from dynsurgeon.graphs.native.whole import lay_out_whole
from dynsurgeon.graphs.saving import save_model
from dynsurgeon.messages import first_line
from dynsurgeon.running.fresh import tiled
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import Timing, interleaved
from dynsurgeon.timing.noise import noise_warning

ROUNDS, WARMUP, SECONDS = 15, 1, 2.0
"""Bounds of the measurement."""

FEW = 5
"""Rounds below which a spread says nothing."""

STATIC, DYNAMIC = "static", "dynamic"

LAID_OUT_FROM = ("scan", "plain", "portable")
"""Forms whose files can be laid out for this CPU."""

ONNXRUNTIME = (None, "onnxruntime")
"""Targets whose file is for onnxruntime, so that a layout of its own is worth a word."""

WORTH = 0.8
"""Share of the time below which the layout for this CPU is worth a word: a fifth less."""


@dataclass(frozen=True)
class FileLatency:
    """What a file takes in onnxruntime, and what the static network's file takes.

    Attributes:
        batch: Samples in the batch.
        threads: Threads of an operator.
        static_ms: Median of the static network's file, in milliseconds.
        dynamic_ms: Median of the file.
        ratio: Median of the ratios round by round, dynamic over static.
        spread: Largest interquartile range of all that was timed, over its median.
        rounds: Timed rounds.
        this_cpu_ms: Median of the file laid out for this CPU, where that was timed.
        this_cpu_saves: The share of the time that it saves, where that is a fifth at least and the
            numbers can be believed.
        warning: Why they can not, or None.
    """

    batch: int
    threads: int
    static_ms: float
    dynamic_ms: float
    ratio: float
    spread: float
    rounds: int
    this_cpu_ms: float | None = None
    this_cpu_saves: float | None = None
    warning: str | None = None

    def __str__(self) -> str:
        return (
            f"latency {self.ratio:.2f} of the static network's, {self.dynamic_ms:.2f} against "
            f"{self.static_ms:.2f} ms (onnxruntime, batch {self.batch}, {self.threads} threads)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def measure_latency(
    static: nn.Module, export: ExportResult, inputs: Inputs, load: float | None = None
) -> FileLatency | str | None:
    """Time a file beside the static network's, at its batch or one sample.

    Args:
        static: The static network.
        export: The file.
        inputs: What both take.
        load: Load average before the own work began.

    Returns:
        The latency; why it could not be measured; None for a file that is for GPUs.
    """
    if export.rounding == "fp16":
        return None
    try:
        with TemporaryDirectory(prefix="dynsurgeon-latency-") as folder:
            return _measured(static, export, inputs, load, Path(folder))
    except Exception as error:  # the file is good, whatever the static one's trace says
        return f"latency was not measured: {first_line(error, named=True)}"


def _measured(
    static: nn.Module, export: ExportResult, inputs: Inputs, load: float | None, folder: Path
) -> FileLatency:
    batch, threads = export.batch or 1, torch.get_num_threads()
    files = {STATIC: folder / "static.onnx", DYNAMIC: export.path}
    write_unproven(static, files[STATIC], inputs, batch=batch)
    if export.form in LAID_OUT_FROM and export.target in ONNXRUNTIME:
        files[THIS_CPU] = _laid_out(export.path, folder / "this-cpu.onnx")
    fed = tensors(one_image(inputs) if takes_images(inputs) else tiled(inputs, batch))
    calls: dict[str, Callable[[], Any]] = {
        name: timed_session(path, fed, threads=threads) for name, path in files.items()
    }
    timings = interleaved(calls, rounds=ROUNDS, warmup=WARMUP, max_seconds=SECONDS)
    return judged(timings, batch, threads, load)


def judged(
    timings: Mapping[str, Timing], batch: int, threads: int, load: float | None
) -> FileLatency:
    """Say what timings of the same rounds mean; nothing is promised of noisy ones."""
    static, dynamic, laid = (timings.get(name) for name in (STATIC, DYNAMIC, THIS_CPU))
    assert static is not None
    assert dynamic is not None
    rounds = len(static.seconds)
    warning = noise_warning(timings.values(), load)
    if warning is None and rounds < FEW:
        warning = f"timed in {rounds} rounds alone: dynsurgeon bench takes more"
    return FileLatency(
        batch=batch,
        threads=threads,
        static_ms=1e3 * static.median,
        dynamic_ms=1e3 * dynamic.median,
        ratio=dynamic.against(static).paired,
        spread=max(timing.spread for timing in timings.values()),
        rounds=rounds,
        this_cpu_ms=None if laid is None else 1e3 * laid.median,
        this_cpu_saves=None if laid is None or warning else _saving(laid, dynamic),
        warning=warning,
    )


def _saving(laid: Timing, dynamic: Timing) -> float | None:
    found = laid.against(dynamic)
    share = max(found.ratio, found.paired)
    return 1 - share if share <= WORTH else None


def _laid_out(source: Path, path: Path) -> Path:
    save_model(lay_out_whole(ir.load(source)), path, EXTERNAL_DATA_LIMIT)
    return path
