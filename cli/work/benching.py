"""The work of ``bench``: two networks, timed."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

import dynsurgeon as ds
from dynsurgeon.bench.engines import DEFAULT_ENGINES, Twins
from dynsurgeon.bench.rows import bench, check_engines
from dynsurgeon.config import SurgeryConfig
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning, others_load
from dynsurgeon.workflow.receipt import update_receipt, versions

from ..options.bench import BenchModelOptions, TimingOptions
from ..output import ONNX
from ..progress import Steps
from .loading import Subject, load_subject, reload_twins

Document = dict[str, Any]


def bench_directory(
    directory: Path, spec: str | None, timing: TimingOptions, step: Steps
) -> Document:
    """Time the network that `directory` holds beside the static one that it was made from.

    Its ONNX file is timed as it is, unless a form is asked for or its batch is fixed to another.
    The rows are kept in its receipt, where a report finds them.

    Raises:
        SurgeryError: Whatever stands in the way.
    """
    load = others_load()
    step(f"loading {directory}")
    static, subject = reload_twins(directory, spec)
    file = directory / ONNX
    as_it_is = timing.form is None and not timing.this_cpu
    known = file if as_it_is and file.exists() else None
    document = _document(static, subject, timing, step, load, known)
    update_receipt(directory, {"bench": document["rows"]})
    return document


def bench_model(
    options: BenchModelOptions, config: SurgeryConfig, timing: TimingOptions, step: Steps
) -> Document:
    """Convert the model that the options name, and time what comes of it beside it.

    Raises:
        SurgeryError: Whatever stands in the way.
    """
    load = others_load()
    with step.aside(f"building {options.model}"):
        static = load_subject(options)
    step("converting")
    dynamic = ds.convert(static.model, static.inputs, config)
    subject = Subject(dynamic, static.inputs, static.origin)
    return {
        **_document(static.model, subject, timing, step, load, None),
        "config": config.to_dict(),
    }


def _document(
    static: nn.Module,
    subject: Subject,
    timing: TimingOptions,
    step: Steps,
    load: float | None,
    file: Path | None,
) -> Document:
    engines = timing.engine or DEFAULT_ENGINES
    check_engines(engines)
    with TemporaryDirectory(prefix="dynsurgeon-bench-") as folder:
        form = timing.form or ("auto" if timing.this_cpu else "rule")
        twins = Twins(static, subject.model, Path(folder), form, timing.this_cpu, file)
        rows = bench(
            twins,
            subject.inputs,
            engines=engines,
            batches=timing.batch or (1,),
            threads=timing.threads or (os.cpu_count() or 1,),
            rounds=timing.rounds,
            step=step,
        )
    warning = noise_warning((t for row in rows for t in row.timings.values()), load)
    return {
        "model": subject.origin,
        "machine": describe_machine(),
        "versions": versions(),
        "rows": [row.to_dict() for row in rows],
        "warnings": [] if warning is None else [warning],
    }
