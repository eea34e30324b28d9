"""Tiny networks for the whole suite: each holds one difficulty that real networks have.

Every class takes no arguments, maps ``(N, *input_shape)`` to one tensor and runs in milliseconds.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators import (
    DynamicConv,
    DynamicLayer,
    DynamicReLU,
    DynamicReLUA,
    DynamicReLUB,
    DynamicReLUC,
    KernelAttention,
)

BatchNorm = nn.modules.batchnorm._BatchNorm


class TinyNet(nn.Module):
    """Base of the tiny networks: what input they take."""

    input_shape: ClassVar[tuple[int, ...]] = (3, 16, 16)

    def example(self, batch: int = 2, *, seed: int = 0) -> Tensor:
        """Return a random input ``(batch, *input_shape)`` in the dtype of the parameters."""
        shape = (batch, *self.input_shape)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return x.to(next(self.parameters()).dtype)


class TinyBlock(nn.Module):
    """ResNet's BasicBlock: one ``nn.ReLU(inplace=True)`` called at two places."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out_channels:
            shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return y


class TinyResNet(TinyNet):
    """Two BasicBlocks: 5 ReLU call sites over 3 ReLU modules, 6 convolutions with the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(TinyBlock(8, 8, 1))
        self.layer2 = nn.Sequential(TinyBlock(8, 16, 2))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class TinyFunctional(TinyNet):
    """No activation module, four spellings of ReLU, and ``F.conv2d`` on a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.2)
        self.offset = nn.Parameter(torch.randn(8))
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = F.conv2d(x, self.kernel, self.offset, stride=2, padding=1)
        x = x.relu()
        logits: Tensor = self.fc((x.mean(dim=(2, 3)) - 0.5).relu_())
        return logits


class TinyGate(nn.Module):
    """Squeeze and excitation: two 1x1 convolutions on a 1x1 map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 2, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(channels // 2, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.fc2(self.relu(self.fc1(self.avgpool(x)))))
        return x * gate


class TinyMobile(TinyNet):
    """A mobile block: depthwise convolution, ReLU6, an SE gate and Hardswish."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
            ),
            nn.Sequential(
                nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)
            ),
            nn.Sequential(
                nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU6(inplace=True),
            ),
            TinyGate(16),
            nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8)),
        )
        self.classifier = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class TinySharedConv(TinyNet):
    """A detection head: one convolution and one ReLU called over three feature levels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.output = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.stem(x)]
        for _ in range(2):
            levels.append(F.max_pool2d(levels[-1], 2))
        outputs = [self.output(self.relu(self.head(level))) for level in levels]
        return torch.cat([y.flatten(2) for y in outputs], dim=2)


class TinyDual(TinyNet):
    """An owner that reads ``self.training``: one functional ReLU and drop-out in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        if self.training:
            x = self.drop(x) + 0.1 * F.relu(-x)
        x = F.relu(self.conv2(x))
        logits: Tensor = self.fc(F.dropout(x.mean(dim=(2, 3)), 0.2, self.training))
        return logits


def perturb_(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Make a network's state far from its start, so that mixed-up routing can't stay unseen.

    BatchNorm gets random statistics and factors; attention becomes far from uniform and the kernels
    of a bank differ; DY-ReLUs get random lines. In place, eval and train alike.

    Args:
        module: A static or a dynamic network or layer.
        generator: Source of the random numbers; seed 0 by default.

    Returns:
        The module.
    """
    generator = generator or torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, BatchNorm):
            _perturb_norm(child, generator)
        elif isinstance(child, KernelAttention):
            _perturb_attention(child, generator)
        elif isinstance(child, DynamicConv):
            _perturb_bank(child, generator)
        elif isinstance(child, DynamicReLUA | DynamicReLUB | DynamicReLUC):
            _perturb_relu(child, generator)
        elif isinstance(child, DynamicLayer):
            _perturb_layer(child, generator)
    return module


@torch.no_grad()
def _perturb_layer(layer: DynamicLayer, generator: torch.Generator) -> None:
    for bank in layer.banks().values():
        noise = torch.randn(bank.shape, generator=generator)
        bank.add_(noise.to(bank) * bank.double().pow(2).mean().sqrt().to(bank))
    for head in layer.heads():
        for parameter in head.last.parameters():
            _draw(parameter, generator, 1.0)


@torch.no_grad()
def _perturb_norm(norm: BatchNorm, generator: torch.Generator) -> None:
    for tensor, low, high in (
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.5, 2.0),
        (norm.weight, 0.5, 1.5),
        (norm.bias, -0.3, 0.3),
    ):
        if tensor is not None:
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(low + (high - low) * noise)


@torch.no_grad()
def _perturb_attention(attention: KernelAttention, generator: torch.Generator) -> None:
    # The logits get a standard deviation of about 2 whatever the temperature is.
    reach = 2 * float(attention.temperature)
    hidden = attention.fc2.in_features
    _draw(attention.fc1.weight, generator, 2 / attention.fc1.in_features**0.5)
    _draw(attention.fc1.bias, generator, 1.0)
    _draw(attention.fc2.weight, generator, reach / hidden**0.5)
    _draw(attention.fc2.bias, generator, reach / 4)


@torch.no_grad()
def _perturb_bank(conv: DynamicConv, generator: torch.Generator) -> None:
    for bank in (conv.weight, conv.bias):
        if bank is not None:
            noise = torch.randn(bank.shape, generator=generator)
            bank.add_(noise.to(bank) * bank.double().pow(2).mean().sqrt().to(bank))


@torch.no_grad()
def _perturb_relu(relu: DynamicReLU, generator: torch.Generator) -> None:
    _draw(relu.fc2.weight, generator, 2 / relu.fc2.in_features**0.5)
    _draw(relu.fc2.bias, generator, 0.5)
    if isinstance(relu, DynamicReLUC):
        reach = 2 * float(relu.temperature)
        _draw(relu.spatial.weight, generator, reach / relu.channels**0.5)


def _draw(tensor: Tensor, generator: torch.Generator, std: float) -> None:
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
