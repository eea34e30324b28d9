"""Names that a person recognises in Netron, and nothing about the exporting machine."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from export_nets import DynamicNet, body_of

from dynsurgeon.export import export_onnx


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("stored") / "m.onnx"
    export_onnx(DynamicNet(), path, torch.randn(2, 3, 12, 12))
    return onnx.load(path)


def test_nodes_are_named_after_their_modules(stored: onnx.ModelProto) -> None:
    names = [node.name for node in body_of(stored).node]
    for name in ("stem.0/Conv", "conv1/MatMul", "conv1/Conv", "conv1.attention/Softmax"):
        assert name in names
    assert "conv1.attention.fc1/Gemm" in names
    assert "relu/Max" in names
    assert max(Counter(names).values()) == 1


def test_values_are_named_after_their_nodes(stored: onnx.ModelProto) -> None:
    (conv,) = (node for node in body_of(stored).node if node.name == "conv1/Conv")
    assert list(conv.output) == ["conv1/Conv_output"]


def test_initialisers_keep_the_keys_of_the_state_dict(stored: onnx.ModelProto) -> None:
    graphs = (stored.graph, body_of(stored))
    names = {tensor.name for graph in graphs for tensor in graph.initializer}
    keys = {key for key in DynamicNet().state_dict() if "bn" not in key and "stem.1" not in key}
    folded = {key for key in keys if key.endswith(("temperature", "alpha", "beta"))}
    assert keys - folded <= names
    assert {"conv1.bias", "stem.0.bias"} <= names  # added for BatchNorm
    assert not any(name.startswith(("val_", "scalar_tensor")) for name in names)


def test_the_graph_is_named_after_the_class(stored: onnx.ModelProto) -> None:
    assert stored.graph.name == "DynamicNet"


def test_no_path_of_the_exporting_machine_is_stored(stored: onnx.ModelProto) -> None:
    text = stored.SerializeToString()
    assert os.fsencode(Path(__file__).parent) not in text
    assert b"stack_trace" not in text
    assert b"namespace" in text
