from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import TinyNet, perturb_

import dynsurgeon as ds
from dynsurgeon.operators import DynamicReLUC, KernelAttention

CONFIG = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind="C"))


def temperatures(model: torch.nn.Module) -> set[float]:
    kinds = (KernelAttention, DynamicReLUC)
    return {float(m.temperature) for m in model.modules() if isinstance(m, kinds)}


@pytest.mark.parametrize("value", [1, 0.25, 30.0, np.float64(2.0), np.float32(4.0)])
def test_every_temperature_is_set(value: Any, tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example(), CONFIG)
    assert temperatures(dynamic) == {30.0, 10.0}
    buffers = {name: buffer for name, buffer in dynamic.named_buffers() if "temper" in name}
    ds.set_temperature(dynamic, value)
    assert temperatures(dynamic) == {float(value)}
    assert all(dynamic.get_buffer(name) is buffer for name, buffer in buffers.items())


def test_it_changes_what_a_trained_network_computes_and_nothing_at_the_start(
    tiny_resnet: TinyNet,
) -> None:
    x = tiny_resnet.example()
    dynamic = ds.convert(tiny_resnet, x)
    start = dynamic(x)
    ds.set_temperature(dynamic, 1.0)
    torch.testing.assert_close(dynamic(x), start)
    perturb_(dynamic)
    hot = dynamic(x)
    ds.set_temperature(dynamic, 100.0)
    assert not torch.allclose(dynamic(x), hot, rtol=1e-3)


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), "1", None, True, [1.0]])
def test_other_values_are_refused(value: Any, tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example(), CONFIG)
    with pytest.raises(ds.ConfigError, match="temperature must be a number above 0, got "):
        ds.set_temperature(dynamic, value)
    assert temperatures(dynamic) == {30.0, 10.0}


def test_a_static_model_has_none(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="no module has a temperature"):
        ds.set_temperature(tiny_resnet, 1.0)
