"""``finetune`` from end to end on tiny images, and everything that can stand in its way."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SIZE, CommandLine, cli
from finetune_helpers import write_idx, write_images

import dynsurgeon as ds
from dynsurgeon.models.names import build_model

__all__ = ["cli"]

CODE = ("--model", "net.py:build")
QUICK = ("--epochs", "2", "--batch", "8", "--lr", "0.1", "--cpu", "--augment", "none")
FILES = ["checkpoints", "model.safetensors", "receipt.json", "recipe.json"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves a copy of its converted network, for the others."""
    return tmp_path_factory.mktemp("kept") / "dyn"


@pytest.fixture
def converted(cli: CommandLine, kept: Path) -> CommandLine:
    """A converted network for five classes in ``dyn``, and images of five in ``images``."""
    write_images(cli.directory / "images", "abcde", 5)
    if kept.exists():
        shutil.copytree(kept, cli.directory / "dyn")
        return cli
    assert cli("convert", "net.py:build", *SIZE, "--no-onnx", "-o", "dyn").code == 0
    shutil.copytree(cli.directory / "dyn", kept)
    return cli


def finetune(cli: CommandLine, *words: str, data: str = "images") -> Any:
    return cli("finetune", "dyn", *CODE, "--data", data, *QUICK, *words)


def receipt(cli: CommandLine, directory: str = "dyn-finetuned") -> Any:
    return json.loads((cli.directory / directory / "receipt.json").read_text())


def test_the_result_lies_beside_what_it_was_made_from(converted: CommandLine) -> None:
    before = (converted.directory / "dyn" / "model.safetensors").read_bytes()
    done = finetune(converted)
    assert done.code == 0, done.err
    assert converted.left() == ["dyn", "dyn-finetuned", "images"]
    written = converted.directory / "dyn-finetuned"
    assert sorted(path.name for path in written.iterdir()) == FILES
    assert (converted.directory / "dyn" / "model.safetensors").read_bytes() == before
    lines = done.out.splitlines()
    assert lines[0].split()[:6] == ["network", "best", "epoch", "accuracy", "gain", "in"]
    assert [line.split()[0] for line in lines[1:3]] == ["dynamic,", "dynamic"]
    assert lines[-1] == "wrote dyn-finetuned; next: dynsurgeon export dyn-finetuned"
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        "20 training and 5 validation images of 5 classes; 2 epochs of 2 steps of 8 images (cpu)",
        "dynamic network", "attention fitted to 20 training images", "before", "epoch 1 of 2",
        "epoch 2 of 2",
    ]  # fmt: skip
    assert "the attention was fitted to 20 training images first" in lines


def test_export_and_verify_take_the_result(converted: CommandLine) -> None:
    assert finetune(converted).code == 0
    assert converted("export", "dyn-finetuned", *CODE).code == 0
    assert receipt(converted)["onnx"]["passed"] is True
    done = converted("verify", "dyn-finetuned", *CODE)
    assert done.code == 0
    assert "fine-tuned: its function is no longer the original's, on purpose" in done.out
    assert "model.onnx computes what the network computes" in done.out
    plain = converted("verify", "dyn", *CODE)
    assert "fine-tuned" not in plain.out
    # The file of the network before is not that of the network after.
    assert converted("export", "dyn", *CODE, "-o", "dyn-finetuned/model.onnx", "--force").code == 0
    wrong = converted("verify", "dyn-finetuned", *CODE)
    assert wrong.code == 3
    assert "does not compute what the network does" in wrong.error


def test_the_receipt_says_what_was_done_and_claims_no_parity(converted: CommandLine) -> None:
    done = finetune(converted, "--baseline", "--json", "--seed", "3", "--no-latency")
    assert (done.code, done.err) == (0, "")
    found = receipt(converted)
    assert {**found, "directory": "dyn-finetuned"} == done.document
    assert found["torch"] is None
    assert found["onnx"] is None
    assert "differs from the original's, on purpose" in found["function"]
    assert found["start"]["torch"]["passed"] is True
    training = found["finetuned"]
    assert training["classes"] == list("abcde")
    assert training["settings"]["seed"] == 3
    assert training["cost"] is None
    assert training["rates"] == {"dynamic": 0.1, "static": 0.1}
    assert len(training["history"]) == 2
    assert training["gain"]["samples"] == training["data"]["val"]
    assert training["val"].keys() == {"dynamic", "static"}
    assert "accelerate" in found["versions"]


