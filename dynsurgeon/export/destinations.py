"""What files are written for: a table of targets, each with the form that suits it.

By measurement, `docs/runtimes.md` has the numbers and the command. A runtime may take other forms
too; the one here is the fastest of those that it runs right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import onnx_ir as ir

from dynsurgeon.errors import ExportError

OLD_OPSET = 18
"""What files for unknown readers are written in: the oldest that the exporter writes."""


@dataclass(frozen=True)
class Destination:
    """A row of the table.

    Attributes:
        name: Its name, as a user gives it.
        summary: What runs the files, in a few words.
        one: Form at batch 1.
        fixed: Form at another fixed batch.
        free: Form at a free batch.
        opset: Version of the ONNX operator set, or None for the exporter's default.
        cpu_provider: Whether onnxruntime's CPU provider runs them: what is quick there suits.
        operators: Data file that lists the operators it knows, or None if none is kept.
    """

    name: str
    summary: str
    one: str = "plain"
    fixed: str = "grouped"
    free: str = "scan"
    opset: int | None = None
    cpu_provider: bool = False
    operators: str | None = None

    def form(self, batch: int | None) -> str:
        """Return the form for a fixed batch, or for a free one (None)."""
        return self.free if batch is None else self.one if batch == 1 else self.fixed

    def known_operators(self) -> frozenset[str] | None:
        """Return the operators that files may hold, or None for any."""
        return None if self.operators is None else _listed(self.operators)


DESTINATIONS: Mapping[str, Destination] = {
    row.name: row
    for row in (
        Destination("onnxruntime", "onnxruntime on any CPU", cpu_provider=True),
        Destination(
            "this-cpu",
            "onnxruntime on CPUs like this one",
            *("native", "native", "native"),
            cpu_provider=True,
        ),
        Destination("openvino", "OpenVINO on the CPU"),
        Destination("tract", "tract on the CPU"),
        Destination("web", "onnxruntime-web (WebAssembly)"),
        Destination(
            "tensorrt",
            "TensorRT; never run here, for want of the hardware",
            free="portable",
            opset=OLD_OPSET,
            operators="tensorrt_operators.txt",
        ),
        Destination(
            "portable",
            "any runtime: constant kernels, old operators",
            *("portable", "portable", "portable"),
            opset=OLD_OPSET,
        ),
    )
}
"""By the name that a user gives."""


def check_operators(model: ir.Model, destination: str | None) -> None:
    """Make sure that a target knows every operator of a file, where its list is kept.

    Raises:
        ExportError: It does not; names the operator.
    """
    row = DESTINATIONS.get(destination or "")
    known = None if row is None else row.known_operators()
    if known is None:
        return
    used = {node.op_type for graph in model.graphs() for node in graph}
    for operator in sorted(used - known):
        raise ExportError(
            f"target {destination!r} has no operator {operator}, which this network needs; "
            "leave that part out, or choose another target"
        )


@cache
def _listed(name: str) -> frozenset[str]:
    text = files("dynsurgeon.export").joinpath(name).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))
