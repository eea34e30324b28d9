"""Names become networks; no test needs a network of the other kind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from cli_helpers import needs_timm
from torch import nn

from dynsurgeon.errors import ConfigError, ModelNotFoundError, WeightsError
from dynsurgeon.models import names as models
from dynsurgeon.models.names import (
    build_model,
    float_weights,
    source_of,
    timm_names,
    torchvision_names,
)

RESNETS = ["resnet18", pytest.param("timm:resnet18", marks=needs_timm)]
FAMILIES = (
    "alexnet",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "lraspp_mobilenet_v3_large",
    "quantized_shufflenet_v2_x0_5",
    "r3d_18",
    "raft_small",
    "googlenet",
    "vit_b_32",
)


def no_network(*args: Any, **kwargs: Any) -> Any:
    raise URLError("Name or service not known")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download fails as it does without a network; nothing real is asked."""
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    if importlib.util.find_spec("timm") is not None:
        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
        monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", no_network)
    monkeypatch.setattr("dynsurgeon.models.weights._resolves", lambda host: False)


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("resnet18", "torchvision"),
        ("timm:resnet18", "timm"),
        ("package.module:build", "callable"),
        ("net.py:build", "callable"),
    ],
)
def test_the_form_of_a_name_says_where_it_lives(spec: str, source: str) -> None:
    assert source_of(spec) == source


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_built_without_a_download(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, "random")
    assert sum(p.numel() for p in model.parameters()) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", torchvision_names())
def test_all_of_torchvision_is_built_without_a_download(name: str) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        assert isinstance(build_model(name, "random"), nn.Module)


def test_quantizable_models_are_built_in_float() -> None:
    model = build_model("quantized_shufflenet_v2_x0_5", "random")
    convolutions = [type(m) for m in model.modules() if "Conv" in type(m).__name__]
    assert set(convolutions) == {nn.Conv2d}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_weights_of_quantizable_models_are_the_float_ones() -> None:
    assert list(float_weights("quantized_resnet18")) == ["IMAGENET1K_V1"]
    assert list(float_weights("resnet50"))[-1] == "IMAGENET1K_V2"


def test_arguments_reach_the_builder() -> None:
    model = build_model("squeezenet1_1", "random", {"num_classes": 7})
    assert model(torch.ones(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet17", "no model 'resnet17'; did you mean 'resnet18'"),
        ("ResNet18", "did you mean 'resnet18'"),
        ("qqqq", "a torchvision name, timm:NAME"),
        pytest.param("timm:resnet17", "did you mean 'resnet18'", marks=needs_timm),
        pytest.param("timm:resnet18.a1_in2k", "did you mean 'a1_in1k'", marks=needs_timm),
    ],
)
def test_a_wrong_name_suggests_the_closest(spec: str, message: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        build_model(spec, "random")
    assert message in str(caught.value)


@pytest.mark.parametrize("spec", RESNETS)
@pytest.mark.parametrize("key", ["weights", "pretrained", "checkpoint_path", "weights_backbone"])
def test_arguments_can_not_bring_weights_in(spec: str, key: str) -> None:
    with pytest.raises(ConfigError, match="--weights"):
        build_model(spec, "random", {key: "x"})


@pytest.mark.parametrize("spec", RESNETS)
def test_arguments_that_the_builder_does_not_take_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="colour"):
        build_model(spec, "random", {"colour": 3})


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("spec", [*RESNETS, "quantized_resnet18"])
@pytest.mark.parametrize("weights", [None, "DEFAULT"])
def test_without_a_network_the_ways_out_are_named(spec: str, weights: str | None) -> None:
    with pytest.raises(WeightsError, match="can't be had") as caught:
        build_model(spec, weights)
    assert "--weights FILE" in str(caught.value)
    assert "--weights random" in str(caught.value)


def test_weights_that_do_not_fit_the_arguments_are_refused() -> None:
    with pytest.raises(WeightsError, match="--weights random"):
        build_model("resnet18", "DEFAULT", {"num_classes": 7})


def test_a_model_without_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "float_weights", lambda name: {})
    with pytest.raises(WeightsError, match="no weights for resnet18"):
        build_model("resnet18")


@needs_timm
@pytest.mark.usefixtures("offline")
def test_a_timm_model_without_weights_says_so() -> None:
    import timm

    pretrained = {name.partition(".")[0] for name in timm.list_pretrained()}
    name = next(name for name in timm.list_models("resne*") if name not in pretrained)
    with pytest.raises(WeightsError, match=f"timm has no weights for {name}; pass --weights FILE"):
        build_model(f"timm:{name}")


@pytest.mark.parametrize(
    "spec",
    ["squeezenet1_1", pytest.param("timm:test_resnet", marks=needs_timm), "two.py:build"],
)
def test_a_file_fills_any_kind_of_model(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Linear(2, 2)\n"
    )
    source = build_model(spec, "random")
    torch.save(source.state_dict(), tmp_path / "net.pth")
    model = build_model(spec, "net.pth")
    for key, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key


@pytest.mark.parametrize("weights", [None, "DEFAULT", "random"])
def test_a_callables_weights_are_its_own(
    weights: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ones.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    net = nn.Linear(2, 2)\n"
        "    nn.init.ones_(net.weight)\n"
        "    return net\n"
    )
    model = build_model("ones.py:build", weights)
    assert isinstance(model, nn.Linear)
    assert torch.equal(model.weight, torch.ones(2, 2))


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelNotFoundError, match=r"dynsurgeon\[timm\]"):
        build_model("timm:resnet18", "random")


def test_names_are_listed() -> None:
    assert len(torchvision_names()) >= 121


@needs_timm
def test_names_of_timm_are_listed() -> None:
    assert "timm:resnet18" in timm_names()
