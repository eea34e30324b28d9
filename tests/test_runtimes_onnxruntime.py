"""One builder of sessions; `test_export_verify.py` and `test_bench_rows.py` run files with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from dynsurgeon.runtimes.onnxruntime import SPINNING_STOP, Session, timed_session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """``difference = minuend - subtrahend``, with a second operator that does nothing."""
    names = ("minuend", "subtrahend", "difference")
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in names]
    nodes = [
        helper.make_node("Identity", ["minuend"], ["same"]),
        helper.make_node("Sub", ["same", "subtrahend"], ["difference"]),
    ]
    graph = helper.make_graph(nodes, "net", sides[:2], sides[2:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


INPUTS = [torch.full((3, 2), 5.0), torch.ones(2, 3).T]  # the second one is not contiguous


def test_inputs_go_in_by_their_order(file: Path) -> None:
    session = Session(file)
    assert session.inputs == ["minuend", "subtrahend"]
    assert session.outputs == {"difference": ["n", 2]}
    (found,) = session.run(INPUTS)
    assert torch.equal(found, torch.full((3, 2), 4.0))
    with pytest.raises(ValueError, match="zip"):
        session.run(INPUTS[:1])


def test_a_call_is_bound_to_its_inputs(file: Path) -> None:
    for call in (Session(file).bound(INPUTS), timed_session(file, INPUTS, threads=1)):
        np.testing.assert_array_equal(call()[0], np.full((3, 2), 4.0))


def test_a_file_is_named_or_given(file: Path) -> None:
    for model in (file, str(file), file.read_bytes()):
        assert torch.equal(Session(model).run(INPUTS)[0], torch.full((3, 2), 4.0))


@pytest.mark.parametrize(("optimized", "operators"), [(True, 1), (False, 2)])
def test_the_graph_is_written_as_it_runs(file: Path, optimized: bool, operators: int) -> None:
    rewritten = file.with_name("rewritten.onnx")
    Session(file, optimized=optimized, rewritten=rewritten)
    assert len(onnx.load(rewritten).graph.node) == operators


def test_threads_are_those_asked_for_and_rest_where_others_are_timed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    make = ort.InferenceSession

    def watch(model: str, options: Any, **rest: Any) -> Any:
        seen.append(options)
        return make(model, options, **rest)

    monkeypatch.setattr(ort, "InferenceSession", watch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    Session(file)
    timed_session(file, INPUTS, threads=2)
    assert [options.intra_op_num_threads for options in seen] == [3, 2]
    assert [options.inter_op_num_threads for options in seen] == [1, 1]
    assert seen[1].get_session_config_entry(SPINNING_STOP) == "1"
    with pytest.raises(RuntimeError, match="does not have"):
        seen[0].get_session_config_entry(SPINNING_STOP)
