"""Where dynamic convolution and DY-ReLU start: a line for each static class, and for each kind."""

from __future__ import annotations

from torch import nn

from dynsurgeon.operators import convolution as conv
from dynsurgeon.operators.relu import DynamicReLU, DynamicReLUA, DynamicReLUB
from dynsurgeon.operators.relu_spatial import DynamicReLUC

CONVOLUTIONS: dict[type[nn.Module], type[conv.DynamicConv]] = {
    nn.Conv1d: conv.DynamicConv1d,
    nn.Conv2d: conv.DynamicConv2d,
    nn.Conv3d: conv.DynamicConv3d,
    nn.ConvTranspose1d: conv.DynamicConvTranspose1d,
    nn.ConvTranspose2d: conv.DynamicConvTranspose2d,
    nn.ConvTranspose3d: conv.DynamicConvTranspose3d,
}

RELUS: dict[str, type[DynamicReLU]] = {"A": DynamicReLUA, "B": DynamicReLUB, "C": DynamicReLUC}
