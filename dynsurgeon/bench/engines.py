"""The ways to run a network that `bench` compares: a table.

A new engine is a function here that makes ready a static network and its dynamic form, and one line
in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from dynsurgeon.export import export_onnx
from dynsurgeon.export.signature import tensors
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.runtimes.contract import Runtime
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.runtimes.table import RUNTIMES

Calls = dict[str, Callable[[], object]]

STATIC, DYNAMIC = "static", "dynamic"


@dataclass
class Twins:
    """A static network and its dynamic form, with the ONNX files made of them so far.

    Attributes:
        static: The static network, in eval mode, on the CPU.
        dynamic: What it became, in eval mode, on the CPU.
        folder: Where ONNX files are written.
        form: Layout of the dynamic network's file, as `export_onnx` takes it.
        this_cpu: Whether form ``"auto"`` may choose one for CPUs like this alone.
        file: An ONNX file of the dynamic network that exists, or None to write one.
    """

    static: nn.Module
    dynamic: nn.Module
    folder: Path
    form: str = "rule"
    this_cpu: bool = False
    file: Path | None = None
    written: dict[tuple[str, int, int], Path] = field(default_factory=dict)

    def networks(self) -> dict[str, nn.Module]:
        """Return both networks by what they are."""
        return {STATIC: self.static, DYNAMIC: self.dynamic}

    def onnx_file(self, which: str, inputs: Inputs, batch: int, threads: int) -> Path:
        """Return the ONNX file of a network at that batch, written once.

        The static network gets the fixed batch, its fastest form. A dynamic one of form ``"auto"``
        is another file for another number of threads.

        Raises:
            ConfigError: There is no such form.
            ExportError: The network can't be exported like this.
            ParityError: The file would compute other numbers.
        """
        if which == DYNAMIC and self.file is not None and _takes(self.file, batch):
            return self.file
        timed = which == DYNAMIC and self.form == "auto"
        key = which, batch, threads if timed else 0
        if key not in self.written:
            path = self.folder / f"{which}-{batch}-{key[2]}.onnx"
            choice: dict[str, Any] = {"form": self.form, "this_cpu": self.this_cpu}
            choice = choice if which == DYNAMIC else {}
            export_onnx(self.networks()[which], path, inputs, batch=batch, **choice)
            self.written[key] = path
        return self.written[key]


Prepare = Callable[[Twins, Inputs, int, int], Calls]
"""From networks, inputs, batch and threads to the two calls to time."""


def eager(twins: Twins, inputs: Inputs, batch: int, threads: int) -> Calls:
    """Run in torch, operator by operator."""
    return {name: _call(network, inputs) for name, network in twins.networks().items()}


def compiled(twins: Twins, inputs: Inputs, batch: int, threads: int) -> Calls:
    """Run in torch, compiled for these very shapes."""
    torch.compiler.reset()
    calls = {}
    for name, network in twins.networks().items():
        program: Callable[..., object] = torch.compile(network, dynamic=False)
        calls[name] = _call(program, inputs)
        calls[name]()  # compiles, and fails here if it must
    return calls


def onnxruntime(twins: Twins, inputs: Inputs, batch: int, threads: int) -> Calls:
    """Run the ONNX files on the CPU."""
    paths = {name: twins.onnx_file(name, inputs, batch, threads) for name in twins.networks()}
    fed = tensors(inputs)
    return {name: timed_session(path, fed, threads=threads) for name, path in paths.items()}


def in_runtime(runtime: Runtime) -> Prepare:
    """Return an engine that runs the ONNX files in a runtime's own processes, one a file."""

    def prepare(twins: Twins, inputs: Inputs, batch: int, threads: int) -> Calls:
        runtime.installed_version()
        paths = {name: twins.onnx_file(name, inputs, batch, threads) for name in twins.networks()}
        fed = tensors(inputs)
        return {name: runtime.load(path, threads).bound(fed) for name, path in paths.items()}

    return prepare


ENGINES: Mapping[str, Prepare] = {
    "eager": eager,
    "compile": compiled,
    **{name: in_runtime(runtime) for name, runtime in RUNTIMES.items()},
    "onnxruntime": onnxruntime,
}
"""By the name that a user gives."""

DEFAULT_ENGINES = ("eager", "compile", "onnxruntime")
"""Those that every installation has."""


def _call(program: Callable[..., object], inputs: Inputs) -> Callable[[], object]:
    @torch.no_grad()
    def call() -> object:
        return inputs.call(program)

    return call


def _takes(path: Path, batch: int) -> bool:
    """Whether a file's batch is free, or this one."""
    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    first = next(value for value in graph.input if value.name not in stored)
    axis = first.type.tensor_type.shape.dim[0]
    return bool(not axis.HasField("dim_value") or axis.dim_value == batch)
