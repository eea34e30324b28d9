"""Two computed lines become convolutions where they are lines of one map, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dynsurgeon.graphs.native.lines import lines_to_convolutions
from dynsurgeon.graphs.native.optimise import open_session

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
lines (float[1,{c},3,5] x, float[1,{c},3,5] z, float[4,{c},1,1] table) => (float[1,{c},3,5] y)
  <float[1,{c},1,1] a, float[1,{c},1,1] b, float[1,{c},1,1] offset, float[1,{c},1,1] other>
{{
  a, b, offset, other = Split <axis = 0, num_outputs = 4> (table)
  upper = Mul ({first})
  up = Add (upper, offset)
  lower = Mul (b, {second})
  low = Add (other, lower)
  y = Max ({most})
}}
"""


def lines(c: int = 8, first: str = "x, a", second: str = "x", most: str = "up, low") -> ir.Model:
    return named(GRAPH.format(c=c, first=first, second=second, most=most))


def named(text: str) -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(text))
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
    return model


def run(model: ir.Model) -> np.ndarray:
    draw = np.random.default_rng(0).standard_normal
    session = open_session(ir.to_proto(model).SerializeToString())
    feed = {value.name: draw(value.shape, np.float32) for value in session.get_inputs()}
    found: np.ndarray = session.run(None, feed)[0]
    return found


@pytest.mark.parametrize("options", [{}, {"c": 12}, {"first": "a, x"}, {"most": "low, up"}])
def test_the_numbers_stay(options: dict[str, Any]) -> None:
    expected, model = run(lines(**options)), lines(**options)
    assert lines_to_convolutions(model.graph) == 1
    operators = [node.op_type for node in model.graph]
    assert operators.count("Conv") == 2
    assert "Max" not in operators
    assert model.graph.outputs[0].name == "y"
    assert np.abs(run(model) - expected).max() < 1e-5


@pytest.mark.parametrize(
    "options", [{"c": 6}, {"second": "z"}, {"first": "a, offset"}, {"most": "up, low, x"}]
)
def test_other_graphs_stay_as_they_are(options: dict[str, Any]) -> None:
    model = lines(**options)
    assert lines_to_convolutions(model.graph) == 0
    assert [node.op_type for node in model.graph] == [n.op_type for n in lines(**options).graph]


NORMALISED = """
<ir_version: 10, opset_import: ["" : 18]>
lines (float[1,8,3,5] x, float[32] table) => (float[1,8,3,5] y)
  <float[8] mean = {{0,0,0,0,0,0,0,0}}, float[8] variance = {{1,1,1,1,1,1,1,1}}>
{{
  a, b, offset, other = Split <axis = 0, num_outputs = 4> (table)
  up = BatchNormalization <epsilon = {epsilon}> (x, a, offset, mean, variance)
  low = BatchNormalization <epsilon = {epsilon}> (x, b, other, mean, variance)
  y = Max (up, low)
}}
"""


@pytest.mark.parametrize(("epsilon", "found"), [("0.0", 1), ("0.5", 0)])
def test_lines_may_be_written_as_batch_norm(epsilon: str, found: int) -> None:
    model = named(NORMALISED.format(epsilon=epsilon))
    expected = run(model)
    assert lines_to_convolutions(model.graph) == found
    assert np.abs(run(model) - expected).max() < 1e-5
