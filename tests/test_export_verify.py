"""The comparison itself: tolerances, NaN, shapes, dtypes, and who is at fault."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from export_nets import DynamicNet
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export import export_onnx
from dynsurgeon.export.cases import Case
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.trial import Trial, open_session
from dynsurgeon.export.verify import TOLERANCES, check_dtype, check_file, coarsest_dtype, compare
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.runtimes.onnxruntime import Session

NAN, INF = float("nan"), float("inf")


class Answers:
    """Stands for a session that returns what it was told to."""

    def __init__(self, *answers: Tensor, declared: Any = None) -> None:
        self.answers = list(answers)
        self.outputs = {
            f"output_{i}": list(a.shape) if declared is None else declared
            for i, a in enumerate(answers)
        }

    def run(self, inputs: Any) -> list[Tensor]:
        del inputs
        return self.answers


def check(expected: Tensor, found: Tensor, dtype: torch.dtype = torch.float32) -> ExportCheck:
    session: Any = Answers(found)
    case = Case("batch 1", 1, Inputs(torch.zeros(1)))
    (result,) = compare(session, [case], [[expected]], TOLERANCES[dtype])
    return result


@pytest.mark.parametrize(
    ("expected", "found", "passed"),
    [
        ([100.0, 0.0], [100.0, 1.0009e-3], True),
        ([100.0, 0.0], [100.0, 1.0011e-3], False),
        ([0.0, 0.0], [9e-7, 0.0], True),
        ([0.0, 0.0], [2e-6, 0.0], False),
        ([NAN, 1.0], [NAN, 1.0], True),
        ([NAN, 1.0], [0.0, 1.0], False),
        ([1.0, 1.0], [NAN, 1.0], False),
        ([INF, 1.0], [INF, 1.0], True),
        ([INF, 1.0], [-INF, 1.0], False),
    ],
)
def test_tolerance(expected: list[float], found: list[float], passed: bool) -> None:
    assert check(torch.tensor([expected]), torch.tensor([found])).passed is passed


def test_half_precision_may_differ_more() -> None:
    expected, found = torch.tensor([1.0]), torch.tensor([1.01])
    assert not check(expected, found).passed
    assert check(expected.half(), found.half(), torch.float16).passed


def test_whole_numbers_must_be_equal() -> None:
    assert check(torch.tensor([3]), torch.tensor([3])).passed
    assert not check(torch.tensor([1000000]), torch.tensor([1000001])).passed


def test_another_shape_or_dtype_fails() -> None:
    assert check(torch.zeros(2), torch.zeros(3)).max_abs == INF
    assert not check(torch.zeros(2), torch.zeros(2, dtype=torch.float64)).passed
    assert check(torch.zeros(0, 3), torch.zeros(0, 3)).passed


def test_a_declared_shape_that_does_not_hold_is_an_error() -> None:
    session: Any = Answers(torch.zeros(2, 5), declared=[1, 5])
    case = Case("batch 2", 2, Inputs(torch.zeros(2)))
    with pytest.raises(ExportError, match=r"declares output 'output_0' as \[1, 5\].*fixed batch"):
        compare(session, [case], [[torch.zeros(2, 5)]], TOLERANCES[torch.float32])


def test_coarsest_dtype() -> None:
    net = nn.Linear(2, 2)
    assert coarsest_dtype(net, ()) is torch.float32
    assert coarsest_dtype(net, (torch.zeros(1).half(),)) is torch.float16
    assert coarsest_dtype(nn.ReLU(), (torch.zeros(1).long(),)) is torch.float32
    with pytest.raises(ExportError, match="bfloat16"):
        check_dtype(net.bfloat16(), ())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, Case]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("written") / "m.onnx"
    net, x = DynamicNet().eval(), torch.randn(2, 3, 12, 12)
    export_onnx(net, path, x)
    return net, path, Case("batch 2", 2, Inputs(x))


@pytest.fixture
def exported(written: tuple[nn.Module, Path, Case], tmp_path: Path) -> tuple[nn.Module, Path, Case]:
    """One export for the module; each test gets a copy to damage."""
    net, path, case = written
    return copy.deepcopy(net), Path(shutil.copy(path, tmp_path)), case


def test_check_file_refuses_an_invalid_graph(exported: tuple[nn.Module, Path, Case]) -> None:
    _, path, _ = exported
    check_file(path)
    model = onnx.load(path)
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"onnx\.checker refuses"):
        check_file(path)


def test_a_file_that_does_not_load(exported: tuple[nn.Module, Path, Case]) -> None:
    _, path, _ = exported
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ExportError, match="can't load the exported graph") as caught:
        open_session(path, torch.float16)
    assert "float16" in str(caught.value)


def test_the_file_is_at_fault_where_plain_runs_differ_too(
    exported: tuple[nn.Module, Path, Case],
) -> None:
    net, path, case = exported
    other = {"fc.bias": net.get_parameter("fc.bias").detach() + 1}
    trial = Trial("other, ", path, other)
    with torch.no_grad():
        (failed,) = trial.run(net, [case])
        assert not failed.passed
        assert failed.name == "other, batch 2"
        assert failed.max_abs == pytest.approx(1, abs=1e-4)
        assert "exported graph is at fault" in trial.explain(net, [case], failed)


def test_onnxruntime_is_at_fault_where_plain_runs_agree(
    exported: tuple[nn.Module, Path, Case],
) -> None:
    net, path, case = exported
    failed = ExportCheck("batch 2", 2, 1.0, 1.0, False)
    with torch.no_grad():
        assert "optimisations off it passes" in Trial("", path, {}).explain(net, [case], failed)


def test_a_session_runs_on_the_inputs_in_order(exported: tuple[nn.Module, Path, Case]) -> None:
    net, path, case = exported
    session = Session(path, optimized=False)
    assert session.inputs == ["input"]
    assert list(session.outputs) == ["output"]
    (found,) = session.run([case.inputs.args[0]])
    torch.testing.assert_close(found, net(case.inputs.args[0]).detach())