def test_the_gain_over_the_static_network_is_printed(converted: CommandLine) -> None:
    done = finetune(converted, "--baseline")
    assert [line.split()[0] for line in done.out.splitlines()[1:4]] == [
        "dynamic,", "dynamic", "static"
    ]  # fmt: skip
    found = receipt(converted)["finetuned"]
    gain, cost = found["gain"], found["cost"]
    assert f"gain over the static network: {100 * gain['difference']:+.2f} points" in done.out
    assert f"latency in torch at batch 1 (cpu, {cost['threads']} threads): dynamic" in done.out
    row = done.out.splitlines()[2]
    assert f"{100 * gain['difference']:+.2f} ± {100 * gain['error']:.2f}" in row
    assert f"{found['parameters']['dynamic']:,}" in row
    assert f"{cost['ratio']:.2f}" in row
    assert cost["ratio"] > 0


def test_the_attention_is_fitted_once_or_never(converted: CommandLine) -> None:
    convert = ("convert", "net.py:build", *SIZE, "--no-onnx", "--calibrate", "images", "-o", "fit")
    assert converted(*convert).code == 0
    words = ("--model", "net.py:build", "--data", "images", *QUICK, "--json")
    for directory, more, samples in (
        ("dyn", ("--no-calibrate",), None),
        ("fit", (), None),
        ("dyn", (), 20),
    ):
        done = converted("finetune", directory, *words, *more, "-o", "out", "--force")
        found = done.document["finetuned"]["calibration"]
        assert (found and found["samples"]) == samples
    again = converted("finetune", "out", *words, "--calibrate")
    assert again.code == 5
    assert "calibrate right after convert" in again.err


def test_the_learning_rate_is_chosen_if_asked_for(converted: CommandLine) -> None:
    words = ("--lr", "auto", "--baseline", "--no-latency", "--batchnorm-samples", "7", "--quiet")
    done = finetune(converted, *words)
    assert (done.code, done.err) == (0, "")
    training = receipt(converted)["finetuned"]
    assert (training["settings"]["lr"], training["settings"]["batchnorm_samples"]) == ("auto", 7)
    for name in ("dynamic", "static"):
        rate = training["probes"][name]["chosen"]
        assert rate == training["rates"][name]
        assert f"learning rate of the {name} network: {rate:g}, chosen by short runs" in done.out


def test_rates_of_the_parts_are_kept_and_compared(converted: CommandLine) -> None:
    factors = ("--bank-factor", "1", "--attention-factor", "0", "--relu-factor", "0.5")
    assert finetune(converted, *factors).code == 0
    settings = receipt(converted)["finetuned"]["settings"]
    assert [settings[f"{part}_factor"] for part in ("bank", "attention", "relu")] == [1, 0, 0.5]
    refused = finetune(converted, *factors[:4], "--resume")
    assert refused.code == 6
    assert "relu_factor was 0.5, now it is None" in refused.error
    for name in ("--bank-factor", "--attention-factor", "--relu-factor"):
        refused = finetune(converted, name, "-1", "-o", "other")
        assert refused.code == 2
        assert f"{name[2:].replace('-', '_')} must not be below 0" in refused.error


def test_python_loads_what_it_writes(converted: CommandLine) -> None:
    assert finetune(converted, "-o", "out").code == 0
    net = ds.load("out", build_model("net.py:build").eval())
    preprocessing = receipt(converted, "out")["finetuned"]["data"]["preprocessing"]
    data = ds.load_images("images", (3, 8, 8), augment="none")
    assert preprocessing == data.facts["preprocessing"]
    images = torch.stack([data.val[i][0] for i in range(len(data.val))])  # type: ignore[arg-type]
    labels = torch.tensor([data.val[i][1] for i in range(len(images))])
    accuracy = float((net(images).argmax(1) == labels).double().mean())
    assert receipt(converted, "out")["finetuned"]["val"]["dynamic"]["accuracy"] == accuracy


