"""Networks of collections for sound: separation, speech, pitch."""

from __future__ import annotations

from functools import partial

import torch
from sweeping import Builder, Built


def conv_tasnet() -> Built:
    from torchaudio.models import ConvTasNet

    model = ConvTasNet(
        enc_num_feats=32,
        msk_num_feats=16,
        msk_num_hidden_feats=32,
        msk_num_layers=3,
        msk_num_stacks=2,
        msk_activate="relu",
    )
    return model, torch.randn(2, 1, 800)


def wav2letter() -> Built:
    from torchaudio.models import Wav2Letter

    return Wav2Letter(num_classes=10, input_type="mfcc", num_features=13), torch.randn(2, 13, 96)


def conformer() -> Built:
    from torchaudio.models import Conformer

    model = Conformer(
        input_dim=32, num_heads=2, ffn_dim=64, num_layers=2, depthwise_conv_kernel_size=7
    )
    return model, {"input": torch.randn(2, 24, 32), "lengths": torch.tensor([24, 24])}


def wav2vec2() -> Built:
    from torchaudio.models import wav2vec2_model

    model = wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(32, 10, 5), (32, 3, 2), (32, 3, 2)],
        extractor_conv_bias=False,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=2,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=8,
    )
    return model, torch.randn(2, 1600)


def hybrid_demucs() -> Built:
    from torchaudio.models import HDemucs

    model = HDemucs(sources=["voice", "rest"], channels=8, nfft=1024, depth=5, audio_channels=1)
    return model, torch.randn(2, 1, 8192)


def wave_rnn() -> Built:
    from torchaudio.models import WaveRNN

    model = WaveRNN(
        upsample_scales=[2, 2, 3],
        n_classes=16,
        hop_length=12,
        n_res_block=2,
        n_rnn=32,
        n_fc=32,
        n_freq=16,
        n_hidden=16,
        n_output=16,
    )
    return model, (torch.randn(2, 1, 12 * 4), torch.randn(2, 1, 16, 8))


def squim() -> Built:
    from torchaudio.models import squim_objective_model

    model = squim_objective_model(
        feat_dim=32,
        win_len=16,
        d_model=16,
        nhead=2,
        hidden_dim=32,
        num_blocks=1,
        rnn_type="LSTM",
        chunk_size=11,
    )
    return model, torch.randn(2, 1200)


def pesto(name: str) -> Built:
    """Build a network of pesto, without the transform before it."""
    from pesto import model

    if name == "ConfidenceClassifier":
        return model.ConfidenceClassifier(), torch.rand(2, 251) + 0.1
    network = model.Resnet1d(
        n_chan_layers=[20, 20, 10, 1], n_prefilt_layers=2, residual=True, n_bins_in=96
    )
    return network, torch.randn(2, 1, 96)


def crepe() -> Built:
    from torchcrepe import Crepe

    return Crepe("tiny"), torch.randn(2, 1024)


NETWORKS: dict[str, dict[str, Builder]] = {
    "torchaudio": {
        "ConvTasNet": conv_tasnet,
        "Wav2Letter": wav2letter,
        "Conformer": conformer,
        "Wav2Vec2Model": wav2vec2,
        "HDemucs": hybrid_demucs,
        "WaveRNN": wave_rnn,
        "SquimObjective": squim,
    },
    "pesto-pitch": {name: partial(pesto, name) for name in ("Resnet1d", "ConfidenceClassifier")},
    "torchcrepe": {"Crepe": crepe},
}
