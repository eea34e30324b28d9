"""Networks of pytorchcv: one or two of each family, small."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from sweeping import Builder, Built

LARGE = (3, 224, 224)
"""What the classifiers were made for: their last pooling has a 7x7 window."""
SMALL = (3, 32, 32)
SEGMENTED = (3, 128, 128)

CIFAR = (
    "nin",
    "resnet20",
    "rir",
    "resdropresnet20",
    "shakeshakeresnet20_2x16d",
    "xdensenet40_2_k24_bc",
)
IMAGENET = (
    "resnet10",
    "preresnet10",
    "seresnet10",
    "igcv3_wd4",
    "mobilenetv3_small_w7d20",
    "shufflenetv2_wd2",
    "ghostnet",
    "mixnet_s",
    "fbnet_cb",
    "menet108_8x1_g3",
    "diracnet18v2",
    "peleenet",
    "sqnxt23_w1",
    "hardnet39ds",
    "dla46c",
    "vovnet27s",
    "cbam_resnet18",
    "sharesnet18",
    "octresnet10_ad2",
    "dicenet_wd5",
    "espnetv2_wd2",
)
SIZED = (
    "fastscnn_cityscapes",
    "sinet_cityscapes",
    "erfnet_cityscapes",
    "bisenet_resnet18_celebamaskhq",
    "centernet_resnet18_voc",
    "lwopenpose2d_mobilenet_cmupan_coco",
)


def named(name: str, size: tuple[int, ...], **settings: Any) -> Built:
    """Build a network of the collection's own list."""
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=False, **settings), torch.randn(2, *size)


def sound(**settings: Any) -> Built:
    """Build a small network of the Jasper family; its second input are the lengths."""
    from pytorchcv.models.jasper import Jasper

    model = Jasper(
        channels=[32, 32, 48, 48, 64],
        kernel_sizes=[11, 11, 13, 17, 1],
        bn_eps=1e-3,
        dropout_rates=[0.2] * 5,
        repeat=2,
        num_classes=29,
        from_audio=False,
        **settings,
    )
    return model, (torch.randn(2, 64, 64), torch.tensor([64, 48]))


NETWORKS: dict[str, dict[str, Builder]] = {
    "pytorchcv": {
        **{f"{name}_cifar10": partial(named, f"{name}_cifar10", SMALL) for name in CIFAR},
        **{name: partial(named, name, LARGE) for name in IMAGENET},
        **{name: partial(named, name, SEGMENTED, in_size=SEGMENTED[1:]) for name in SIZED},
        "jasper_dr": partial(sound, use_dw=False, use_dr=True),
        "quartznet": partial(sound, use_dw=True, use_dr=False),
    }
}