def test_other_classes_want_a_new_head(converted: CommandLine) -> None:
    write_idx(converted.directory / "three")
    refused = finetune(converted, data="three")
    assert refused.code == 7
    assert "the data has 3 classes, but the network tells 5 apart; --reset-head auto" in refused.err
    done = finetune(converted, "--reset-head", "auto", "--baseline", data="three")
    assert done.code == 0, done.err
    recipe = json.loads((converted.directory / "dyn-finetuned" / "recipe.json").read_text())
    assert recipe["origin"]["head"] == {"name": "8", "classes": 3}
    assert converted("export", "dyn-finetuned", *CODE).code == 0
    assert converted("verify", "dyn-finetuned", *CODE).code == 0
    again = converted("finetune", "dyn-finetuned", *CODE, "--data", "three", *QUICK)
    assert again.code == 0, again.err
    assert converted.left()[2:4] == ["dyn-finetuned-finetuned", "images"]


@pytest.mark.parametrize(("wanted", "code"), [("5", 0), ("4", 7), ("none", 2), ("0", 2)])
def test_a_new_head_of_a_number(converted: CommandLine, wanted: str, code: int) -> None:
    done = finetune(converted, "--reset-head", wanted)
    assert done.code == code
    head = (converted.directory / "dyn-finetuned" / "recipe.json").exists()
    assert head is (code == 0)


def test_a_damaged_head_in_a_recipe_is_refused(converted: CommandLine) -> None:
    assert finetune(converted, "--reset-head", "5").code == 0
    path = converted.directory / "dyn-finetuned" / "recipe.json"
    recipe = json.loads(path.read_text())
    for head in (3, {"name": "8"}, {"name": "8", "classes": 0}, {"name": "8", "classes": "x"}):
        recipe["origin"]["head"] = head
        path.write_text(json.dumps(recipe))
        done = converted("verify", "dyn-finetuned", *CODE)
        assert done.code == 6
        assert "no valid head" in done.error


def test_a_run_that_was_stopped_goes_on(converted: CommandLine) -> None:
    assert finetune(converted, "-o", "whole").code == 0
    ended = converted(
        "finetune", "dyn", *CODE, "--data", "images", *QUICK, "--lr", "1e30", "-o", "bad"
    )
    assert ended.code == 8
    assert "diverged by step" in ended.err
    stop_after(2)
    try:
        assert finetune(converted, "-o", "part", "--save-every", "1").code == 130
    finally:
        stop_after(None)
    assert not (converted.directory / "part" / "recipe.json").exists()
    refused = finetune(converted, "-o", "part")
    assert refused.code == 6
    assert "pass --resume to go on with it, --force to start over" in refused.error
    assert finetune(converted, "-o", "part", "--resume").code == 0
    for name in ("model.safetensors", "recipe.json"):
        whole, part = (converted.directory / place / name for place in ("whole", "part"))
        assert whole.read_bytes() == part.read_bytes()


def stop_after(step: int | None) -> None:
    """Let the bar of progress end the run, as Ctrl-C does, or not any more."""
    from dynsurgeon.cli.work.training_progress import ProgressLines

    def interrupt(self: ProgressLines, done: int, loss: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    if step is None:
        ProgressLines.step = ORIGINAL
    else:
        ProgressLines.step = interrupt


def _original() -> Any:
    from dynsurgeon.cli.work.training_progress import ProgressLines

    return ProgressLines.step


ORIGINAL = _original()


def test_what_a_killed_write_left_is_swept_away(converted: CommandLine) -> None:
    assert finetune(converted).code == 0
    for words in (("--resume",), ("--force",)):
        for name in (".model.safetensors.ab12cd", ".recipe.json.x", ".receipt.json.x"):
            (converted.directory / "dyn-finetuned" / name).write_bytes(b"half of it")
        assert finetune(converted, *words).code == 0
        left = (converted.directory / "dyn-finetuned").iterdir()
        assert sorted(path.name for path in left) == FILES


def test_resuming_what_is_complete_keeps_the_onnx_file(converted: CommandLine) -> None:
    assert finetune(converted).code == 0
    assert converted("export", "dyn-finetuned", *CODE).code == 0
    before = receipt(converted)["onnx"]
    assert finetune(converted, "--resume").code == 0
    assert receipt(converted)["onnx"] == before is not None
    assert converted("verify", "dyn-finetuned", *CODE).code == 0


def test_starting_over_replaces_what_was_there(converted: CommandLine) -> None:
    assert finetune(converted).code == 0
    assert converted("export", "dyn-finetuned", *CODE).code == 0
    assert finetune(converted, "--force", "--seed", "5").code == 0
    assert not (converted.directory / "dyn-finetuned" / "model.onnx").exists()
    assert receipt(converted)["onnx"] is None
    (converted.directory / "dyn-finetuned" / "diary.txt").write_text("mine")
    done = finetune(converted, "--force")
    assert done.code == 6
    assert "diary.txt" in done.error
    assert (converted.directory / "dyn-finetuned" / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--resume",), 6, "there is no checkpoint"),
        (("--resume", "--force"), 2, "choose one"),
        (("--epochs", "0"), 2, "epochs"),
        (("--batch", "999"), 2, "fewer than a batch of 999"),
        (("--accumulate", "3"), 2, "multiple of 3"),
        (("--precision", "fp16"), 2, "fp16 needs a GPU"),
        (("--shard",), 2, "one alone"),
        (("--shard", "--lr", "auto"), 2, "give a number"),
        (("--lr", "fast"), 2, "--lr takes a number or auto, got 'fast'"),
        (("--normalize", "often"), 2, "--normalize takes"),
        (("--val-share", "2"), 2, "between 0 and 1"),
        (("--freeze", "nothing.like.it"), 2, "selects nothing"),
    ],
)
def test_settings_that_do_not_fit(
    converted: CommandLine, words: tuple[str, ...], code: int, text: str
) -> None:
    done = finetune(converted, *words)
    assert done.code == code
    assert text in done.error
    assert "dyn-finetuned" not in converted.left()


