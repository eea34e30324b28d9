"""The static twin is the original network."""

from __future__ import annotations

import pytest
import torch
from finetune_helpers import dynamic_net, same_tensors, static_net
from nets import perturb_

import dynsurgeon as ds
from dynsurgeon.training.finetune.twin import static_twin


def test_it_is_the_original() -> None:
    twin = static_twin(dynamic_net())
    assert same_tensors(twin, static_net())
    assert [type(m) for m in twin.modules()] == [type(m) for m in static_net().modules()]


def test_calibration_does_not_part_the_twins() -> None:
    dynamic = dynamic_net()
    ds.calibrate(dynamic, [torch.randn(64, 3, 8, 8)])
    assert same_tensors(static_twin(dynamic), static_net())


def test_a_trained_network_has_none() -> None:
    with pytest.raises(ds.RestoreError, match="no static twin to train beside"):
        static_twin(perturb_(dynamic_net()))
