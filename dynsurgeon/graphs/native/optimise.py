"""Have onnxruntime optimise a graph for this machine's CPU, and read the result back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort

from dynsurgeon.errors import ExportError
from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT, weight_bytes
from dynsurgeon.messages import first_line

NCHWC = "com.microsoft.nchwc"
"""Domain of the operators that work in blocks of channels."""

FATAL_ONLY = 4
"""Level of onnxruntime's log: an error is raised, and need not be printed too."""


def open_session(model: Path | bytes, rewritten: Path | None = None) -> ort.InferenceSession:
    """Load a file, or its content, on the CPU; write the graph as it runs to `rewritten`."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = 1
    if rewritten is not None:
        options.optimized_model_filepath = str(rewritten)
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def optimise(model: ir.Model) -> ir.Model:
    """Return the graph as onnxruntime would run it here.

    Raises:
        ExportError: onnxruntime can't load the graph, or it is too large to pass on in one file.
    """
    if weight_bytes(model) > EXTERNAL_DATA_LIMIT:
        raise ExportError(
            "form 'native' hands the static part of the network to onnxruntime in one file, and "
            "this one has more than 2 GiB: export it in form 'scan' or 'plain'"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "in.onnx"), Path(folder, "out.onnx")
        ir.save(model, source)
        try:
            open_session(source, rewritten=result)
        except Exception as error:
            raise ExportError(
                f"onnxruntime can't lay the graph out: {first_line(error)}"
            ) from error
        return ir.from_proto(ir.to_proto(ir.load(result)))  # in memory: the folder goes away
