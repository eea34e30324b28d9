from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import nn

from dynsurgeon.config import DynamicConvConfig, DynamicReLUConfig
from dynsurgeon.errors import StorageError
from dynsurgeon.operators import ActivationForm, DynamicConv2d, DynamicReLU, DynamicReLUA
from dynsurgeon.recipe import SiteRecipe
from dynsurgeon.surgery.cut.build import build_layer

CONV = SiteRecipe(
    name="layer.conv",
    operator="DynamicConv2d",
    place="module",
    settings=asdict(DynamicConvConfig(experts=3)),
    dtype="float32",
)
RELU = SiteRecipe(
    name="layer.relu",
    operator="DynamicReLUA",
    place="module",
    settings=asdict(DynamicReLUConfig(kind="A", pieces=3)),
    dtype="float64",
    channels=6,
    form=asdict(ActivationForm("leaky_relu", slope=0.2)),
    inplace=True,
)


def test_a_convolution_is_built_from_its_static_form() -> None:
    static = nn.Conv2d(4, 6, 3, stride=2, bias=False).half()
    conv = build_layer(CONV, static, None)
    assert type(conv) is DynamicConv2d
    assert conv.weight.shape == (3, 6, 4, 3, 3)
    assert conv.weight.dtype == torch.float16
    assert conv.stride == (2, 2)
    assert conv.bias is None


def test_a_relu_is_built_from_its_recipe() -> None:
    relu = build_layer(RELU, None, "cpu")
    assert type(relu) is DynamicReLUA
    assert (relu.channels, relu.pieces, relu.inplace) == (6, 3, True)
    assert relu.alpha.dtype == torch.float64
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    assert torch.equal(relu(x.clone()), nn.functional.leaky_relu(x, 0.2))


def test_slopes_a_channel_survive_json() -> None:
    form = {**asdict(ActivationForm("prelu")), "slope": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    relu = build_layer(replace(RELU, form=form), None, "cpu")
    assert isinstance(relu, DynamicReLU)
    assert relu.form.slope == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_on_the_meta_device_it_costs_nothing() -> None:
    relu = build_layer(replace(RELU, channels=10**6), None, "meta")
    assert all(p.is_meta for p in relu.parameters())


@pytest.mark.parametrize(
    "static", [nn.Conv1d(4, 4, 1), nn.Linear(4, 4), nn.ConvTranspose2d(4, 4, 1), nn.ReLU()]
)
def test_a_site_of_another_kind_is_refused(static: nn.Module) -> None:
    with pytest.raises(StorageError, match=r"makes 'layer\.conv' a DynamicConv2d, but there it is"):
        build_layer(CONV, static, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator": "__class__"}, "unknown operator '__class__'; known: DynamicConv1d"),
        ({"operator": "Conv2d"}, "unknown operator 'Conv2d'"),
        ({"operator": "DynamicConv2d"}, "describes no activation"),
        ({"channels": None}, "describes no activation"),
        ({"dtype": "__doc__"}, "unknown dtype '__doc__'"),
        ({"dtype": "float99"}, "unknown dtype 'float99'"),
        ({"settings": {"pieces": 1}}, "bad settings: pieces must be"),
        ({"settings": {"experts": 4}}, "bad settings: "),
        ({"form": {"function": "zap"}}, "bad form: unknown function 'zap'"),
        ({"form": {"function": ["relu"]}}, "bad form: unknown function"),
        ({"form": {"slope": "steep"}}, "bad form: slope and ceiling must be numbers"),
        ({"form": {"slope": [[0.1]]}}, "bad form: slope and ceiling must be numbers"),
        ({"form": {"ceiling": "high"}}, "bad form: slope and ceiling must be numbers"),
        ({"form": {"options": {"inplace": True}}}, "bad form: unknown options"),
        ({"form": {"more": 1}}, "bad form: "),
    ],
)
def test_a_bad_recipe_of_a_relu_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StorageError) as error:
        build_layer(replace(RELU, **changes), None, "cpu")
    assert message in str(error.value)
    assert "layer.relu" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"experts": 0}, {"pieces": 2}, {"start": "elsewhere"}])
def test_bad_settings_of_a_convolution_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"the recipe of 'layer\.conv' has bad settings"):
        build_layer(replace(CONV, settings=settings), nn.Conv2d(4, 4, 1), None)
