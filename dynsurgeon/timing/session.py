"""Sessions of onnxruntime that can be timed beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

ERRORS_ONLY = 3

SPINNING_STOP = "session.force_spinning_stop"
"""An idle session's threads go on spinning for a while, and would take the cores of the session
that is timed next: interleaved, two sessions would cost up to twice their time."""


def timed_session(
    path: str | Path, inputs: Sequence[Tensor], *, threads: int
) -> Callable[[], object]:
    """Load an ONNX file and return a call that runs it on `inputs`.

    Args:
        path: The file.
        inputs: Its inputs, in the file's order.
        threads: Threads of an operator; operators run one after the other.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(SPINNING_STOP, "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    feed: dict[str, Any] = {
        name: tensor.detach().cpu().contiguous().numpy()
        for name, tensor in zip(names, inputs, strict=True)
    }
    return lambda: session.run(None, feed)
