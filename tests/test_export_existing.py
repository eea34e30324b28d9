"""A file that was written earlier is verified, or refused by name."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from export_nets import DynamicNet, perturbed
from native_cpu import in_plain_operators
from shared_traces import share_equal_traces
from test_native_guard import guarded
from torch import Tensor, nn

from dynsurgeon.errors import MachineError, StorageError
from dynsurgeon.export import export_onnx, verify_onnx

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 12, 12)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    net, path = perturbed(DynamicNet()), tmp_path_factory.mktemp("written") / "m.onnx"
    export_onnx(net, path, torch.randn(2, 3, 12, 12))
    return net, path


@pytest.fixture
def exported(written: tuple[nn.Module, Path], tmp_path: Path) -> tuple[nn.Module, Path]:
    """One export for the module; each test gets a copy to change."""
    net, path = written
    return copy.deepcopy(net), Path(shutil.copy(path, tmp_path))


@pytest.mark.parametrize(
    "options",
    [{}, {"batch": 3}, {"form": "portable"}, {"dynamic_size": True}],
    ids=["scan", "grouped", "portable", "sizes"],
)
def test_the_right_file_passes(options: dict[str, Any], x: Tensor, tmp_path: Path) -> None:
    net, path = perturbed(DynamicNet()), tmp_path / "m.onnx"
    written = export_onnx(net, path, x, **options)
    result = verify_onnx(net, path, x)
    assert result.passed
    assert (result.form, result.batch, result.opset) == (
        written.form,
        written.batch,
        written.opset,
    )
    assert (result.inputs, result.outputs) == (written.inputs, written.outputs)
    names = [check.name for check in written.checks if "perturbed" not in check.name]
    assert [check.name for check in result.checks] == names


def test_other_weights_do_not_pass(x: Tensor, exported: tuple[nn.Module, Path]) -> None:
    net, path = exported
    with torch.no_grad():
        net.get_parameter("conv1.weight").mul_(1.01)
    result = verify_onnx(net, path, x)
    assert not result.passed
    assert result.max_rel > 1e-5


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def rename(path: Path) -> None:
    path.write_bytes(b"not an ONNX file at all")


def unlink(path: Path) -> None:
    path.unlink()


def unplug(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, path)


@pytest.mark.parametrize("damage", [truncate, rename, unlink, unplug])
def test_damage_is_named(
    damage: Callable[[Path], None], x: Tensor, exported: tuple[nn.Module, Path]
) -> None:
    net, path = exported
    damage(path)
    with pytest.raises(StorageError, match=str(path)):
        verify_onnx(net, path, x)


def test_a_missing_data_file_is_named(x: Tensor, tmp_path: Path) -> None:
    net, path = DynamicNet(), tmp_path / "m.onnx"
    export_onnx(net, path, x, external_data_limit=0)
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(StorageError, match=str(path)):
        verify_onnx(net, path, x)


def test_a_file_of_another_model_is_named(x: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_onnx(nn.Linear(4, 2), path, torch.randn(2, 4))
    with pytest.raises(StorageError, match="of another model"):
        verify_onnx(DynamicNet(), path, x)


def test_a_file_for_another_cpu_is_told_from_a_damaged_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ir.save(in_plain_operators(guarded(16), 8), tmp_path / "m.onnx")
    with pytest.raises(MachineError, match="laid out for CPUs with other blocks of channels"):
        verify_onnx(nn.ReLU(), tmp_path / "m.onnx", torch.randn(2, 3))
    assert capfd.readouterr().err == ""  # onnxruntime logs nothing beside
