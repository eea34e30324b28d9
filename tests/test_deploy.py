"""A file runs where PyTorch is not: any number of samples, its own facts, and one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from cli_helpers import CommandLine
from cli_helpers import cli as cli
from export_nets import DynamicNet, perturbed
from native_cpu import in_plain_operators
from PIL import Image
from test_native_guard import guarded

import dynsurgeon as ds
from dynsurgeon import deploy
from dynsurgeon.deploy.__main__ import main
from dynsurgeon.deploy.facts import LABELS_KEY, PREPROCESSING_KEY, Preprocessing, to_metadata
from dynsurgeon.deploy.pictures import read_image
from dynsurgeon.errors import ConfigError, DataError, MachineError, StorageError
from dynsurgeon.training.finetune import transforms

IMAGES = {"height": 12, "width": 12, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
LABELS = ["ant", "bee", "cat", "dog", "elk"]


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return perturbed(DynamicNet())


@pytest.fixture(scope="module")
def files(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, x = tmp_path_factory.mktemp("files"), torch.randn(2, 3, 12, 12)
    for name, batch in (("free", None), ("two", 2)):
        known = to_metadata(IMAGES, LABELS)
        ds.export_onnx(net, folder / f"{name}.onnx", x, batch=batch, metadata=known)
    return {name: folder / f"{name}.onnx" for name in ("free", "two")}


@pytest.mark.parametrize("file", ["free", "two"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_samples_runs(
    file: str, count: int, files: dict[str, Path], net: torch.nn.Module
) -> None:
    x = torch.randn(count, 3, 12, 12)
    network = deploy.load(files[file], threads=1)
    with torch.no_grad():
        expected = net(x).numpy()
    assert network.batch == {"free": None, "two": 2}[file]
    for found in (network(x.numpy()), network(input=x.double().numpy())):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max() + 1e-6


def test_it_knows_what_the_file_says_of_itself(files: dict[str, Path]) -> None:
    network = deploy.load(files["free"])
    assert network.labels == tuple(LABELS)
    assert network.preprocessing == Preprocessing.of(IMAGES)
    assert network.form == "scan"
    assert network.recipe is None  # its layers were built by hand
    assert list(network.inputs) == ["input"]


def test_a_converted_network_s_file_holds_its_recipe(cli: CommandLine) -> None:
    size = ("--input-size", "3", "8", "8")
    assert cli("convert", "net.py:build", *size, "--batch", "1", "-o", "out").code == 0
    network = deploy.load("out/model.onnx")
    assert network.recipe is not None
    assert [site["name"] for site in network.recipe["sites"]]
    assert network.preprocessing is None  # nobody knows that of a user's own network


@pytest.mark.parametrize(
    ("arrays", "named", "says"),
    [
        ([np.zeros((1, 3, 12, 11), np.float32)], {}, "is batch x 3 x 12 x 12, got 1 x 3 x 12 x 11"),
        ([np.zeros((0, 3, 12, 12), np.float32)], {}, "got 0 x 3 x 12 x 12"),
        ([np.zeros((1, 3, 12, 12), np.int64)], {}, "holds float32, got int64"),
        ([], {}, "takes the inputs input, each once; got 0 in order"),
        ([], {"x": np.zeros(1)}, "and x by name"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    arrays: list[np.ndarray], named: dict[str, np.ndarray], says: str, files: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match=says):
        deploy.load(files["free"]).run(*arrays, **named)


def test_a_file_for_another_cpu_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    model = in_plain_operators(guarded(16), 8)
    model.metadata_props["dynsurgeon.form"] = "native"
    ir.save(model, tmp_path / "m.onnx")
    with pytest.raises(MachineError, match="laid out for CPUs with other blocks of channels"):
        deploy.load(tmp_path / "m.onnx")


def test_files_that_can_not_be_read(tmp_path: Path, files: dict[str, Path]) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        deploy.load(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(files["free"].read_bytes()[:1000])
    with pytest.raises(StorageError, match="onnxruntime can't run"):
        deploy.load(tmp_path / "bad.onnx")
    with pytest.raises(ConfigError, match="no provider 'TpuProvider' here; there are"):
        deploy.load(files["free"], providers=["TpuProvider"])


@pytest.mark.parametrize("key", [PREPROCESSING_KEY, LABELS_KEY])
@pytest.mark.parametrize("text", ["{", "3", '{"height": 0}'])
def test_damaged_facts_are_refused(
    key: str, text: str, files: dict[str, Path], tmp_path: Path
) -> None:
    model = ir.load(files["two"])
    model.metadata_props[key] = text
    ir.save(model, tmp_path / "m.onnx")
    with pytest.raises(StorageError):
        deploy.load(tmp_path / "m.onnx")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.linspace(0, 255, 90 * 120 * 3).reshape(90, 120, 3)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("side", [12, 64])
def test_images_are_read_as_in_validation(photo: Path, side: int) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    found = read_image(photo, Preprocessing(side, side, mean, std))
    pixels = torch.from_numpy(np.asarray(Image.open(photo)).copy()).permute(2, 0, 1)
    expected = transforms.Preprocessing(side, side, mean, std).transform()(pixels).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2 / 255 / 0.2


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(DataError, match="can't be read as an image"):
        read_image(tmp_path / "x.png", Preprocessing.of(IMAGES))


def test_the_command_line_prints_the_best_classes(
    photo: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(files["free"]), str(photo), "--json", "--top", "2"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["images"]
    assert [best["class"] for best in found["classes"]] == [
        LABELS[best["index"]] for best in found["classes"]
    ]
    assert len(found["classes"]) == 2
    assert main([str(files["free"]), str(photo)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == found["classes"][0]["class"]
    assert main(["none.onnx", str(photo)]) == StorageError.exit_code
    assert capsys.readouterr().err == "error: there is no file 'none.onnx'\n"
    assert main([str(files["free"]), str(photo), "--normalize", "1"]) == ConfigError.exit_code


def test_it_needs_no_torch(files: dict[str, Path], photo: Path) -> None:
    code = f"""
import sys
for name in ("torch", "torchvision", "onnxscript", "onnx_ir", "onnx"):
    sys.modules[name] = None  # importing it fails
from dynsurgeon import deploy
from dynsurgeon.deploy.__main__ import main
assert deploy.load({str(files["two"])!r}, threads=1).batch == 2
sys.exit(main([{str(files["free"])!r}, {str(photo)!r}, "--threads", "1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(photo))
