"""Networks for medical images, of monai and of nnU-Net: mostly in three dimensions."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from sweeping import Builder, Built
from torch import nn

VOLUME = (1, 16, 16, 16)
LARGER = (1, 32, 32, 32)
WIDTHS = (8, 16, 32)

_ENDS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}

MONAI: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "UNet": (VOLUME, {**_ENDS, "channels": WIDTHS, "strides": (2, 2), "num_res_units": 1}),
    "BasicUNet": (LARGER, {"features": (8, 8, 16, 16, 32, 8)}),
    "AttentionUnet": (VOLUME, {**_ENDS, "channels": WIDTHS, "strides": (2, 2)}),
    "DynUNet": (
        VOLUME,
        {
            **_ENDS,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": list(WIDTHS),
            "res_block": True,
        },
    ),
    "SegResNet": (VOLUME, {"init_filters": 8}),
    "VNet": (VOLUME, {}),
    "HighResNet": ((1, 8, 8, 8), {}),
    "DenseNet121": (
        LARGER,
        {**_ENDS, "init_features": 8, "growth_rate": 4, "block_config": (2, 4, 4, 2)},
    ),
    "VQVAE": (
        VOLUME,
        {
            **_ENDS,
            "channels": (16, 16),
            "num_res_layers": 1,
            "num_res_channels": 16,
            "downsample_parameters": ((2, 4, 1, 1),) * 2,
            "upsample_parameters": ((2, 4, 1, 1, 0),) * 2,
            "embedding_dim": 8,
        },
    ),
    "AutoencoderKL": (
        VOLUME,
        {
            "spatial_dims": 3,
            "num_res_blocks": 1,
            "channels": (8, 16),
            "attention_levels": (False, False),
            "norm_num_groups": 8,
            "with_encoder_nonlocal_attn": False,
            "with_decoder_nonlocal_attn": False,
        },
    ),
    "EfficientNetBN": (
        (3, 96, 96),
        {"model_name": "efficientnet-b0", "pretrained": False, "num_classes": 10},
    ),
    "Quicknat": ((1, 64, 64), {"num_classes": 4, "num_filters": 16}),
    "PatchDiscriminator": (
        (1, 64, 64),
        {"spatial_dims": 2, "channels": 16, "in_channels": 1},
    ),
    "MedNeXt": (
        VOLUME,
        {
            "init_filters": 8,
            "kernel_size": 3,
            "blocks_down": (1,) * 4,
            "blocks_bottleneck": 1,
            "blocks_up": (1,) * 4,
        },
    ),
}
"""By the class: the shape of a sample, and the arguments."""


def of_monai(name: str) -> Built:
    """Build a network of monai that takes one image."""
    from monai.networks import nets

    size, arguments = MONAI[name]
    return getattr(nets, name)(**deepcopy(arguments)), torch.randn(2, *size)


def voxel_morph() -> Built:
    from monai.networks.nets import VoxelMorph, VoxelMorphUNet

    backbone = VoxelMorphUNet(
        spatial_dims=3,
        in_channels=2,
        unet_out_channels=16,
        channels=(8, 16, 16, 16),
        final_conv_channels=(16, 16),
    )
    return VoxelMorph(backbone, integration_steps=2), (
        torch.rand(2, *VOLUME),
        torch.rand(2, *VOLUME),
    )


def diffusion_unet() -> Built:
    from monai.networks.nets import DiffusionModelUNet

    model = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        num_res_blocks=1,
        channels=(16, 32),
        attention_levels=(False, True),
        norm_num_groups=8,
        num_head_channels=8,
    )
    return model, {"x": torch.randn(2, 1, 16, 16), "timesteps": torch.tensor([10, 200])}


def nnunet(name: str, dimensions: int, **settings: Any) -> Built:
    """Build one of nnU-Net's networks, which take the kinds of their layers as arguments."""
    from dynamic_network_architectures.architectures import unet

    model = getattr(unet, name)(
        input_channels=1,
        n_stages=3,
        features_per_stage=list(WIDTHS),
        conv_op=(nn.Conv2d, nn.Conv3d)[dimensions - 2],
        kernel_sizes=3,
        strides=[1, 2, 2],
        num_classes=3,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=(nn.InstanceNorm2d, nn.InstanceNorm3d)[dimensions - 2],
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
        **settings,
    )
    return model, torch.randn(2, 1, *[16] * dimensions)


NETWORKS: dict[str, dict[str, Builder]] = {
    "monai": {
        **{name: partial(of_monai, name) for name in MONAI},
        "VoxelMorph": voxel_morph,
        "DiffusionModelUNet": diffusion_unet,
    },
    "dynamic-network-architectures": {
        "PlainConvUNet": partial(nnunet, "PlainConvUNet", 3, n_conv_per_stage=1),
        "ResidualEncoderUNet": partial(nnunet, "ResidualEncoderUNet", 2, n_blocks_per_stage=1),
        "ResidualUNet": partial(nnunet, "ResidualUNet", 3, n_blocks_per_stage=1),
    },
}
