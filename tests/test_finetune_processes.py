"""``finetune`` on two processes: the network of one process, whatever launched and divided them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_helpers import CommandLine, cli
from finetune_helpers import write_images
from safetensors.torch import load_file

__all__ = ["cli"]

TWO = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": (
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
    ),
}  # fmt: skip
"""``accelerate launch`` would take MPI with ``--cpu``; ``--multi_gpu`` makes it start processes."""

WORDS = (
    "finetune", "dyn", "--model", "net.py:build", "--data", "images", "--epochs", "2", "--batch",
    "8", "--accumulate", "2", "--lr", "0.1", "--ema", "0.5", "--save-every", "1", "--cpu",
    "--freeze-batchnorm", "--augment", "flip",
)  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("launcher", "more"), [("torchrun", ()), ("accelerate", ("--shard",))])
def test_two_processes_are_as_good_as_one(
    cli: CommandLine, launcher: str, more: tuple[str, ...]
) -> None:
    write_images(cli.directory / "images", "abcde", 6)
    size = ("--input-size", "3", "8", "8")
    assert cli("convert", "net.py:build", *size, "--no-onnx", "-o", "dyn").code == 0
    alone = cli(*WORDS, "-o", "one", "--json")
    assert alone.code == 0, alone.err
    done = subprocess.run(
        [sys.executable, "-m", *TWO[launcher], "-m", "dynsurgeon", *WORDS, *more, "-o", "two"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote two") == 1
    assert_close(Path("one/model.safetensors"), Path("two/model.safetensors"))
    if not more:  # what two processes have left, one can go on with
        resumed = cli(*WORDS, "-o", "two", "--resume", "--json")
        assert resumed.code == 0, resumed.err
        assert_close(Path("one/model.safetensors"), Path("two/model.safetensors"))


def assert_close(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=1e-4, atol=1e-5), name