def test_data_that_cannot_be_used(converted: CommandLine) -> None:
    (converted.directory / "empty").mkdir()
    write_images(converted.directory / "loose" / "train", ["a"], 2)
    for folder, text in (
        ("nowhere", "there is no folder"),
        ("empty", "is empty"),
        ("loose", "one class"),
        ("images/a", "images without labels"),
    ):
        done = finetune(converted, data=folder)
        assert done.code == 7
        assert text in done.error
    assert "dyn-finetuned" not in converted.left()


def test_an_image_that_cannot_be_read_ends_the_run(converted: CommandLine) -> None:
    for image in sorted((converted.directory / "images" / "a").iterdir())[:4]:
        image.write_bytes(b"broken")
    done = finetune(converted, "--normalize", "imagenet")
    assert done.code == 7
    assert "can't be read as an image" in done.err
    assert "Traceback" not in done.err


def test_a_directory_of_something_else(converted: CommandLine) -> None:
    done = converted("finetune", "images", "--data", "images")
    assert done.code == 6
    assert "recipe.json" in done.error


LIMITED = """
import resource, sys
from dynsurgeon.cli.app import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on files here")
def test_a_full_disk_loses_nothing(converted: CommandLine) -> None:
    words = (
        "finetune",
        "dyn",
        *CODE,
        "--data",
        "images",
        *QUICK,
        "--save-every",
        "1",
        "-o",
        "part",
    )
    assert finetune(converted, "-o", "whole").code == 0
    stop_after(2)
    try:
        assert converted(*words).code == 130
    finally:
        stop_after(None)
    last = Path("part/checkpoints/last.pt")
    before = last.read_bytes()
    done = subprocess.run(  # files can't grow beyond 10 kB
        [sys.executable, "-c", LIMITED, "10000", *words, "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    error = done.stderr.splitlines()[-1]
    assert "File too large; the checkpoint before it is intact, resume from that" in error
    assert last.read_bytes() == before
    assert converted(*words, "--resume").code == 0
    assert Path("part/recipe.json").read_bytes() == Path("whole/recipe.json").read_bytes()


def test_a_log_lies_in_the_output_and_goes_on(converted: CommandLine) -> None:
    words = ("-o", "part", "--save-every", "1", "--track", "csv")
    stop_after(2)
    try:
        assert finetune(converted, *words).code == 130
    finally:
        stop_after(None)
    done = finetune(converted, *words, "--resume")
    assert done.code == 0, done.err
    steps = converted.directory / "part" / "logs" / "steps.csv"
    assert f"every step and epoch: {Path('part/logs/steps.csv')}" in done.out
    numbers = [int(line.partition(",")[0]) for line in steps.read_text().splitlines()[1:]]
    total = receipt(converted, "part")["finetuned"]["steps"]
    assert numbers == list(range(1, total + 1))
    assert finetune(converted, *words[:2], "--force").code == 0
    assert not steps.exists()
