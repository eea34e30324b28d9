"""Choose the fastest file: the fastest form of every convolution, then the fastest whole.

A form's time on its own says little about its neighbours, so the files are timed as wholes too, the
one that the rule gives among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dynsurgeon.errors import ExportError
from dynsurgeon.export.job import Job
from dynsurgeon.export.passes.fold_batch_norm import fold_batch_norm
from dynsurgeon.export.result import Timings
from dynsurgeon.export.signature import tensors
from dynsurgeon.export.target import Target
from dynsurgeon.export.tuning.sites import Timer, Times
from dynsurgeon.graphs.saving import data_path
from dynsurgeon.progress import counted
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.store import TimeStore, times_file

ROUNDS, MOST_SECONDS = 21, 20.0
"""Timed rounds of whole files, and the seconds after which they end."""

TUNED = "+tuned"
"""Ends the name of a layout whose convolutions have the forms that were fastest on their own."""


def fastest(
    trace: Callable[[Target], Job], targets: Sequence[Target], folder: Path
) -> tuple[Job, Timings]:
    """Return the job whose file runs fastest here, and what was measured.

    Args:
        trace: Traces the network for a target.
        targets: What may be exported.
        folder: Where files are written meanwhile.

    Raises:
        ExportError: The network can't be exported for any of the targets.
    """
    threads = torch.get_num_threads()
    timer = Timer(threads, TimeStore(times_file(threads)))
    jobs, sites = _jobs(trace, targets, timer)
    files = _time(jobs, folder, threads)
    best = min(files, key=lambda name: files[name])
    job = jobs[best]
    batch = job.target.batch or 1
    known = {bank: _milliseconds(times) for bank, times in sites.items()}
    return job, Timings(threads, batch, _milliseconds(files), known, dict(job.target.sites))


def _jobs(
    trace: Callable[[Target], Job], targets: Sequence[Target], timer: Timer
) -> tuple[dict[str, Job], dict[str, Times]]:
    jobs: dict[str, Job] = {}
    sites: dict[str, Times] = {}
    refusal: ExportError | None = None
    for target in counted(targets, "layouts"):
        try:
            job = trace(target)
        except ExportError as error:
            refusal = refusal or error
            continue
        jobs[target.form.name] = job
        if target.form.alternatives:
            times = _time_sites(job, timer)
            chosen = {bank: min(t, key=lambda form: t[form]) for bank, t in times.items()}
            sites.update(times)
            if any(form not in target.form.convolutions for form in chosen.values()):
                tuned = replace(job, target=replace(target, sites=chosen))
                jobs[f"{target.form.name}{TUNED}"] = tuned
    if not jobs:
        assert refusal is not None
        raise refusal
    return jobs, sites


def _time_sites(job: Job, timer: Timer) -> dict[str, Times]:
    model = job.captured.model.clone()
    fold_batch_norm(model)  # gives most convolutions a bias
    form = job.target.form
    return timer.time_sites(model, (*form.convolutions[:-1], *form.alternatives))


def _time(jobs: Mapping[str, Job], folder: Path, threads: int) -> dict[str, float]:
    """Return the seconds that each job's file takes for its first case, or one sample."""
    calls = {}
    for name, job in jobs.items():
        path = folder / f"race-{name}.onnx"
        job.write(path, {})
        calls[name] = timed_session(path, tensors(job.cases[0].inputs), threads=threads)
        path.unlink()
        data_path(path).unlink(missing_ok=True)
    timings = interleaved(calls, rounds=ROUNDS, max_seconds=MOST_SECONDS)
    return {name: timing.median for name, timing in timings.items()}


def _milliseconds(times: Times) -> dict[str, float]:
    return {name: 1e3 * seconds for name, seconds in times.items()}
