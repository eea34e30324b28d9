"""The settings of fine-tuning: checked, plain, and those that a result depends on."""

from __future__ import annotations

import json
from typing import Any

import pytest

import dynsurgeon as ds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", True), ("epochs", 1.5), ("batch", -1), ("accumulate", 0),
        ("workers", -1), ("save_every", -1), ("seed", "x"), ("lr", 0.0), ("lr", float("nan")),
        ("lr", "fast"), ("batchnorm_samples", -1), ("latency", None),
        ("temperature_start", 0.0), ("temperature_end", -1.0), ("clip_norm", 0),
        ("momentum", 1.0), ("label_smoothing", -0.1), ("ema", 1.0), ("weight_decay", -1),
        ("warmup", -1), ("temperature_epochs", -1), ("bank_factor", -1), ("attention_factor", -1),
        ("relu_factor", -1), ("optimizer", "adam"), ("precision", "fp8"), ("baseline", 1),
        ("freeze", "bank"), ("freeze", (1,)), ("shard", None), ("track", "csv"),
        ("track", ("wandb",)), ("track", None),
        ("calibrate", "always"), ("calibrate", 1), ("calibrate", None),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ds.ConfigError, match=name):
        ds.FinetuneSettings(**{name: value})


@pytest.mark.parametrize(
    "name", ["temperature_start", "temperature_end", "clip_norm", "bank_factor", "relu_factor"]
)
def test_some_numbers_can_be_none(name: str) -> None:
    values: dict[str, Any] = {name: None}
    assert getattr(ds.FinetuneSettings(**values), name) is None


def test_they_are_plain_json() -> None:
    settings = ds.FinetuneSettings(freeze=["bank"], workers=3)  # type: ignore[arg-type]
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    assert settings.freeze == ("bank",)


def test_what_changes_nothing_in_the_result_is_not_of_it() -> None:
    one = ds.FinetuneSettings(workers=2, save_every=10, latency=False).of_result()
    assert one == ds.FinetuneSettings().of_result()
    assert one != ds.FinetuneSettings(seed=1).of_result()


def test_a_rate_that_is_chosen_needs_whole_networks() -> None:
    assert ds.FinetuneSettings(lr="auto").at(0.3).lr == 0.3
    with pytest.raises(ds.ConfigError, match="give a number"):
        ds.FinetuneSettings(lr="auto", shard=True)
