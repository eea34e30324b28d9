from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyNet
from torch import nn

import dynsurgeon as ds
from dynsurgeon.surgery.accept import check_model, check_numbers, check_static


def test_a_plain_model_is_accepted_and_left_alone(tiny_net: TinyNet) -> None:
    before = {name: id(value) for name, value in tiny_net.named_parameters()}
    check_model(tiny_net)
    check_static(tiny_net)
    assert {name: id(value) for name, value in tiny_net.named_parameters()} == before


@pytest.mark.parametrize("model", [None, "resnet18", nn.ReLU, lambda x: x, {"model": nn.ReLU()}])
def test_what_is_no_module_is_a_config_error(model: Any) -> None:
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.ConfigError, match=r"model must be a torch\.nn\.Module, got "):
            run(model, torch.zeros(1, 3, 8, 8))


def test_a_second_conversion_says_what_to_do(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    dynamic = ds.convert(tiny_resnet, x)
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.UnsupportedModelError) as error:
            run(dynamic, x)
        assert str(error.value) == (
            "the model is already dynamic (10 dynamic layers): convert the static model once with "
            "all the settings, or undo the first conversion with dynsurgeon.restore(model)"
        )
    with pytest.raises(ds.UnsupportedModelError, match="already dynamic"):
        ds.check_parity(dynamic, dynamic, x)


@pytest.mark.parametrize("inputs", [None, 3, "x", (), (1, 2), {}, {"x": 3}, (224, 224)])
def test_other_inputs_are_refused(inputs: Any, tiny_resnet: TinyNet) -> None:
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.ConfigError, match="must be a tensor, a tuple of positional inputs"):
            run(tiny_resnet, inputs)


def test_inputs_of_the_wrong_shape_are_refused_in_one_line(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.ConfigError, match="can't run on these example inputs") as error:
        ds.convert(tiny_resnet, torch.zeros(1, 4, 8, 8))
    assert "\n" not in str(error.value)


def test_a_configuration_of_another_kind_is_refused(tiny_resnet: TinyNet) -> None:
    config: Any = {"experts": 4}
    with pytest.raises(ds.ConfigError, match="config must be a SurgeryConfig, got dict"):
        ds.convert(tiny_resnet, tiny_resnet.example(), config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_nan_is_refused_by_name(kind: str, dtype: torch.dtype) -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    tensor = torch.tensor([1.0, float("nan"), 2.0]).to(dtype)
    if kind == "parameter":
        net[1].odd = nn.Parameter(tensor, requires_grad=False)
    else:
        net[1].register_buffer("odd", tensor)
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.UnsupportedModelError, match=f"the {kind} '1.odd' holds NaN: load"):
            run(net, torch.zeros(1, 3, 8, 8))


def test_an_infinite_parameter_is_refused(tiny_resnet: TinyNet) -> None:
    with torch.no_grad():
        tiny_resnet.get_parameter("layer1.0.conv1.weight")[0, 0] = float("inf")
    with pytest.raises(ds.UnsupportedModelError, match=r"'layer1.0.conv1.weight' holds infinite"):
        ds.convert(tiny_resnet, tiny_resnet.example())


def test_masks_and_large_numbers_are_no_nan(tiny_resnet: TinyNet) -> None:
    tiny_resnet.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("inf")]))
    tiny_resnet.register_buffer("steps", torch.tensor([3]))
    tiny_resnet.register_buffer("phase", torch.tensor([1j]))
    tiny_resnet.register_parameter("large", nn.Parameter(torch.full((4,), 3e38)))
    tiny_resnet.register_parameter("small", nn.Parameter(torch.full((4,), 6e4).half()))
    tiny_resnet.register_parameter("unset", nn.Parameter(torch.empty(3, device="meta")))
    check_numbers(tiny_resnet)
