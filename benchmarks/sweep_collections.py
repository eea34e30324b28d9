"""Take networks of other people's collections through every stage; one JSON line a network.

    python benchmarks/sweep_collections.py --output docs/sweep/collections.jsonl
    python benchmarks/sweep_table.py collections docs/sweep/collections.jsonl

The tables ``NETWORKS`` in `benchmarks/collections_*.py` name the networks by the package that has
them; docs/collections.md gives the line that installs these. A package that is not installed is the
reason in its networks' rows. Each network runs in a process of its own, so that one that crashes or
hangs is a row like any other. A line that is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from signal import Signals

import collections_diffusers
import collections_images
import collections_medical
import collections_pytorchcv
import collections_sound
import collections_transformers
import torch
from sweeping import (
    Builder,
    Record,
    Row,
    append_row,
    config_for,
    convert,
    export,
    perturb_statistics,
    prove,
    read_rows,
)

from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import MODES, run_model

NETWORKS: dict[str, Builder] = {
    f"{package}:{name}": builder
    for part in (
        collections_pytorchcv,
        collections_images,
        collections_transformers,
        collections_diffusers,
        collections_medical,
        collections_sound,
    )
    for package, builders in part.NETWORKS.items()
    for name, builder in builders.items()
}


def main() -> None:
    """Sweep the networks that the command line selects, or, as a child, one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns, as in 'monai:*'")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one network")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.one:
        warnings.filterwarnings("ignore")
        sweep(options.one, NETWORKS[options.one], lambda row: _write(options.output, row))
        return
    done = {row["name"] for row in read_rows(options.output)}
    for name in NETWORKS:
        if name not in done and any(fnmatch(name, pattern) for pattern in options.only):
            append_row(options.output, sweep_apart(name, options.limit))


def _write(path: Path, row: Row) -> None:
    path.write_text(json.dumps(row))


def sweep_apart(name: str, limit: float) -> Row:
    """Sweep one network in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "row.json"
        _write(path, {"name": name, "stage": "start"})
        return run_limited(
            [sys.executable, __file__, "--one", name, "--output", str(path)], path, limit
        )


def run_limited(command: Sequence[str], path: Path, limit: float) -> Row:
    """Run a command that writes its row into `path`; how it dies is in the row, if it does."""
    start = time.perf_counter()
    try:
        status = subprocess.run(command, timeout=limit, capture_output=True, check=False).returncode
        death = f"killed by {Signals(-status).name}" if status < 0 else f"exit code {status}"
    except subprocess.TimeoutExpired:
        death = f"no end within {limit:g} s"
    row: Row = json.loads(path.read_text())
    if "stage" in row:  # a row that is complete has none
        row.setdefault("errors", {})[row.pop("stage")] = death
        row["seconds"] = round(time.perf_counter() - start, 1)
    return row


def sweep(name: str, builder: Builder, keep: Callable[[Row], None]) -> Row:
    """Take one network through every stage; what fails is in the row, by the stage."""
    record = Record({"name": name, "version": _version(name)}, keep)
    with record.measured():
        record.enter("build")
        torch.manual_seed(0)
        model, given = builder()
        inputs = Inputs.of(given)
        perturb_statistics(model)
        record.row["input"] = described(inputs)
        record.enter("run")
        for mode in MODES:
            run_model(model, inputs, mode)
        dynamic = convert(record, model, inputs, config_for(model))
        if dynamic is not None:
            prove(record, model, dynamic, inputs)
            with record.optional("export"):
                record.row["onnx"] = export(dynamic, inputs)
    keep(record.row)
    return record.row


def _version(name: str) -> str:
    try:
        return version(name.split(":")[0])
    except PackageNotFoundError:
        return ""


def described(inputs: Inputs) -> str:
    """Return the shapes of the inputs, with their names if they have any."""
    named = [f"{name}={tuple(value.shape)}" for name, value in inputs.kwargs.items()]
    return ", ".join([*(str(tuple(value.shape)) for value in inputs.args), *named])


if __name__ == "__main__":
    main()
