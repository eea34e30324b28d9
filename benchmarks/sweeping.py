"""What every network of a sweep goes through, and the row that tells how it went.

A row is a dict of JSON values: ``name``, ``input``, the numbers of the plan, ``outcome``
(``"converted"`` or ``"no site"``), those of the receipt, ``reload_equal``, and in ``errors`` the
reason of each stage that failed, by the stage's name.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dynsurgeon as ds
from dynsurgeon.messages import first_line
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import run_model, tensors_of

Row = dict[str, Any]
Built = tuple[nn.Module, Any]
"""A network with its example inputs, in any form that `Inputs.of` takes."""
Builder = Callable[[], Built]

LARGE = 250_000_000
"""Models above this many parameters get 2 kernels instead of 4: two banks must fit beside them."""


def read_rows(path: Path) -> list[Row]:
    """Read the lines that a sweep has written."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_row(path: Path, row: Row) -> None:
    """Write a line, and show it."""
    line = json.dumps(row)
    with path.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def _forget(row: Row) -> None:
    """Keep nothing: the row of a process that is not expected to die."""


@dataclass
class Record:
    """The row of one network while it is written.

    Attributes:
        row: What is known by now; ``stage`` is the one under way.
        keep: Called with the row before each stage, so that a crash shows where it was.
    """

    row: Row
    keep: Callable[[Row], None] = _forget

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self.row["stage"] = stage
        self.keep(self.row)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Note time, memory, and what went wrong; the last thing done to a row."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            self._note(error)
        self.row.pop("stage", None)
        self.row["seconds"] = round(time.perf_counter() - start, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.row["peak_gib"] = round(peak / 2**20, 1)

    @contextmanager
    def optional(self, stage: str) -> Iterator[None]:
        """Begin a stage that others don't need: a failure is noted, and the next one follows."""
        self.enter(stage)
        try:
            yield
        except Exception as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        said = first_line(error, named=True, limit=300)
        self.row.setdefault("errors", {})[self.row["stage"]] = said


def perturb_statistics(model: nn.Module) -> None:
    """Make running statistics as uneven as training makes them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def config_for(model: nn.Module) -> ds.SurgeryConfig:
    """Return the default settings, with fewer kernels for a large model."""
    large = sum(p.numel() for p in model.parameters()) > LARGE
    return ds.SurgeryConfig(conv=ds.DynamicConvConfig(experts=2 if large else 4))


def convert(
    record: Record, model: nn.Module, inputs: Inputs, config: ds.SurgeryConfig
) -> nn.Module | None:
    """Plan and convert; None if there is no site to convert."""
    row = record.row
    record.enter("plan")
    plan = ds.plan(model, inputs, config)
    row["sites"], row["converted"] = len(plan.sites), len(plan.converted)
    row["skips"] = Counter(str(site.reason) for site in plan.skipped)
    row["notes"] = list(plan.notes)
    for total in ("params_before", "params_after", "macs_before", "macs_after"):
        row[total] = getattr(plan, total)
    row["experts"] = config.conv.experts if config.conv else 0
    if not plan.converted:
        row["outcome"] = "no site"
        return None
    record.enter("convert")
    start = time.perf_counter()
    dynamic = ds.convert(model, inputs, config)
    row["convert_seconds"] = round(time.perf_counter() - start, 1)
    row["outcome"] = "converted"
    return dynamic


def prove(record: Record, model: nn.Module, dynamic: nn.Module, inputs: Inputs) -> None:
    """Compare with the original, then save and load again."""
    row = record.row
    with record.optional("parity"):
        receipt = ds.check_parity(model, dynamic, inputs)
        row["passed"], row["parity"] = receipt.passed, {}
        row["max_rel"], row["parity_notes"] = receipt.max_rel, list(receipt.notes)
        row["gradient_rel"] = receipt.gradient_rel
        for mode in receipt.modes:
            sites = [site.max_rel for site in receipt.sites if site.mode == mode]
            row["parity"][mode] = [receipt.output_rel[mode], max(sites, default=0.0)]
    with record.optional("reload"):
        row["reload_equal"] = _reloads_equal(model, dynamic, inputs)


def _reloads_equal(model: nn.Module, dynamic: nn.Module, inputs: Inputs) -> bool:
    before = tensors_of(run_model(dynamic, inputs, "eval"))
    with tempfile.TemporaryDirectory() as directory:
        ds.save(dynamic, directory)
        reloaded = ds.load(directory, model)
    after = tensors_of(run_model(reloaded, inputs, "eval"))
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def export(dynamic: nn.Module, inputs: Inputs) -> Row:
    """Export with a dynamic batch, and verify."""
    with tempfile.TemporaryDirectory() as directory:
        result = ds.export_onnx(dynamic, Path(directory) / "model.onnx", inputs)
    return {"passed": result.passed, "max_rel": result.max_rel, "form": result.form}
