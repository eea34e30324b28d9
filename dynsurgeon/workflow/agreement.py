"""How original, dynamic network and ONNX file compare: equal answers, stored numbers."""

from __future__ import annotations

from math import ceil, prod
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from dynsurgeon.export.signature import tensors
from dynsurgeon.running.fresh import fresh_inputs
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.onnxruntime import Session

SAMPLES = 8
FLOATING = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
}
SEED = 1
"""Of the inputs on which agreement is counted: others than those that parity was measured on."""


def top1_agreement(
    original: nn.Module,
    dynamic: nn.Module,
    path: Path | None,
    inputs: Inputs,
    *,
    batch: int | None = None,
    samples: int = SAMPLES,
) -> dict[str, float] | None:
    """Count on how many fresh samples the networks' largest outputs are the same.

    Args:
        original: The static network; both are run in eval mode and stay as they are.
        dynamic: What it became.
        path: The ONNX file, if there is one.
        inputs: Example inputs.
        batch: The batch of the ONNX file, if that is fixed.
        samples: Number of samples, at least.

    Returns:
        The share of agreements by network, or None if the output is no table of class scores.
    """
    with preserved(original, "eval"), preserved(dynamic, "eval"):
        return _agreement(original, dynamic, path, inputs, batch, samples)


def _agreement(
    original: nn.Module,
    dynamic: nn.Module,
    path: Path | None,
    inputs: Inputs,
    batch: int | None,
    samples: int,
) -> dict[str, float] | None:
    if not _are_class_scores(inputs.call(original)):
        return None
    batch = batch or samples
    session = None if path is None else Session(path)
    generator = torch.Generator().manual_seed(SEED)
    agreed: dict[str, list[Tensor]] = {"dynamic": [], "onnx": []}
    for _ in range(ceil(samples / batch)):
        drawn = fresh_inputs(inputs, batch, generator)
        best = drawn.call(original).argmax(1)
        agreed["dynamic"].append(drawn.call(dynamic).argmax(1) == best)
        if session is not None:
            agreed["onnx"].append(session.run(tensors(drawn))[0].argmax(1) == best)
    return {
        name: float(torch.cat(found).double().mean()) for name, found in agreed.items() if found
    }


def _are_class_scores(output: Any) -> bool:
    return isinstance(output, Tensor) and output.dim() == 2 and output.shape[1] > 1


def count_initializers(path: Path) -> int:
    """Count the floating numbers that an ONNX file stores, subgraphs included."""
    model = onnx.load(str(path), load_external_data=False)
    return sum(_count(graph) for graph in (model.graph, *model.functions))


def _count(graph: Any) -> int:
    stored = getattr(graph, "initializer", ())
    total: int = sum(prod(t.dims) for t in stored if t.data_type in FLOATING)
    bodies = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    return total + sum(_count(body) for body in bodies)
