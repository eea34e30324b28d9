"""Run an ONNX file in onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
from torch import Tensor

from dynsurgeon.timing.session import ERRORS_ONLY


class Session:
    """An ONNX file, loaded.

    Args:
        path: The file.
        optimized: Whether onnxruntime may rewrite the graph, as it does by default.

    Attributes:
        inputs: Names of the inputs, in order.
        outputs: Declared shape of each output by its name; free axes are no numbers.
    """

    def __init__(self, path: Path, *, optimized: bool = True) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = torch.get_num_threads()
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = {value.name: value.shape for value in self._session.get_outputs()}

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on the inputs in the file's order and return the outputs."""
        feed: dict[str, Any] = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in zip(self.inputs, inputs, strict=True)
        }
        return [torch.from_numpy(output) for output in self._session.run(None, feed)]
