"""onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
from torch import Tensor

from dynsurgeon.runtimes.contract import Runtime

FATAL_ONLY = 4
"""Level of onnxruntime's log: an error is raised, and need not be printed too."""

SPINNING_STOP = "session.force_spinning_stop"
"""An idle session's threads go on spinning for a while, and would take the cores of the session
that is timed next: interleaved, two sessions would cost up to twice their time."""


class Session:
    """An ONNX file, loaded.

    Args:
        model: The file, or its content.
        threads: Threads of an operator, torch's number if None; operators run one after the other.
        optimized: Whether onnxruntime may rewrite the graph, as it does by default.
        rests: Whether it leaves the cores to others between two calls; for sessions that are timed
            beside each other.
        rewritten: Where to write the graph as onnxruntime runs it.

    Attributes:
        inputs: Names of the inputs, in order.
        outputs: Declared shape of each output by its name; free axes are no numbers.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        *,
        threads: int | None = None,
        optimized: bool = True,
        rests: bool = False,
        rewritten: Path | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
        options.inter_op_num_threads = 1
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if rests:
            options.add_session_config_entry(SPINNING_STOP, "1")
        if rewritten is not None:
            options.optimized_model_filepath = str(rewritten)
        source = model if isinstance(model, bytes) else str(model)
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = {value.name: value.shape for value in self._session.get_outputs()}

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on the inputs in the file's order and return the outputs."""
        return [torch.from_numpy(output) for output in self._session.run(None, self._feed(inputs))]

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], Any]:
        """Return a call that runs on these inputs alone, and returns arrays of NumPy."""
        feed = self._feed(inputs)
        return lambda: self._session.run(None, feed)

    def _feed(self, inputs: Sequence[Tensor]) -> dict[str, Any]:
        return {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in zip(self.inputs, inputs, strict=True)
        }


def timed_session(path: str | Path, inputs: Sequence[Tensor], *, threads: int) -> Callable[[], Any]:
    """Load an ONNX file and return a call, to be timed beside others, that runs it on `inputs`."""
    return Session(path, threads=threads, rests=True).bound(inputs)


RUNTIME = Runtime(
    name="onnxruntime",
    summary="onnxruntime on the CPU",
    install="pip install onnxruntime",
    target="onnxruntime",
    version=lambda: str(ort.__version__),
    load=lambda path, threads: Session(path, threads=threads),
)
