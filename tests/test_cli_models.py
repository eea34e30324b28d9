"""``models`` lists names quickly, and measures costs where it is asked to."""

from __future__ import annotations

import pytest
from cli_helpers import CommandLine, cli, needs_timm

from dynsurgeon.cli.work.listing import find_names, kind_of
from dynsurgeon.errors import ModelNotFoundError
from dynsurgeon.models.names import torchvision_names

__all__ = ["cli"]


def test_all_names_of_torchvision_are_listed(cli: CommandLine) -> None:
    done = cli("models")
    assert done.code == 0
    rows = [line.split()[0] for line in done.out.splitlines()[1:-1]]
    assert rows == torchvision_names()
    assert done.out.endswith(f"{len(rows)} models\n")


def test_json_says_what_is_known(cli: CommandLine) -> None:
    (row,) = cli("models", "resnet18", "--json").document
    assert row == {
        "model": "resnet18",
        "kind": "classification",
        "params": 11689512,
        "MACs": 1814000000,
        "weights": "IMAGENET1K_V1",
    }


def test_costs_are_measured(cli: CommandLine) -> None:
    (row,) = cli("models", "shufflenet_v2_x0_5", "--costs", "--json").document
    assert row["params"] < row["params after"]
    assert row["MACs"] < row["MACs after"]
    assert 0 < row["dynamic"] < row["sites"]
    assert row["input"] == [3, 224, 224]


def test_costs_in_a_table(cli: CommandLine) -> None:
    done = cli("models", "shufflenet_v2_x0_5", "--costs")
    header, row, total = done.out.splitlines()
    assert "params after" in header
    assert "3x224x224" in row
    assert total == "1 models"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("resnet18", ["resnet18"]),
        ("resnet1*", ["resnet101", "resnet152", "resnet18"]),
        ("mnasnet1_", ["mnasnet1_0", "mnasnet1_3"]),
        ("raft_?mall", ["raft_small"]),
    ],
)
def test_a_pattern_is_a_name_a_part_or_a_glob(pattern: str, names: list[str]) -> None:
    assert find_names(pattern) == names


@needs_timm
def test_timm_is_listed_by_its_prefix() -> None:
    assert find_names("timm:resnet18") == ["timm:resnet18"]
    assert "timm:mobilenetv3_small_100" in find_names("timm:mobilenetv3_small")


def test_a_pattern_without_a_match_suggests(cli: CommandLine) -> None:
    with pytest.raises(ModelNotFoundError, match="did you mean 'resnet18'"):
        find_names("resnt18")
    done = cli("models", "resnt18")
    assert done.code == 4
    assert "did you mean" in done.error


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", "classification"),
        ("fcos_resnet50_fpn", "detection"),
        ("fcn_resnet50", "segmentation"),
        ("r3d_18", "video"),
        ("raft_small", "optical_flow"),
        ("quantized_resnet18", "quantization"),
    ],
)
def test_kinds(name: str, kind: str) -> None:
    assert kind_of(name) == kind
