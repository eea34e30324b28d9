"""Example inputs suit their networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import needs_timm
from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.models.examples import default_input_size, example_inputs
from dynsurgeon.models.names import build_model, torchvision_names

DETECTION = ("rcnn", "retinanet", "fcos", "ssd")


def build(spec: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return build_model(spec, "random", arguments).eval()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (3, 224, 224)),
        ("inception_v3", (3, 299, 299)),
        ("efficientnet_b1", (3, 240, 240)),
        ("quantized_inception_v3", (3, 299, 299)),
        ("deeplabv3_mobilenet_v3_large", (3, 224, 224)),
        ("r3d_18", (3, 16, 112, 112)),
        ("mvit_v2_s", (3, 16, 224, 224)),
        ("s3d", (3, 16, 224, 224)),
        ("swin_v2_t", (3, 256, 256)),
        ("ssdlite320_mobilenet_v3_large", (3, 320, 320)),
        ("raft_small", (3, 128, 128)),
        pytest.param("timm:mobilenetv3_small_100", (3, 224, 224), marks=needs_timm),
        pytest.param("timm:test_resnet", (3, 160, 160), marks=needs_timm),
    ],
)
def test_a_known_model_gets_the_size_of_its_weights(name: str, size: tuple[int, ...]) -> None:
    assert default_input_size(name, build(name)) == size


def test_a_model_built_for_another_size_gets_that() -> None:
    assert default_input_size("vit_b_32", build("vit_b_32", image_size=64)) == (3, 64, 64)


@needs_timm
def test_a_model_built_for_other_channels_gets_those() -> None:
    net = build("timm:test_resnet", in_chans=1)
    assert default_input_size("timm:test_resnet", net) == (1, 160, 160)


@pytest.mark.parametrize("name", ["resnet18", "r3d_18", "lraspp_mobilenet_v3_large"])
def test_networks_run_on_their_inputs(name: str) -> None:
    model = build(name)
    (inputs,) = example_inputs(name, model, batch=3).args
    assert inputs.shape[0] == 3
    with torch.no_grad():
        outputs = model(inputs.to("meta"))
    first = outputs if isinstance(outputs, torch.Tensor) else next(iter(outputs.values()))
    assert first.shape[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_all_of_torchvision_runs_on_its_inputs(name: str) -> None:
    detects = any(part in name for part in DETECTION)
    with torch.device("cpu" if detects or name.startswith("regnet") else "meta"):
        model = build_model(name, "random").eval()
    inputs = example_inputs(name, model, batch=1 if detects else 2)
    with torch.no_grad():
        inputs.call(model)


def test_detection_takes_a_list_of_images_in_range() -> None:
    model = build_model("ssdlite320_mobilenet_v3_large", "random").eval()
    (images,) = example_inputs("ssdlite320_mobilenet_v3_large", model, (3, 64, 80)).args
    assert [tuple(image.shape) for image in images] == [(3, 64, 80)] * 2
    assert all(image.min() >= 0 and image.max() <= 1 for image in images)


def test_optical_flow_takes_two_images() -> None:
    first, second = example_inputs("raft_small", build_model("raft_small", "random")).args
    assert first.shape == second.shape == (2, 3, 128, 128)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("first", "size"),
    [
        (nn.Conv1d(5, 2, 3), (5, 1024)),
        (nn.Conv2d(4, 2, 3), (4, 224, 224)),
        (nn.Conv3d(2, 2, 3), (2, 16, 112, 112)),
        (nn.Linear(12, 2), (12,)),
    ],
)
def test_an_unknown_model_is_asked_by_its_first_layer(
    first: nn.Module, size: tuple[int, ...]
) -> None:
    assert default_input_size("net.py:build", nn.Sequential(nn.ReLU(), first)) == size


def test_where_nothing_suggests_a_size_the_option_is_named() -> None:
    with pytest.raises(ConfigError, match="--input-size"):
        default_input_size("net.py:build", nn.ReLU())


def test_inputs_are_of_the_models_precision_and_repeatable() -> None:
    net = nn.Conv2d(3, 2, 3).double()
    one, other, third = (example_inputs("net.py:build", net, (3, 4, 4), seed=s) for s in (0, 0, 1))
    assert one.args[0].dtype == torch.float64
    assert torch.equal(one.args[0], other.args[0])
    assert not torch.equal(one.args[0], third.args[0])


@pytest.mark.parametrize("size", [(), (3, 0, 4), (-1,)])
def test_impossible_sizes_are_refused(size: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="input size"):
        example_inputs("net.py:build", nn.Conv2d(3, 2, 3), size)


def test_a_model_that_takes_nothing_by_position_is_fed_by_name() -> None:
    class ByName(nn.Conv2d):
        def forward(self, *, image: torch.Tensor, scale: float = 1.0) -> torch.Tensor:  # type: ignore[override]
            return super().forward(image) * scale

    inputs = example_inputs("net.py:build", ByName(3, 2, 3), (3, 4, 4))
    assert (inputs.args, list(inputs.kwargs)) == ((), ["image"])
    assert inputs.call(ByName(3, 2, 3)).shape == (2, 2, 2, 2)
