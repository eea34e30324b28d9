"""A weighted sum of K constant convolutions becomes one with a computed kernel, or stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, operators, run_onnx

from dynsurgeon.graphs.initializers import new_initializer
from dynsurgeon.graphs.native.experts import experts_to_convolutions

FLOAT = ir.TensorType(ir.DataType.FLOAT)


def summed(*, softmax: bool = True, own_biases: bool = False, swapped: bool = False) -> ir.Model:
    """Three depthwise convolutions of x, weighed by an input."""
    draw = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape([1, 4, 6, 6]), type=FLOAT)
    scores = ir.Value(name="scores", shape=ir.Shape([1, 3]), type=FLOAT)
    graph = ir.Graph([x, scores], [], nodes=[], opset_imports={"": 18}, name="summed")

    def number(name: str, *shape: int) -> ir.Value:
        return new_initializer(graph, name, draw.standard_normal(shape).astype(np.float32))

    def op(name: str, operator: str, inputs: list[ir.Value], **attributes: int) -> ir.Node:
        node = ir.node(
            operator, inputs, attributes, name=name, num_outputs=attributes.get("num_outputs", 1)
        )
        for k, value in enumerate(node.outputs):
            value.name, value.type = f"{name}_{k}", FLOAT
        graph.append(node)
        return node

    pi = op("pi", "Softmax" if softmax else "Sigmoid", [scores]).outputs[0]
    shape = new_initializer(graph, "shape", np.array([0, 3, 1, 1]))
    rows = op("rows", "Reshape", [pi, shape]).outputs[0]
    shares = list(op("shares", "Split", [rows], axis=1, num_outputs=3).outputs)
    shares = shares[::-1] if swapped else shares
    bias = number("bias", 4)
    products = []
    for k, share in enumerate(shares):
        own = number(f"bias{k}", 4) if own_biases else bias
        y = op(f"conv{k}", "Conv", [x, number(f"kernel{k}", 4, 1, 3, 3), own], group=4)
        products.append(op(f"mul{k}", "Mul", [y.outputs[0], share]).outputs[0])
    total = op("sum", "Sum", products).outputs[0]
    total.shape = ir.Shape([1, 4, 4, 4])
    graph.outputs.append(total)
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("own_biases", [True, False])
def test_the_numbers_stay(softmax: bool, own_biases: bool, tmp_path: Path) -> None:
    model = summed(softmax=softmax, own_biases=own_biases)
    inputs = torch.randn(1, 4, 6, 6), torch.randn(1, 3)
    ir.save(model, tmp_path / "before.onnx")
    assert experts_to_convolutions(model.graph) == 1
    ir.save(model, tmp_path / "after.onnx")
    assert operators(model.graph).count("Conv") == 1
    mixed = operators(model.graph).count("MatMul")
    assert mixed == (1 if softmax and not own_biases else 2)
    expected = run_onnx(tmp_path / "before.onnx", *inputs)
    assert_close(run_onnx(tmp_path / "after.onnx", *inputs), expected)


def test_weights_in_another_order_stay() -> None:
    model = summed(swapped=True)
    assert experts_to_convolutions(model.graph) == 0
    assert operators(model.graph).count("Conv") == 3
