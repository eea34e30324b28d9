"""Targets: which form each gets, and that files for TensorRT hold only what it documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import onnx
import onnx_ir as ir
import pytest
import torch
from export_nets import DynamicNet, perturbed
from shared_traces import share_equal_traces

from dynsurgeon.errors import ConfigError, ExportError
from dynsurgeon.export import export_onnx, verify_onnx
from dynsurgeon.export.destinations import DESTINATIONS, check_operators
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.form_names import RULE, THIS_CPU, TargetName, check_target
from dynsurgeon.runtimes.table import RUNTIMES

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)


def test_the_names_are_those_of_the_table() -> None:
    assert set(get_args(TargetName)) == set(DESTINATIONS)
    assert {runtime.target for runtime in RUNTIMES.values()} <= set(DESTINATIONS)
    assert THIS_CPU in DESTINATIONS


@pytest.mark.parametrize("name", DESTINATIONS)
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_target_chooses_a_form_that_can_have_the_batch(name: str, batch: int | None) -> None:
    row = DESTINATIONS[name]
    (target,) = Target.candidates(RULE, batch, target=name)
    assert target.form is EXPORT_FORMS[row.form(batch)]
    assert (target.destination, target.opset) == (name, row.opset)
    (wished,) = Target.candidates(RULE, batch, target=name, opset=19)
    assert wished.opset == 19


def test_constant_kernels_take_any_batch_without_a_scan() -> None:
    names = [t.form.name for t in Target.candidates(RULE, None, target="web", constant=True)]
    assert names == ["portable", DESTINATIONS["web"].free]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"target": "openvin"}, "unknown target 'openvin'; did you mean 'openvino'"),
        ({"target": "zzz"}, "known targets: onnxruntime, openvino, tract, web, tensorrt, portable"),
        ({"target": "web", "form": "scan"}, "chooses the form itself: leave out form 'scan'"),
        ({"target": "web", "form": "auto", "this_cpu": True}, "leave out form 'auto'"),
    ],
)
def test_refusals(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_target(**words)
    with pytest.raises(ConfigError, match=message):
        Target.candidates(words.pop("form", RULE), None, **words)


@pytest.mark.parametrize("batch", [None, 2])
def test_tensorrt_knows_the_operators_of_a_file(batch: int | None, tmp_path: Path) -> None:
    net, x = perturbed(DynamicNet()), torch.randn(2, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, batch=batch, target="tensorrt")
    known = DESTINATIONS["tensorrt"].known_operators()
    assert known is not None
    used = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert used <= known
    assert "Conv" in used
    assert "Scan" not in known
    assert (result.target, result.opset) == ("tensorrt", 18)
    assert verify_onnx(net, tmp_path / "m.onnx", x).target == "tensorrt"


def test_an_operator_that_it_does_not_know_is_named() -> None:
    inner = ir.Graph([], [], nodes=[ir.node("Scan", [])], name="inner", opset_imports={"": 18})
    nodes = [ir.node("Relu", []), ir.node("If", [], {"then_branch": inner})]
    graph = ir.Graph([], [], nodes=nodes, name="outer", opset_imports={"": 18})
    model = ir.Model(graph, ir_version=10)
    with pytest.raises(ExportError, match="target 'tensorrt' has no operator Scan, which this"):
        check_operators(model, "tensorrt")
    for name in (None, "web"):
        check_operators(model, name)
