"""A sweep's row tells what was measured, and what failed where."""

from __future__ import annotations

from typing import Any

import pytest
import sweeping
import torch
from nets import TinyBlock
from torch import nn

import dynsurgeon as ds
from dynsurgeon.running.inputs import Inputs


def test_a_network_is_converted_and_proven_and_the_row_says_so() -> None:
    model, inputs = (
        nn.Sequential(nn.Conv2d(3, 8, 1), TinyBlock(8, 8, 1)),
        Inputs(torch.randn(2, 3, 6, 6)),
    )
    record = sweeping.Record({"name": "tiny"})
    with record.measured():
        dynamic = sweeping.convert(record, model, inputs, sweeping.config_for(model))
        assert dynamic is not None
        sweeping.prove(record, model, dynamic, inputs)
    row = record.row
    assert row["outcome"] == "converted"
    assert row["passed"] is True
    assert set(row["parity"]) == {"eval", "train"}
    assert row["gradient_rel"] is not None
    assert row["reload_equal"] is True
    assert row["sites"] == row["converted"] + sum(row["skips"].values())
    assert "errors" not in row
    assert "stage" not in row


def test_without_a_site_there_is_nothing_to_prove() -> None:
    model, inputs = nn.Conv2d(3, 4, 1), Inputs(torch.randn(2, 3, 4, 4))
    record = sweeping.Record({"name": "stem"})
    assert sweeping.convert(record, model, inputs, sweeping.config_for(model)) is None
    assert record.row["outcome"] == "no site"


def test_a_stage_that_fails_names_its_reason_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, inputs = (
        nn.Sequential(nn.Conv2d(3, 8, 1), TinyBlock(8, 8, 1)),
        Inputs(torch.randn(2, 3, 6, 6)),
    )

    def broken(*args: Any) -> Any:
        raise ds.ConfigError("no valid boxes\nand more")

    monkeypatch.setattr(ds, "check_parity", broken)
    record = sweeping.Record({"name": "tiny"})
    with record.measured():
        sweeping.prove(record, model, ds.convert(model, inputs), inputs)
    assert record.row["errors"] == {"parity": "ConfigError: no valid boxes"}
    assert record.row["reload_equal"] is True


def test_what_nothing_can_follow_ends_the_row() -> None:
    kept: list[str] = []
    record = sweeping.Record({"name": "broken"}, lambda row: kept.append(row["stage"]))
    with record.measured():
        record.enter("build")
        raise ModuleNotFoundError("No module named 'elsewhere'")
    assert record.row["errors"] == {"build": "ModuleNotFoundError: No module named 'elsewhere'"}
    assert kept == ["build"]
    assert record.row["seconds"] >= 0


def test_statistics_become_uneven_where_there_are_some() -> None:
    model = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(8, track_running_stats=False))
    sweeping.perturb_statistics(model)
    variance = model.state_dict()["0.running_var"]
    assert variance.std() > 0
    assert variance.min() >= 0.5
