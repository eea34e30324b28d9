"""Write non-maximum suppression without the branch that torchvision takes where there are no boxes.

It is traced as an `If`: an empty constant where there is no box, else the suppression. OpenVINO
2026.4 reads that constant as one number of whatever lies in memory, so it finds a box in every
image that has none, and tract 0.23 loads no such file. The operators of the other branch take no
boxes as well as some, save one: boxes of different classes are set apart by the largest coordinate,
and of none there is no largest. It is taken of the coordinates and 0, below which none lies: boxes
are clipped to the image.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def join_branches(model: ir.Model) -> None:
    """Put the suppression in the place of each `If` that chooses between it and an empty list."""
    for node in list(model.graph):
        if node.op_type == "If" and (branch := _suppression(node)) is not None:
            _guard_largest(branch)
            _inline(model.graph, node, branch)


def _suppression(node: ir.Node) -> ir.Graph | None:
    """Return the branch with the suppression, if the other is an empty constant."""
    empty, other = (node.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    kinds = {inner.op_type for inner in other}
    return other if _is_empty(empty) and "NonMaxSuppression" in kinds else None


def _is_empty(branch: ir.Graph) -> bool:
    if [node.op_type for node in branch] != ["Constant"]:
        return False
    value = ir.convenience.get_const_tensor(branch.outputs[0])
    return value is not None and value.size == 0


def _guard_largest(branch: ir.Graph) -> None:
    for node in [node for node in branch if node.op_type == "ReduceMax"]:
        boxes = node.inputs[0]
        assert boxes is not None
        dtype = (boxes.dtype or ir.DataType.FLOAT).numpy()
        flat, zero = _constant(np.array([-1])), _constant(np.zeros(1, dtype))
        listed = ir.node("Reshape", [boxes, flat.outputs[0]])
        joined = ir.node("Concat", [listed.outputs[0], zero.outputs[0]], {"axis": 0})
        for number, added in enumerate((flat, zero, listed, joined)):
            added.outputs[0].name = f"{node.outputs[0].name}/part{number}"
        branch.insert_before(node, [flat, zero, listed, joined])
        node.replace_input_with(0, joined.outputs[0])


def _constant(value: np.ndarray) -> ir.Node:
    return ir.node("Constant", [], {"value": ir.tensor(value)})


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    """Move a branch's nodes before `node`, and let its outputs take the place of the node's."""
    results = list(branch.outputs)
    inner = list(branch)  # the tracer writes constants as nodes: there are no initializers
    for value in (value for each in inner for value in each.outputs):
        value.name = f"{node.outputs[0].name}/{value.name}"
    branch.outputs.clear()
    branch.remove(inner)
    graph.insert_before(node, inner)
    for old, new in zip(node.outputs, results, strict=True):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
