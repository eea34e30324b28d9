"""A file in a foreign runtime: the same face as `onnxruntime.Session`, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynsurgeon.runtimes.worker import Worker

Command = tuple[Sequence[str], Mapping[str, str]]
"""Program and arguments, and environment variables."""


class ForeignSession:
    """An ONNX file, loaded by another process; that ends with the last use of this object.

    Args:
        name: The runtime, for messages.
        command: How to start a process that answers as `child.serve` does.
        path: The file.
        threads: Threads of an operator; the runtime's own choice if None.

    Attributes:
        inputs: Names of the inputs, in order.
        outputs: Declared shape of each output by its name; free axes are no numbers.

    Raises:
        RuntimeRefusalError: The runtime can't load the file.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        path: Path,
        threads: int | None = None,
    ) -> None:
        self.inputs, self.outputs = _signature(path)
        self._worker = Worker(name, *command)
        request = {"do": "load", "file": str(path), "inputs": self.inputs, "threads": threads}
        self._worker.ask(request, "load the file")

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on the inputs in the file's order and return the outputs.

        Raises:
            RuntimeRefusalError: The runtime can't.
        """
        with TemporaryDirectory(prefix="dynsurgeon-run-") as folder:
            source, result = Path(folder, "inputs"), Path(folder, "outputs")
            fed = {str(i): t.detach().cpu().contiguous().clone() for i, t in enumerate(inputs)}
            save_file(fed, source)
            request = {"do": "run", "from": str(source), "to": str(result)}
            self._worker.ask(request, f"run the file at {_shapes(inputs)}")
            found = load_file(result)
        return [found[str(i)] for i in range(len(found))]

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], object]:
        """Return a call that runs on these inputs alone; they are handed over once, here."""
        self.run(inputs)
        return lambda: self._worker.ask({"do": "again"}, f"run the file at {_shapes(inputs)}")

    @property
    def patience(self) -> float:
        """Seconds to wait for an answer, before the process is ended."""
        return self._worker.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._worker.patience = seconds

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def _signature(path: Path) -> tuple[list[str], dict[str, list[int | str | None]]]:
    """Return the inputs and outputs that a file declares."""
    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in stored]
    return inputs, {value.name: _shape(value) for value in graph.output}


def _shape(value: onnx.ValueInfoProto) -> list[int | str | None]:
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in axes]


def _shapes(inputs: Sequence[Tensor]) -> str:
    return ", ".join("x".join(map(str, tensor.shape)) or "a number" for tensor in inputs)
