"""Networks of transformers, from small configurations, with the keyword inputs it is made for."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from sweeping import Builder, Built

IMAGE: dict[str, dict[str, Any]] = {
    "ResNet": {
        "embedding_size": 16,
        "hidden_sizes": [16, 32, 48, 64],
        "depths": [1, 1, 2, 1],
        "layer_type": "basic",
    },
    "RegNet": {
        "embedding_size": 16,
        "hidden_sizes": [16, 32, 48, 64],
        "depths": [1, 1, 2, 1],
        "groups_width": 8,
    },
    "Bit": {
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 96, 128],
        "depths": [1, 1, 2, 1],
        "num_groups": 8,
    },
    "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 96},
    "EfficientNet": {"width_coefficient": 0.5, "image_size": 96, "hidden_dim": 640},
    "ConvNext": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
    "FocalNet": {"embed_dim": 16, "depths": [1, 1, 1, 1], "image_size": 96},
    "PoolFormer": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
    "SwiftFormer": {"embed_dims": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
    "MobileViT": {
        "hidden_sizes": [32, 40, 48],
        "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64],
        "image_size": 96,
    },
    "Levit": {
        "image_size": 96,
        "hidden_sizes": [32, 48, 64],
        "num_attention_heads": [2, 3, 4],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
    "Cvt": {
        "embed_dim": [16, 32, 64],
        "num_heads": [1, 2, 4],
        "depth": [1, 2, 3],  # it takes its n-th stage's rate from a list of that length
        "drop_path_rate": [0.0, 0.0, 0.1],
    },
}
"""Settings by the name before ``ForImageClassification``."""


def classifier(name: str) -> Built:
    """Build an image classifier."""
    import transformers

    config = getattr(transformers, f"{name}Config")(**deepcopy(IMAGE[name]))
    model = getattr(transformers, f"{name}ForImageClassification")(config)
    return model, {"pixel_values": torch.randn(2, 3, 96, 96)}


def segformer() -> Built:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 48, 64], decoder_hidden_size=32
    )
    return SegformerForSemanticSegmentation(config), {"pixel_values": torch.randn(2, 3, 64, 64)}


def upernet() -> Built:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    labels: dict[str, Any] = {"num_labels": 8}
    backbone = ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], **stages)
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=32,
        auxiliary_in_channels=48,
        auxiliary_channels=16,
        **labels,
    )
    return UperNetForSemanticSegmentation(config), {"pixel_values": torch.randn(2, 3, 96, 96)}


def detr() -> Built:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    stages: dict[str, Any] = {"out_features": ["stage4"]}
    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **stages,
    )
    config = DetrConfig(
        backbone_config=backbone,
        d_model=32,
        num_queries=10,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
    )
    return DetrForObjectDetection(config), {
        "pixel_values": torch.randn(2, 3, 96, 96),
        "pixel_mask": torch.ones(2, 96, 96, dtype=torch.long),
    }


def super_point() -> Built:
    from transformers import SuperPointConfig, SuperPointForKeypointDetection

    config = SuperPointConfig(
        encoder_hidden_sizes=[16, 16, 32, 32],
        decoder_hidden_size=32,
        descriptor_decoder_dim=32,
        max_keypoints=16,
    )
    return SuperPointForKeypointDetection(config), {"pixel_values": torch.rand(2, 3, 64, 64)}


def wav2vec2() -> Built:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(32, 32, 32),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 2, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        mask_time_prob=0.0,  # numpy draws that mask, of no seed
        layerdrop=0.0,
    )
    return Wav2Vec2Model(config), {"input_values": torch.randn(2, 1600)}


def hifi_gan() -> Built:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(model_in_dim=20, upsample_initial_channel=64)
    return SpeechT5HifiGan(config), {"spectrogram": torch.randn(2, 8, 20)}


def encodec() -> Built:
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        num_filters=8, hidden_size=32, codebook_size=64, codebook_dim=32, upsampling_ratios=[4, 2]
    )
    return EncodecModel(config), {"input_values": torch.randn(2, 1, 480)}


def squeeze_bert() -> Built:
    from transformers import SqueezeBertConfig, SqueezeBertModel

    config = SqueezeBertConfig(
        vocab_size=64,
        embedding_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_act="relu",
    )
    return SqueezeBertModel(config), {
        "input_ids": torch.randint(0, 64, (2, 12)),
        "attention_mask": torch.ones(2, 12, dtype=torch.long),
    }


NETWORKS: dict[str, dict[str, Builder]] = {
    "transformers": {
        **{name: partial(classifier, name) for name in IMAGE},
        "Segformer": segformer,
        "UperNet": upernet,
        "Detr": detr,
        "SuperPoint": super_point,
        "Wav2Vec2": wav2vec2,
        "SpeechT5HifiGan": hifi_gan,
        "Encodec": encodec,
        "SqueezeBert": squeeze_bert,
    }
}
