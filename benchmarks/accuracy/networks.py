"""The static networks."""

from __future__ import annotations

from data import CLASSES
from torch import nn
from torchvision.models import mobilenet_v2


def build_network(name: str) -> nn.Module:
    """Build ``"conv4"`` or ``"mobilenet"``, with weights from torch's random generator."""
    return {"conv4": conv4, "mobilenet": mobilenet}[name]()


def conv4() -> nn.Module:
    """Four conv-BatchNorm-ReLU blocks of 8, 8, 16 and 32 channels: 6,866 parameters."""
    return nn.Sequential(
        _block(1, 8, 2), _block(8, 8, 1), _block(8, 16, 2), _block(16, 32, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


def _block(channels: int, out_channels: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def mobilenet() -> nn.Module:
    """torchvision's mobilenet_v2 of width 0.25 for one channel, maps of 14x14, 7x7 and 4x4."""
    settings = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2], [6, 64, 2, 1], [6, 96, 1, 1]]
    net = mobilenet_v2(
        num_classes=CLASSES, width_mult=0.25, inverted_residual_setting=settings, dropout=0.0
    )
    stem = net.features[0][0]
    net.features[0][0] = nn.Conv2d(1, stem.out_channels, 3, 2, padding=1, bias=False)
    last = net.last_channel // 4  # torchvision never narrows the last layer
    net.features[-1] = nn.Sequential(
        nn.Conv2d(net.features[-1][0].in_channels, last, 1, bias=False),
        nn.BatchNorm2d(last),
        nn.ReLU6(inplace=True),
    )
    net.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(last, CLASSES))
    return net
