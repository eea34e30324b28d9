"""Example inputs: what a network of that name is usually fed, filled with random numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from dynsurgeon.errors import ConfigError
from dynsurgeon.models.names import source_of
from dynsurgeon.running.inputs import Inputs

DETECTORS = (
    GeneralizedRCNN,
    zoo.detection.FCOS,
    zoo.detection.RetinaNet,
    zoo.detection.ssd.SSD,
)
"""Networks that take a list of images, which may differ in size."""

IMAGE, VIDEO = 224, (16, 112, 112)
DETECTION, FLOW = (3, 320, 320), (3, 128, 128)
SIGNAL = 1024


def example_inputs(
    spec: str,
    model: nn.Module,
    input_size: Sequence[int] | None = None,
    *,
    batch: int = 2,
    seed: int = 0,
) -> Inputs:
    """Return inputs for `model`, of its dtype and on its device.

    Args:
        spec: The name that the model was built from.
        model: The network.
        input_size: Shape of one sample, such as ``(3, 224, 224)``; by default what the model's
            weights were trained on, or what its first layer suggests.
        batch: Number of samples.
        seed: Seed of the random numbers.

    Returns:
        One tensor ``(batch, *input_size)``; for detection a list of images; for optical flow two
        tensors. They are positional, or by name where the model takes nothing else.

    Raises:
        ConfigError: No size was given and none can be guessed, or it holds a number below 1.
    """
    size = tuple(input_size) if input_size is not None else default_input_size(spec, model)
    if not size or min(size) < 1:
        raise ConfigError(f"the input size must be numbers of at least 1, got {list(size)}")
    like: dict[str, Any] = {"dtype": _dtype_of(model)}
    generator = torch.Generator().manual_seed(seed)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def draw(*shape: int) -> Tensor:
        if isinstance(model, DETECTORS):  # these expect images in [0, 1]
            return torch.rand(shape, generator=generator, **like).to(device)
        return torch.randn(shape, generator=generator, **like).to(device)

    if isinstance(model, DETECTORS):
        return Inputs([draw(*size) for _ in range(batch)])
    count = 2 if isinstance(model, zoo.optical_flow.RAFT) else 1
    drawn = [draw(batch, *size) for _ in range(count)]
    names = _keywords(model)
    return Inputs(**dict(zip(names, drawn, strict=False))) if names else Inputs(*drawn)


def _keywords(model: nn.Module) -> list[str]:
    """Names of what `model` must be given, where it takes nothing by position."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters):
        return []
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def default_input_size(spec: str, model: nn.Module) -> tuple[int, ...]:
    """Return the shape of one sample that suits `model`.

    Raises:
        ConfigError: Nothing suggests a size.
    """
    if isinstance(model, DETECTORS):
        return DETECTION
    if isinstance(model, zoo.optical_flow.RAFT):
        return FLOW
    declared = _declared_size(spec, model)
    channels = _first_channels(model)
    if declared is not None:
        return (channels, *declared[1:]) if channels in (1, 2, 3, 4) else declared
    guess = _guess_from_first_layer(model)
    if guess is None:
        raise ConfigError(f"no input size is known for {spec}; pass --input-size, as in 3 224 224")
    return guess


def _declared_size(spec: str, model: nn.Module) -> tuple[int, ...] | None:
    source = source_of(spec)
    if source == "torchvision":
        return _torchvision_size(spec, model)
    if source == "timm":
        settings = getattr(model, "pretrained_cfg", None) or {}
        return tuple(settings["input_size"]) if "input_size" in settings else None
    return None


def _torchvision_size(name: str, model: nn.Module) -> tuple[int, ...]:
    """Return the crop of the default weights' own transforms."""
    kind = zoo.get_model_weights(name)
    transforms = kind.DEFAULT.transforms if len(kind) else None
    crop = getattr(transforms, "keywords", {}).get("crop_size", IMAGE)
    if zoo.get_model_builder(name).__module__.startswith("torchvision.models.video"):
        height, width = (crop, crop) if isinstance(crop, int) else crop
        return (3, VIDEO[0], height, width)
    own = getattr(model, "image_size", crop)  # a vision transformer built for another size
    return (3, own, own) if isinstance(own, int) else (3, *own)


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    return (
        module for module in model.modules() if next(module.parameters(False), None) is not None
    )


def _first_channels(model: nn.Module) -> int | None:
    first = next(_layers(model), None)
    return first.in_channels if isinstance(first, nn.modules.conv._ConvNd) else None


def _guess_from_first_layer(model: nn.Module) -> tuple[int, ...] | None:
    for module in _layers(model):
        if isinstance(module, nn.Conv1d):
            return (module.in_channels, SIGNAL)
        if isinstance(module, nn.Conv2d):
            return (module.in_channels, IMAGE, IMAGE)
        if isinstance(module, nn.Conv3d):
            return (module.in_channels, *VIDEO)
        if isinstance(module, nn.Linear):
            return (module.in_features,)
    return None


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
