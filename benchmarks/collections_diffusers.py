"""Networks of diffusers, from tiny configurations, with keyword inputs where it calls them so."""

from __future__ import annotations

from typing import Any

import torch
from sweeping import Builder, Built

STEPS = (10, 200)
"""Time steps of the two samples."""


def unet_2d() -> Built:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return model, {"sample": torch.randn(2, 3, 16, 16), "timestep": torch.tensor(STEPS)}


_CONDITIONED: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
}


def unet_2d_condition() -> Built:
    from diffusers import UNet2DConditionModel

    up = ("CrossAttnUpBlock2D", "UpBlock2D")
    model = UNet2DConditionModel(sample_size=16, up_block_types=up, **_CONDITIONED)
    return model, {
        "sample": torch.randn(2, 4, 16, 16),
        "timestep": torch.tensor(STEPS),
        "encoder_hidden_states": torch.randn(2, 5, 16),
    }


def control_net() -> Built:
    from diffusers import ControlNetModel

    model = ControlNetModel(conditioning_embedding_out_channels=(16, 32), **_CONDITIONED)
    return model, {
        "sample": torch.randn(2, 4, 16, 16),
        "timestep": torch.tensor(STEPS),
        "encoder_hidden_states": torch.randn(2, 5, 16),
        "controlnet_cond": torch.randn(2, 3, 32, 32),
    }


def unet_1d() -> Built:
    from diffusers import UNet1DModel

    model = UNet1DModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        use_timestep_embedding=True,
        time_embedding_type="positional",
        act_fn="mish",
        down_block_types=("DownResnetBlock1D",) * 3,
        up_block_types=("UpResnetBlock1D",) * 2,
        mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock",
        flip_sin_to_cos=False,
    )
    return model, {"sample": torch.randn(2, 4, 32), "timestep": torch.tensor(STEPS)}


def autoencoder_kl() -> Built:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        latent_channels=4,
    )
    return model, torch.randn(2, 3, 32, 32)


def autoencoder_tiny() -> Built:
    from diffusers import AutoencoderTiny

    model = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 2),
        num_decoder_blocks=(2, 1, 1),
    )
    return model, torch.rand(2, 3, 32, 32)


def vq_model() -> Built:
    from diffusers import VQModel

    model = VQModel(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        num_vq_embeddings=32,
    )
    return model, torch.randn(2, 3, 32, 32)


def adapter() -> Built:
    from diffusers import T2IAdapter

    model = T2IAdapter(channels=[16, 32, 32, 32], downscale_factor=8, num_res_blocks=1)
    return model, torch.randn(2, 3, 64, 64)


NETWORKS: dict[str, dict[str, Builder]] = {
    "diffusers": {
        "UNet2DModel": unet_2d,
        "UNet2DConditionModel": unet_2d_condition,
        "ControlNetModel": control_net,
        "UNet1DModel": unet_1d,
        "AutoencoderKL": autoencoder_kl,
        "AutoencoderTiny": autoencoder_tiny,
        "VQModel": vq_model,
        "T2IAdapter": adapter,
    }
}
