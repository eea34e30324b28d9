"""``convert --calibrate``: attention fitted to images, and the function as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import SIZE, CommandLine, cli
from finetune_helpers import write_images

__all__ = ["cli"]

CONVERT = ("convert", "net.py:build", *SIZE, "--no-onnx", "-o", "out")


def test_attention_is_fitted_and_parity_holds(cli: CommandLine) -> None:
    write_images(cli.directory / "images", "abcd", 8)
    done = cli(*CONVERT, "--calibrate", "images")
    assert done.code == 0, done.err
    receipt = json.loads(Path("out/receipt.json").read_text())
    assert receipt["torch"]["passed"] is True
    assert receipt["agreement"]["dynamic"] == 1.0
    (site,) = receipt["calibration"]["sites"]
    assert receipt["calibration"]["samples"] == 32
    assert site["name"] == "3"
    assert site["spread"] == 0
    assert min(site["leads"]) > 0
    assert site["entropy"] == pytest.approx(0.65, abs=0.05)
    line = next(line for line in done.out.splitlines() if line.startswith("3 "))
    assert line.split()[1] == f"{site['entropy']:.0%}"
    assert "attention fitted to 32 images" in done.out


def test_without_it_the_attention_is_random_and_nothing_is_said(cli: CommandLine) -> None:
    done = cli(*CONVERT)
    assert json.loads(Path("out/receipt.json").read_text())["calibration"] is None
    assert "attention" not in done.out


def test_the_normalisation_counts(cli: CommandLine) -> None:
    write_images(cli.directory / "images", "abcd", 8)
    assert cli(*CONVERT, "--calibrate", "images").code == 0
    one = Path("out/model.safetensors").read_bytes()
    words = ("--calibrate", "images", "--normalize", "0.9,0.1,0.5/0.1,0.9,0.5", "--force")
    assert cli(*CONVERT, *words).code == 0
    assert Path("out/model.safetensors").read_bytes() != one


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--calibrate", "nowhere"), 7, "there is no folder"),
        (("--calibrate", "empty"), 7, "holds no images"),
        (("--calibrate", "broken"), 7, "can't be read as an image"),
        (("--calibrate", "images", "--start", "zero-sum"), 5, "identical"),
        (("--calibrate", "images", "--no-conv"), 5, "no dynamic convolution"),
        (("--normalize", "data"), 2, "--calibrate"),
    ],
)
def test_what_cannot_be_calibrated(
    cli: CommandLine, words: tuple[str, ...], code: int, text: str
) -> None:
    (cli.directory / "empty").mkdir()
    (cli.directory / "broken").mkdir()
    (cli.directory / "broken" / "x.png").write_bytes(b"no image")
    write_images(cli.directory / "images", "ab", 2)
    done = cli(*CONVERT, *words)
    assert done.code == code
    assert text in done.error
    assert "out" not in cli.left()
