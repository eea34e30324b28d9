"""``dynsurgeon quantize``: a file in 8 bits, its cost, and one line where it can't be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import SIZE, CommandLine
from cli_helpers import cli as cli
from finetune_helpers import write_images

from dynsurgeon import deploy


def photos(folder: Path, classes: int) -> Path:
    """Write four images a class; without classes, four that lie loose."""
    write_images(folder, [f"class{i}" for i in range(classes)] or [""], 4)
    return folder


@pytest.fixture
def converted(cli: CommandLine) -> CommandLine:
    assert cli("convert", "net.py:build", *SIZE, "-o", "out").code == 0
    return cli


def test_it_writes_a_file_and_says_what_it_costs(converted: CommandLine) -> None:
    folder = photos(converted.directory / "photos", 5)
    words = ("quantize", "out", "--data", folder, "--model", "net.py:build")
    found = converted(*words, "--json").document
    assert found["accuracy_before"] is not None
    assert found["path"] == "out/model.int8.onnx"
    assert found["reference"] == "model.onnx"
    assert found["layers"] >= 3
    assert deploy.load("out/model.int8.onnx").batch is None
    assert "already there; pass --force" in converted(*words).error
    told = converted(*words, "--force").out
    assert "top-1 accuracy" in told
    assert "layers in 8 bits" in told
    again = converted("convert", "net.py:build", *SIZE, "-o", "out", "--no-onnx", "--force")
    assert again.code == 0  # the file is one of ours
    loose = photos(converted.directory / "loose", 0)
    found = converted("quantize", "out", "--data", loose, *words[4:], "--images", "2", "--json")
    assert found.document["accuracy_before"] is None
    assert found.document["images"] == 2
    assert "to compare with" in found.document["notes"][0]


def test_bad_input_is_one_line_and_leaves_nothing(converted: CommandLine) -> None:
    empty = converted.directory / "empty"
    empty.mkdir()
    before = sorted(p.name for p in (converted.directory / "out").iterdir())
    words = ("--model", "net.py:build")
    assert "holds no images" in converted("quantize", "out", "--data", empty, *words).error
    assert "no folder" in converted("quantize", "out", "--data", "nowhere", *words).error
    broken = photos(converted.directory / "broken", 2)
    next(broken.rglob("*.png")).write_text("no image")
    assert "can't be read" in converted("quantize", "out", "--data", broken, *words).error
    assert "no directory" in converted("quantize", "nothing", "--data", broken).error
    assert sorted(p.name for p in (converted.directory / "out").iterdir()) == before


def test_an_export_tells_how_often_it_answers_alike(converted: CommandLine) -> None:
    folder = photos(converted.directory / "loose", 0)
    words = ("export", "out", "--model", "net.py:build", "-o", "small.onnx", "--batch", "3")
    refused = converted(*words, "--normalize", "none").error
    assert "images of --data, and there are none" in refused
    assert "no folder" in converted(*words, "--data", "nowhere").error
    assert not (converted.directory / "small.onnx").exists()
    told = converted(*words, "--bank", "int8", "--data", folder).out
    assert "banks in 8 bits" in told
    assert "of 4 images, max difference" in told
