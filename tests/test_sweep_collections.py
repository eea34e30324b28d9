"""The sweep over other people's networks outlives each of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import sweep_collections
import torch
from nets import TinyBlock
from sweeping import Built, Row
from torch import nn

from dynsurgeon.running.inputs import Inputs

WRITES = "import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps({}));"


def child(row: Row, then: str, path: Path) -> list[str]:
    return [sys.executable, "-S", "-c", WRITES.format(row) + then, str(path)]


def test_there_are_networks_of_many_packages_and_none_is_needed_to_list_them() -> None:
    packages = Counter(name.split(":")[0] for name in sweep_collections.NETWORKS)
    assert sum(packages.values()) >= 75
    assert len(packages) >= 10


@pytest.mark.skipif(find_spec("pytorchcv") is not None, reason="it is installed")
def test_a_package_that_is_not_installed_is_a_reason_in_the_row() -> None:
    name = "pytorchcv:resnet10"
    kept: list[Row] = []
    builder = sweep_collections.NETWORKS[name]
    row = sweep_collections.sweep(name, builder, lambda row: kept.append(dict(row)))
    assert row["errors"] == {"build": "ModuleNotFoundError: No module named 'pytorchcv'"}
    assert kept[-1] == row


def test_a_network_that_does_not_run_is_told_from_one_that_is_not_built() -> None:
    def build() -> Built:
        return nn.Conv2d(3, 4, 1), torch.randn(2, 5, 4, 4)

    row = sweep_collections.sweep("here:net", build, lambda row: None)
    assert list(row["errors"]) == ["run"]
    assert row["input"] == "(2, 5, 4, 4)"


def test_a_network_goes_through_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> Built:
        return nn.Sequential(nn.Conv2d(3, 8, 1), TinyBlock(8, 8, 1)), torch.randn(2, 3, 6, 6)

    exported = {"passed": True, "max_rel": 0.0, "form": "scan"}
    monkeypatch.setattr(sweep_collections, "export", lambda dynamic, inputs: exported)
    stages: list[str] = []
    row = sweep_collections.sweep(
        "here:net", build, lambda row: stages.append(row.get("stage", ""))
    )
    assert stages == ["build", "run", "plan", "convert", "parity", "reload", "export", ""]
    assert row["onnx"] == exported
    assert row["passed"] is True


@pytest.mark.parametrize(
    ("then", "death"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("sys.exit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "no end within 0.5 s"),
    ],
)
def test_how_a_process_dies_is_in_its_row(then: str, death: str, tmp_path: Path) -> None:
    path, row = tmp_path / "row.json", {"name": "x", "sites": 3, "stage": "convert"}
    path.write_text(json.dumps({"name": "x", "stage": "convert"}))
    found = sweep_collections.run_limited(child(row, then, path), path, 0.5)
    assert found["errors"] == {"convert": death}
    assert "stage" not in found
    if "sleep" not in then:
        assert found["sites"] == 3


def test_a_row_that_is_complete_is_not_touched(tmp_path: Path) -> None:
    path, row = tmp_path / "row.json", {"name": "x", "seconds": 1.5}
    path.write_text(json.dumps(row))
    assert sweep_collections.run_limited([sys.executable, "-S", "-c", ""], path, 10) == row


def test_inputs_are_described_by_shape_and_name() -> None:
    x = torch.zeros(2, 3)
    assert sweep_collections.described(Inputs(x, x)) == "(2, 3), (2, 3)"
    assert sweep_collections.described(Inputs(x, pixels=x)) == "(2, 3), pixels=(2, 3)"
