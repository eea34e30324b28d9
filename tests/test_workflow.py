"""The whole job in one call, and that the command line does nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SIZE, CommandLine, cli
from nets import TinyNet
from torch import nn

import dynsurgeon as ds
from dynsurgeon.models.examples import example_inputs
from dynsurgeon.models.names import build_model

__all__ = ["cli"]

CONV = ds.SurgeryConfig(activation=None)


def files_of(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


def test_it_writes_what_the_command_line_writes_to_the_bit(cli: CommandLine) -> None:
    assert cli("convert", "net.py:build", *SIZE, "-o", "one", "--no-latency").code == 0
    torch.manual_seed(0)
    net = build_model("net.py:build").eval()
    inputs = example_inputs("net.py:build", net, [3, 8, 8], seed=0)
    origin = {
        "model": "net.py:build",
        "arguments": {},
        "weights": "DEFAULT",
        "input_size": [3, 8, 8],
    }
    steps: list[str] = []
    done = ds.convert_to_directory(
        net, inputs, "two", origin=origin, latency=False, progress=steps.append
    )
    one, two = files_of(Path("one")), files_of(Path("two"))
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert json.loads(two["receipt.json"]) == json.loads(json.dumps(done.document))
    assert steps[0] == "planning"
    assert any("onnxruntime" in step for step in steps)
    assert cli("verify", "two", "--model", "net.py:build").code == 0


def test_what_it_returns_is_what_was_done(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    tiny_resnet.train()
    fitted: list[nn.Module] = []

    def calibrate(dynamic: nn.Module) -> ds.AttentionReport:
        fitted.append(dynamic)
        return ds.calibrate(dynamic, [tiny_resnet.example(8)])

    done = ds.convert_to_directory(
        tiny_resnet, tiny_resnet.example(), tmp_path / "out", CONV, export=None, calibrate=calibrate
    )
    assert done.directory == tmp_path / "out"
    assert files_of(done.directory).keys() == {"recipe.json", "model.safetensors", "receipt.json"}
    assert done.receipt.passed
    assert fitted == [done.model]
    assert done.export is None
    assert done.attention is not None
    assert done.document["calibration"] == done.attention.to_dict()
    assert done.document["model"] is None
    assert done.plan.converted
    assert tiny_resnet.training
    assert done.model.training
    x = tiny_resnet.example(3, seed=1)
    again = ds.load(done.directory, tiny_resnet)
    assert torch.equal(again.eval()(x), done.model.eval()(x))


def test_an_exported_file_is_where_the_result_says(tiny_dual: TinyNet, tmp_path: Path) -> None:
    done = ds.convert_to_directory(
        tiny_dual,
        tiny_dual.example(),
        str(tmp_path / "out"),
        CONV,
        export=ds.ExportSettings(batch=1),
    )
    assert done.export is not None
    assert done.export.path == tmp_path / "out" / "model.onnx"
    assert done.export.path.is_file()
    assert done.export.batch == 1
    assert done.document["onnx"]["path"] == "model.onnx"


def test_what_is_there_stays(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    arguments: tuple[Any, ...] = (tiny_resnet, tiny_resnet.example(), tmp_path / "out", CONV)
    ds.convert_to_directory(*arguments, export=None)
    before = files_of(tmp_path / "out")
    with pytest.raises(ds.StorageError, match="pass force=True to replace it, or another dir"):
        ds.convert_to_directory(*arguments, export=None)
    (tmp_path / "out" / "receipt.json").write_text("old")
    ds.convert_to_directory(*arguments, export=None, force=True)
    assert files_of(tmp_path / "out") == before


def test_a_failure_leaves_nothing(
    tiny_resnet: TinyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ds.ExportError("no")

    monkeypatch.setattr("dynsurgeon.workflow.conversion.export_onnx", fail)
    with pytest.raises(ds.ExportError, match=r"no \(export=None converts without the ONNX file\)"):
        ds.convert_to_directory(tiny_resnet, tiny_resnet.example(), tmp_path / "new" / "out", CONV)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"form": "scann"}, "did you mean 'scan'"),
        ({"this_cpu": True}, "this_cpu is for form 'auto'"),
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"opset": "18"}, "opset must be a whole number"),
        ({"half": "yes"}, "half must be true or false, got 'yes'"),
    ],
)
def test_export_settings_are_checked_when_they_are_built(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ds.ConfigError, match=message):
        ds.ExportSettings(**values)


def test_something_else_is_no_export_settings(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    wrong: Any = "scan"
    with pytest.raises(ds.ConfigError, match="export must be ExportSettings or None, got 'scan'"):
        ds.convert_to_directory(tiny_resnet, tiny_resnet.example(), tmp_path / "o", export=wrong)
