"""``verify`` and ``export``: what `convert` wrote, taken up again, and damage told by its kind."""

from __future__ import annotations

import json
import shutil
from math import prod
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from cli_helpers import SIZE, CommandLine, cli
from onnx import numpy_helper

import dynsurgeon as ds
from dynsurgeon.models.names import build_model

__all__ = ["cli"]

CODE = ("--model", "net.py:build")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first tests leave copies of what they made, for the others."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def saved(cli: CommandLine, kept: Path) -> Path:
    """A directory without an ONNX file, in a copy of its own."""
    out = cli.directory / "out"
    if not (kept / "saved").exists():
        assert cli("convert", "net.py:build", *SIZE, "-o", "out", "--no-onnx").code == 0
        shutil.copytree(out, kept / "saved")
    else:
        shutil.copytree(kept / "saved", out)
    return out


@pytest.fixture
def exported(cli: CommandLine, saved: Path, kept: Path) -> Path:
    """The same with one."""
    if not (kept / "exported").exists():
        assert cli("export", "out", *CODE).code == 0
        shutil.copytree(saved, kept / "exported")
    else:
        shutil.copytree(kept / "exported", saved, dirs_exist_ok=True)
    return saved


def change_recipe(directory: Path, **changes: Any) -> None:
    path = directory / "recipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_verify_says_that_all_is_well(cli: CommandLine, exported: Path) -> None:
    done = cli("verify", "out", *CODE)
    assert (done.code, done.err) == (0, "")
    assert "3 dynamic sites, intact" in done.out
    assert "batch" in done.out
    assert "model.onnx computes what the network computes" in done.out


def test_verify_in_json(cli: CommandLine, exported: Path) -> None:
    document = cli("verify", "out", *CODE, "--json").document
    assert document["passed"] is True
    assert document["onnx"]["passed"] is True
    assert {check["batch"] for check in document["onnx"]["checks"]} == {1, 2, 3, 5}


def test_verify_without_onnx_checks_the_rest(cli: CommandLine, saved: Path) -> None:
    done = cli("verify", "out", *CODE)
    assert done.code == 0
    assert "no model.onnx" in done.out


def test_a_torchvision_name_is_built_from_the_recipe_alone(cli: CommandLine) -> None:
    words = ("--weights", "random", "--input-size", 3, 33, 33, "--include", "features.12.*")
    cli(
        "convert", "squeezenet1_1", *words, "--no-onnx", "-o", "out", "--model-arg", "num_classes=4"
    )
    done = cli("verify", "out")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", ["verify", "export"])
def test_a_recipe_never_makes_us_run_code(cli: CommandLine, saved: Path, command: str) -> None:
    cli.net.write_text("print('this code must never run')\nraise SystemExit(99)\n")
    done = cli(command, "out")
    assert done.code == 4
    assert "--model net.py:build" in done.error


@pytest.mark.parametrize("key", ["checkpoint_path", "weights", "pretrained_cfg"])
def test_a_recipe_never_brings_weights_in(cli: CommandLine, saved: Path, key: str) -> None:
    origin = {"model": "squeezenet1_1", "arguments": {key: "evil.pth"}, "input_size": [3, 33, 33]}
    change_recipe(saved, origin=origin)
    assert cli("verify", "out").code == 2


@pytest.mark.parametrize("command", ["verify", "export"])
@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda d: (d / "recipe.json").unlink(), "recipe.json"),
        (lambda d: (d / "recipe.json").write_text("{"), "recipe"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\0" * 100), "model.safetensors"),
        (lambda d: change_recipe(d, origin=None), "how its model is built"),
        (lambda d: change_recipe(d, origin={"model": 3}), "how its model is built"),
        (
            lambda d: change_recipe(
                d, origin={"model": "net.py:build", "arguments": {}, "input_size": [3, 10**9]}
            ),
            "input size",
        ),
        (lambda d: change_recipe(d, format=99), "format"),
    ],
)
def test_damaged_files_are_6(
    cli: CommandLine, saved: Path, command: str, damage: Any, text: str
) -> None:
    damage(saved)
    done = cli(command, "out", *CODE)
    assert done.code == 6
    assert text in done.error
    assert not (saved / "model.onnx").exists()


@pytest.mark.parametrize("command", ["verify", "export"])
def test_no_directory_is_6(cli: CommandLine, command: str) -> None:
    done = cli(command, "none")
    assert done.code == 6
    assert "'none'" in done.error


def test_a_wrong_model_is_refused(cli: CommandLine, saved: Path) -> None:
    (cli.directory / "other.py").write_text(
        "from torch import nn\n\ndef f():\n    return nn.Linear(2, 2)\n"
    )
    done = cli("verify", "out", "--model", "other.py:f")
    assert done.code == 6
    assert "model" in done.error


def test_a_damaged_onnx_file_is_6(cli: CommandLine, exported: Path) -> None:
    path = exported / "model.onnx"
    path.write_bytes(path.read_bytes()[:200])
    done = cli("verify", "out", *CODE)
    assert done.code == 6
    assert "model.onnx" in done.error


def test_an_onnx_file_that_computes_something_else_is_3(cli: CommandLine, exported: Path) -> None:
    path = exported / "model.onnx"
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: prod(tensor.dims))  # a bank
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, path)
    done = cli("verify", "out", *CODE)
    assert done.code == 3
    assert "max difference" in done.error


def test_a_network_trained_on_is_exported_as_it_is_now(cli: CommandLine, saved: Path) -> None:
    dynamic = ds.load(saved, build_model("net.py:build").eval())
    with torch.no_grad():
        for parameter in dynamic.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ds.set_temperature(dynamic, 3.0)
    ds.save(dynamic, saved)
    assert cli("export", "out", *CODE).code == 0
    assert cli("verify", "out", *CODE).code == 0


def test_export_elsewhere_in_another_form(cli: CommandLine, saved: Path) -> None:
    done = cli("export", "out", *CODE, "--batch", 2, "-o", "two.onnx", "--json")
    assert done.document["batch"] == 2
    assert done.document["path"] == "two.onnx"
    shape = onnx.load("two.onnx").graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [2, 3, 8, 8]
    assert not (saved / "model.onnx").exists()


def test_export_says_what_it_wrote(cli: CommandLine, saved: Path) -> None:
    done = cli("export", "out", *CODE)
    assert (done.code, done.err) == (0, "")
    assert "wrote out/model.onnx" in done.out
    assert json.loads((saved / "receipt.json").read_text())["onnx"]["passed"] is True


def test_export_replaces_nothing_without_force(cli: CommandLine, exported: Path) -> None:
    before = (exported / "model.onnx").read_bytes()
    done = cli("export", "out", *CODE)
    assert done.code == 6
    assert "--force" in done.error
    assert (exported / "model.onnx").read_bytes() == before
    assert cli("export", "out", *CODE, "--force", "--form", "portable").code == 0
    assert (exported / "model.onnx").read_bytes() != before


def test_export_into_no_folder_is_6(cli: CommandLine, saved: Path) -> None:
    done = cli("export", "out", *CODE, "-o", "none/net.onnx")
    assert done.code == 6
    assert cli.left() == ["out"]
