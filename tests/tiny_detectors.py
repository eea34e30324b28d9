"""Detectors of torchvision's with a backbone of two layers, for images of 64 pixels."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

SIDE = 64
CLASSES = 5


class Backbone(nn.Module):
    """Two levels of features, of strides 8 and 16."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.fine = nn.Sequential(nn.Conv2d(8, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.fine(self.stem(x))
        return OrderedDict([("0", fine), ("1", self.coarse(fine))])


def build(name: str) -> nn.Module:
    """Build a detector with random weights, whose scores are well apart."""
    torch.manual_seed(0)
    backbone = Backbone()
    size = {"min_size": SIDE, "max_size": SIDE}
    anchors = AnchorGenerator(((12,), (24,)), ((0.5, 1.0, 2.0),) * 2)
    square = AnchorGenerator(((12,), (24,)), ((1.0,),) * 2)
    model: nn.Module
    if name == "faster_rcnn":
        pool = MultiScaleRoIAlign(["0", "1"], 3, 2)
        model = FasterRCNN(
            backbone, CLASSES, rpn_anchor_generator=anchors, box_roi_pool=pool, **size
        )
    elif name == "retinanet":
        model = RetinaNet(backbone, CLASSES, anchor_generator=anchors, **size)
    elif name == "fcos":
        model = FCOS(backbone, CLASSES, anchor_generator=square, **size)
    else:
        backbone.out_channels = [32, 32]  # type: ignore[assignment]
        boxes = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.4, 0.8])
        model = SSD(backbone, boxes, (SIDE, SIDE), CLASSES)
    return model.eval()
