"""The dynamic operators, each a plain layer that can also be built from a static one."""

from dynsurgeon.operators.answers import Head, Part, Temperature
from dynsurgeon.operators.attention import KernelAttention
from dynsurgeon.operators.contract import ActivationLayer, ConvolutionLayer, DynamicLayer
from dynsurgeon.operators.convolution import (
    DynamicConv,
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    DynamicConvTranspose1d,
    DynamicConvTranspose2d,
    DynamicConvTranspose3d,
)
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.mixture import KernelMixture
from dynsurgeon.operators.relu import DynamicReLU, DynamicReLUA, DynamicReLUB
from dynsurgeon.operators.relu_spatial import DynamicReLUC

__all__ = [
    "ActivationForm",
    "ActivationLayer",
    "ConvolutionLayer",
    "DynamicConv",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "DynamicConvTranspose1d",
    "DynamicConvTranspose2d",
    "DynamicConvTranspose3d",
    "DynamicLayer",
    "DynamicReLU",
    "DynamicReLUA",
    "DynamicReLUB",
    "DynamicReLUC",
    "Head",
    "KernelAttention",
    "KernelMixture",
    "Part",
    "Temperature",
]
