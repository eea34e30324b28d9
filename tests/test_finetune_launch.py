"""Accelerate is set up for one run, and leaves no trace in the process."""

from __future__ import annotations

import sys

import pytest
from finetune_helpers import CLASSES, Blobs, blobs, dynamic_net
from torch import nn

import dynsurgeon as ds
from dynsurgeon.training.finetune.launch import accelerators, check_classes, check_parts
from dynsurgeon.training.finetune.loading import Sharing


def test_runs_of_different_precision_follow_each_other() -> None:
    for precision in ("no", "bf16", "no"):
        settings = ds.FinetuneSettings(precision=precision, accumulate=3, cpu=True)
        with accelerators(settings, 2) as engines:
            assert [engine.mixed_precision for engine in engines] == [precision] * 2
            assert engines[0].gradient_accumulation_steps == 3
            assert engines[0] is not engines[1]
            assert engines[0].device.type == "cpu"


def test_a_process_that_uses_accelerate_otherwise_is_left_alone() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    own = Accelerator(cpu=True, mixed_precision="bf16")
    try:
        with (
            pytest.raises(ds.ConfigError, match="Accelerate can't be set up so"),
            accelerators(ds.FinetuneSettings(cpu=True), 1),
        ):
            pass
        assert own.mixed_precision == "bf16"
    finally:
        AcceleratorState._reset_state()
        GradientState._reset_state()
        PartialState._reset_state()


def test_half_precision_on_the_cpu_and_sharding_alone_are_refused() -> None:
    for changes, text in (({"precision": "fp16"}, "fp16 needs a GPU"), ({"shard": True}, "alone")):
        settings = ds.FinetuneSettings(cpu=True, **changes)
        with pytest.raises(ds.ConfigError, match=text), accelerators(settings, 1):
            pass


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with (
        pytest.raises(ds.ConfigError, match=r"pip install 'dynsurgeon\[train\]'"),
        accelerators(ds.FinetuneSettings(cpu=True), 1),
    ):
        pass


def test_the_network_must_tell_the_classes_apart() -> None:
    check_classes(dynamic_net(), blobs())
    data = ds.TrainingData(Blobs(8, 0), Blobs(8, 1), (*CLASSES, "more"))
    with pytest.raises(ds.DataError, match=r"has 4 classes, .* tells 3 apart; --reset-head"):
        check_classes(dynamic_net(), data)


def test_a_sample_that_does_not_fit_the_network() -> None:
    with pytest.raises(ds.DataError, match="can't be run on the first sample"):
        check_classes(nn.Linear(5, 3), blobs())


def test_one_sample_is_too_few_for_batch_norm_on_one_place() -> None:
    small = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, len(CLASSES))
    )
    sharing = Sharing(batch=4, parts=4)
    with pytest.raises(ds.ConfigError, match=r"one sample runs at a time, .* --freeze-batchnorm"):
        check_parts(small, blobs(), ds.FinetuneSettings(), sharing)
    check_parts(small, blobs(), ds.FinetuneSettings(freeze_batchnorm=True), sharing)
    check_parts(small, blobs(), ds.FinetuneSettings(), Sharing(batch=4, parts=2))
    check_parts(dynamic_net(), blobs(), ds.FinetuneSettings(), sharing)
