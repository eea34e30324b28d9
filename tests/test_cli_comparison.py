"""The last table: agreement counted on fresh samples, parameters counted in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from dynsurgeon.cli.work.comparison import print_comparison
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.workflow.agreement import count_initializers, top1_agreement


@pytest.fixture
def net() -> nn.Linear:
    return nn.Linear(4, 3)


def opposite(net: nn.Linear) -> nn.Linear:
    other = nn.Linear(4, 3)
    other.load_state_dict({key: -value for key, value in net.state_dict().items()})
    return other


def to_onnx(net: nn.Linear, path: Path, batch: int | str) -> Path:
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["input", "weight", "bias"], ["output"], transB=1)],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 3])],
        [onnx.numpy_helper.from_array(value, key) for key, value in state.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


INPUTS = Inputs(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))


def test_equal_networks_agree_and_opposite_ones_do_not(net: nn.Linear, tmp_path: Path) -> None:
    path = to_onnx(net, tmp_path / "net.onnx", "batch")
    assert top1_agreement(net, net, path, INPUTS) == {"dynamic": 1.0, "onnx": 1.0}
    found = top1_agreement(net, opposite(net), path, INPUTS)
    assert found == {"dynamic": 0.0, "onnx": 1.0}


def test_a_file_of_a_fixed_batch_is_fed_batch_by_batch(net: nn.Linear, tmp_path: Path) -> None:
    path = to_onnx(opposite(net), tmp_path / "net.onnx", 3)
    found = top1_agreement(net, net, path, INPUTS, batch=3)
    assert found == {"dynamic": 1.0, "onnx": 0.0}


def test_without_a_file_only_torch_is_counted(net: nn.Linear) -> None:
    assert top1_agreement(net, net, None, INPUTS) == {"dynamic": 1.0}


class Returns(nn.Module):
    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Any) -> Any:
        batch = len(images)
        if self.shape == "map":
            return torch.ones(batch, 3, 4, 4)
        if self.shape == "one":
            return torch.ones(batch, 1)
        return {"out": torch.ones(batch, 3)}


@pytest.mark.parametrize("shape", ["map", "one", "dict"])
@pytest.mark.parametrize("inputs", [(torch.ones(2, 3),), ([torch.ones(3, 4, 4)] * 2,)])
def test_other_outputs_have_no_top_1(shape: str, inputs: tuple[Any, ...]) -> None:
    net = Returns(shape)
    assert top1_agreement(net, net, None, Inputs(*inputs)) is None


def test_parameters_of_subgraphs_count_and_integers_do_not(tmp_path: Path) -> None:
    def tensor(name: str, kind: int, count: int) -> TensorProto:
        return helper.make_tensor(name, kind, [count], [1] * count)

    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [5])],
        [tensor("inner", TensorProto.FLOAT, 5)],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)],
        "net",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])],
        [tensor("outer", TensorProto.FLOAT, 7), tensor("shape", TensorProto.INT64, 100)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    assert count_initializers(tmp_path / "net.onnx") == 7 + 5 + 5


COSTS = {"params_before": 1200, "params_after": 5000, "macs_before": 10, "macs_after": 20}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "costs": COSTS,
        "torch": {"max_rel": 1.234e-7, "notes": ["seen in eval mode alone"]},
        "onnx": {"max_rel": 2e-6, "params": 5100},
        "agreement": {"dynamic": 1.0, "onnx": 0.875},
        "notes": ["a branch never ran"],
        **changes,
    }


def test_the_table_has_three_rows_and_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(document())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["original", "1.2k", "10", "-", "-"]
    assert lines[2] == ["dynamic", "5k", "20", "1.2e-07", "100%"]
    assert lines[3] == ["ONNX", "5.1k", "20", "2e-06", "88%"]
    assert [" ".join(line) for line in lines[4:]] == [
        "note: a branch never ran",
        "note: seen in eval mode alone",
    ]


def test_what_was_not_counted_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(document(onnx=None, agreement=None))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2][-1] == "-"
    assert lines[3][0] == "note:"


def test_tensors_of_any_kind_are_the_inputs() -> None:
    class Pair(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one + other

    inputs = Inputs(torch.randn(2, 3), torch.randn(2, 3))
    assert top1_agreement(Pair(), Pair(), None, inputs) == {"dynamic": 1.0}
