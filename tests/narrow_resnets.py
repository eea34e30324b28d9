"""torchvision's ResNets with an eighth of their channels: every call site, little to compute."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

BLOCKS: dict[str, tuple[Any, list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}


class NarrowResNet(ResNet):  # type: ignore[misc]
    """A ResNet whose four stages have an eighth of the channels; the stem has all."""

    def __init__(self, name: str, num_classes: int = 1000) -> None:
        block, layers = BLOCKS[name]
        super().__init__(block, layers)
        self.fc = nn.Linear(64 * block.expansion, num_classes)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        layer: nn.Sequential = super()._make_layer(block, planes // 8, *args, **kwargs)
        return layer
